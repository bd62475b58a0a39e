//! What can go wrong with a root filesystem, in planning and in performing.

use std::path::PathBuf;

use rustix::io::Errno;

use super::options::Reach;

/// Says which step failed, and on what.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error("linux.rootfsPropagation {0:?} is not known")]
    UnknownPropagation(String),
    #[error("linux.rootfsPropagation {0:?} is not safe without pivot_root")]
    PrivateWithoutPivot(String),
    #[error("a mount on {0:?} would hide the whole container")]
    MountOnRoot(PathBuf),
    #[error("mount on {0:?} has neither a type nor the option bind")]
    NoType(PathBuf),
    #[error("bind mount on {destination:?} cannot have the file system option {option:?}")]
    BindWithData {
        destination: PathBuf,
        option: String,
    },
    #[error("bind mount on {0:?} has no source")]
    NoSource(PathBuf),
    #[error("mount on {0:?} is not a bind mount, only those can be id-mapped")]
    IdMapWithoutBind(PathBuf),
    #[error("id-mapped mount on {0:?} must have both uidMappings and gidMappings")]
    IdMapIncomplete(PathBuf),
    #[error("id-mapped mount on {0:?} has no mappings and the container no user namespace")]
    IdMapWithoutMappings(PathBuf),
    #[error("device {0:?} must be a character or block device or a pipe")]
    DeviceType(PathBuf),
    #[error("device {0:?} has an impossible number or mode")]
    DeviceNumber(PathBuf),

    #[error("cannot read {0}")]
    Facts(&'static str, #[source] base::file::PathError),
    #[error("cannot {0}")]
    Root(&'static str, #[source] Errno),
    #[error("the root filesystem {0:?} changed while it was mounted")]
    RootChanged(PathBuf),
    #[error("cannot open a procfs that can be trusted")]
    Procfs(#[source] Box<pathrs::error::Error>),
    #[error("{0}")]
    Hook(String),

    #[error("error mounting {destination:?}: cannot {step}")]
    Mount {
        destination: PathBuf,
        step: &'static str,
        source: Errno,
    },
    #[error("error mounting {destination:?}: the kernel refuses {what}{said}")]
    Filesystem {
        destination: PathBuf,
        what: String,
        /// The kernel's own words, if it had any.
        said: String,
        source: Errno,
    },
    #[error("error mounting {0:?}: not a directory")]
    NotADirectory(PathBuf),
    #[error(
        "error mounting {path:?} on {destination:?}: not a directory: both must be directories, \
         or neither"
    )]
    Unlike { destination: PathBuf, path: PathBuf },
    #[error("error mounting {destination:?}: cannot open source {path:?}")]
    Source {
        destination: PathBuf,
        path: PathBuf,
        source: Errno,
    },
    #[error("cannot open mount source {path:?}: cannot {step}")]
    OpenSource {
        path: PathBuf,
        step: &'static str,
        source: Errno,
    },
    #[error("error mounting {destination:?}: source {path:?}: {message}")]
    ParentSource {
        destination: PathBuf,
        path: PathBuf,
        message: String,
    },
    #[error("error mounting {destination:?}: {kind} must be mounted on ordinary directory")]
    NotOrdinary { destination: PathBuf, kind: String },
    #[error("error mounting {destination:?}: {place:?} is inside /proc")]
    InsideProc {
        destination: PathBuf,
        place: PathBuf,
    },
    #[error("error mounting {0:?}: only a procfs can be mounted on /proc")]
    NotProcfs(PathBuf),
    #[error("error mounting {destination:?}: cannot clear or change locked flags {flags}")]
    Locked {
        destination: PathBuf,
        flags: String,
        source: Errno,
    },
    #[error("error mounting {destination:?}: {what} needs Linux {version}")]
    Kernel {
        destination: PathBuf,
        what: &'static str,
        version: &'static str,
    },
    #[error("error mounting {0:?}: no user namespace was handed over for its id mapping")]
    NoIdMap(PathBuf),
    #[error("a mount takes its id mapping from the container, which has no user namespace")]
    NoUserNamespace,
    #[error("error mounting {destination:?}: cannot map ids{}", hint(*reach, *source))]
    IdMap {
        destination: PathBuf,
        reach: Reach,
        source: Errno,
    },
    #[error("error mounting {0:?}: what was mounted there is something else")]
    MountedOver(PathBuf),
    #[error("error mounting {destination:?}: cannot copy up {path:?}")]
    CopyUp {
        destination: PathBuf,
        path: PathBuf,
        source: Errno,
    },
    #[error("error mounting {0:?}: directories to copy up are nested too deep")]
    CopyUpDepth(PathBuf),

    #[error("cannot make {path:?}: cannot {step}")]
    Device {
        path: PathBuf,
        step: &'static str,
        source: Errno,
    },
    #[error("cannot make {0:?}: something else is in its place")]
    DeviceTaken(PathBuf),
    #[error("cannot make {0:?}: the host has no such device there")]
    NotTheDevice(PathBuf),
    #[error("the host's /dev/null is not the null device")]
    NotNull,
    #[error("cannot make {path:?} read-only: cannot {step}")]
    ReadOnly {
        path: PathBuf,
        step: &'static str,
        source: Errno,
    },
    #[error("cannot mask {path:?}: cannot {step}")]
    Mask {
        path: PathBuf,
        step: &'static str,
        source: Errno,
    },
    #[error("cannot set up /dev/console: cannot {0}")]
    Console(&'static str, #[source] Errno),
    #[error("cannot set up /dev/console: the descriptor is not a pseudoterminal")]
    NotATerminal,
    #[error("cannot set up /dev/console: something else is in its place")]
    ConsoleTaken,
}

/// Says what a refused id mapping most likely means.
fn hint(reach: Reach, error: Errno) -> &'static str {
    match (error, reach) {
        (Errno::INVAL, Reach::Mount) => " (its file system may not support it on this kernel)",
        (Errno::INVAL, Reach::Tree) => " (a file system below may not support it on this kernel)",
        (Errno::NOSYS, _) => " (this needs Linux 5.12)",
        _ => "",
    }
}
