//! What is done to sealed segments: dropping the old, compacting, and copying
//! around damage. It runs beside appends and readers, under a lock of its own
//! on the log's directory, so that two such runs never meet.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::file::remove_if_there;
use base::{PathContext as _, PathError, Timestamp};

use crate::cursor;
use crate::durable::guard;
use crate::format::decode;
use crate::log::{AppendError, Log};
use crate::record::Class;
use crate::rewrite::Rewrite;
use crate::scan::{Tail, scan_segment};
use crate::segment::{self, SegmentKey};

/// The most segments that one run compacts.
const COMPACTIONS_PER_RUN: usize = 16;

/// Why retention or repair failed.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot go on in a new segment")]
    Append(#[from] AppendError),
}

/// How long events are kept.
#[derive(Debug, Clone)]
pub struct RetentionPolicy {
    /// Above this size the oldest segments go, once every consumer has read them.
    pub max_bytes: u64,
    /// Above this size they go even if a consumer has not.
    pub hard_bytes: u64,
    /// Facts older than this go.
    pub fact_age: Duration,
    /// Requests, replies and progress older than this go.
    pub exchange_age: Duration,
    /// Tells the class of an event type.
    pub class_of: fn(&str) -> Class,
}

/// What a run of retention did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    pub removed_segments: usize,
    pub compacted_segments: usize,
    pub freed_bytes: u64,
}

/// A segment that was copied around its damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    pub segment: String,
    pub what: String,
    pub kept_records: u64,
    /// The damaged file, kept under another name.
    pub original: PathBuf,
}

/// A sealed segment, as retention sees it.
#[derive(Debug)]
struct Sealed {
    key: SegmentKey,
    size_bytes: u64,
    last_seq: u64,
    /// When its last record was written; 1970 if it holds none any more.
    last_time: Timestamp,
    compacted: bool,
}

impl Log {
    /// Compacts and drops segments by `policy`. Several may run, one waits.
    ///
    /// # Errors
    /// When a segment cannot be read, written or removed.
    pub fn retain(&self, policy: &RetentionPolicy) -> Result<Retained, MaintainError> {
        self.retain_at(policy, Timestamp::now())
    }

    /// Does what `retain` does at the moment `now`.
    ///
    /// # Errors
    /// As `retain`.
    pub fn retain_at(
        &self,
        policy: &RetentionPolicy,
        now: Timestamp,
    ) -> Result<Retained, MaintainError> {
        let directory = self.directory();
        let _held = hold(directory)?;
        let cursors = cursor::all(directory)?;
        let run = Run {
            directory,
            policy,
            now,
            slowest_seq: cursors.iter().map(|at| at.seq).min().unwrap_or(u64::MAX),
        };
        let mut done = Retained::default();
        let mut sealed = sealed_segments(directory)?;
        run.compact(&mut sealed, &mut done)?;
        run.remove(&sealed, &mut done)?;
        Ok(done)
    }

    /// Copies around the damage in every segment, so that readers can go on;
    /// a damaged file stays beside its copy as `<name>.damaged`.
    ///
    /// # Errors
    /// When a segment cannot be read or written.
    pub fn repair(&self) -> Result<Vec<Repair>, MaintainError> {
        let directory = self.directory();
        let _held = hold(directory)?;
        guard(self.writer()?).verify_active()?;
        let keys = segment::list(directory)?;
        let mut repairs = Vec::new();
        for pair in keys.windows(2) {
            repairs.extend(repair_segment(directory, pair[0], pair[1])?);
        }
        Ok(repairs)
    }
}

/// One run of retention.
struct Run<'a> {
    directory: &'a Path,
    policy: &'a RetentionPolicy,
    now: Timestamp,
    slowest_seq: u64,
}

