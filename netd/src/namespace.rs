//! Network namespaces of runs: made, bound to `<run>/netns/<id>.<run>`, entered
//! by a thread that ends, and let go. No thread of the daemon ever changes its
//! own namespace.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use base::file::{make_directories, remove_if_there};
use base::user_namespace::{Held, Kinds, UserNamespaceError};
use base::{IdMappings, PathContext as _, PathError};
use netd_api::InterfaceSysctl;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::LinkNameSpaceType;

use crate::netlink::NetlinkError;
use crate::netlink::route::RouteSocket;
use crate::{sys, sysctl};

/// Where user namespaces are bound, below the directory of the run files.
pub const OWNERS: &str = "userns";
/// `NSFS_MAGIC`, the file system of bound namespaces.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// The loopback interface has the first index of every namespace.
const LOOPBACK_INDEX: u32 = 1;
const STACK_BYTES: usize = 128 * 1024;

/// What a container's namespace is given beside its interfaces, as Docker does:
/// everybody may ping and bind low ports; IPv6 is off on what is not loopback.
const SYSCTLS: [(&str, &str); 4] = [
    ("net/ipv4/ping_group_range", "0 2147483647"),
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// Why a namespace could not be made, entered or let go.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot start a thread for a network namespace")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    User(#[from] UserNamespaceError),
    #[error("cannot make a network namespace")]
    Unshare(#[source] io::Error),
    #[error("cannot enter the network namespace {path:?}")]
    Enter { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// A run's namespace: a handle and a socket inside it.
#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
    file: File,
    pub route: RouteSocket,
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Namespace {
    /// Gives the interface `name` of this namespace IPv6, which it has not by
    /// itself.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the kernel has no IPv6.
    pub fn enable_ipv6(&self, name: &str) -> Result<(), NamespaceError> {
        in_thread(|| {
            join(&self.path, &self.file)?;
            Ok(sysctl::View::fresh().set_ipv6(name, true)?)
        })
    }

    /// Sets the interface `name` of this namespace as its endpoint asks.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the kernel has no such setting or
    /// refuses the value.
    pub fn set(&self, name: &str, sysctls: &[InterfaceSysctl]) -> Result<(), NamespaceError> {
        if sysctls.is_empty() {
            return Ok(());
        }
        in_thread(|| {
            join(&self.path, &self.file)?;
            let view = sysctl::View::fresh();
            let mut all = sysctls.iter();
            Ok(all.try_for_each(|it| view.write(&it.name(name), &it.value))?)
        })
    }
}

/// Makes `directory` a private mount of itself, so that what is bound below it
/// neither spreads nor depends on how `/` is mounted.
///
/// # Errors
/// When a step fails.
pub fn prepare(directory: &Path) -> Result<(), PathError> {
    make_directories(directory, 0o700)?;
    if !is_mount_point(directory)? {
        rustix::mount::mount_bind(directory, directory).at("bind to itself", directory)?;
    }
    rustix::mount::mount_change(directory, MountPropagationFlags::PRIVATE)
        .at("make private", directory)
}

/// Undoes [`prepare`].
///
/// # Errors
/// When the mount cannot be removed.
pub fn dissolve(directory: &Path) -> Result<(), PathError> {
    if is_mount_point(directory)? {
        rustix::mount::unmount(directory, UnmountFlags::DETACH).at("unmount", directory)?;
    }
    Ok(())
}

/// Returns the names below `directory`, whether a namespace is bound there or not.
///
/// # Errors
/// When it cannot be listed.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, PathError> {
    let entries = std::fs::read_dir(directory).at("list", directory)?;
    entries
        .map(|entry| Ok(entry.at("list", directory)?.path()))
        .collect()
}

/// Returns whether a namespace is bound at `path`.
pub fn is_bound(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
}

/// Makes a namespace with loopback up, bound at `path`; one that is bound there
/// already is used.
///
/// # Errors
/// When a step fails; what was begun is left for [`release`].
pub fn create(path: &Path) -> Result<Namespace, NamespaceError> {
    if is_bound(path) {
        return enter(path, furnish);
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    file.open(path).at("create", path)?;
    let path = path.to_owned();
    in_thread_of_its_own(move || {
        sys::unshare_network().map_err(NamespaceError::Unshare)?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", &path)
            .at("bind a network namespace to", &path)?;
        let (route, settings) = furnish()?;
        let file = File::open(&path).at("open", &path)?;
        Ok((Namespace { path, file, route }, settings))
    })
}

/// Makes a namespace as [`create`] does, that belongs to a user namespace with
/// these mappings, which is bound beside it; both are used if they are there.
///
/// # Errors
/// When a step fails; what was begun is left for [`release`].
pub fn create_owned(path: &Path, mappings: &IdMappings) -> Result<Namespace, NamespaceError> {
    let owner = owner_of(path);
    if is_bound(path) && is_bound(&owner) {
        return enter(path, furnish);
    }
    release(path)?;
    let held = Held::new(Kinds::UserAndNetwork, mappings)?;
    for (kind, path) in [("user", &*owner), ("net", path)] {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        file.open(path).at("create", path)?;
        rustix::mount::mount_bind(held.path(kind), path).at("bind a namespace to", path)?;
    }
    enter(path, furnish)
}

/// Returns where the user namespace is bound that a network namespace belongs
/// to: `<run>/userns/<run>` beside `<run>/netns/<run>`.
fn owner_of(path: &Path) -> PathBuf {
    let run = path.parent().and_then(Path::parent).unwrap_or(path);
    let owners = run.join(OWNERS);
    path.file_name().map_or(owners.clone(), |n| owners.join(n))
}

/// Opens the namespace bound at `path`.
///
/// # Errors
/// When there is none, or it cannot be entered.
pub fn open(path: &Path) -> Result<Namespace, NamespaceError> {
    enter(path, || Ok((RouteSocket::open()?, ())))
}

fn enter<R>(
    path: &Path,
    work: impl FnOnce() -> Result<(RouteSocket, R), NamespaceError> + Send + 'static,
) -> Result<Namespace, NamespaceError> {
    let path = path.to_owned();
    let file = File::open(&path).at("open", &path)?;
    in_thread_of_its_own(move || {
        join(&path, &file)?;
        let (route, rest) = work()?;
        Ok((Namespace { path, file, route }, rest))
    })
}

/// Does some work in the namespace bound at `path`.
///
/// # Errors
/// When there is none, it cannot be entered, or the work fails.
pub fn within<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T, NamespaceError> + Send,
) -> Result<T, NamespaceError> {
    let file = File::open(path).at("open", path)?;
    in_thread(|| {
        join(path, &file)?;
        work()
    })
}

/// Moves the calling thread, which is to end soon, into a namespace.
fn join(path: &Path, file: &File) -> Result<(), NamespaceError> {
    let kind = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(file.as_fd(), kind).map_err(|errno| {
        NamespaceError::Enter {
            path: path.to_owned(),
            source: errno.into(),
        }
    })
}

/// Lets the namespace at `path` go; none is no error. The kernel takes it apart
/// later, once nobody is in it.
///
/// # Errors
/// When a step fails for another reason.
pub fn release(path: &Path) -> Result<(), PathError> {
    release_one(&owner_of(path))?;
    release_one(path)
}

fn release_one(path: &Path) -> Result<(), PathError> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno).at("unmount", path),
    }
    remove_if_there(path)
}

