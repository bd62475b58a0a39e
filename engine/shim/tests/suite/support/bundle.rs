//! OCI bundles over busybox.

use std::os::unix::fs::symlink;
use std::path::Path;

use base::file::{FileMode, replace};
use engine_shim_api::ShimConfig;
use serde_json::{Value, json};

/// Commands that tests use.
const COMMANDS: [&str; 13] = [
    "awk", "sh", "cat", "echo", "head", "kill", "sleep", "seq", "stty", "tail", "tr", "true", "yes",
];

/// Writes a bundle that runs `arguments`.
pub(crate) fn write(config: &ShimConfig, arguments: &[&str]) {
    let root = config.bundle.join("rootfs");
    for name in ["bin", "proc", "dev", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in COMMANDS {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    change(&config.bundle, |spec| {
        *spec = self::spec(&config.cgroup, config.terminal, arguments);
    });
}

/// Changes the bundle's config.json.
pub(crate) fn change(bundle: &Path, edit: impl FnOnce(&mut Value)) {
    let path = bundle.join("config.json");
    let mut spec = std::fs::read(&path).map_or(Value::Null, |content| {
        serde_json::from_slice(&content).unwrap()
    });
    edit(&mut spec);
    replace(&path, spec.to_string().as_bytes(), FileMode::Private).unwrap();
}

/// An OCI process that runs `script`.
pub(crate) fn process(terminal: bool, arguments: &[&str]) -> Value {
    json!({
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "args": arguments,
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "noNewPrivileges": true,
    })
}

/// A script that waits until its terminal has a size, says so, and goes on. The
/// process may run before the shim has received the terminal.
pub(crate) fn sized(size: &str, rest: &str) -> String {
    format!("until [ \"$(stty size 2>&1)\" = '{size}' ]; do :; done; echo sized; {rest}")
}

fn spec(cgroup: &str, terminal: bool, arguments: &[&str]) -> Value {
    let namespaces: Vec<Value> = ["pid", "mount", "ipc", "uts", "network"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": process(terminal, arguments),
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "shim",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": namespaces,
            "resources": {"memory": {"limit": 64 << 20}},
        },
    })
}
