//! All that is decided about files from outside before anything is done: pure,
//! with facts of a host that is none. Fuzz targets feed it, and the test that
//! replays what they found.
//!
//! Nothing here may panic, whatever the bytes are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::cgroup::{Cgroup, Directories, Layout};
use crate::create::{self, RootSwitch};
use crate::exec::{self, Container, ExecRequest};
use crate::init::InitPlan;
use crate::proc::ProcessIdentity;
use crate::resources::plan::{Existing, Version};
use crate::resources::{self, devices};
use crate::rootfs::{self, CgroupMounts, Hierarchy, RootfsFacts};
use crate::spec::{self, HostFacts};
use crate::state::{KeyringMode, Record, Status};

const ROOTFS: &str = "/bundle/rootfs";
const CONTROLLERS: [&str; 9] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "memory",
    "name=systemd",
    "pids",
];

/// Plans a container by the bytes of a config.json, on v1 and v2.
///
/// # Errors
/// What is wrong with it.
pub fn plan_config(text: &[u8]) -> Result<(), String> {
    let (spec, _) = spec::read::<Spec>(text).map_err(|error| error.to_string())?;
    for layout in [Layout::Unified, split()] {
        plan_container(&spec, &layout)?;
    }
    Ok(())
}

/// Plans a later process of an ordinary container by the bytes of a process
/// file.
///
/// # Errors
/// What is wrong with it.
pub fn plan_process(text: &[u8]) -> Result<(), String> {
    let (process, _) = spec::read::<Process>(text).map_err(|error| error.to_string())?;
    let container = Spec::default();
    let record = record(&container, &Layout::Unified)?;
    let request = ExecRequest {
        process: Some(process),
        ..ExecRequest::default()
    };
    plan_exec(&container, &record, request).map(drop)
}

/// Reads the bytes of a state file; one that can be read can be written.
///
/// # Errors
/// What is wrong with it.
pub fn read_record(text: &[u8]) -> Result<(), String> {
    let record: Record = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let again = serde_json::to_vec(&record).map_err(|error| error.to_string())?;
    let again: Record = serde_json::from_slice(&again).expect("what was written can be read");
    assert_eq!(again.cgroup, record.cgroup);
    // What commands derive from it.
    let _ = record.cgroup.entrances();
    Ok(())
}

fn split() -> Layout {
    let mounts = CONTROLLERS.map(|name| (name.to_owned(), Path::new("/sys/fs/cgroup").join(name)));
    Layout::Split(BTreeMap::from(mounts))
}

fn host() -> HostFacts {
    HostFacts {
        rootfs: PathBuf::from(ROOTFS),
        has_selinux: false,
        home: "/".to_owned(),
    }
}

fn record(spec: &Spec, layout: &Layout) -> Result<Record, String> {
    let linux = spec.linux().as_ref();
    let wanted = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let mut cgroup = Cgroup::plan(layout, wanted, "c").map_err(|error| error.to_string())?;
    let limits = create::resources(spec);
    resources::narrow(&mut cgroup, &limits, create::reach(spec));
    let identity = ProcessIdentity::own().map_err(|error| error.to_string())?;
    Ok(Record {
        version: Record::current_version(),
        oci_version: spec.version().clone(),
        id: "c".parse().expect("it is an id"),
        bundle: PathBuf::from("/bundle"),
        rootfs: PathBuf::from(ROOTFS),
        created: base::time::Timestamp::now(),
        owner_uid: 0,
        annotations: BTreeMap::new(),
        cgroup,
        rdt: None,
        creator: identity,
        init: None,
        keyring: KeyringMode::Fresh,
    })
}

fn plan_container(spec: &Spec, layout: &Layout) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| base::failure::chain(error);
    spec::validate(spec, &host()).map_err(|error| text(&error))?;
    let record = record(spec, layout)?;
    let facts = RootfsFacts {
        rootfs: PathBuf::from(ROOTFS),
        bundle: PathBuf::from("/bundle"),
        root_switch: RootSwitch::PivotRoot,
        in_user_namespace: false,
        has_kcore: true,
        cgroups: mounts(&record.cgroup),
    };
    let rootfs = rootfs::plan(spec, &facts).map_err(|error| text(&error))?;
    let normalised = spec::normalise(spec.clone(), &host(), &record.cgroup);
    plan_limits(&create::resources(&normalised), layout)?;
    let process = plan_exec(&normalised, &record, ExecRequest::default())?;
    InitPlan::new(spec, record, rootfs, process).map_err(|error| text(&error))?;
    Ok(())
}

fn mounts(cgroup: &Cgroup) -> CgroupMounts {
    match &cgroup.directories {
        Directories::Unified(group) => CgroupMounts::Unified {
            root: PathBuf::from("/sys/fs/cgroup"),
            group: group.clone(),
        },
        Directories::Split(groups) => CgroupMounts::Split(
            groups
                .iter()
                .map(|(name, group)| Hierarchy {
                    name: name.trim_start_matches("name=").to_owned(),
                    options: vec![name.clone()],
                    group: group.clone(),
                    is_joined: true,
                })
                .collect(),
        ),
    }
}

fn plan_limits(limits: &LinuxResources, layout: &Layout) -> Result<(), String> {
    let version = match layout {
        Layout::Unified => Version::V2,
        Layout::Split(_) => Version::V1,
    };
    let controllers = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"];
    let existing = Existing {
        controllers: controllers.map(str::to_owned).into(),
        ..Existing::default()
    };
    let planned = resources::plan::plan(version, limits, &existing);
    planned.map_err(|error| error.to_string())?;
    let rules = limits.devices().as_deref().unwrap_or_default();
    devices::policy(rules).map_err(|error| error.to_string())?;
    Ok(())
}

fn plan_exec(spec: &Spec, record: &Record, request: ExecRequest) -> Result<exec::ExecPlan, String> {
    let container = Container {
        spec,
        record,
        status: Status::Running,
        filter: None,
    };
    exec::plan(container, request, None, |_| "/".to_owned())
        .map_err(|error| base::failure::chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuzzing has found stays answered; a seed called `good-…` is one that
    /// must be planned, so that the targets look at more than errors.
    fn replay(target: &str, plan: fn(&[u8]) -> Result<(), String>) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let mut good = 0;
        for entry in std::fs::read_dir(corpus.join(target)).unwrap() {
            let path = entry.unwrap().path();
            let planned = plan(&std::fs::read(&path).unwrap());
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("good-") {
                assert_eq!(planned, Ok(()), "{name}");
                good += 1;
            }
        }
        assert!(good > 0, "{target} has no good seed");
    }

    #[test]
    fn every_config_of_the_corpus_is_answered() {
        replay("config", plan_config);
    }

    #[test]
    fn every_process_of_the_corpus_is_answered() {
        replay("process", plan_process);
    }

    #[test]
    fn every_record_of_the_corpus_is_answered() {
        replay("record", read_record);
    }
}
