//! What several of these test programs need.

use std::path::Path;

use base::boot::BootId;
use events::{Draft, Log, LogOptions, Position, ReadError, Record, Verify};

/// Returns the draft of an event that only counts.
pub(crate) fn draft(number: usize) -> Draft {
    Draft::new("netd", "test.counted", "subject", &number).unwrap()
}

/// Opens a log as of `boot`, looking at every line.
pub(crate) fn open_in_boot(directory: &Path, boot: &str, segment_bytes: u64) -> Log {
    let options = LogOptions {
        boot_id: Some(boot_id(boot)),
        segment_bytes,
        verify: Verify::Full,
        ..LogOptions::default()
    };
    Log::open_with(directory, &options).unwrap()
}

pub(crate) fn boot_id(text: &str) -> BootId {
    let Ok(id) = text.parse();
    id
}

/// Reads until there is no more or something is wrong.
pub(crate) fn try_read_all(log: &Log, after: Position) -> (Vec<Record>, Option<ReadError>) {
    let mut reader = log.read_after(after).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.read_batch() {
            Ok(batch) if batch.is_empty() => return (records, None),
            Ok(batch) => records.extend(batch),
            Err(error) => return (records, Some(error)),
        }
    }
}

/// Reads everything; damage or a gap fails the test.
pub(crate) fn read_all(log: &Log, after: Position) -> Vec<Record> {
    let (records, error) = try_read_all(log, after);
    assert!(error.is_none(), "{error:?}");
    records
}

/// Returns what the counting events among `records` count.
pub(crate) fn numbers(records: &[Record]) -> Vec<usize> {
    let counted = records.iter().filter(|r| r.kind == "test.counted");
    counted.map(|r| r.payload().unwrap()).collect()
}

/// Returns the names of all segments, oldest first.
pub(crate) fn segments(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    names
}

/// A small generator of pseudo-random numbers; tests print its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
