//! Validation and normalisation, on specifications given as JSON.

use std::path::PathBuf;

use super::super::{HostFacts, validate};
use super::*;

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
        dev_is_not_a_directory: false,
        home: "/root".to_owned(),
    }
}

fn unified() -> Cgroup {
    Cgroup {
        path: PathBuf::from("/cg"),
        directories: Directories::Unified(PathBuf::from("/sys/fs/cgroup/cg")),
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
            r#"[{"destination":"/dev","type":"bind","source":"/dev"}]"#,
            "bind mount on",
        ),
        (
            r#"[{"destination":"//dev/./","source":"/x","options":["rbind"]}]"#,
            "bind mount on",
        ),
        (
            r#"[{"destination":"/a/../dev","source":"/x","options":["bind"]}]"#,
            "bind mount on",
        ),
        (
            r#"[{"destination":"/","source":"/x","options":["bind"]}]"#,
            "mount on /",
        ),
        (r#"[{"destination":"dev","type":"tmpfs"}]"#, "not absolute"),
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
            "selinuxLabel",
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
fn mounts_are_never_made_on_the_host() {
    let mut spec = spec(process(), serde_json::json!([]));
    spec.linux_mut().as_mut().unwrap().set_namespaces(None);
    check(&spec, "mount namespace");
}

#[test]
fn a_dev_that_is_a_link_is_refused() {
    let facts = HostFacts {
        dev_is_not_a_directory: true,
        ..facts()
    };
    let error = validate(&spec(process(), serde_json::json!([])), &facts).unwrap_err();
    assert!(
        error.to_string().contains("/dev is not a directory"),
        "{error}"
    );
}

#[test]
fn gaps_are_filled_the_way_runc_means_them() {
    let mut value = process();
    value["noNewPrivileges"] = false.into();
    value["capabilities"] = serde_json::json!({"bounding": ["CAP_KILL"]});
    value["env"] = serde_json::json!(["B=1", "A=2"]);
    let done = normalise(spec(value, serde_json::json!([])), &facts(), &unified());
    let process = done.spec.process().as_ref().unwrap();
    assert_eq!(process.no_new_privileges(), None);
    assert_eq!(
        process.env().as_deref().unwrap(),
        ["B=1", "A=2", "HOME=/root"]
    );
    let sets = process.capabilities().as_ref().unwrap();
    assert_eq!(sets.effective().as_ref().map(|set| set.len()), Some(0));
    assert_eq!(sets.ambient().as_ref().map(|set| set.len()), Some(0));
    assert_eq!(sets.bounding().as_ref().map(|set| set.len()), Some(1));
    let root = done.spec.root().as_ref().unwrap();
    assert_eq!(root.path(), Path::new("/bundle/rootfs"));
    assert_eq!(root.readonly(), Some(true));
    assert_eq!(done.working_directory.as_deref(), Some(Path::new("/work")));
}

#[test]
fn a_working_directory_below_a_mount_is_left_to_the_mount() {
    let mounts = serde_json::json!([{"destination": "/work", "type": "tmpfs"}]);
    let done = normalise(spec(process(), mounts), &facts(), &unified());
    assert_eq!(done.working_directory, None);
}

#[test]
fn read_only_v1_hierarchies_are_sealed_one_by_one() {
    let mounts = |options: &[&str]| serde_json::json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": options}]);
    let groups = ["memory", "pids"].map(|name| (name.to_owned(), PathBuf::from("/x")));
    let split = Cgroup {
        directories: Directories::Split(groups.into()),
        ..unified()
    };
    let sealed = |options: &[&str], cgroup: &Cgroup| {
        let done = normalise(spec(process(), mounts(options)), &facts(), cgroup);
        let linux = done.spec.linux().clone().unwrap();
        linux.readonly_paths().clone().unwrap()
    };
    assert_eq!(
        sealed(&["nosuid", "ro"], &split),
        [
            "/sys/fs/cgroup/memory",
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/systemd"
        ]
    );
    assert!(sealed(&["rw"], &split).is_empty());
    assert!(sealed(&["ro"], &unified()).is_empty());
}

#[test]
fn masks_of_seccomp_are_handed_over_the_way_libcontainer_reads_them() {
    let mut value = serde_json::to_value(spec(process(), serde_json::json!([]))).unwrap();
    value["linux"]["seccomp"] = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}
            ]},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
        ]
    });
    let before = serde_json::from_value(value).unwrap();
    let done = normalise(before, &facts(), &unified());
    let linux = done.spec.linux().clone().unwrap();
    let rules = linux.seccomp().clone().unwrap().syscalls().clone().unwrap();
    let arguments = rules[0].args().clone().unwrap();
    let of = |index: usize| (arguments[index].value(), arguments[index].value_two());
    assert_eq!((of(0), of(1)), ((0, Some(8)), (7, None)));
    assert!(rules[1].args().is_none());
    let written = seccomp_as_written(&done.spec).unwrap();
    let arguments = written.syscalls().as_ref().unwrap()[0].args().clone();
    let clone = arguments.unwrap()[0];
    assert_eq!((clone.value(), clone.value_two()), (8, Some(0)));
}
