//! The parent's side of bind mounts that a child in a user namespace cannot
//! make alone.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::RootfsError;
use super::kernel;
use super::steps::SourceRequest;

/// Opens what `request` names, as the process `child`, a pidfd, has it mounted,
/// and returns a mount of it that is attached nowhere. For a request with an id
/// map, `user_namespace` is the one it names.
///
/// Privileged on the host, but in the child's mount namespace: there the kernel
/// has locked what a user namespace must not change, and locks are copied. A
/// thread of its own goes there.
///
/// # Errors
/// Which part failed.
pub fn open_source(
    child: BorrowedFd<'_>,
    request: &SourceRequest,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, RootfsError> {
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| open(child, request, user_namespace));
        opening.join().expect("the thread does not panic")
    })
}

fn open(
    child: BorrowedFd<'_>,
    request: &SourceRequest,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, RootfsError> {
    let failed = |step| {
        move |source| RootfsError::OpenSource {
            path: request.path.clone(),
            step,
            source,
        }
    };
    // A thread that shares its root with others cannot move.
    unshare(CloneFlags::CLONE_FS).map_err(|error| {
        failed("leave the caller's root")(Errno::from_raw_os_error(error as i32))
    })?;
    move_into_thread_name_spaces(child, ThreadNameSpaceType::MOUNT)
        .map_err(failed("enter the container's mount namespace"))?;
    let mount = kernel::clone_path(&request.path, request.reach).map_err(failed("open it"))?;
    if let Some(map) = request.id_map {
        let namespace = user_namespace.ok_or(Errno::BADF);
        let namespace = namespace.map_err(failed("find the user namespace of its id map"))?;
        kernel::map_ids(mount.as_fd(), namespace, map.reach).map_err(failed("map its ids"))?;
    }
    Ok(mount)
}
