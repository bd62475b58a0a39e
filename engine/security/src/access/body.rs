//! Which bodies a client may send that has containers of its own: an allow-list
//! over the parsed body, written back as JSON. A key that is not on the list
//! must be empty, so that an option that is added later is refused until
//! somebody has thought about it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Action;

/// The label that says whose a volume is. Only the engine may give it.
pub const OWNER_LABEL: &str = "engine.owner";
/// Ports of the host below are left to root.
const FIRST_FREE_PORT: u32 = 1024;

/// Keys of a container that only concern what is inside it.
const CONTAINER: &[&str] = &[
    "Hostname",
    "Domainname",
    "User",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "ExposedPorts",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Env",
    "Cmd",
    "Healthcheck",
    "ArgsEscaped",
    "Image",
    "Volumes",
    "WorkingDir",
    "Entrypoint",
    "NetworkDisabled",
    "OnBuild",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Shell",
];
/// Keys of the host's half that give nothing of the host away.
const HOST: &[&str] = &[
    "ContainerIDFile",
    "RestartPolicy",
    "AutoRemove",
    "ConsoleSize",
    "CapDrop",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "PublishAllPorts",
    "ReadonlyRootfs",
    "Tmpfs",
    "ShmSize",
    "Init",
    "CpuShares",
    "Memory",
    "NanoCpus",
    "CpuPeriod",
    "CpuQuota",
    "CpusetCpus",
    "CpusetMems",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "PidsLimit",
    "IOMaximumIOps",
    "IOMaximumBandwidth",
];
const EXEC: &[&str] = &[
    "User",
    "Tty",
    "ConsoleSize",
    "AttachStdin",
    "AttachStderr",
    "AttachStdout",
    "Detach",
    "DetachKeys",
    "Env",
    "WorkingDir",
    "Cmd",
];
/// Networks that are nobody's.
const NETWORKS: [&str; 4] = ["", "default", "bridge", "none"];

/// What a body that passed refers to; all of it must be the client's own.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Volumes by name; one that does not exist becomes the client's.
    pub volumes: BTreeSet<String>,
    /// Containers as they were named.
    pub containers: BTreeSet<String>,
}

/// Checks the body of a request by a client with containers of its own.
///
/// # Errors
/// What is refused, as a sentence.
pub fn check(action: Action, body: &Value) -> Result<References, String> {
    let mut references = References::default();
    let empty = Map::new();
    let fields = body.as_object().unwrap_or(&empty);
    match action {
        Action::CreateContainer => create(fields, &mut references)?,
        Action::UpdateContainer => only("", fields, HOST, |_, _| None)?,
        Action::CreateExec => only("", fields, EXEC, |_, _| None)?,
        Action::CreateVolume => only("", fields, &["Name"], |key, value| match key {
            "Driver" => Some(is_one_of(value, &["", "local"])),
            "Labels" => Some(value.get(OWNER_LABEL).is_none()),
            _ => None,
        })?,
        _ => {}
    }
    Ok(references)
}

/// Refuses a key that holds something and is neither listed nor found good.
fn only(
    place: &str,
    fields: &Map<String, Value>,
    listed: &[&str],
    is_good: impl Fn(&str, &Value) -> Option<bool>,
) -> Result<(), String> {
    let is_bad = |(key, value): &(&String, &Value)| {
        let key = key.as_str();
        !is_empty(value) && !listed.contains(&key) && is_good(key, value) != Some(true)
    };
    match fields.iter().find(is_bad) {
        Some((key, _)) => Err(format!(
            "{place}{key} is not for clients of the policy own-containers"
        )),
        None => Ok(()),
    }
}

fn create(fields: &Map<String, Value>, references: &mut References) -> Result<(), String> {
    only("", fields, CONTAINER, |key, value| match key {
        "HostConfig" | "NetworkingConfig" => Some(value.is_object()),
        _ => None,
    })?;
    if let Some(endpoints) = fields
        .get("NetworkingConfig")
        .and_then(|networking| networking.get("EndpointsConfig"))
        .and_then(Value::as_object)
    {
        only("", endpoints, &[], |_, _| None)
            .map_err(|_| "networks are joined without options of their own".to_owned())?;
        if let Some(name) = endpoints.keys().find(|it| !NETWORKS.contains(&it.as_str())) {
            return Err(format!("network {name:?} is not the client's to join"));
        }
    }
    match fields.get("HostConfig").and_then(Value::as_object) {
        Some(host) => host_config(host, references),
        None => Ok(()),
    }
}

