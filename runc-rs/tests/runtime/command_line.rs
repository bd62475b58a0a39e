//! Errors, logs, and the commands that only print.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::{Bundle, CAPABILITIES};

#[test]
fn errors_go_to_the_log_in_the_form_containerd_decodes() {
    let bundle = Bundle::idle();
    let log = ["--log", "log.json", "--log-format", "json"];
    for id in ["one", "two"] {
        bundle
            .runc(&[&log[..], &["state", id]].concat())
            .fails(1, "does not exist");
    }
    let text = fs::read_to_string(bundle.path().join("log.json")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, id) in lines.iter().zip(["one", "two"]) {
        assert_eq!(line["level"], "error");
        assert_eq!(line["msg"], format!("container {id} does not exist"));
        line["time"]
            .as_str()
            .unwrap()
            .parse::<base::Timestamp>()
            .unwrap();
    }
}

#[test]
fn a_failed_start_is_explained_in_the_log() {
    let mut bundle = Bundle::idle();
    bundle.config["process"]["args"] = json!(["nope"]);
    let log = ["--log", "log.json", "--log-format", "json"];
    assert_eq!(
        bundle.runc(&[&log[..], &["run", "-d", "c"]].concat()).code,
        1
    );
    let text = fs::read_to_string(bundle.path().join("log.json")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let message = last["msg"].as_str().unwrap();
    assert!(
        message.contains("executable file not found in $PATH"),
        "{message}"
    );
}

#[test]
fn a_wrong_call_is_in_the_log_too() {
    let bundle = Bundle::idle();
    for call in [
        &["state"][..],
        &["no-such-command", "c"],
        &["run", "--no-such", "c"],
    ] {
        let log = ["--log", "log.json", "--log-format", "json"];
        assert_eq!(bundle.runc(&[&log[..], call].concat()).code, 1);
        let text = fs::read_to_string(bundle.path().join("log.json")).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let message = last["msg"].as_str().unwrap();
        assert!(message.starts_with("error: "), "{message}");
    }
    let text = fs::read_to_string(bundle.path().join("log.json")).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    bundle
        .runc(&["--log", "/nowhere/log", "list"])
        .fails(1, ": no such file or directory\n");
}

#[test]
fn a_pid_file_that_is_a_device_stays_one() {
    use std::os::unix::fs::FileTypeExt as _;
    let bundle = Bundle::idle();
    let device = bundle.path().join("null");
    let made = std::process::Command::new("mknod")
        .arg(&device)
        .args(["c", "1", "3"])
        .status();
    assert!(made.unwrap().success());
    let path = device.to_str().unwrap();
    bundle.runc(&["create", "--pid-file", path, "c"]).ok();
    bundle.runc(&["delete", "--force", "c"]).ok();
    assert!(fs::metadata(&device).unwrap().file_type().is_char_device());
    bundle
        .runc(&["create", "--pid-file", "/nowhere/pid", "d"])
        .fails(1, "\"/nowhere/pid\"");
}

#[test]
fn wrong_input_is_one_clear_error() {
    let bundle = Bundle::idle();
    bundle
        .runc(&["create", "a/b"])
        .fails(1, "invalid container id");
    bundle
        .runc(&["create", "--bundle", "/no/such", "c"])
        .fails(1, "/no/such/config.json");
    bundle.runc(&["delete", "c"]).fails(1, "does not exist");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.runc(&["kill", "c"]).fails(1, "does not exist");
    let run = ["run", "--console-socket", "x", "c"];
    bundle.runc(&run).fails(1, "--console-socket");
    bundle.assert_clean();
}

#[test]
fn a_broken_specification_is_named() {
    let mut bundle = Bundle::idle();
    bundle.config["ociVersion"] = json!("2.0.0");
    bundle.runc(&["create", "c"]).fails(1, "2.0.0");
    bundle.config["ociVersion"] = json!("1.0.0");
    bundle.config["process"]["args"] = json!([]);
    bundle.runc(&["create", "c"]).fails(1, "process.args");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.runc(&["create", "c"]).fails(1, "--console-socket");
    bundle.config["process"] = json!("text");
    bundle.runc(&["create", "c"]).fails(1, "cannot parse");
    bundle.assert_clean();
}

#[test]
fn list_shows_each_container_in_three_forms() {
    let bundle = Bundle::idle();
    assert_eq!(bundle.runc(&["list", "-q"]).ok(), "");
    bundle.start("c");
    assert_eq!(bundle.runc(&["list", "--quiet"]).ok(), "c\n");
    let all: Value = serde_json::from_str(&bundle.runc(&["list", "-f", "json"]).ok()).unwrap();
    assert_eq!(all[0]["id"], "c");
    assert_eq!(all[0]["status"], "running");
    let table = bundle.runc(&["list"]).ok();
    assert!(table.starts_with("ID "), "{table}");
    assert!(table.contains("running"), "{table}");
    bundle.runc(&["list", "-f", "yaml"]).fails(1, "yaml");
}

#[test]
fn ps_shows_host_pids() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let pids: Vec<i32> =
        serde_json::from_str(&bundle.runc(&["ps", "-f", "json", "c"]).ok()).unwrap();
    assert_eq!(pids, [bundle.pid("c")]);
    let table = bundle.runc(&["ps", "c", "-e", "-o", "pid,args"]).ok();
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("sleep 1000"), "{table}");
}

