//! Validation and normalisation, on specifications given as JSON.

use std::path::{Path, PathBuf};

use super::super::{HostFacts, validate};
use super::*;
use crate::cgroup::Directories;

fn spec(process: serde_json::Value, mounts: serde_json::Value) -> Spec {
    let value = serde_json::json!({
        "ociVersion": "1.1.0",
        "root": {"path": "rootfs", "readonly": true},
        "process": process,
        "mounts": mounts,
        "linux": {"namespaces": [{"type": "mount"}]},
    });
    serde_json::from_value(value).unwrap()
}

fn process() -> serde_json::Value {
    serde_json::json!({"cwd": "/work", "args": ["sh"], "user": {"uid": 0, "gid": 0}})
}

fn facts() -> HostFacts {
    HostFacts {
        rootfs: PathBuf::from("/bundle/rootfs"),
        has_selinux: false,
        home: "/root".to_owned(),
    }
}

fn unified() -> Cgroup {
    Cgroup {
        path: PathBuf::from("/cg"),
        directories: Directories::Unified(PathBuf::from("/sys/fs/cgroup/cg")),
        unit: None,
    }
}

fn check(spec: &Spec, expected: &str) {
    let found = match validate(spec, &facts()) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(found.contains(expected), "{found:?} lacks {expected:?}");
    assert_eq!(found.is_empty(), expected.is_empty(), "{found:?}");
}

#[test]
fn dangerous_mounts_are_refused() {
    let cases = [
        (
            r#"[{"destination":"/","source":"/x","options":["bind"]}]"#,
            "mount on /",
        ),
        (r#"[{"destination":"dev","type":"tmpfs"}]"#, ""),
        (
            r#"[{"destination":"/dev","type":"tmpfs","source":"tmpfs"}]"#,
            "",
        ),
        (
            r#"[{"destination":"/dev/shm","source":"/x","options":["rbind"]}]"#,
            "",
        ),
    ];
    for (mounts, expected) in cases {
        check(
            &spec(process(), serde_json::from_str(mounts).unwrap()),
            expected,
        );
    }
}

#[test]
fn processes_that_cannot_run_rightly_are_refused() {
    let cases = [
        (r#"{"cwd":"/","args":[]}"#, "process.args"),
        (r#"{"cwd":"work","args":["sh"]}"#, "process.cwd"),
        (
            r#"{"cwd":"/","args":["sh"],"selinuxLabel":"a:b:c"}"#,
            "selinux is disabled",
        ),
        (r#"{"cwd":"/","args":["sh"],"env":["A=\u0000"]}"#, "NUL"),
        (r#"{"cwd":"/","args":["sh"]}"#, ""),
    ];
    for (process, expected) in cases {
        let mut value: serde_json::Value = serde_json::from_str(process).unwrap();
        value["user"] = serde_json::json!({"uid": 0, "gid": 0});
        check(&spec(value, serde_json::json!([])), expected);
    }
}

#[test]
fn labels_need_selinux_and_are_labels() {
    let refused = |label, has_selinux| {
        let error = crate::spec::validate_label(label, has_selinux).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let label = Some("system_u:system_r:container_t:s0:c1,c2");
    assert_eq!(refused(label, true), "");
    assert!(refused(label, false).contains("selinux is disabled"));
    for none in [None, Some("")] {
        assert_eq!(refused(none, false), "");
    }
    assert!(refused(Some("a\",size=1,b=\""), true).contains("is not a label"));
}

#[test]
fn nothing_is_masked_on_the_host() {
    let mut spec = spec(process(), serde_json::json!([]));
    let linux = spec.linux_mut().as_mut().unwrap();
    linux.set_namespaces(None);
    linux.set_masked_paths(None).set_readonly_paths(None);
    check(&spec, "");
    let linux = spec.linux_mut().as_mut().unwrap();
    linux.set_masked_paths(Some(vec!["/proc/kcore".to_owned()]));
    check(&spec, "need a mount namespace");
}

#[test]
fn gaps_are_filled_the_way_runc_means_them() {
    let mut value = process();
    value["capabilities"] = serde_json::json!({"bounding": ["CAP_KILL"]});
    value["env"] = serde_json::json!(["B=1", "A=2"]);
    let done = normalise(spec(value, serde_json::json!([])), &facts(), &unified());
    let process = done.process().as_ref().unwrap();
    assert_eq!(
        process.env().as_deref().unwrap(),
        ["B=1", "A=2", "HOME=/root"]
    );
    let sets = process.capabilities().as_ref().unwrap();
    assert_eq!(sets.effective().as_ref().map(|set| set.len()), Some(0));
    assert_eq!(sets.ambient().as_ref().map(|set| set.len()), Some(0));
    assert_eq!(sets.bounding().as_ref().map(|set| set.len()), Some(1));
    let root = done.root().as_ref().unwrap();
    assert_eq!(root.path(), Path::new("/bundle/rootfs"));
    assert_eq!(root.readonly(), Some(true));
    let linux = done.linux().as_ref().unwrap();
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/cg")));
}