fn host_config(host: &Map<String, Value>, references: &mut References) -> Result<(), String> {
    only("HostConfig.", host, HOST, is_good_option)?;
    // An empty list of masked paths is not "nothing": it unmasks.
    for key in ["MaskedPaths", "ReadonlyPaths"] {
        if host.get(key).is_some_and(|paths| !paths.is_null()) {
            return Err(format!(
                "HostConfig.{key} is not for clients of the policy own-containers"
            ));
        }
    }
    for key in ["NetworkMode", "IpcMode", "PidMode"] {
        let shared = host.get(key).and_then(Value::as_str);
        let shared = shared.and_then(|mode| mode.strip_prefix("container:"));
        references.containers.extend(shared.map(str::to_owned));
    }
    for from in strings(host.get("VolumesFrom")) {
        let name = from.split(':').next().unwrap_or_default();
        references.containers.insert(name.to_owned());
    }
    for bind in strings(host.get("Binds")) {
        references.volumes.extend(volume_of_bind(bind)?);
    }
    let mounts = host.get("Mounts").and_then(Value::as_array);
    for mount in mounts.into_iter().flatten() {
        references.volumes.extend(volume_of_mount(mount)?);
    }
    Ok(())
}

/// Returns whether an option of the host's half that is not on the list says
/// something harmless; `None` for one that never does.
fn is_good_option(key: &str, value: &Value) -> Option<bool> {
    let no_new_privileges = [
        "no-new-privileges",
        "no-new-privileges:true",
        "no-new-privileges=true",
    ];
    match key {
        "NetworkMode" => Some(is_one_of(value, &NETWORKS) || shares_container(value)),
        "IpcMode" => {
            let own = ["none", "private", "shareable"];
            Some(is_one_of(value, &own) || shares_container(value))
        }
        "PidMode" => Some(shares_container(value)),
        "CgroupnsMode" => Some(is_one_of(value, &["private"])),
        "Runtime" => Some(is_one_of(value, &["runc", "runc-rs"])),
        "VolumeDriver" => Some(is_one_of(value, &["local"])),
        "LogConfig" => Some(is_local_log(value)),
        "OomScoreAdj" => Some(value.as_i64().is_some_and(|score| score >= 0)),
        "SecurityOpt" => Some(all(value, |option| is_one_of(option, &no_new_privileges))),
        "PortBindings" => Some(all_ports_are_free(value)),
        // Looked at by themselves.
        "Binds" | "Mounts" | "VolumesFrom" => Some(true),
        _ => None,
    }
}

/// Reads `[volume:]destination[:options]`; a path of the host is refused.
fn volume_of_bind(text: &str) -> Result<Option<String>, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (name, options) = match parts[..] {
        [_destination] => return Ok(None),
        [name, _destination] => (name, ""),
        [name, _destination, options] => (name, options),
        _ => return Err(format!("invalid volume specification: '{text}'")),
    };
    if !is_volume_name(name) {
        return Err(format!(
            "{name:?} of the host cannot be bound by this client"
        ));
    }
    let is_known = |option: &str| matches!(option, "" | "ro" | "rw" | "nocopy" | "z" | "Z");
    match options.split(',').find(|option| !is_known(option)) {
        Some(option) => Err(format!(
            "option {option:?} of a volume is not for this client"
        )),
        None => Ok(Some(name.to_owned())),
    }
}

