//! Mount points: CRIU restores mounts and wants their places to be there. They
//! are made as when a container is created, by a process in a mount namespace
//! of its own in which nothing else is done.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};
use rustix::process::{WaitOptions, waitpid};

use super::CheckpointError;
use crate::rootfs::{self, Content, RootfsFds, RootfsHooks, RootfsPlan, Step};
use crate::sys::{self, Fork};

const MESSAGE_LIMIT_BYTES: usize = 16 * 1024;

/// Nobody waits for anything.
struct Alone;

impl RootfsHooks for Alone {
    fn cgroup_ready(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn before_pivot(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Makes the mount points of `plan` that are missing.
///
/// # Errors
/// When one cannot be made.
pub(super) fn mount_points(plan: &RootfsPlan) -> Result<(), CheckpointError> {
    let places = only_places(plan);
    let kind = SocketType::SEQPACKET;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let (ours, theirs) =
        pair.map_err(|error| CheckpointError::Kernel("make a socket pair", error.into()))?;
    match sys::fork().map_err(|error| CheckpointError::Kernel("fork", error))? {
        Fork::Child => {
            drop(ours);
            if let Err(message) = make(&places) {
                // The end of the line says that it failed, without the reason.
                send(&theirs, message.as_bytes(), SendFlags::NOSIGNAL).ok();
                sys::exit_now(1)
            }
            sys::exit_now(0)
        }
        Fork::Parent(child) => {
            drop(theirs);
            let said = hear(&ours);
            let ended = waitpid(Some(child), WaitOptions::empty());
            let ended = ended.map_err(|error| CheckpointError::Kernel("wait", error.into()))?;
            match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                _ => Err(CheckpointError::MountPoints(said)),
            }
        }
    }
}

fn hear(socket: &OwnedFd) -> String {
    let mut message = vec![0; MESSAGE_LIMIT_BYTES];
    match recv(socket, message.as_mut_slice(), RecvFlags::empty()) {
        Ok((_, length)) if length > 0 => String::from_utf8_lossy(&message[..length]).into_owned(),
        _ => "their maker was killed".to_owned(),
    }
}

fn make(places: &RootfsPlan) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| error.to_string())?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(|error| error.to_string())?;
    rootfs::perform(places, RootfsFds::default(), &mut Alone)
        .map_err(|error| base::failure::chain(&error))
}

/// Leaves of a plan what makes places: the root and what is mounted there,
/// which others may be mounted on.
fn only_places(plan: &RootfsPlan) -> RootfsPlan {
    let mut places = plan.clone();
    places.steps.retain_mut(|step| match step {
        Step::Propagate(_) | Step::BindRoot { .. } => true,
        Step::Mount(mount) => match &mut mount.content {
            Content::Bind(bind) => {
                bind.id_map = None;
                true
            }
            // Groups are mounted below a sysfs, which has their place.
            Content::Filesystem(filesystem) => filesystem.kind != "cgroup",
            Content::Remount { .. } | Content::Unified { .. } => false,
        },
        _ => false,
    });
    places
}
