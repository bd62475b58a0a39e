//! Planning an exec: where the request is silent, the container decides.

use std::path::Path;

use super::*;
use crate::cgroup::{Cgroup, Directories};
use crate::proc::ProcessIdentity;
use crate::seccomp;

fn container(process: serde_json::Value) -> (Spec, Record) {
    let spec = serde_json::from_value(serde_json::json!({
        "ociVersion": "1.1.0",
        "process": process,
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}},
    }))
    .unwrap();
    let record = Record {
        version: Record::current_version(),
        oci_version: "1.1.0".to_owned(),
        id: "c".parse().unwrap(),
        bundle: "/b".into(),
        rootfs: "/b/rootfs".into(),
        created: base::Timestamp::default(),
        owner_uid: 0,
        annotations: Default::default(),
        cgroup: Cgroup {
            path: "/c".into(),
            directories: Directories::Unified("/sys/fs/cgroup/c".into()),
            unit: None,
        },
        rdt: None,
        creator: ProcessIdentity::own().unwrap(),
        init: None,
        keyring: KeyringMode::Fresh,
    };
    (spec, record)
}

fn own_process() -> serde_json::Value {
    serde_json::json!({
        "cwd": "/work",
        "args": ["init"],
        "env": ["A=1", "HOME=/root"],
        "user": {"uid": 7, "gid": 8, "umask": 63, "additionalGids": [9]},
        "noNewPrivileges": true,
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"],
                         "permitted": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}],
        "oomScoreAdj": 5,
    })
}

fn planned(request: ExecRequest, user: Option<ResolvedUser>) -> Result<ExecPlan, ExecError> {
    let (spec, record) = container(own_process());
    let section = spec.linux().as_ref().unwrap().seccomp().clone().unwrap();
    let filter = seccomp::plan(&section).unwrap();
    let nowhere = Path::new("/proc/nowhere");
    let container = Container {
        spec: &spec,
        record: &record,
        status: Status::Running,
        filter: Some(seccomp::prepare(nowhere, filter).unwrap()),
    };
    plan(container, request, user, |uid| format!("/home/{uid}"))
}

#[test]
fn a_bare_command_gets_all_of_inits_confinement() {
    let overrides = Overrides {
        args: vec!["sh".to_owned()],
        ..Overrides::default()
    };
    let request = ExecRequest {
        overrides,
        ..ExecRequest::default()
    };
    let plan = planned(request, None).unwrap();
    assert_eq!(plan.process.args().as_deref().unwrap(), ["sh"]);
    assert_eq!(plan.process.user().uid(), 7);
    assert_eq!(plan.process.no_new_privileges(), Some(true));
    assert_eq!(plan.process.oom_score_adj(), Some(5));
    assert_eq!(plan.umask, 63);
    assert!(plan.filter.is_some());
    let masks = plan.capabilities.unwrap();
    assert_eq!((masks.bounding, masks.effective, masks.ambient), (1, 1, 0));
    assert_eq!(plan.keyring.unwrap().to_str().unwrap(), "_ses.c");
}

#[test]
fn a_process_file_cannot_be_less_confined_by_silence() {
    let file = serde_json::json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
    let request = ExecRequest {
        process: Some(serde_json::from_value(file).unwrap()),
        ..ExecRequest::default()
    };
    let plan = planned(request, None).unwrap();
    assert_eq!(plan.process.user().uid(), 0);
    assert_eq!(plan.process.no_new_privileges(), Some(true));
    assert_eq!(plan.process.rlimits().as_ref().unwrap().len(), 1);
    assert_eq!(plan.capabilities.unwrap().permitted, 1);
    assert_eq!(plan.umask, 63);
    assert_eq!(plan.process.env().as_deref().unwrap(), ["HOME=/home/0"]);
}

#[test]
fn the_label_is_inits_unless_another_is_wanted() {
    let (mut spec, record) = container(own_process());
    let process = spec.process_mut().as_mut().unwrap();
    process.set_selinux_label(Some("own".to_owned()));
    let label = |wanted: Option<&str>| {
        let container = Container {
            spec: &spec,
            record: &record,
            status: Status::Running,
            filter: None,
        };
        let file = serde_json::json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
        let request = ExecRequest {
            process: Some(serde_json::from_value(file).unwrap()),
            overrides: Overrides {
                label: wanted.map(str::to_owned),
                ..Overrides::default()
            },
            ..ExecRequest::default()
        };
        let plan = plan(container, request, None, |_| String::new()).unwrap();
        plan.process.selinux_label().clone().unwrap()
    };
    assert_eq!(label(None), "own");
    assert_eq!(label(Some("other")), "other");
    assert_eq!(label(Some("")), "own");
}

#[test]
fn options_change_what_they_name_and_no_more() {
    let overrides = Overrides {
        args: vec!["sh".to_owned()],
        env: vec!["A=2".to_owned(), "B=3".to_owned()],
        additional_gids: vec![10],
        capabilities: vec!["CAP_DAC_OVERRIDE".to_owned()],
        ..Overrides::default()
    };
    let request = ExecRequest {
        overrides,
        ..ExecRequest::default()
    };
    let user = ResolvedUser { uid: 33, gid: None };
    let plan = planned(request, Some(user)).unwrap();
    let process = &plan.process;
    assert_eq!((process.user().uid(), process.user().gid()), (33, 8));
    assert_eq!(
        process.user().additional_gids().as_deref().unwrap(),
        [9, 10]
    );
    assert_eq!(
        process.env().as_deref().unwrap(),
        ["A=2", "B=3", "HOME=/home/33"]
    );
    let masks = plan.capabilities.unwrap();
    assert_eq!(
        (masks.bounding, masks.permitted, masks.inheritable),
        (3, 3, 0)
    );
}

#[test]
fn what_cannot_be_done_is_refused() {
    let request = |change: serde_json::Value| {
        let mut file = serde_json::json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
        for (key, value) in change.as_object().unwrap() {
            file[key] = value.clone();
        }
        ExecRequest {
            process: Some(serde_json::from_value(file).unwrap()),
            ..ExecRequest::default()
        }
    };
    let cases = [
        (serde_json::json!({"args": []}), "process.args"),
        (
            serde_json::json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 9}}),
            "ioPriority",
        ),
    ];
    for (change, expected) in cases {
        let error = planned(request(change), None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
