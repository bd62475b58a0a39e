//! Giving privilege up before the first packet is read: the DNS child sees an
//! empty directory as its root, is nobody, has no capability and gets none.

use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

/// `nobody` and `nogroup`; no name service is asked for them.
const NOBODY: u32 = 65_534;
/// Two listeners for each run, queries under way and connections.
const OPEN_FILES: u64 = 65_536;

/// Why privilege could not be given up; the child then does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct SandboxError {
    step: &'static str,
    #[source]
    source: io::Error,
}

/// Gives up everything; needs root and a process with one thread. `jail` is an
/// empty directory.
///
/// # Errors
/// The step that failed.
pub fn enter(jail: &Path) -> Result<(), SandboxError> {
    let doing = |step| {
        move |errno: rustix::io::Errno| SandboxError {
            step,
            source: errno.into(),
        }
    };
    rustix::process::chroot(jail).map_err(doing("make the jail the root"))?;
    rustix::process::chdir("/").map_err(doing("enter the jail"))?;
    for (resource, limit) in [
        (Resource::Nofile, OPEN_FILES),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        // Without CAP_SYS_RESOURCE the daemon's own limit is the highest.
        let highest = rustix::process::getrlimit(resource).maximum;
        let limit = highest.map_or(limit, |highest| highest.min(limit));
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        rustix::process::setrlimit(resource, limit).map_err(doing("set limits"))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(doing("refuse new privileges"))?;
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(errno) => return Err(doing("drop capabilities")(errno)),
        }
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(&[]).map_err(doing("leave all groups"))?;
    rustix::thread::set_thread_res_gid(group, group, group).map_err(doing("change the group"))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(doing("change the user"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(doing("drop capabilities"))
}
