//! Writing a sealed segment anew with some of its lines: what compaction and
//! repair have in common. The new file begins with the mark that allows its
//! holes, is on disk before it takes the old one's name, and is sealed.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use base::file::{remove_if_there, sync_directory};
use base::{PathContext as _, PathError};

use crate::format::{Line, check_line, push_compacted};
use crate::position::Position;
use crate::scan::lines;
use crate::segment::{self, SegmentKey};

/// The good records of a segment that are worth keeping.
#[derive(Debug)]
pub(crate) struct Rewrite {
    key: SegmentKey,
    bytes: Vec<u8>,
    pub(crate) kept_records: u64,
    pub(crate) dropped_records: u64,
}

impl Rewrite {
    /// Chooses the valid lines of `bytes` that `keep` wants; `last` is the
    /// last seq the segment accounts for.
    pub(crate) fn plan(
        key: SegmentKey,
        last: u64,
        bytes: &[u8],
        mut keep: impl FnMut(&[u8]) -> bool,
    ) -> Self {
        let mut rewrite = Self {
            key,
            bytes: Vec::with_capacity(bytes.len() / 2),
            kept_records: 0,
            dropped_records: 0,
        };
        push_compacted(&mut rewrite.bytes, key.first, last.max(key.first));
        let mut before = key.first.saturating_sub(1);
        for (_, line) in lines(bytes) {
            let Ok(Line::Record(header)) = check_line(line) else {
                continue;
            };
            let Position { epoch, seq } = header.position;
            let in_order = epoch == key.epoch && seq > before && seq <= last;
            if !in_order || !keep(line) {
                rewrite.dropped_records += 1;
                continue;
            }
            before = seq;
            rewrite.kept_records += 1;
            rewrite.bytes.extend_from_slice(line);
            rewrite.bytes.push(b'\n');
        }
        rewrite
    }

    /// Returns the size of the new file.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Puts the new file in the old one's place.
    pub(crate) fn apply(&self, directory: &Path) -> Result<(), PathError> {
        let path = self.key.path(directory);
        let temporary = path.with_extension("jsonl.new");
        remove_if_there(&temporary)?;
        let file = segment::create(&temporary)?;
        file.write_all_at(&self.bytes, 0).at("write", &temporary)?;
        segment::seal(&file, &temporary, self.size_bytes())?;
        file.sync_all().at("sync", &temporary)?;
        std::fs::rename(&temporary, &path).at("rename to", &path)?;
        sync_directory(directory)
    }
}
