//! `features`: what this runtime can do, in the specification's form.
//!
//! Engines decide by it, so it names only what works.

use std::process::ExitCode;

use serde_json::json;

use super::{Failure, print};
use crate::rootfs::options;
use crate::seccomp::{self, plan};
use crate::spec::OCI_VERSION;

/// Prints the features.
///
/// # Errors
/// When they cannot be printed.
pub fn run() -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(&features()).expect("features always serialize");
    print(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn features() -> serde_json::Value {
    let capabilities: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop",
        ],
        "mountOptions": options::names().collect::<Vec<_>>(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {
                "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": false,
            },
            "seccomp": seccomp(),
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "netDevices": {"enabled": true},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property.", "org.criu.config"],
        "annotations": {"io.github.seccomp.libseccomp.version": seccomp_version()},
    })
}

/// The words that filters are made from, each as the specification spells it;
/// only of the flags it matters what the running kernel knows.
fn seccomp() -> serde_json::Value {
    json!({
        "enabled": true,
        "actions": plan::ACTIONS,
        "operators": plan::OPERATORS,
        "archs": seccomp::architectures(),
        "knownFlags": plan::FLAGS,
        "supportedFlags": seccomp::supported_flags(),
    })
}

fn seccomp_version() -> String {
    libseccomp::ScmpVersion::current().map_or_else(|_| "unknown".to_owned(), |v| v.to_string())
}
