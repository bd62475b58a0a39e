//! What the runtime does for init from outside while that builds its root.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use base::file::PathContext as _;
use oci_spec::runtime::{Hook, LinuxResources, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{InitError, InitPlan, ParentWork, user_namespace};
use crate::cgroup::{Cgroup, Directories, HYBRID};
use crate::hooks::{self, HookPoint};
use crate::log::Logger;
use crate::net_devices;
use crate::oci_state;
use crate::resources::{self, rdt};
use crate::rootfs::{self, IdMappings, SourceRequest};
use crate::seccomp::notify::{self, ContainerState};
use crate::state::Status;
use crate::systemd;

/// The parent's work for one container.
#[derive(Debug)]
pub struct Work<'a> {
    cgroup: &'a mut Cgroup,
    resources: &'a LinuxResources,
    plan: &'a InitPlan,
    spec: &'a Spec,
    log: &'a Logger,
    has_groups: bool,
}

impl<'a> Work<'a> {
    /// Returns the work for the container of `spec`, planned as `plan`.
    pub fn new(
        cgroup: &'a mut Cgroup,
        resources: &'a LinuxResources,
        plan: &'a InitPlan,
        spec: &'a Spec,
        log: &'a Logger,
    ) -> Self {
        Self {
            cgroup,
            resources,
            plan,
            spec,
            log,
            has_groups: false,
        }
    }

    /// Makes the group before init where init can be cloned into it: on v2, also
    /// beside v1, whose groups are made while init works.
    ///
    /// # Errors
    /// When the group cannot be made or limited.
    pub fn prepare(&mut self) -> Result<Option<OwnedFd>, InitError> {
        if self.cgroup.unit.is_some() {
            // systemd makes a group for a process that is there.
            return Ok(None);
        }
        let group = match &mut self.cgroup.directories {
            Directories::Unified(group) => {
                let group = group.clone();
                self.make_groups()?;
                group
            }
            Directories::Split(groups) => match groups.remove(HYBRID) {
                // It has no limit to set: where it cannot be made, as in a
                // container, it is done without.
                Some(group) if resources::make_group(&group).is_ok() => {
                    groups.insert(HYBRID.to_owned(), group.clone());
                    group
                }
                _ => return Ok(None),
            },
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&group, flags, Mode::empty()).at("open", &group)?;
        Ok(Some(handle))
    }

    fn make_groups(&mut self) -> Result<(), InitError> {
        resources::make(self.cgroup)?;
        self.log.step("made the control groups");
        resources::apply(self.cgroup, self.resources)?;
        if let Some(owner) = resources::delegation_owner(self.spec) {
            resources::delegate(self.cgroup, owner)?;
        }
        self.has_groups = true;
        self.log.step("set the limits");
        Ok(())
    }
}

impl ParentWork for Work<'_> {
    fn group(&mut self, pid: i32) -> Result<(), InitError> {
        if let Some(unit) = &self.cgroup.unit {
            let id = self.plan.record.id.as_str();
            if let Some(warning) = systemd::start(self.cgroup, unit, self.spec, id, pid)? {
                self.log.warn(warning);
            }
            self.log.step("systemd has made the unit");
        }
        if !self.has_groups {
            self.make_groups()?;
        }
        resources::join(self.cgroup, pid)?;
        if let Some(class) = &self.plan.record.rdt {
            class.enter(Path::new(rdt::ROOT), pid)?;
        }
        self.log.step("moved init into its control groups");
        Ok(())
    }

    fn mounted(&mut self, pid: i32) -> Result<(), InitError> {
        net_devices::perform(&self.plan.net_devices, pid)?;
        let (hooks, record) = (&self.plan.hooks, &self.plan.record);
        let state = oci_state::of_creation(record, Status::Creating, pid);
        let run = |hooks: &Option<Vec<Hook>>, point| {
            hooks::run_all(hooks.as_deref(), point, &state, &record.bundle)
        };
        self.log.step("init has mounted its root");
        run(hooks.prestart(), HookPoint::Prestart)?;
        run(hooks.create_runtime(), HookPoint::CreateRuntime)?;
        self.log.step("ran the hooks");
        Ok(())
    }

    fn source(&mut self, pid: i32, request: &SourceRequest) -> Result<OwnedFd, InitError> {
        let failed = |error: rustix::io::Errno| InitError::Kernel("open init", error.into());
        let process = Pid::from_raw(pid).expect("init has a process id");
        let child = pidfd_open(process, PidfdFlags::empty()).map_err(failed)?;
        let mappings = request
            .id_map
            .map(|map| &self.plan.rootfs.id_mappings[map.number]);
        let namespace = match mappings {
            None => None,
            Some(IdMappings::Container) => {
                let path = PathBuf::from(format!("/proc/{pid}/ns/user"));
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                Some(rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?)
            }
            Some(IdMappings::Own { uids, gids }) => {
                Some(user_namespace(uids, gids).map_err(InitError::IdMap)?)
            }
        };
        let namespace = namespace.as_ref().map(|namespace| namespace.as_fd());
        Ok(rootfs::open_source(child.as_fd(), request, namespace)?)
    }

    fn listener(&mut self, pid: i32, descriptor: i32) -> Result<(), InitError> {
        let process = Pid::from_raw(pid).expect("init has a process id");
        let listener = notify::take(process, descriptor)?;
        let filter = self.plan.process.filter.as_ref();
        if let Some(agent) = filter.and_then(|filter| filter.agent()) {
            let state = ContainerState::new(&self.plan.record, Status::Creating, pid);
            agent.tell(listener.as_fd(), process, &state)?;
        }
        Ok(())
    }
}
