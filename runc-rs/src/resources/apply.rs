//! Performs the writes of a plan.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::devices::{self, is_unprivileged};
use super::plan::{ControlWrite, Controller, IfInvalid, IfMissing, Version, plan, plan_v1_devices};
use super::{ResourceError, existing, files};
use crate::cgroup::Cgroup;
use crate::systemd;

/// Puts all limits of a new container into force, in groups that are made.
///
/// # Errors
/// When the limits contradict each other or the kernel refuses one. Those
/// before it are then in force; the groups are to be removed.
pub fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<(), ResourceError> {
    let writes = plan_limits(cgroup, resources)?;
    let rules = resources.devices().as_deref().unwrap_or_default();
    let policy = devices::policy(rules)?;
    match files::version(cgroup) {
        Version::V1 if is_done_without(cgroup, Controller::Devices) => {}
        Version::V1 => apply_v1_devices(cgroup, &plan_v1_devices(&policy)?)?,
        Version::V2 => {
            let group = files::group(cgroup, Controller::Devices.name());
            if let Some(group) = group {
                devices::attach(group, &devices::compile(&policy))?;
            }
        }
    }
    perform(cgroup, &writes)
}

/// Returns the writes for `resources` in these groups, devices excepted.
///
/// # Errors
/// When the limits contradict each other, or a group cannot be looked at.
pub(crate) fn plan_limits(
    cgroup: &Cgroup,
    resources: &LinuxResources,
) -> Result<Vec<ControlWrite>, ResourceError> {
    let existing = existing::gather(cgroup, resources)?;
    let version = files::version(cgroup);
    // The files say what systemd would write there by itself.
    Ok(match cgroup.unit {
        Some(_) => plan(version, &systemd::rounded(resources), &existing)?,
        None => plan(version, resources, &existing)?,
    })
}

/// Returns whether an ordinary user's container is without a controller.
fn is_done_without(cgroup: &Cgroup, controller: Controller) -> bool {
    files::group(cgroup, controller.name()).is_none() && is_unprivileged()
}

/// Of the unprivileged the kernel takes no device rules, and the container
/// can make no devices either.
fn apply_v1_devices(cgroup: &Cgroup, writes: &[ControlWrite]) -> Result<(), ResourceError> {
    match perform(cgroup, writes) {
        Err(error) if is_refused(&error) && is_unprivileged() => Ok(()),
        performed => performed,
    }
}

fn is_refused(error: &ResourceError) -> bool {
    matches!(
        error,
        ResourceError::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied
    )
}

/// Performs `writes` in their order. One that only an old value stands
/// against is tried again at the end.
pub(super) fn perform(cgroup: &Cgroup, writes: &[ControlWrite]) -> Result<(), ResourceError> {
    let mut control = Control::default();
    let mut postponed = Vec::new();
    for write in writes {
        match control.write(cgroup, write)? {
            Outcome::Done => {}
            Outcome::Invalid(_) if write.if_invalid == IfInvalid::Retry => postponed.push(write),
            Outcome::Invalid(error) => return Err(error),
        }
    }
    for write in postponed {
        if let Outcome::Invalid(error) = control.write(cgroup, write)? {
            return Err(error);
        }
    }
    Ok(())
}

enum Outcome {
    Done,
    /// The kernel said `EINVAL`.
    Invalid(ResourceError),
}

/// The control file written last, kept open for the next value of its own:
/// device rules go to one file, one by one.
#[derive(Default)]
struct Control {
    open: Option<(PathBuf, File)>,
}

impl Control {
    fn write(&mut self, cgroup: &Cgroup, write: &ControlWrite) -> Result<Outcome, ResourceError> {
        let Some(path) = files::target(cgroup, write) else {
            return match write.if_missing {
                IfMissing::Skip => Ok(Outcome::Done),
                IfMissing::Fail => Err(ResourceError::NoGroup {
                    controller: write.controller.name(),
                    file: write.file.clone().into_owned(),
                    value: write.value.clone(),
                }),
            };
        };
        let written = self.open(&path).and_then(|mut file| {
            // An empty list of processors is written as an empty line.
            let value = if write.value.is_empty() {
                "\n"
            } else {
                &write.value
            };
            file.write_all(value.as_bytes())
        });
        let Err(source) = written else {
            return Ok(Outcome::Done);
        };
        self.open = None;
        if source.kind() == io::ErrorKind::NotFound {
            return match write.if_missing {
                IfMissing::Skip => Ok(Outcome::Done),
                IfMissing::Fail => Err(ResourceError::NotOffered {
                    file: path,
                    value: write.value.clone(),
                }),
            };
        }
        let is_invalid = source.raw_os_error() == Some(libc::EINVAL);
        let error = explain(path, write, source);
        match is_invalid {
            true => Ok(Outcome::Invalid(error)),
            false => Err(error),
        }
    }

    fn open(&mut self, path: &Path) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            // Never created: a file the kernel does not have is no limit.
            let file = OpenOptions::new().write(true).open(path)?;
            self.open = Some((path.to_owned(), file));
        }
        let (_, file) = self.open.as_ref().expect("it was opened above");
        Ok(file)
    }
}

/// Returns the error of a refused value. A memory limit below what is in use
/// is refused as busy, which says little.
fn explain(path: PathBuf, write: &ControlWrite, source: io::Error) -> ResourceError {
    let is_busy = source.raw_os_error() == Some(libc::EBUSY);
    if is_busy && write.file == "memory.limit_in_bytes" {
        let value = |file: &str| files::read(&path.with_file_name(file)).unwrap_or_default();
        return ResourceError::MemoryInUse {
            limit: write.value.clone(),
            usage: value("memory.usage_in_bytes"),
            peak: value("memory.max_usage_in_bytes"),
        };
    }
    ResourceError::Write {
        file: path,
        value: write.value.clone(),
        source,
    }
}