/// Runs in the new namespace. What is returned beside the socket is not needed any
/// more, but to close it takes a while.
fn furnish() -> Result<(RouteSocket, sysctl::View), NamespaceError> {
    let settings = sysctl::View::fresh();
    for (name, value) in SYSCTLS {
        settings.write_if_there(name, value)?;
    }
    let mut route = RouteSocket::open()?;
    route.set_up(LOOPBACK_INDEX)?;
    Ok((route, settings))
}

/// Does some work in a thread and returns the first part of its result at once;
/// the thread then drops the other and ends, for which nobody has to wait: an
/// instance of /proc goes only when every processor has taken notice.
fn in_thread_of_its_own<T: Send + 'static, R>(
    work: impl FnOnce() -> Result<(T, R), NamespaceError> + Send + 'static,
) -> Result<T, NamespaceError> {
    let (sender, receiver) = sync_channel(1);
    let work = move || {
        let (result, rest) = match work() {
            Ok((value, rest)) => (Ok(value), Some(rest)),
            Err(error) => (Err(error), None),
        };
        // The other end waits for it below.
        sender.send(result).ok();
        drop(rest);
    };
    let thread = std::thread::Builder::new().name("namespace".to_owned());
    let thread = thread.stack_size(STACK_BYTES).spawn(work);
    thread.map_err(NamespaceError::Thread)?;
    let panicked = |_| NamespaceError::Thread(io::Error::other("it panicked"));
    receiver.recv().map_err(panicked)?
}

fn in_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NamespaceError> + Send,
) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespace".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(NamespaceError::Thread)?;
        let panicked = || NamespaceError::Thread(io::Error::other("it panicked"));
        thread.join().map_err(|_| panicked())?
    })
}

fn is_mount_point(directory: &Path) -> Result<bool, PathError> {
    let stat = rustix::fs::statx(CWD, directory, AtFlags::empty(), StatxFlags::TYPE)
        .at("examine", directory)?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
