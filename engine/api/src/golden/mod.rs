//! Bodies recorded from the stock `docker` command line 28.2.2 speaking API
//! 1.44, read into our types and written back.
//!
//! A field that goes missing or changes on the way is a field we misspelt.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::container::ContainerCreateBody;
use crate::exec::{ExecCreateBody, ExecStartBody};
use crate::network::NetworkCreateBody;
use crate::volume::VolumeCreateBody;

/// Reads `golden`, checks that writing it back keeps every field's value, and
/// returns what was read. `null` and an empty list or map are the same to Go.
fn check<T: Serialize + DeserializeOwned>(golden: &str) -> T {
    let read: T = serde_json::from_str(golden).unwrap();
    let before: Value = serde_json::from_str(golden).unwrap();
    assert_kept("", &before, &serde_json::to_value(&read).unwrap());
    read
}

fn assert_kept(path: &str, before: &Value, after: &Value) {
    match (before, after) {
        (Value::Object(fields), Value::Object(kept)) => {
            for (name, value) in fields {
                let missing = Value::Null;
                let path = format!("{path}.{name}");
                assert_kept(&path, value, kept.get(name).unwrap_or(&missing));
            }
        }
        (before, after) if is_nothing(before) => assert!(is_nothing(after), "{path}: {after}"),
        (before, after) => assert_eq!(before, after, "{path}"),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[test]
fn a_plain_create_body_is_kept() {
    let body: ContainerCreateBody = check(include_str!("create-plain.json"));
    assert_eq!(body.config.cmd.unwrap().0, ["sh", "-c", "echo hi"]);
    assert_eq!(body.host_config.binds.unwrap(), ["data:/data"]);
    let ports = &body.host_config.port_bindings["80/tcp"];
    assert_eq!(ports.as_ref().unwrap()[0].host_port, "8080");
    assert!(
        body.networking_config
            .endpoints_config
            .contains_key("default")
    );
}

#[test]
fn a_create_body_with_every_option_is_kept() {
    let body: ContainerCreateBody = check(include_str!("create-every-option.json"));
    assert_eq!(body.config.stop_timeout, Some(5));
    assert_eq!(body.config.healthcheck.unwrap().interval, 5_000_000_000);
    let host = body.host_config;
    assert_eq!((host.memory, host.nano_cpus), (64 << 20, 1_500_000_000));
    assert_eq!((host.pids_limit, host.init), (Some(100), Some(true)));
    assert_eq!(host.uts_mode, "host");
    assert_eq!(host.mounts.len(), 3);
    assert_eq!(host.mounts[2].tmpfs_options.as_ref().unwrap().mode, 0o1770);
    let endpoint = body.networking_config.endpoints_config["foo"]
        .clone()
        .unwrap();
    assert_eq!(endpoint.ipam_config.unwrap().ipv4_address, "10.0.0.5");
}

#[test]
fn other_bodies_are_kept() {
    let network: NetworkCreateBody = check(include_str!("network-create.json"));
    assert_eq!(network.ipam.unwrap().config[0].ip_range, "10.5.1.0/24");
    assert_eq!(network.enable_ipv6, Some(true));
    let volume: VolumeCreateBody = check(include_str!("volume-create.json"));
    assert_eq!(volume.driver_opts["type"], "tmpfs");
    let exec: ExecCreateBody = check(include_str!("exec-create.json"));
    assert_eq!(exec.console_size, Some([0, 0]));
    let start: ExecStartBody = check(include_str!("exec-start.json"));
    assert!(start.detach && start.console_size.is_none());
}

#[test]
fn null_and_unknown_fields_are_no_errors_but_wrong_types_are() {
    let lenient = r#"{"Image":"x","Hostname":null,"Env":null,"HostConfig":null,
        "NetworkingConfig":null,"Cmd":"top","FromTheFuture":{"a":1}}"#;
    let body: ContainerCreateBody = serde_json::from_str(lenient).unwrap();
    assert_eq!(body.config.cmd.unwrap().0, ["top"]);
    assert_eq!(body.host_config, Default::default());
    for wrong in [
        r#"{"Env":"A=b"}"#,
        r#"{"HostConfig":{"Memory":"1g"}}"#,
        r#"{"Labels":["a"]}"#,
        "[]",
    ] {
        assert!(
            serde_json::from_str::<ContainerCreateBody>(wrong).is_err(),
            "{wrong}"
        );
    }
}
