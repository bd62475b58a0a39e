//! Control groups that systemd makes: a container is a scope, or below a slice.
//!
//! `name.rs` says where, `properties.rs` and `annotations.rs` what is asked,
//! `manager.rs` asks. The D-Bus client (`bus.rs`, `message.rs`, `value.rs`) is our
//! own: that of libcgroups is private, and others bring an asynchronous runtime
//! for the four calls that are made here.

mod annotations;
mod bus;
mod manager;
mod message;
mod name;
mod properties;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use properties::{contradiction, rounded};

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use base::file::{PathError, read_bounded};
use oci_spec::runtime::Spec;

use self::annotations::AnnotationError;
use self::manager::{Connection, ManagerError};
use self::name::{NameError, Place};
use self::value::Value;
use crate::cgroup::{Cgroup, CgroupError, Directories, Freezer, Layout, Manager, Unit};
use crate::resources::devices::{self, is_unprivileged};
use crate::resources::plan::{ControlWrite, Version};
use crate::resources::{ResourceError, plan_limits};

/// There where systemd is process 1 (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
const INIT_GROUPS: &str = "/proc/1/cgroup";
const GROUPS_LIMIT_BYTES: u64 = 1 << 20;

/// Says what systemd, or the way to it, did not allow.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    NotRunning,
    #[error("a user's systemd manages control groups only on cgroup v2")]
    NoUserOnV1,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    #[error(transparent)]
    Manager(#[from] ManagerError),
    #[error(transparent)]
    Cgroup(#[from] Box<CgroupError>),
    #[error(transparent)]
    Resource(#[from] Box<ResourceError>),
    #[error(transparent)]
    File(#[from] PathError),
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq)]
struct Property {
    name: Cow<'static, str>,
    value: Value,
}

impl SystemdError {
    /// Returns whether the unit is somebody else's, and not to be ended.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Manager(error) if error.is_name_taken())
    }
}

impl Property {
    fn new(name: impl Into<Cow<'static, str>>, value: Value) -> Self {
        let name = name.into();
        Self { name, value }
    }
}

/// Returns the manager that this process may ask.
fn own_manager() -> Manager {
    match is_unprivileged() {
        true => Manager::User,
        false => Manager::System,
    }
}

/// Returns the slice of containers that name none.
fn default_slice(manager: Manager) -> &'static str {
    match manager {
        Manager::System => "system.slice",
        Manager::User => "user.slice",
    }
}

/// Returns the groups of a container whose `cgroupsPath` is `wanted`.
///
/// # Errors
/// When it is none of systemd's, or systemd does not run.
pub fn plan(layout: &Layout, wanted: Option<&Path>, id: &str) -> Result<Cgroup, SystemdError> {
    if !Path::new(BOOTED).is_dir() {
        return Err(SystemdError::NotRunning);
    }
    let manager = own_manager();
    let wanted = wanted.map(Path::to_string_lossy);
    let place = Place::new(wanted.as_deref(), id, default_slice(manager))?;
    let top = match manager {
        Manager::System => group_of_init()?,
        Manager::User if matches!(layout, Layout::Split(_)) => {
            return Err(SystemdError::NoUserOnV1);
        }
        Manager::User => {
            let group = Connection::open(manager)?.control_group()?;
            PathBuf::from(group.trim_start_matches('/'))
        }
    };
    let path = top.join(place.group()?);
    let mut cgroup = Cgroup::plan(layout, Some(&path), id).map_err(Box::new)?;
    cgroup.unit = Some(Unit {
        name: place.unit,
        slice: place.slice,
        manager,
    });
    Ok(cgroup)
}

/// Returns the group that systemd, as process 1, has its units below.
fn group_of_init() -> Result<PathBuf, PathError> {
    let text = read_bounded(Path::new(INIT_GROUPS), GROUPS_LIMIT_BYTES)?;
    let text = String::from_utf8_lossy(&text);
    Ok(parse_group_of_init(&text))
}

