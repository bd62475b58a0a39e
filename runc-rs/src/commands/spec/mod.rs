//! `spec`: writes a config.json to begin with, the one that runc writes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use base::file::PathContext as _;
use serde_json::{Value, json};

use super::Failure;
use crate::cgroup::Layout;
use crate::spec::OCI_VERSION;

const TEMPLATE: &str = include_str!("template.json");

/// Arguments of `spec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to write to; the working directory by default
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// Write one for a caller who is not root
    #[arg(long)]
    rootless: bool,
}

/// Writes the file; an existing one is left alone.
///
/// # Errors
/// When it exists or cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let bundle = args.bundle.clone().unwrap_or_else(|| PathBuf::from("."));
    let path = bundle.join("config.json");
    let mut spec: Value = serde_json::from_str(TEMPLATE).expect("the template is JSON");
    spec["ociVersion"] = OCI_VERSION.into();
    if matches!(Layout::detect(), Ok(Layout::Unified)) {
        add_namespace(&mut spec, "cgroup");
    }
    if args.rootless {
        make_rootless(&mut spec);
    }
    let text = serde_json::to_string_pretty(&spec).expect("a value serializes") + "\n";
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .at("create", &path)?;
    file.write_all(text.as_bytes()).at("write", &path)?;
    Ok(ExitCode::SUCCESS)
}

fn list<'a>(spec: &'a mut Value, pointer: &str) -> &'a mut Vec<Value> {
    let found = spec.pointer_mut(pointer).and_then(Value::as_array_mut);
    found.expect("the template has this list")
}

fn add_namespace(spec: &mut Value, kind: &str) {
    list(spec, "/linux/namespaces").push(json!({ "type": kind }));
}

/// Takes out what only root may have: groups beside the caller's, a network
/// and with it a sysfs of its own, limits.
fn make_rootless(spec: &mut Value) {
    let mapping = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    spec["linux"]["uidMappings"] = mapping(rustix::process::geteuid().as_raw());
    spec["linux"]["gidMappings"] = mapping(rustix::process::getegid().as_raw());
    add_namespace(spec, "user");
    list(spec, "/linux/namespaces").retain(|namespace| namespace["type"] != "network");
    for mount in list(spec, "/mounts") {
        match mount["destination"].as_str() {
            Some("/dev/pts") => list(mount, "/options").retain(|option| option != "gid=5"),
            Some("/sys") => {
                (mount["type"], mount["source"]) = ("none".into(), "/sys".into());
                list(mount, "/options").insert(0, "rbind".into());
            }
            _ => {}
        }
    }
    if let Some(linux) = spec["linux"].as_object_mut() {
        linux.remove("resources");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    #[test]
    fn both_forms_are_specifications() {
        let mut spec: Value = serde_json::from_str(TEMPLATE).unwrap();
        let root: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert!(root.linux().as_ref().unwrap().uid_mappings().is_none());
        make_rootless(&mut spec);
        let rootless: Spec = serde_json::from_value(spec).unwrap();
        let linux = rootless.linux().as_ref().unwrap();
        let kinds = linux.namespaces().as_ref().unwrap();
        let kinds: Vec<_> = kinds.iter().map(|one| one.typ()).collect();
        use oci_spec::runtime::LinuxNamespaceType as T;
        assert_eq!(kinds, [T::Pid, T::Ipc, T::Uts, T::Mount, T::User]);
        assert_eq!(linux.gid_mappings().as_ref().unwrap()[0].size(), 1);
        assert!(linux.resources().is_none());
        let mounts = rootless.mounts().as_ref().unwrap();
        let sys = mounts
            .iter()
            .find(|mount| mount.destination().ends_with("sys"));
        assert_eq!(sys.unwrap().typ().as_deref(), Some("none"));
    }
}
