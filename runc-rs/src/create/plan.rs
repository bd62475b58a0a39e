//! The parts of a creation that are decided and opened before init is made.

use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Mount, Spec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{CgroupDriver, Console, CreateError, CreateRequest, RootSwitch};
use crate::cgroup::{Cgroup, Layout};
use crate::exec::{self, Container, ExecPlan, ExecRequest};
use crate::init::{self, InitError};
use crate::resources::rdt::{self, Class, RdtError};
use crate::resources::{self, Need, Reach};
use crate::rootfs::{self, IdMappings, RootfsError, RootfsFacts, RootfsPlan};
use crate::spec::HostFacts;
use crate::state::{ContainerDirectory, ContainerName, Record, Status};
use crate::{handover, payload, systemd};

fn need_of_groups(wanted: Option<&Path>, request: &CreateRequest) -> Need {
    let is_named = wanted.is_some_and(|path| !path.as_os_str().is_empty());
    match request.is_rootless && !is_named {
        true => Need::ForLimits,
        false => Need::Always,
    }
}

/// Plans the control groups.
pub(super) fn cgroup(spec: &Spec, request: &CreateRequest) -> Result<Cgroup, CreateError> {
    let linux = spec.linux().as_ref();
    let wanted = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let (layout, id) = (Layout::detect()?, request.id.as_str());
    match request.cgroup_driver {
        // It makes most of them itself, and removes them.
        CgroupDriver::Systemd => {
            systemd::validate(spec)?;
            Ok(systemd::plan(&layout, wanted, id)?)
        }
        CgroupDriver::Files => {
            let mut cgroup = Cgroup::plan(&layout, wanted, id)?;
            let limits = self::resources(spec);
            resources::narrow(&mut cgroup, &limits, reach(spec));
            let need = need_of_groups(wanted, request);
            resources::forget_refused(&mut cgroup, &limits, need)?;
            Ok(cgroup)
        }
    }
}

/// Plans the root filesystem.
pub(super) fn rootfs(
    spec: &Spec,
    facts: &HostFacts,
    cgroup: &Cgroup,
    request: &CreateRequest,
) -> Result<RootfsPlan, RootfsError> {
    let (rootfs, bundle) = (&facts.rootfs, &request.bundle);
    let root_switch = match has_mount_namespace(spec) {
        true => request.root_switch,
        false => RootSwitch::Chroot,
    };
    let facts = RootfsFacts::gather(rootfs, bundle, cgroup, root_switch)?;
    rootfs::plan(spec, &facts)
}

fn has_mount_namespace(spec: &Spec) -> bool {
    let linux = spec.linux().iter();
    let mut namespaces = linux.flat_map(|linux| linux.namespaces().iter().flatten());
    namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Mount)
}

/// Plans the container's own process as a later one is planned, with no wishes
/// of its own, so that both come out the same.
pub(super) fn process(
    directory: &ContainerDirectory,
    spec: &Spec,
    record: &Record,
    preserve_fds: u32,
) -> Result<ExecPlan, CreateError> {
    let container = Container {
        spec,
        record,
        status: Status::Creating,
        filter: exec::filter(directory, spec)?,
    };
    let request = ExecRequest {
        preserve_fds,
        activation_sockets: payload::activation_sockets(),
        ..ExecRequest::default()
    };
    // HOME is in the normalised specification.
    let planned = exec::plan(container, request, None, |_| String::new());
    let mut plan = planned.map_err(|error| CreateError::Process(Box::new(error)))?;
    plan.scheduling = plan.scheduling.without_exec_affinity();
    Ok(plan)
}

/// Returns the limits of `spec`.
pub(crate) fn resources(spec: &Spec) -> LinuxResources {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone());
    resources.unwrap_or_default()
}

/// Returns the class of service that `spec` wants for the container `id`.
///
/// # Errors
/// When it cannot be one.
pub(super) fn class_of_service(spec: &Spec, id: &ContainerName) -> Result<Option<Class>, RdtError> {
    let linux = spec.linux().as_ref();
    let wanted = linux.and_then(|linux| linux.intel_rdt().as_ref());
    let class = wanted.map(|wanted| Class::plan(wanted, id.as_str()));
    let class = class.transpose()?;
    Ok(class.map(|class| class.beside(Path::new(rdt::ROOT))))
}

/// Returns which hierarchies of v1 the container joins. One that is shown its
/// groups to write, as for an init system of its own, needs them everywhere.
pub(crate) fn reach(spec: &Spec) -> Reach {
    let writes = |mount: &Mount| {
        let options = mount.options().iter().flatten();
        let is_cgroup = mount.typ().as_deref() == Some("cgroup");
        is_cgroup && !options.into_iter().any(|option| option == "ro")
    };
    match spec.mounts().iter().flatten().any(writes) {
        true => Reach::All,
        false => Reach::Needed,
    }
}

/// Returns init's end for its terminal, and ours if this process holds it.
pub(super) fn open_console(
    console: &Console,
) -> Result<(Option<OwnedFd>, Option<OwnedFd>), CreateError> {
    match console {
        Console::Inherited => Ok((None, None)),
        Console::Socket(path) => Ok((Some(handover::connect(path)?.into()), None)),
        Console::Own => {
            let pair = rustix::net::socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            );
            let (theirs, ours) = pair.map_err(|error| CreateError::Console(error.into()))?;
            Ok((Some(theirs), Some(ours)))
        }
    }
}

/// Makes the user namespaces that id-mapped mounts need. In a user namespace
/// the mounts are mapped from outside, when init asks for their sources.
pub(super) fn id_maps(plan: &RootfsPlan) -> Result<Vec<OwnedFd>, CreateError> {
    if plan.in_user_namespace {
        return Ok(Vec::new());
    }
    let namespaces = plan.id_mappings.iter().map(|mappings| match mappings {
        IdMappings::Own { uids, gids } => {
            let namespace = init::user_namespace(uids, gids);
            Ok(namespace.map_err(InitError::IdMap)?)
        }
        IdMappings::Container => Err(RootfsError::NoUserNamespace.into()),
    });
    namespaces.collect()
}
