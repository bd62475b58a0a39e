//! Mounting one overlay, by the newest interface the kernel has.
//!
//! The new mount API takes layers one by one (`lowerdir+`, Linux 6.7). Before
//! that there is one `lowerdir` list: 255 bytes through `fsconfig`, one page
//! through `mount(2)`. Paths that do not fit, or hold a character that the
//! kernel's option parser would interpret, are named `/proc/self/fd/<n>`.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use base::{IdMappings, PathContext as _, PathError, Steps};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount as mount_classic, move_mount,
};

use crate::id_map::{Clones, IdMapError};

/// What `fsconfig` takes as a value, without the final NUL.
const VALUE_LIMIT_BYTES: usize = 255;
/// What `mount(2)` takes as data on every architecture, with the final NUL.
const PAGE_BYTES: usize = 4096;
/// The name shown as the mount's source.
const SOURCE: &str = "overlay";
/// Messages of the kernel that are read after a failure.
const MESSAGE_LIMIT: usize = 8;
/// Layers must mean the same on every kernel, whatever its defaults: nothing is
/// written into an upper directory that a plain walk of it could not read, and
/// no redirect that a layer might smuggle in is followed.
const FIXED_OPTIONS: [(&str, &str); 3] = [
    ("index", "off"),
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
];

/// How the kernel is told what to mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountWay {
    /// `fsopen`, each layer by `lowerdir+`.
    Append,
    /// `fsopen`, all layers in one `lowerdir`, `mount(2)` where that is too long.
    List,
    /// `mount(2)`.
    Classic,
}

/// Whether an overlay's upper directory is ever synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Synced,
    /// `volatile`: unmounting does not flush the file system below.
    Volatile,
}

/// One overlay to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The top-most first.
    pub lowers: Vec<PathBuf>,
    /// Empty directories below them, where the kernel wants more layers: one at
    /// least, and two of an overlay that cannot be written to.
    pub padding: Vec<PathBuf>,
    /// Where writes go; without it there are none.
    pub writable: Option<Writable>,
    pub target: PathBuf,
    /// How the owners of files are seen, where not as they are on disk.
    pub mappings: Option<IdMappings>,
}

/// The layer of an overlay that takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writable {
    pub upper: PathBuf,
    pub work: PathBuf,
    pub durability: Durability,
}

/// Why an overlay cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    #[error("cannot set the overlay option {option} for {target:?}{messages}")]
    Option {
        option: &'static str,
        target: PathBuf,
        messages: String,
        source: io::Error,
    },
    #[error("cannot mount the overlay {target:?}{messages}")]
    Mount {
        target: PathBuf,
        messages: String,
        source: io::Error,
    },
    #[error("cannot start a thread that owns files as the container's root")]
    Owner(#[source] io::Error),
    #[error("{layers} layers are more than the kernel takes in one page of options")]
    TooManyLayers { layers: usize },
}

impl MountWay {
    /// Returns the best way this kernel has.
    pub fn detect() -> Self {
        let Ok(context) = fsopen(SOURCE, FsOpenFlags::FSOPEN_CLOEXEC) else {
            return Self::Classic;
        };
        // Nothing is mounted: an option is looked up when it is set. Before Linux
        // 6.5 overlayfs took every option then and refused it at the mount; such a
        // kernel also takes one that does not exist.
        let takes = |option| fsconfig_set_string(context.as_fd(), option, "/").is_ok();
        match takes("lowerdir+") && !takes("no-such-option") {
            true => Self::Append,
            false => Self::List,
        }
    }
}

/// Mounts `overlay` at its target, which must be a directory.
///
/// # Errors
/// The step that failed, with the kernel's own messages; nothing is mounted then.
pub fn mount(way: MountWay, overlay: &Overlay, steps: &Steps) -> Result<(), OverlayError> {
    let Some(mappings) = &overlay.mappings else {
        return mount_layers(way, overlay);
    };
    let clones = Clones::attach(overlay, mappings, steps)?;
    let layers = clones.layers_of(overlay)?;
    steps.reached("layers.overlay");
    // The overlay makes its own files as whoever mounted it.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mount".to_owned());
        let work = || {
            base::user_namespace::own_files_as_root_of(mappings).map_err(OverlayError::Owner)?;
            mount_layers(way, &layers)
        };
        let thread = thread.spawn_scoped(scope, work);
        let panicked = |_| Err(OverlayError::Owner(io::Error::other("it panicked")));
        thread
            .map_err(OverlayError::Owner)?
            .join()
            .unwrap_or_else(panicked)
    })
}

fn mount_layers(way: MountWay, overlay: &Overlay) -> Result<(), OverlayError> {
    let spell = if way == MountWay::Append {
        Value::plain_if_short
    } else {
        Value::by_descriptor
    };
    let values = Values::new(overlay, spell)?;
    let list = values.lowers.iter().map(|l| l.text.as_str());
    let list = list.collect::<Vec<_>>().join(":");
    match way {
        MountWay::Append => mount_by_context(overlay, &values, None),
        MountWay::List if list.len() <= VALUE_LIMIT_BYTES => {
            mount_by_context(overlay, &values, Some(&list))
        }
        MountWay::List | MountWay::Classic => mount_by_page(overlay, &values, &list),
    }
}

/// A path as the kernel's option parser is told it.
struct Value {
    text: String,
    /// Keeps `/proc/self/fd/<n>` meaning this path.
    _open: Option<OwnedFd>,
}

impl Value {
    fn plain_if_short(path: &Path) -> Result<Self, PathError> {
        let text = path.to_str().filter(|text| {
            text.len() <= VALUE_LIMIT_BYTES && !text.contains(['\\', ':', ',', '\n'])
        });
        match text {
            Some(text) => Ok(Self {
                text: text.to_owned(),
                _open: None,
            }),
            None => Self::by_descriptor(path),
        }
    }

