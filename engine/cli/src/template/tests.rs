//! Templates against one value.

use serde_json::json;

use super::*;

fn render(template: &str) -> Result<String, TemplateError> {
    let value = json!({
        "Name": "/web",
        "State": {"Running": true, "Pid": 7},
        "Args": ["-f", "-p"],
        "Config": {"Labels": {"a.b": "1", "c": ""}},
        "Networks": {"n1": {"IPAddress": "10.0.0.2"}, "n2": {"IPAddress": "10.0.1.2"}},
        "Ports": null,
        "Labels": "x=1,y=2",
    });
    template.parse::<Template>()?.render(&value)
}

fn check(template: &str, expected: &str) {
    assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
}

#[test]
fn fields_and_functions() {
    check("plain", "plain");
    check(
        "{{.Name}} {{.State.Pid}} {{ .State.Running }}",
        "/web 7 true",
    );
    check("{{json .State}}", r#"{"Pid":7,"Running":true}"#);
    check("{{.State | json | upper}}", r#"{"PID":7,"RUNNING":TRUE}"#);
    check(r#"{{join .Args ", "}}"#, "-f, -p");
    check(
        r#"{{index .Config.Labels "a.b"}}|{{index .Config.Labels "none"}}"#,
        "1|",
    );
    check("{{index .Args 1}} {{len .Args}} {{.Args}}", "-p 2 [-f -p]");
    check(r#"{{.Label "y"}}"#, "2");
    check("{{.Ports}}", "<no value>");
    check(r#"{{(index .Networks "n1").IPAddress}}"#, "10.0.0.2");
    check(r#"{{(index .Args 0)}} {{(len .Args)}}"#, "-f 2");
}

#[test]
fn blocks() {
    check(
        "{{range .Networks}}{{.IPAddress}} {{end}}",
        "10.0.0.2 10.0.1.2 ",
    );
    check(
        "{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}};{{end}}",
        "n1=10.0.0.2;n2=10.0.1.2;",
    );
    check(
        "{{range $p := .Args}}{{$p}}{{$.Name}}{{end}}",
        "-f/web-p/web",
    );
    check("{{range .Ports}}x{{else}}none{{end}}", "none");
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check(
        r#"{{if and .State.Running (eq .Name "/web")}}yes{{end}}"#,
        "yes",
    );
    check("{{with .State}}{{.Pid}}{{end}}", "7");
    check("a {{- if not .Ports -}} b {{- end -}} c", "abc");
}

#[test]
fn what_is_not_understood_is_named() {
    let said = |template: &str| render(template).unwrap_err().to_string();
    assert!(said("{{.Bogus}}").contains("\"Bogus\""));
    assert!(said("{{.Name.X}}").contains("field X"));
    assert!(said("{{bogus .Name}}").contains("\"bogus\" not defined"));
    assert!(said("{{.Name").contains("unclosed action"));
    assert!(said("{{if .Name}}x").contains("without {{end}}"));
    assert!(said("{{end}}").contains("without a block"));
    assert!(said("{{.Name | }}").contains("missing value"));
    assert!(said("{{join .Name}}").contains("wrong arguments for join"));
    assert!(said("{{$x}}").contains("$x"));
    assert!(said("{{\"a}}").contains("unterminated"));
    assert!(said(&"{{if .Name}}".repeat(40)).contains("blocks in each other"));
    let deep = format!("{{{{{}.Name{}}}}}", "(".repeat(40), ")".repeat(40));
    assert!(said(&deep).contains("parentheses in each other"));
}