impl Run<'_> {
    /// Drops the requests and replies of segments that have grown old.
    fn compact(&self, sealed: &mut [Sealed], done: &mut Retained) -> Result<(), PathError> {
        for segment in sealed {
            let ripe = !segment.compacted
                && segment.last_seq <= self.slowest_seq
                && self.is_older(segment.last_time, self.policy.exchange_age);
            if !ripe || done.compacted_segments >= COMPACTIONS_PER_RUN {
                continue;
            }
            let bytes = read_segment(self.directory, segment.key)?;
            let keep = |line: &[u8]| self.keeps(line);
            let rewrite = Rewrite::plan(segment.key, segment.last_seq, &bytes, keep);
            if rewrite.dropped_records == 0 || is_damaged(&bytes, segment.key) {
                continue;
            }
            rewrite.apply(self.directory)?;
            done.compacted_segments += 1;
            done.freed_bytes += segment.size_bytes.saturating_sub(rewrite.size_bytes());
            segment.size_bytes = rewrite.size_bytes();
        }
        Ok(())
    }

    fn keeps(&self, line: &[u8]) -> bool {
        decode(line).is_ok_and(|record| {
            let is_fact = (self.policy.class_of)(&record.kind) == Class::Fact;
            is_fact && !self.is_older(record.time, self.policy.fact_age)
        })
    }

    /// Removes segments from the oldest on, as far as age and size demand.
    fn remove(&self, sealed: &[Sealed], done: &mut Retained) -> Result<(), PathError> {
        let mut total: u64 = sealed.iter().map(|segment| segment.size_bytes).sum();
        for segment in sealed {
            let unwanted = total > self.policy.max_bytes
                || self.is_older(segment.last_time, self.policy.fact_age);
            let wanted_by_none = segment.last_seq <= self.slowest_seq;
            if !(unwanted && wanted_by_none || total > self.policy.hard_bytes) {
                break;
            }
            remove_if_there(&segment.key.path(self.directory))?;
            total -= segment.size_bytes;
            done.removed_segments += 1;
            done.freed_bytes += segment.size_bytes;
        }
        Ok(())
    }

    fn is_older(&self, time: Timestamp, age: Duration) -> bool {
        self.now.since(time) > age
    }
}

/// Keeps other maintenance out until dropped.
fn hold(directory: &Path) -> Result<File, PathError> {
    let handle = File::open(directory).at("open", directory)?;
    handle.lock().at("lock", directory)?;
    Ok(handle)
}

fn sealed_segments(directory: &Path) -> Result<Vec<Sealed>, PathError> {
    let keys = segment::list(directory)?;
    let mut sealed = Vec::with_capacity(keys.len());
    for pair in keys.windows(2) {
        sealed.push(describe(directory, pair[0], pair[1])?);
    }
    Ok(sealed)
}

fn describe(directory: &Path, key: SegmentKey, next: SegmentKey) -> Result<Sealed, PathError> {
    let path = key.path(directory);
    let file = segment::open_for_reading(directory, key)?;
    let size_bytes = segment::status(&file, &path)?.size_bytes;
    let last = segment::last_record(&file, &path, size_bytes)?;
    Ok(Sealed {
        key,
        size_bytes,
        last_seq: next.first.saturating_sub(1),
        last_time: last.map(|found| found.time).unwrap_or_default(),
        compacted: segment::hole_last(&file, &path)?.is_some(),
    })
}

fn read_segment(directory: &Path, key: SegmentKey) -> Result<Vec<u8>, PathError> {
    let path = key.path(directory);
    let file = segment::open_for_reading(directory, key)?;
    let size = segment::status(&file, &path)?.size_bytes;
    segment::read_range(&file, &path, 0, size)
}

fn is_damaged(bytes: &[u8], key: SegmentKey) -> bool {
    scan_segment(bytes, Some(key.position())).tail != Tail::Clean
}

fn repair_segment(
    directory: &Path,
    key: SegmentKey,
    next: SegmentKey,
) -> Result<Option<Repair>, PathError> {
    let bytes = read_segment(directory, key)?;
    let scan = scan_segment(&bytes, Some(key.position()));
    let found = scan.last_seq.unwrap_or(key.first.saturating_sub(1));
    let last = if next.epoch == key.epoch {
        next.first.saturating_sub(1)
    } else {
        found
    };
    let what = match scan.tail {
        Tail::Corrupt { what } => what,
        Tail::Torn => "torn before its end",
        Tail::Clean if found < last => "records missing at its end",
        Tail::Clean => return Ok(None),
    };
    let rewrite = Rewrite::plan(key, last, &bytes, |_| true);
    let path = key.path(directory);
    let original = path.with_extension("jsonl.damaged");
    remove_if_there(&original)?;
    std::fs::hard_link(&path, &original).at("link to", &original)?;
    rewrite.apply(directory)?;
    Ok(Some(Repair {
        segment: key.to_string(),
        what: what.to_owned(),
        kept_records: rewrite.kept_records,
        original,
    }))
}
