//! What is left of a log whose files were cut, flipped or truncated: never a
//! wrong record, never a number twice, and nothing lost that was whole.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::common::{Random, draft, numbers, open_in_boot, read_all, segments, try_read_all};
use events::{Log, Position, REPAIRED, ReadError};

const SEGMENT: u64 = 1 << 20;
const RECORDS: usize = 7;

/// A log of one segment, as bytes.
struct Sample {
    directory: tempfile::TempDir,
    bytes: Vec<u8>,
    /// The offset after each record.
    ends: Vec<usize>,
}

fn sample() -> Sample {
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", SEGMENT);
    for number in 0..RECORDS {
        log.append(&[draft(number)]).unwrap();
    }
    let bytes = std::fs::read(only_segment(directory.path())).unwrap();
    let newlines = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
    let ends = newlines.map(|(at, _)| at + 1).collect();
    Sample {
        directory,
        bytes,
        ends,
    }
}

fn only_segment(directory: &Path) -> PathBuf {
    let names = segments(directory);
    assert_eq!(names.len(), 1);
    directory.join(&names[0])
}

impl Sample {
    /// Puts `bytes` in place of the segment and everything else back as it was.
    fn restore(&self, bytes: &[u8]) {
        let directory = self.directory.path();
        for name in segments(directory) {
            std::fs::remove_file(directory.join(name)).unwrap();
        }
        let meta = directory.join("meta.json");
        let text = std::fs::read_to_string(&meta).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["epoch"] = 1.into();
        value["first"] = 1.into();
        value["boot_id"] = "one".into();
        let mode = base::file::FileMode::Private;
        base::file::replace(&meta, value.to_string().as_bytes(), mode).unwrap();
        let segment = directory.join(format!("{:010}-{:020}.jsonl", 1, 1));
        base::file::replace(&segment, bytes, mode).unwrap();
    }

    fn whole_at(&self, cut: usize) -> usize {
        self.ends.iter().filter(|end| **end <= cut).count()
    }
}

fn check_cut(sample: &Sample, cut: usize, boot: &str) {
    let directory = sample.directory.path();
    sample.restore(&sample.bytes[..cut]);
    let whole = sample.whole_at(cut);
    let before = Log::open_read_only(directory).unwrap();
    let expected: Vec<usize> = (0..whole).collect();
    assert_eq!(numbers(&read_all(&before, Position::default())), expected);

    let log = open_in_boot(directory, boot, SEGMENT);
    let position = log.append(&[draft(99)]).unwrap()[0];
    assert_eq!(position.seq, whole as u64 + 1, "cut at {cut}");
    let records = read_all(&log, Position::default());
    let mut expected = expected;
    expected.push(99);
    assert_eq!(numbers(&records), expected, "cut at {cut}, boot {boot}");
    assert!(records.iter().all(|r| r.kind != REPAIRED));
}

#[test]
fn a_segment_cut_at_any_byte_keeps_every_whole_record() {
    let sample = sample();
    for cut in 0..=sample.bytes.len() {
        check_cut(&sample, cut, "one");
    }
}

#[test]
fn a_segment_cut_at_any_byte_by_a_power_cut_is_repaired_at_the_next_boot() {
    let sample = sample();
    for cut in 0..=sample.bytes.len() {
        check_cut(&sample, cut, "two");
    }
}

/// A writer that is open while another's torn line appears cuts it.
#[test]
fn a_torn_tail_of_another_writer_is_cut_by_the_next_append() {
    let sample = sample();
    let directory = sample.directory.path();
    for torn in [
        &b"{"[..],
        b"{\"epoch\":1,\"seq\":8",
        b"garbage\nmore\n",
        &[0; 5000],
    ] {
        sample.restore(&sample.bytes);
        let log = open_in_boot(directory, "one", SEGMENT);
        let mut reader = log.read_after(Position::default()).unwrap();
        let path = only_segment(directory);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(torn, sample.bytes.len() as u64).unwrap();
        let before = reader.read_batch().unwrap();
        assert_eq!(before.len(), RECORDS);
        assert!(reader.read_batch().unwrap().is_empty());
        let position = log.append(&[draft(99)]).unwrap()[0];
        assert_eq!(position.seq, RECORDS as u64 + 1);
        assert_eq!(numbers(&reader.read_batch().unwrap()), [99]);
    }
}

