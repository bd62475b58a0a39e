//! What must hold for a request whatever a client sends: its target is what handlers look
//! things up by, and what is decided on a body holds for what its handler reads.

use engine_api::container::ContainerCreateBody;
use engine_api::exec::ExecCreateBody;
use engine_api::host_config::HostConfig;
use engine_api::network::NetworkCreateBody;
use engine_api::target::{Target, repeated};
use engine_api::version::{ApiVersion, MAX_VERSION, MIN_VERSION};
use engine_api::versions::{self, Body};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Panics if a request is read in two ways. The input is a line and a body.
pub(crate) fn check(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, body) = bytes.split_at(end.unwrap_or(bytes.len()));
    let Ok(line) = std::str::from_utf8(line) else {
        return;
    };
    let (path, query) = line.split_once('?').unwrap_or((line, ""));
    let Ok(target) = Target::parse(path, query) else {
        return;
    };
    assert!(target.version >= MIN_VERSION && target.version <= MAX_VERSION);
    check_target(&target, query);
    check_body::<ContainerCreateBody>(Body::ContainerCreate, target.version, body);
    check_body::<HostConfig>(Body::ContainerUpdate, target.version, body);
    check_body::<ExecCreateBody>(Body::ExecCreate, target.version, body);
    check_body::<NetworkCreateBody>(Body::NetworkCreate, target.version, body);
}

/// Written again as it was understood, a target is understood the same.
fn check_target(target: &Target, query: &str) {
    let path: Vec<String> = target.path.iter().map(|part| escape(part)).collect();
    let minor = target.version.minor;
    // A part may be empty only by an escape, which none is.
    let path = format!("/v1.{minor}/{}", path.join("/"));
    let pairs = target.query.iter();
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    assert_eq!(Target::parse(&path, &pairs.join("&")).as_ref(), Ok(target));
    for (name, value) in &target.query {
        // One whose name is escaped is not found as often as it is there.
        let all = repeated(query, name).unwrap_or_default();
        let is_plain = query
            .split('&')
            .any(|pair| pair.split_once('=').is_some_and(|(key, _)| key == name));
        assert!(!is_plain || !all.is_empty() || value.is_empty());
    }
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A policy looks at the body as it is written again; its handler reads the bytes.
fn check_body<T: DeserializeOwned + Serialize>(kind: Body, version: ApiVersion, body: &[u8]) {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    if versions::read(kind, version, &mut value).is_err() {
        return;
    }
    let Ok(read) = serde_json::from_value::<T>(value) else {
        return;
    };
    let written = serde_json::to_value(&read).expect("what was read can be written");
    let again: T = serde_json::from_value(written.clone()).expect("and read again");
    let twice = serde_json::to_value(&again).expect("and written again");
    assert_eq!(written, twice);
}
