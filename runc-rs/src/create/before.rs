//! What must be so before libcontainer makes the container: it inherits the
//! keyring and groups of this process.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, read_bounded};
use oci_spec::runtime::Spec;
use rustix::thread::set_thread_groups;

use super::CreateError;
use crate::cgroup::write_control;
use crate::state::{KeyringMode, Record};
use crate::sys;

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Prepares this process and the root filesystem.
///
/// # Errors
/// The step that failed.
pub(super) fn prepare(
    record: &Record,
    spec: &Spec,
    working_directory: Option<&Path>,
) -> Result<(), CreateError> {
    if record.keyring == KeyringMode::Fresh {
        join_keyring(record)?;
    }
    clear_groups()?;
    match working_directory {
        Some(path) => make_working_directory(record, spec, path),
        None => Ok(()),
    }
}

fn join_keyring(record: &Record) -> Result<(), CreateError> {
    let name = CString::new(format!("_ses.{}", record.id)).expect("an id has no NUL byte");
    match sys::join_session_keyring(&name) {
        // A kernel without keyrings has none to leak.
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => {
            Err(CreateError::Keyring(error))
        }
        _ => Ok(()),
    }
}

/// Drops the caller's supplementary groups, which the container would inherit
/// when its specification names none. A caller without the privilege keeps
/// them: the kernel shows unmapped groups as nobody's in its user namespace.
fn clear_groups() -> Result<(), CreateError> {
    match set_thread_groups(&[]) {
        Err(rustix::io::Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        result => result.map_err(|error| CreateError::Groups(error.into())),
    }
}

/// Makes the working directory below the root filesystem, by descriptor, as
/// runc does after it has entered it. A directory on a read-only file system
/// cannot be made; if it is missing there, entering it says so.
fn make_working_directory(record: &Record, spec: &Spec, path: &Path) -> Result<(), CreateError> {
    let failed = |error| CreateError::WorkingDirectory(PathBuf::from(path), error);
    let root = pathrs::Root::open(&record.rootfs).map_err(failed)?;
    if root.resolve(path).is_ok() {
        return Ok(());
    }
    let made = match root.mkdir_all(path, &std::fs::Permissions::from_mode(0o755)) {
        Err(error) if is_read_only(&error) => return Ok(()),
        made => made.map_err(failed)?,
    };
    let (uid, gid) = mapped_root(spec);
    let made = made
        .reopen(pathrs::flags::OpenFlags::O_DIRECTORY)
        .map_err(failed)?;
    Ok(rustix::fs::fchown(&made, Some(uid), Some(gid)).at("change the owner of", path)?)
}

fn is_read_only(error: &pathrs::error::Error) -> bool {
    matches!(
        error.kind(),
        pathrs::error::ErrorKind::OsError(Some(code)) if code == libc::EROFS
    )
}

/// Who the container's root is on the host.
fn mapped_root(spec: &Spec) -> (rustix::fs::Uid, rustix::fs::Gid) {
    let linux = spec.linux().as_ref();
    let host_id = |mappings: Option<&Vec<oci_spec::runtime::LinuxIdMapping>>| {
        let mut mappings = mappings.into_iter().flatten();
        mappings
            .find(|mapping| mapping.container_id() == 0)
            .map_or(0, |mapping| mapping.host_id())
    };
    let uid = host_id(linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let gid = host_id(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    (
        rustix::fs::Uid::from_raw(uid),
        rustix::fs::Gid::from_raw(gid),
    )
}

/// This process's own OOM score, put back when dropped: libcontainer gives the
/// creating process the container's score, which a foreground run would keep.
#[derive(Debug)]
pub(super) struct OomScore(Option<String>);

impl OomScore {
    /// Remembers the score if `spec` will change it.
    pub(super) fn keep(spec: &Spec) -> Result<Self, CreateError> {
        let wanted = spec
            .process()
            .as_ref()
            .and_then(|process| process.oom_score_adj());
        if wanted.is_none() {
            return Ok(Self(None));
        }
        let score = read_bounded(Path::new(OOM_SCORE), 64)?;
        Ok(Self(Some(
            String::from_utf8_lossy(&score).trim().to_owned(),
        )))
    }
}

impl Drop for OomScore {
    fn drop(&mut self) {
        if let Some(score) = self.0.take() {
            // Without CAP_SYS_RESOURCE a raised minimum cannot be lowered
            // again; this process is then only an earlier victim.
            drop(write_control(Path::new(OOM_SCORE), &score).map_err(io::Error::other));
        }
    }
}