#[test]
fn a_flipped_bit_never_gives_a_wrong_record_and_repair_saves_the_others() {
    let sample = sample();
    let directory = sample.directory.path();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let newlines = sample.ends.iter().map(|end| end - 1);
    let places: BTreeSet<usize> = newlines
        .chain((0..sample.bytes.len()).step_by(13))
        .collect();
    for at in places {
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= 1 << random.below(8);
        sample.restore(&bytes);
        let hit = sample.whole_at(at);
        let log = open_in_boot(directory, "one", SEGMENT);
        let (records, error) = try_read_all(&log, Position::default());
        let swallows_last = hit == RECORDS - 2 && at + 1 == sample.ends[hit];
        if hit == RECORDS - 1 || swallows_last {
            check_tail_flip(&log, hit);
            continue;
        }
        assert_eq!(numbers(&records), (0..hit).collect::<Vec<_>>(), "byte {at}");
        assert!(
            matches!(error, Some(ReadError::Damaged { .. })),
            "{error:?}"
        );

        let repairs = log.repair().unwrap();
        assert_eq!(repairs.len(), 1, "byte {at}");
        let records = read_all(&log, Position::default());
        let mut expected: Vec<usize> = (0..RECORDS).collect();
        expected.remove(hit);
        // A damaged newline takes the record after it along.
        if bytes[sample.ends[hit] - 1] != b'\n' {
            expected.remove(hit);
        }
        assert_eq!(numbers(&records), expected, "byte {at}");
        assert_eq!(records.last().unwrap().kind, REPAIRED);
        assert_eq!(std::fs::read(&repairs[0].original).unwrap(), bytes);
        std::fs::remove_file(&repairs[0].original).unwrap();
    }
}

/// Damage of the last record cannot be told from a torn tail.
fn check_tail_flip(log: &Log, hit: usize) {
    let position = log.append(&[draft(99)]).unwrap()[0];
    assert_eq!(position.seq, hit as u64 + 1);
    let mut expected: Vec<usize> = (0..hit).collect();
    expected.push(99);
    assert_eq!(numbers(&read_all(log, Position::default())), expected);
}

#[test]
fn a_repaired_log_needs_no_second_repair() {
    let sample = sample();
    let mut bytes = sample.bytes.clone();
    bytes[sample.ends[3] + 10] ^= 1;
    sample.restore(&bytes);
    let log = open_in_boot(sample.directory.path(), "one", SEGMENT);
    assert_eq!(log.repair().unwrap().len(), 1);
    assert!(log.repair().unwrap().is_empty());
}

#[test]
fn a_reader_waiting_in_a_segment_that_is_repaired_goes_on_after_reopening() {
    let sample = sample();
    let mut bytes = sample.bytes.clone();
    bytes[sample.ends[3] + 10] ^= 1;
    sample.restore(&bytes);
    let log = open_in_boot(sample.directory.path(), "one", SEGMENT);
    let (records, error) = try_read_all(&log, Position::default());
    let Some(ReadError::Damaged { after, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(after, records.last().unwrap().position);
    log.repair().unwrap();
    let rest = read_all(&log, after);
    assert_eq!(numbers(&rest), (5..RECORDS).collect::<Vec<_>>());
}

#[test]
fn a_lost_middle_segment_is_damage_that_repair_bridges() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", 64 * 1024);
    for number in 0..2000 {
        log.append(&[draft(number)]).unwrap();
    }
    let names = segments(directory.path());
    std::fs::remove_file(directory.path().join(&names[1])).unwrap();
    let (_, error) = try_read_all(&log, Position::default());
    assert!(
        matches!(error, Some(ReadError::Damaged { .. })),
        "{error:?}"
    );
    log.repair().unwrap();
    let kept = numbers(&read_all(&log, Position::default()));
    assert!(kept.len() < 2000 && kept.last() == Some(&1999));
}

/// Somebody truncated the live file: the numbers that went with it must not
/// come again, so a new epoch begins.
#[test]
fn records_that_vanish_from_the_live_segment_begin_a_new_epoch() {
    let sample = sample();
    let directory = sample.directory.path();
    sample.restore(&sample.bytes);
    let log = open_in_boot(directory, "one", SEGMENT);
    log.append(&[draft(20)]).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(only_segment(directory))
        .unwrap();
    file.set_len(sample.ends[4] as u64).unwrap();
    let position = log.append(&[draft(99)]).unwrap()[0];
    assert_eq!(position.epoch, 2);
    assert!(position.seq > RECORDS as u64 + 1);
    let records = read_all(&log, Position::default());
    assert_eq!(numbers(&records), [0, 1, 2, 3, 4, 99]);
    assert!(records.iter().any(|r| r.kind == REPAIRED));
}

#[test]
fn a_log_whose_directory_is_removed_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let log = open_in_boot(&path, "one", SEGMENT);
    log.append(&[draft(1)]).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    assert!(log.append(&[draft(2)]).is_err());
}
