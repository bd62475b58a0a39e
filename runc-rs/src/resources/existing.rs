//! Asks the groups what a plan must know of them, and nothing it need not.

use std::path::Path;

use base::file::PathError;
use oci_spec::runtime::LinuxResources;

use super::files;
use super::plan::{Controller, Existing, Version, WeightFile};
use crate::cgroup::{Cgroup, ROOT};

/// Looks at what `resources` make a plan depend on.
///
/// # Errors
/// When a file that is there cannot be read.
pub(super) fn gather(cgroup: &Cgroup, resources: &LinuxResources) -> Result<Existing, PathError> {
    let version = files::version(cgroup);
    let mut existing = Existing::default();
    if let Some(memory) = resources.memory() {
        let number = |file| number(cgroup, Controller::Memory, file);
        match version {
            Version::V1 if memory.swap().is_some() => {
                existing.memory_limit_bytes = number("memory.limit_in_bytes")?;
            }
            Version::V2 if memory.check_before_update() == Some(true) => {
                existing.memory_usage_bytes = number("memory.current")?;
            }
            Version::V1 | Version::V2 => {}
        }
    }
    let block_io = resources.block_io().as_ref();
    if block_io
        .is_some_and(|block_io| block_io.weight().is_some() || block_io.weight_device().is_some())
    {
        existing.weight_file = weight_file(cgroup, version)?;
    }
    if resources
        .unified()
        .as_ref()
        .is_some_and(|values| !values.is_empty())
    {
        let names = files::read_control(cgroup, Controller::Unified, "cgroup.controllers")?;
        let names = match names {
            // A group that is not there yet will have what there is.
            None => files::read_if_there(&Path::new(ROOT).join("cgroup.controllers"))?,
            names => names,
        };
        let names = names.unwrap_or_default();
        existing.controllers = names.split_whitespace().map(str::to_owned).collect();
    }
    Ok(existing)
}

fn number(cgroup: &Cgroup, controller: Controller, file: &str) -> Result<Option<u64>, PathError> {
    let text = files::read_control(cgroup, controller, file)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Which weight there is depends on the scheduler the kernel has, not on the
/// one a disk uses.
fn weight_file(cgroup: &Cgroup, version: Version) -> Result<WeightFile, PathError> {
    match version {
        Version::V1 => {
            let group = files::group(cgroup, Controller::Blkio.name());
            let has = |file: &str| group.is_some_and(|group| has_file(group, file));
            Ok(match !has("blkio.weight") && has("blkio.bfq.weight") {
                true => WeightFile::Bfq,
                false => WeightFile::Common,
            })
        }
        Version::V2 => {
            let text = files::read_control(cgroup, Controller::Io, "io.bfq.weight")?;
            Ok(match text {
                None => WeightFile::Common,
                // Kernels before 5.4 have one number in there.
                Some(text) if text.parse::<u64>().is_ok() => WeightFile::BfqWithoutDevices,
                Some(_) => WeightFile::Bfq,
            })
        }
    }
}

fn has_file(group: &Path, file: &str) -> bool {
    group.join(file).exists()
}