#[test]
fn spec_writes_a_bundle_that_runs() {
    let mut bundle = Bundle::idle();
    let other = tempfile::tempdir_in(bundle.path()).unwrap();
    let path = other.path().to_str().unwrap();
    bundle.runc(&["spec", "--bundle", path]).ok();
    bundle
        .runc(&["spec", "--bundle", path])
        .fails(1, "config.json");
    let text = fs::read(other.path().join("config.json")).unwrap();
    bundle.config = serde_json::from_slice(&text).unwrap();
    bundle.config["process"]["terminal"] = json!(false);
    bundle.config["process"]["args"] = json!(["echo", "ran"]);
    bundle.config["linux"]["cgroupsPath"] = json!(bundle.cgroup);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "ran\n");
}

#[test]
fn version_and_features_are_what_engines_parse() {
    let bundle = Bundle::idle();
    let version = bundle.runc(&["--version"]).ok();
    let lines: Vec<_> = version.lines().collect();
    assert!(lines[0].starts_with("runc-rs version "), "{version}");
    assert!(lines[1].starts_with("commit: "), "{version}");
    assert!(lines[2].starts_with("spec: 1."), "{version}");
    let features: Value = serde_json::from_str(&bundle.runc(&["features"]).ok()).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["cgroup"]["systemd"], true);
    assert_eq!(features["linux"]["cgroup"]["systemdUser"], true);
    assert_eq!(
        features["linux"]["mountExtensions"]["idmap"]["enabled"],
        true
    );
    let known = features["linux"]["capabilities"].as_array().unwrap();
    for name in CAPABILITIES {
        assert!(known.contains(&json!(name)), "{name}");
    }
    let options = features["mountOptions"].as_array().unwrap();
    assert!(options.contains(&json!("rro")));
}

#[test]
fn what_is_unknown_is_refused() {
    let bundle = Bundle::idle();
    let unknown = "unrecognized subcommand";
    bundle.runc(&["nope", "c"]).fails(1, unknown);
    bundle.runc(&["--nope", "list"]).fails(1, "--nope");
    bundle.runc(&["--rootless", "auto", "list"]).ok();
}

/// Where process 1 is systemd, its own conformance run covers the flag.
#[test]
fn systemd_groups_need_a_systemd() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["cgroupsPath"] = json!("system.slice:runc-rs-test:c");
    bundle.runc(&["--systemd-cgroup", "list"]).ok();
    let refused = bundle.runc(&["--systemd-cgroup", "create", "c"]);
    refused.fails(1, "systemd not running on this host");
    bundle.runc(&["state", "c"]).fails(1, "does not exist");
}

#[test]
fn the_version_has_a_short_option() {
    let bundle = Bundle::idle();
    let long = bundle.runc(&["--version"]).ok();
    assert_eq!(bundle.runc(&["-v"]).ok(), long);
    assert!(
        long.contains("\ncommit: ") && long.contains("\nspec: 1."),
        "{long}"
    );
}
