//! Opening a store: what a crash left is cleared, what is incomplete is not listed.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base::file::{make_directories, read_bounded};
use base::lock::FileLock;
use base::{Digest, PathContext as _, PathError};
use rustix::fs::{IFlags, Mode, OFlags};

use super::image::{ParsedConfig, parse_config};
use super::layout::{Layout, TEMPORARY};
use super::lease::Workers;
use super::record::{ImageRecord, Records};
use super::trash::Trash;
use super::{ImageStore, Inner, State, StoreError};
use crate::layer::Limits;
use crate::manifest::MAX_CONFIG;

/// Content of unfinished pulls is kept so long for the next attempt.
const KEEP_UNFINISHED: Duration = Duration::from_secs(7 * 24 * 3600);

impl ImageStore {
    /// Opens the store in `directory`, which is made if missing.
    ///
    /// # Errors
    /// When another process has it, or its files cannot be read or made.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, Limits::default())
    }

    /// Opens the store with other limits than the default.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(directory: &Path, limits: Limits) -> Result<Self, StoreError> {
        make_directories(directory, 0o700)?;
        let layout = Layout::new(directory);
        let lock = FileLock::try_acquire(&layout.lock())?;
        let lock = lock.ok_or_else(|| StoreError::Locked(directory.to_owned()))?;
        for directory in layout.directories() {
            make_directories(&directory, 0o700)?;
        }
        spread(&layout.layers());
        let records = Records::read(&layout.refs())?;
        let trash = Trash::open(&layout.trash())?;
        let state = load(&layout, records)?;
        clear_leftovers(&layout, &trash, &state.records)?;
        let inner = Inner {
            layout,
            limits,
            state: Mutex::new(state),
            trash,
            workers: Workers::new(),
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

/// Asks the file system to give each directory in here a place of its own, as
/// `chattr +T` does: ext4 then takes inodes of another block group for each
/// layer. Layers that are unpacked side by side do not wait for each other, and
/// none is put among inodes that were deleted a moment ago, which ext4 passes
/// over one by one. Other file systems do not know the wish.
fn spread(directory: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let spread = rustix::fs::open(directory, flags, Mode::empty()).and_then(|directory| {
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR)
    });
    if let Err(error) = spread {
        tracing::debug!(?directory, %error, "layers are placed as the file system likes");
    }
}

/// Keeps the images that are whole.
fn load(layout: &Layout, records: Records) -> Result<State, StoreError> {
    let layers = names_in(&layout.layers())?;
    let mut configs = HashMap::new();
    let mut whole = Records::default();
    for (id, record) in records.0 {
        let missing = record
            .layers
            .iter()
            .find(|layer| !layers.contains(&layer.diff_id.hex()));
        if let Some(layer) = missing {
            tracing::warn!(image = %id, layer = %layer.diff_id, "image not listed: a layer is missing");
            continue;
        }
        match read_config(layout, &record) {
            Ok(parsed) => {
                configs.insert(id, parsed);
                whole.0.insert(id, record);
            }
            Err(error) => {
                let error = base::failure::chain(&error);
                tracing::warn!(image = %id, %error, "image not listed: its configuration is unusable");
            }
        }
    }
    Ok(State {
        records: whole,
        configs,
        leases: HashMap::new(),
    })
}

fn read_config(layout: &Layout, record: &ImageRecord) -> Result<ParsedConfig, StoreError> {
    let raw = read_bounded(&layout.blob(&record.id), MAX_CONFIG)?;
    let (expected, actual) = (record.id, Digest::of(&raw));
    if expected != actual {
        return Err(StoreError::Damaged { expected, actual });
    }
    let config = parse_config(&raw).map_err(|source| StoreError::Config {
        id: record.id,
        source,
    })?;
    Ok(ParsedConfig {
        config: Arc::new(config),
        raw: raw.into(),
    })
}

/// Throws away half-unpacked layers, and content no image names that is old.
fn clear_leftovers(layout: &Layout, trash: &Trash, records: &Records) -> Result<(), PathError> {
    let images = || records.0.values();
    let layers: HashSet<String> = images()
        .flat_map(|image| &image.layers)
        .flat_map(|layer| [layer.diff_id.hex(), format!("{}.json", layer.diff_id.hex())])
        .collect();
    let blobs: HashSet<String> = images()
        .flat_map(ImageRecord::blobs)
        .map(|d| d.hex())
        .collect();
    let groups = [
        (layout.layers(), layers),
        (layout.blobs(), blobs),
        (layout.ingests(), HashSet::new()),
    ];
    for (directory, kept) in groups {
        for name in names_in(&directory)?.difference(&kept) {
            let path = directory.join(name);
            // A dot begins what this engine was still writing.
            if name.starts_with(TEMPORARY) || name.starts_with('.') || is_old(&path) {
                trash.take(&path)?;
            }
        }
    }
    Ok(())
}

/// Returns whether nothing changed at `path` for long; layers carry the image's
/// times, so the time of the last change of the inode counts.
fn is_old(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = path.symlink_metadata() else {
        return false;
    };
    let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(changed) > KEEP_UNFINISHED
}

fn names_in(directory: &Path) -> Result<HashSet<String>, PathError> {
    let mut names = HashSet::new();
    for entry in std::fs::read_dir(directory).at("list", directory)? {
        let entry = entry.at("list", directory)?;
        names.insert(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
