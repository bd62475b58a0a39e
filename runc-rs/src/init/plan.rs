//! What init will be and do: pure, from a validated specification and facts.

use oci_spec::runtime::{Hooks, Linux, LinuxNamespaceType, Spec};

use super::identity::IdMaps;
use super::namespaces::{self, NamespacePlan};
use super::sysctl::{self, Sysctl};
use crate::exec::ExecPlan;
use crate::net_devices::{self, NetDeviceError};
use crate::rootfs::{Content, MountStep, RootfsPlan, SourceRequest, Step};
use crate::spec::SpecError;
use crate::state::Record;

/// The kernel's `__NEW_UTS_LEN`.
const NAME_LIMIT_BYTES: usize = 64;

/// Everything about a container's first process.
#[derive(Debug)]
pub struct InitPlan {
    pub namespaces: NamespacePlan,
    pub id_maps: IdMaps,
    pub rootfs: RootfsPlan,
    pub process: ExecPlan,
    /// Whether HOME was given; else the container's own passwd file says it.
    pub has_home: bool,
    pub sysctls: Vec<Sysctl>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    /// The lines for `timens_offsets`, where a time namespace is new.
    pub time_offsets: Option<String>,
    pub hooks: Hooks,
    pub net_devices: Vec<net_devices::Move>,
    /// What hooks are told.
    pub record: Record,
}

impl InitPlan {
    /// Returns what `spec` comes to. `rootfs` and `process` are planned by
    /// their own modules.
    ///
    /// # Errors
    /// What is contradictory or out of range.
    pub fn new(
        spec: &Spec,
        record: Record,
        rootfs: RootfsPlan,
        process: ExecPlan,
    ) -> Result<Self, SpecError> {
        let linux = spec.linux().as_ref().ok_or(SpecError::Missing("linux"))?;
        let namespaces = namespaces::plan(linux.namespaces().as_deref().unwrap_or_default())?;
        let id_maps = IdMaps::of(linux);
        check(spec, &namespaces, &id_maps)?;
        Ok(Self {
            sysctls: sysctl::plan(linux, &namespaces)?,
            time_offsets: time_offsets(linux, &namespaces)?,
            net_devices: moved_devices(linux, &namespaces)?,
            has_home: has_home(spec),
            hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
            domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
            hooks: spec.hooks().clone().unwrap_or_default(),
            namespaces,
            id_maps,
            rootfs,
            process,
            record,
        })
    }

    /// Returns the request for the source of the mount at `index`.
    pub(super) fn source(&self, index: i32) -> Option<SourceRequest> {
        let mut binds = self.rootfs.steps.iter().filter_map(|step| match step {
            Step::Mount(MountStep {
                content: Content::Bind(bind),
                ..
            }) => Some(bind),
            _ => None,
        });
        let index = usize::try_from(index).ok()?;
        let bind = binds.find(|bind| bind.index == Some(index))?;
        Some(SourceRequest {
            index,
            path: bind.source.clone(),
            reach: bind.reach,
            id_map: bind.id_map,
        })
    }
}

fn has_home(spec: &Spec) -> bool {
    let process = spec.process().as_ref();
    let mut variables = process
        .into_iter()
        .flat_map(|process| process.env().iter().flatten());
    // The last one counts; an empty one says nothing.
    let home = variables.rfind(|variable| variable.starts_with("HOME="));
    home.is_some_and(|home| home != "HOME=")
}

fn check(spec: &Spec, namespaces: &NamespacePlan, id_maps: &IdMaps) -> Result<(), SpecError> {
    use LinuxNamespaceType as T;
    let wrong = [
        (
            namespaces.is_new(T::User) && id_maps.is_empty(),
            "linux.namespaces has a new user namespace, but there are no id mappings",
        ),
        (
            !id_maps.is_empty() && !namespaces.is_new(T::User) && !namespaces.is_joined(T::User),
            "there are id mappings, but no user namespace in linux.namespaces",
        ),
    ];
    match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, text)) => Err(SpecError::Invalid(text)),
        None => check_names(spec, namespaces),
    }
}

fn moved_devices(
    linux: &Linux,
    namespaces: &NamespacePlan,
) -> Result<Vec<net_devices::Move>, SpecError> {
    use LinuxNamespaceType as T;
    let moves = net_devices::plan(linux.net_devices().iter().flatten())?;
    let is_private = namespaces.is_new(T::Network) || namespaces.is_joined(T::Network);
    match moves.is_empty() || is_private {
        true => Ok(moves),
        false => Err(NetDeviceError::NoNamespace.into()),
    }
}

/// Names of the host, and names that the kernel does not take.
fn check_names(spec: &Spec, namespaces: &NamespacePlan) -> Result<(), SpecError> {
    use LinuxNamespaceType as T;
    let has_uts = namespaces.is_new(T::Uts) || namespaces.is_joined(T::Uts);
    let length = |name: &Option<String>| name.as_ref().map_or(0, String::len);
    let (host, domain) = (length(spec.hostname()), length(spec.domainname()));
    let wrong = [
        (
            host > 0 && !has_uts,
            "hostname is set, but there is no uts namespace in linux.namespaces",
        ),
        (
            domain > 0 && !has_uts,
            "domainname is set, but there is no uts namespace in linux.namespaces",
        ),
        (
            host.max(domain) > NAME_LIMIT_BYTES,
            "hostname or domainname is longer than 64 bytes",
        ),
    ];
    match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, text)) => Err(SpecError::Invalid(text)),
        None => Ok(()),
    }
}

fn time_offsets(linux: &Linux, namespaces: &NamespacePlan) -> Result<Option<String>, SpecError> {
    let offsets = linux.time_offsets().iter().flatten();
    let mut lines: Vec<String> = offsets
        .map(|(clock, offset)| {
            let (secs, nanosecs) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            format!("{clock} {secs} {nanosecs}\n")
        })
        .collect();
    lines.sort();
    match (
        lines.is_empty(),
        namespaces.is_new(LinuxNamespaceType::Time),
    ) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(lines.concat())),
        (false, false) => Err(SpecError::Invalid(
            "linux.timeOffsets is set, but there is no new time namespace",
        )),
    }
}
