//! Opening a log: a new one, the same boot again, or the first time after a
//! boot, which repairs the tail and begins a new epoch.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base::boot::BootId;
use base::file::{make_directories, remove_if_there};
use base::{PathContext as _, PathError};

use crate::active::{Active, Damage, Verify};
use crate::cursor;
use crate::log::{LogOptions, OpenError};
use crate::meta::Meta;
use crate::segment::{self, SegmentKey};
use crate::writer::{LOCK_NAME, Writer, lock, unlock};

/// Opens the log in `directory` for appending, making it if it is not there.
pub(crate) fn open(
    directory: &Path,
    options: &LogOptions,
    boot_id: &BootId,
) -> Result<Writer, OpenError> {
    make_directories(&directory.join("cursors"), 0o700)?;
    let lock_file = open_lock(directory)?;
    let writers_lock = lock_file.try_clone().at("open", directory)?;
    let opening = Opening {
        directory,
        options,
        boot_id,
        lock: writers_lock,
    };
    lock(&lock_file, directory)?;
    let opened = opening.run();
    unlock(&lock_file, directory)?;
    opened
}

fn open_lock(directory: &Path) -> Result<File, PathError> {
    let path = directory.join(LOCK_NAME);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(&path).at("open", &path)
}

/// What every step needs; the lock is held all the while.
struct Opening<'a> {
    directory: &'a Path,
    options: &'a LogOptions,
    boot_id: &'a BootId,
    lock: File,
}

impl Opening<'_> {
    fn run(self) -> Result<Writer, OpenError> {
        let newest = segment::list(self.directory)?.pop();
        match Meta::read(self.directory)? {
            Some(meta) if meta.boot_id == *self.boot_id => self.resume(meta, newest),
            meta => self.begin_epoch(meta, newest),
        }
    }

    /// Goes on in the epoch of this boot.
    fn resume(self, meta: Meta, newest: Option<SegmentKey>) -> Result<Writer, OpenError> {
        let Some(newest) = newest.filter(|key| key.epoch >= meta.epoch) else {
            return self.finish_epoch(&meta);
        };
        let segment_bytes = self.options.segment_bytes;
        let (active, damage) =
            Active::adopt(self.directory, newest, segment_bytes, self.options.verify)?;
        if self.known_elsewhere()? > active.last_seq {
            return self.begin_epoch(Some(meta), Some(newest));
        }
        let sealed = segment::status(&active.file, &active.path)?.sealed;
        let mut writer = Writer::new(self.directory, self.lock, self.options, active);
        if let Some(what) = damage.filter(|_| !sealed) {
            writer.go_on_after(what)?;
        }
        Ok(writer)
    }

    /// Makes the first segment of an epoch whose opener died before it did.
    fn finish_epoch(self, meta: &Meta) -> Result<Writer, OpenError> {
        let key = SegmentKey {
            epoch: meta.epoch,
            first: meta.first,
        };
        let active = Active::create(self.directory, key, self.options.segment_bytes)?;
        Ok(Writer::new(self.directory, self.lock, self.options, active))
    }

    fn begin_epoch(
        self,
        meta: Option<Meta>,
        newest: Option<SegmentKey>,
    ) -> Result<Writer, OpenError> {
        let (last_seq, damage) = match newest {
            Some(key) => self.end_segment(key)?,
            None => (0, None),
        };
        let first = last_seq.max(self.known_elsewhere()?).saturating_add(1);
        let last_epoch = meta.as_ref().map_or(0, |meta| meta.epoch);
        let epoch = last_epoch.max(newest.map_or(0, |key| key.epoch)) + 1;
        let mut next = Meta::new_log(epoch, first, self.boot_id.clone());
        if let Some(meta) = meta {
            next.log = meta.log;
        }
        next.write(self.directory)?;
        let (directory, options) = (self.directory, self.options);
        let active = Active::create(
            directory,
            SegmentKey { epoch, first },
            options.segment_bytes,
        )?;
        let mut writer = Writer::new(directory, self.lock, options, active);
        if let (Some(key), Some(what)) = (newest, damage) {
            writer.report(key, what)?;
        }
        Ok(writer)
    }

    /// Repairs the tail of the last segment of an earlier boot and seals it;
    /// one that nothing was ever written to is removed.
    fn end_segment(&self, key: SegmentKey) -> Result<(u64, Option<Damage>), OpenError> {
        let segment_bytes = self.options.segment_bytes;
        let (active, damage) = Active::adopt(self.directory, key, segment_bytes, Verify::Full)?;
        if active.end == 0 {
            remove_if_there(&active.path)?;
        } else {
            active.seal()?;
        }
        Ok((active.last_seq, damage))
    }

    /// Returns the highest seq that somebody outside the segments has seen.
    fn known_elsewhere(&self) -> Result<u64, PathError> {
        let cursors = cursor::all(self.directory)?;
        let seen = cursors.iter().map(|position| position.seq).max();
        Ok(self.options.floor.max(seen.unwrap_or(0)))
    }
}