fn parse_group_of_init(text: &str) -> PathBuf {
    let of = |hierarchy: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.split_once(':')?.1.strip_prefix(hierarchy))
    };
    let group = of("name=systemd:").or_else(|| of(":")).unwrap_or_default();
    let group = group.strip_suffix("/init.scope").unwrap_or(group);
    PathBuf::from(group.trim_start_matches('/'))
}

/// What is to be said of a unit that is not quite what was asked for.
pub type Warning = Option<&'static str>;

/// Makes the container's unit, with `pid` in it, and waits until it is there.
///
/// # Errors
/// When systemd refuses it.
pub fn start(
    cgroup: &Cgroup,
    unit: &Unit,
    spec: &Spec,
    id: &str,
    pid: i32,
) -> Result<Warning, SystemdError> {
    let is_slice = name::is_slice(&unit.name);
    let pid = (!is_slice).then_some(pid);
    let mut properties = properties::base(id, &unit.slice, pid);
    if let Some(annotations) = spec.annotations() {
        properties.extend(annotations::properties(annotations)?);
    }
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone());
    let resources = resources.unwrap_or_default();
    let writes = plan_limits(cgroup, &resources).map_err(Box::new)?;
    properties.extend(properties::of_limits(&writes));
    if version(cgroup) == Version::V1 {
        let rules = resources.devices().as_deref().unwrap_or_default();
        let policy =
            devices::policy(rules).map_err(|error| Box::new(ResourceError::from(error)))?;
        properties.extend(properties::of_devices(&policy));
    }
    let mut connection = Connection::open(unit.manager)?;
    properties::keep_known(&mut properties, || connection.version())?;
    match connection.start(&unit.name, &properties) {
        // One that was made before, for this container say.
        Err(error) if is_slice && error.is_name_taken() => {}
        started => started?,
    }
    Ok(contradiction(&resources))
}

/// Tells systemd of changed limits, those that it knows of.
///
/// # Errors
/// When it refuses one; none is changed then.
pub fn update(cgroup: &Cgroup, unit: &Unit, writes: &[ControlWrite]) -> Result<(), SystemdError> {
    let mut properties = properties::of_limits(writes);
    if properties.is_empty() {
        return Ok(());
    }
    let mut connection = Connection::open(unit.manager)?;
    properties::keep_known(&mut properties, || connection.version())?;
    // On v1 it takes all devices away before it gives them back.
    let is_touched = version(cgroup) == Version::V1 && !cgroup.is_frozen();
    let is_held = is_touched && cgroup.set(Freezer::Frozen).is_ok();
    let set = connection.set(&unit.name, &properties);
    if is_held {
        cgroup.set(Freezer::Thawed).map_err(Box::new)?;
    }
    Ok(set?)
}

/// Ends the container's unit, whose processes have ended. A unit of its name in
/// another slice is another container's, and is left alone.
///
/// # Errors
/// When systemd does not end it.
pub fn stop(cgroup: &Cgroup) -> Result<(), SystemdError> {
    let Some(unit) = &cgroup.unit else {
        return Ok(());
    };
    let mut connection = Connection::open(unit.manager)?;
    let group = connection.unit_group(&unit.name)?;
    if !group.is_empty() && Path::new(&group) != cgroup.path {
        return Ok(());
    }
    Ok(connection.stop(&unit.name)?)
}

/// Ensures that a container's annotations are properties, before anything is made.
///
/// # Errors
/// Which is none.
pub fn validate(spec: &Spec) -> Result<(), SystemdError> {
    let annotations = spec.annotations().as_ref();
    annotations.map(annotations::properties).transpose()?;
    Ok(())
}

fn version(cgroup: &Cgroup) -> Version {
    match cgroup.directories {
        Directories::Unified(_) => Version::V2,
        Directories::Split(_) => Version::V1,
    }
}