    fn by_descriptor(path: &Path) -> Result<Self, PathError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
        Ok(Self {
            text: format!("/proc/self/fd/{}", open.as_raw_fd()),
            _open: Some(open),
        })
    }
}

struct Values {
    lowers: Vec<Value>,
    /// Upper and work directory.
    writable: Option<(Value, Value)>,
}

impl Values {
    fn new(
        overlay: &Overlay,
        spell: fn(&Path) -> Result<Value, PathError>,
    ) -> Result<Self, PathError> {
        let lowers = overlay.lowers.iter().chain(&overlay.padding);
        let lowers = lowers.map(|lower| spell(lower));
        let writable = overlay.writable.as_ref();
        let writable = writable.map(|it| Ok((spell(&it.upper)?, spell(&it.work)?)));
        Ok(Self {
            lowers: lowers.collect::<Result<_, _>>()?,
            writable: writable.transpose()?,
        })
    }
}

/// Sets options one by one; `list` is the whole stack where the kernel has no
/// `lowerdir+`.
fn mount_by_context(
    overlay: &Overlay,
    values: &Values,
    list: Option<&str>,
) -> Result<(), OverlayError> {
    let failed = |source, messages| OverlayError::Mount {
        target: overlay.target.clone(),
        messages,
        source: io::Error::from(source),
    };
    let context = fsopen(SOURCE, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|error| failed(error, String::new()))?;
    configure(&context, values, list, overlay)?;
    fsconfig_create(context.as_fd()).map_err(|error| failed(error, messages(&context)))?;
    let attributes = match overlay.writable {
        Some(_) => MountAttrFlags::empty(),
        None => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let tree = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|error| failed(error, messages(&context)))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree.as_fd(), "", CWD, &overlay.target, flags)
        .map_err(|error| failed(error, String::new()))
}

fn configure(
    context: &OwnedFd,
    values: &Values,
    list: Option<&str>,
    overlay: &Overlay,
) -> Result<(), OverlayError> {
    let check = |option, result: Result<(), Errno>| {
        result.map_err(|source| OverlayError::Option {
            option,
            target: overlay.target.clone(),
            messages: messages(context),
            source: source.into(),
        })
    };
    let set = |option, value: &str| check(option, fsconfig_set_string(context, option, value));
    set("source", SOURCE)?;
    match list {
        Some(list) => set("lowerdir", list)?,
        None => {
            for lower in &values.lowers {
                set("lowerdir+", &lower.text)?;
            }
        }
    }
    if let Some((upper, work)) = &values.writable {
        set("upperdir", &upper.text)?;
        set("workdir", &work.text)?;
    }
    for (option, value) in FIXED_OPTIONS {
        set(option, value)?;
    }
    match is_volatile(overlay) {
        true => check("volatile", fsconfig_set_flag(context, "volatile")),
        false => Ok(()),
    }
}

fn is_volatile(overlay: &Overlay) -> bool {
    let writable = overlay.writable.as_ref();
    writable.is_some_and(|it| it.durability == Durability::Volatile)
}

fn mount_by_page(overlay: &Overlay, values: &Values, list: &str) -> Result<(), OverlayError> {
    let data = page_options(overlay, values, list);
    let too_many = || OverlayError::TooManyLayers {
        layers: values.lowers.len(),
    };
    if data.len() >= PAGE_BYTES {
        return Err(too_many());
    }
    let data = CString::new(data).map_err(|_| too_many())?;
    let target = &overlay.target;
    let flags = match overlay.writable {
        Some(_) => MountFlags::empty(),
        None => MountFlags::RDONLY,
    };
    mount_classic(SOURCE, target, SOURCE, flags, data.as_c_str()).map_err(|source| {
        OverlayError::Mount {
            target: target.clone(),
            messages: String::new(),
            source: source.into(),
        }
    })
}

fn page_options(overlay: &Overlay, values: &Values, list: &str) -> String {
    let mut options = format!("lowerdir={list}");
    if let Some((upper, work)) = &values.writable {
        options.push_str(&format!(",upperdir={},workdir={}", upper.text, work.text));
    }
    for (option, value) in FIXED_OPTIONS {
        options.push_str(&format!(",{option}={value}"));
    }
    if is_volatile(overlay) {
        options.push_str(",volatile");
    }
    options
}

/// Returns what the kernel has to say about the last failure, ready to be
/// appended to a message.
fn messages(context: &OwnedFd) -> String {
    let mut text = String::new();
    let mut buffer = [0; 512];
    for _ in 0..MESSAGE_LIMIT {
        match rustix::io::read(context, &mut buffer) {
            Ok(length) if length > 0 => {
                let message = String::from_utf8_lossy(&buffer[..length]);
                let message = message.trim_start_matches(['e', 'w', 'i']).trim();
                text.push_str(&format!(" ({message})"));
            }
            _ => break,
        }
    }
    text
}

/// The kernel's mark of a volatile overlay, below its work directory.
const VOLATILE_MARK: &str = "work/incompat/volatile";

/// Returns whether a work directory was left by a volatile overlay, which the
/// kernel refuses to mount again since its upper may be incomplete.
pub fn is_volatile_leftover(work: &Path) -> bool {
    File::open(work.join(VOLATILE_MARK)).is_ok()
}

/// Takes the kernel's mark from the work directory of a volatile overlay that was
/// unmounted: until the machine ends, its upper is whole.
///
/// # Errors
/// When the mark is there and stays.
pub fn settle_volatile(work: &Path) -> Result<(), PathError> {
    let mark = work.join(VOLATILE_MARK);
    match std::fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("remove", &mark)
        }
        _ => Ok(()),
    }
}