/// Reads one of `Mounts`: a volume, a tmpfs, or an image, which anybody may make a
/// container from.
fn volume_of_mount(mount: &Value) -> Result<Option<String>, String> {
    let empty = Map::new();
    let fields = mount.as_object().unwrap_or(&empty);
    let plain = ["Target", "ReadOnly", "Consistency", "TmpfsOptions"];
    let is_of = |kind: &str| fields.get("Type").is_some_and(|it| is_one_of(it, &[kind]));
    let (is_volume, is_image) = (is_of("volume"), is_of("image"));
    only("Mounts.", fields, &plain, |key, value| match key {
        "Type" => Some(is_one_of(value, &["volume", "tmpfs", "image"])),
        "Source" if is_image => Some(value.is_string()),
        "Source" => Some(value.as_str().is_some_and(is_volume_name)),
        "ImageOptions" if is_image => {
            let options = value.as_object().unwrap_or(&empty);
            Some(only("", options, &["Subpath"], |_, _| None).is_ok())
        }
        "VolumeOptions" => {
            let options = value.as_object().unwrap_or(&empty);
            Some(only("", options, &["NoCopy", "Subpath"], |_, _| None).is_ok())
        }
        _ => None,
    })?;
    if is_image {
        return Ok(None);
    }
    let source = fields.get("Source").and_then(Value::as_str);
    match source.filter(|source| !source.is_empty()) {
        Some(_) if !is_volume => Err("only volumes have a source for this client".to_owned()),
        source => Ok(source.map(str::to_owned)),
    }
}

/// Volumes begin with a letter or digit and hold no slash; paths do not.
fn is_volume_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    name.bytes().all(is_plain)
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

fn shares_container(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|mode| mode.starts_with("container:"))
}

/// Drivers that send output elsewhere speak with the host's rights.
fn is_local_log(value: &Value) -> bool {
    let local = ["", "json-file", "local", "none"];
    value
        .get("Type")
        .is_none_or(|driver| is_one_of(driver, &local))
}

fn all_ports_are_free(value: &Value) -> bool {
    let bindings = value.as_object().into_iter().flat_map(Map::values);
    let mut bindings = bindings.filter_map(Value::as_array).flatten();
    bindings.all(|binding| {
        let port = binding
            .get("HostPort")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let first = port.split('-').next().unwrap_or_default();
        // Zero is any port, as nothing is.
        matches!(first, "" | "0")
            || first
                .parse()
                .is_ok_and(|first: u32| first >= FIRST_FREE_PORT)
    })
}

fn all(value: &Value, is_good: impl Fn(&Value) -> bool) -> bool {
    value
        .as_array()
        .is_some_and(|values| values.iter().all(is_good))
}

fn is_one_of(value: &Value, words: &[&str]) -> bool {
    value.as_str().is_some_and(|word| words.contains(&word))
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str)
}

