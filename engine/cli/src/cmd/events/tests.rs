//! A real log in a directory of the test.

use events::Draft;
use serde_json::json;

use super::*;
use crate::fake::{Behaviour, Fake};

fn log_of_three() -> (tempfile::TempDir, Vec<Record>) {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(&directory.path().join("events")).unwrap();
    let draft =
        |kind, subject: &str, data: Value| Draft::new("engine", kind, subject, &data).unwrap();
    log.append(&[
        draft("container.created", "abc123", json!({"name": "web"})),
        draft("network.attached", "abc123.1", json!({"network": "n1"})),
        draft("container.exited", "ffff.2", json!({})),
    ])
    .unwrap();
    let mut reader = log.read_after(Position::default()).unwrap();
    let records = reader.read_batch().unwrap();
    (directory, records)
}

#[test]
fn conditions_choose_records() {
    let (_directory, records) = log_of_three();
    let chosen = |conditions: &[&str]| {
        let filters: Vec<Filter> = conditions
            .iter()
            .map(|c| filter::parse(c).unwrap())
            .collect();
        let mut selection = Selection::new(filter::collect(&filters)).unwrap();
        let fits = records.iter().filter(|record| selection.matches(record));
        fits.map(|record| record.kind.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        chosen(&["type=container"]),
        ["container.created", "container.exited"]
    );
    assert_eq!(
        chosen(&["type=container", "event=exited"]),
        ["container.exited"]
    );
    assert_eq!(chosen(&["type=network.attached"]), ["network.attached"]);
    assert_eq!(
        chosen(&["container=abc1"]),
        ["container.created", "network.attached"]
    );
    assert_eq!(
        chosen(&["container=web"]),
        ["container.created", "network.attached"]
    );
    assert_eq!(chosen(&["network=n1"]), ["network.attached"]);
    assert_eq!(chosen(&["source=netd"]), Vec::<&str>::new());
}

#[test]
fn a_record_has_three_forms() {
    let (_directory, records) = log_of_three();
    let record = &records[0];
    let text = |format: Option<&str>| Format::parse(format).unwrap().render(record).unwrap();
    let time = record.time;
    assert_eq!(
        text(None),
        format!(r#"{time} container.created abc123 {{"name":"web"}}"#)
    );
    assert_eq!(
        text(Some("{{.type}} {{.data.name}}")),
        "container.created web"
    );
    let read: Value = serde_json::from_str(&text(Some("json"))).unwrap();
    assert_eq!(read["seq"], json!(record.position.seq));
    assert_eq!(
        (&read["type"], &read["data"]["name"]),
        (&json!("container.created"), &json!("web"))
    );
}

/// Runs `engine events` on the log in `directory` and returns its output.
fn events(directory: &std::path::Path, words: &[&str]) -> Result<String, CliError> {
    use std::io::{Read as _, Seek as _};
    let root = directory.display().to_string();
    let line = [&["engine", "--root", &root, "events"], words].concat();
    let words = line.into_iter().map(std::ffi::OsString::from);
    let parsed = crate::arguments::try_parse(words).unwrap();
    let mut context = Context::of_process(&parsed.global)?;
    let mut output = tempfile::tempfile().unwrap();
    context.streams.stdout = output.try_clone().unwrap();
    let crate::cmd::Command::Events(command) = parsed.command else {
        panic!("another command");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(command.take().run(&context))?;
    let mut text = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn the_files_are_read_without_a_daemon() {
    let (directory, records) = log_of_three();
    let lines = |words: &[&str]| events(directory.path(), words).unwrap().lines().count();
    assert_eq!(lines(&["--no-follow"]), 3);
    assert_eq!(lines(&["--since", "1h", "--until", "1h"]), 0);
    assert_eq!(
        lines(&["--since", "1h", "--no-follow", "-f", "type=container"]),
        2
    );
    let last_but_one = records[1].position.to_string();
    assert_eq!(lines(&["--from", &last_but_one, "--no-follow"]), 1);
    // The name is older than what is asked for.
    let first = records[0].position.to_string();
    assert_eq!(
        lines(&["--from", &first, "--no-follow", "-f", "container=web"]),
        1
    );
    let until = records[2].time.to_string();
    assert_eq!(lines(&["--until", &until]), 3);
    assert_eq!(
        events(directory.path(), &["repair"]).unwrap(),
        "nothing to repair\n"
    );
}

#[test]
fn what_makes_no_sense_is_said() {
    let (directory, _) = log_of_three();
    let said = |words: &[&str]| events(directory.path(), words).unwrap_err().message();
    assert!(said(&["-f", "bogus=1"]).contains("invalid filter 'bogus'"));
    assert!(said(&["--since", "yesterday"]).contains("invalid time"));
    assert!(said(&["--format", "{{.x"]).contains("unclosed action"));
    let empty = tempfile::tempdir().unwrap();
    let missing = events(empty.path(), &["--no-follow"])
        .unwrap_err()
        .message();
    assert!(missing.contains("event log"), "{missing}");
}

#[tokio::test]
async fn the_api_is_shown_in_dockers_words() {
    let event = r#"{"Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"exitCode":"3","name":"web"}},"scope":"local","time":1,"timeNano":1000000002}"#;
    let lines = format!("{event}\n{event}\n");
    let fake = Fake::start(Behaviour::idle().answer("GET /events", 200, &lines));
    fake.run(&["events", "--api", "--no-follow", "-f", "type=container"])
        .await
        .unwrap();
    let line = "1970-01-01T00:00:01.000000002Z container die abc (exitCode=3, name=web)\n";
    assert_eq!(fake.stdout(), line.repeat(2));
    let asked = fake.requests().concat();
    assert!(asked.contains("since=0&until="), "{asked}");
    assert!(asked.contains("filters=%7B%22type%22"), "{asked}");
    let fake = Fake::start(Behaviour::idle().answer("GET /events", 200, &lines));
    let format = "{{.Actor.Attributes.name}} {{.Action}}";
    fake.run(&["events", "--api", "--no-follow", "--format", format])
        .await
        .unwrap();
    assert_eq!(fake.stdout(), "web die\nweb die\n");
    let refused = fake.run(&["events", "--api", "--from", "0:1"]).await;
    assert!(refused.unwrap_err().message().contains("only times"));
}