/// Returns whether a value says nothing, however it says that.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.iter().all(is_empty),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn create(host: Value) -> Result<References, String> {
        check(
            Action::CreateContainer,
            &json!({"Image": "x", "HostConfig": host}),
        )
    }

    #[track_caller]
    fn refused(host: Value) {
        let result = create(host.clone());
        assert!(result.is_err(), "{host}: {result:?}");
    }

    #[test]
    fn whatever_reaches_the_host_is_refused() {
        refused(json!({"Privileged": true}));
        refused(json!({"CapAdd": ["NET_ADMIN"]}));
        refused(json!({"Binds": ["/:/host"]}));
        refused(json!({"Binds": ["./x:/host"]}));
        refused(json!({"Binds": ["../x:/host:ro"]}));
        refused(json!({"Binds": ["v:/host:shared"]}));
        refused(json!({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}));
        refused(json!({"Mounts": [{"Type": "volume", "Source": "/etc", "Target": "/x"}]}));
        refused(
            json!({"Mounts": [{"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions":
            {"DriverConfig": {"Name": "local", "Options": {"type": "none", "device": "/", "o": "bind"}}}}]}),
        );
        refused(
            json!({"Mounts": [{"Type": "volume", "Source": "v", "Target": "/x",
            "VolumeOptions": {"Labels": {OWNER_LABEL: "uid:1"}}}]}),
        );
        refused(json!({"Devices": [{"PathOnHost": "/dev/sda"}]}));
        refused(json!({"DeviceCgroupRules": ["a *:* rwm"]}));
        refused(json!({"DeviceRequests": [{"Count": -1}]}));
        for mode in [
            "PidMode",
            "IpcMode",
            "NetworkMode",
            "UTSMode",
            "UsernsMode",
            "CgroupnsMode",
        ] {
            refused(json!({mode: "host"}));
        }
        refused(json!({"NetworkMode": "somebodys"}));
        refused(json!({"SecurityOpt": ["seccomp=unconfined"]}));
        refused(json!({"SecurityOpt": ["no-new-privileges", "apparmor=unconfined"]}));
        refused(json!({"MaskedPaths": []}));
        refused(json!({"ReadonlyPaths": []}));
        refused(json!({"CgroupParent": "/other"}));
        refused(json!({"Sysctls": {"kernel.msgmax": "1"}}));
        refused(json!({"Runtime": "crun"}));
        refused(json!({"Annotations": {"a": "b"}}));
        refused(json!({"OomScoreAdj": -1000}));
        refused(json!({"Links": ["other:alias"]}));
        refused(json!({"LogConfig": {"Type": "syslog"}}));
        refused(json!({"PortBindings": {"22/tcp": [{"HostPort": "22"}]}}));
        refused(json!({"PortBindings": {"22/tcp": [{"HostPort": "1023-1030"}]}}));
        refused(json!({"AnOptionToCome": 1}));
    }

    #[test]
    fn an_image_is_mounted_without_options_of_other_kinds() {
        let with = |key: &str, value: Value| {
            let mut mount = json!({"Type": "image", "Source": "a/b:1", "Target": "/x"});
            mount[key] = value;
            json!({"Mounts": [mount]})
        };
        assert_eq!(
            create(with("ImageOptions", json!({"Subpath": "s"}))),
            Ok(References::default())
        );
        refused(with("BindOptions", json!({"Propagation": "rshared"})));
        refused(with("VolumeOptions", json!({"Labels": {"a": "b"}})));
        refused(with("ImageOptions", json!({"OptionToCome": "x"})));
        refused(with("Source", json!(["busybox"])));
        refused(with("Type", json!("bind")));
        refused(with("Type", json!("Image")));
        let mut volume = with("ImageOptions", json!({"Subpath": "s"}));
        volume["Mounts"][0]["Type"] = json!("volume");
        refused(volume);
    }

    #[test]
    fn networks_of_others_are_not_joined() {
        let join = |endpoints: Value| {
            let body = json!({"NetworkingConfig": {"EndpointsConfig": endpoints}});
            check(Action::CreateContainer, &body)
        };
        assert!(join(json!({"default": {"Links": null}})).is_ok());
        assert!(join(json!({"bridge": null})).is_ok());
        assert!(join(json!({"other": {}})).is_err());
        assert!(join(json!({"bridge": {"Links": ["a:b"]}})).is_err());
        let mac = json!({"MacAddress": "02:42:ac:11:00:02"});
        assert!(check(Action::CreateContainer, &mac).is_err());
    }

    #[test]
    fn what_an_ordinary_container_needs_passes_and_is_referred_to() {
        let references = create(json!({
            "Binds": ["data:/data:ro", "/anonymous"], "Memory": 1 << 26, "MemorySwappiness": -1,
            "Mounts": [{"Type": "volume", "Source": "more", "Target": "/m"}, {"Type": "tmpfs", "Target": "/t"},
                {"Type": "image", "Source": "localhost:5000/a/b:1", "Target": "/i", "ImageOptions": {"Subpath": "s"}}],
            "VolumesFrom": ["donor:ro"], "NetworkMode": "container:peer", "IpcMode": "private",
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}, {"HostPort": ""}]},
            "SecurityOpt": ["no-new-privileges:true"], "RestartPolicy": {"Name": "always"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "MaskedPaths": null,
        }))
        .unwrap();
        assert_eq!(
            references.volumes,
            ["data", "more"].map(str::to_owned).into()
        );
        assert_eq!(
            references.containers,
            ["donor", "peer"].map(str::to_owned).into()
        );
    }

    #[test]
    fn other_bodies_have_lists_too() {
        let exec = |body: Value| check(Action::CreateExec, &body);
        assert!(exec(json!({"Cmd": ["id"], "User": "root"})).is_ok());
        assert!(exec(json!({"Cmd": ["id"], "Privileged": true})).is_err());
        let volume = |body: Value| check(Action::CreateVolume, &body);
        assert!(volume(json!({"Name": "v", "Driver": "local", "Labels": {"a": "b"}})).is_ok());
        assert!(volume(json!({"Name": "v", "DriverOpts": {"device": "/"}})).is_err());
        assert!(volume(json!({"Name": "v", "Labels": {OWNER_LABEL: "uid:2"}})).is_err());
        let update = |body: Value| check(Action::UpdateContainer, &body);
        assert!(update(json!({"Memory": 1 << 26})).is_ok());
        assert!(update(json!({"Devices": [{"PathOnHost": "/dev/sda"}]})).is_err());
    }
}
