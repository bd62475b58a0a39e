//! What is dropped, what is kept, and what readers are told.

use std::path::Path;
use std::time::Duration;

use base::{RequestId, Timestamp};
use events::{Class, Draft, Log, Position, ReadError, RetentionPolicy};

use crate::common::{numbers, open_in_boot, read_all, segments, try_read_all};

const SEGMENT: u64 = 64 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

fn class_of(kind: &str) -> Class {
    match kind {
        "test.counted" => Class::Fact,
        _ => Class::Request,
    }
}

fn policy() -> RetentionPolicy {
    RetentionPolicy {
        max_bytes: 1 << 30,
        hard_bytes: 1 << 40,
        fact_age: 100 * HOUR,
        exchange_age: HOUR,
        class_of,
    }
}

fn after(hours: i64) -> Timestamp {
    Timestamp::from_seconds(Timestamp::now().seconds() + hours * 3600)
}

/// A log of several segments in which every tenth record is a fact.
fn log_of(directory: &Path, records: usize) -> Log {
    let log = open_in_boot(directory, "one", SEGMENT);
    for number in 0..records {
        let kind = if number % 10 == 0 {
            "test.counted"
        } else {
            "test.asked"
        };
        let draft = Draft::new("netd", kind, "s", &number).unwrap();
        log.append(&[draft.with_request(RequestId::random())])
            .unwrap();
    }
    log
}

#[test]
fn old_requests_go_facts_stay_and_readers_pass_the_holes() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_of(directory.path(), 2000);
    let mut midway = log.read_after(Position { epoch: 1, seq: 105 }).unwrap();
    let mut entered = log.read_after(Position::default()).unwrap();
    assert_eq!(entered.read_batch().unwrap()[0].position.seq, 1);

    assert_eq!(log.retain(&policy()).unwrap(), events::Retained::default());
    let done = log.retain_at(&policy(), after(2)).unwrap();
    assert_eq!(
        done.compacted_segments,
        segments(directory.path()).len() - 1
    );
    assert_eq!(done.removed_segments, 0);
    assert!(done.freed_bytes > 200_000, "{done:?}");
    let again = log.retain_at(&policy(), after(2)).unwrap();
    assert_eq!(again, events::Retained::default(), "nothing to do twice");

    let records = read_all(&log, Position::default());
    let facts: Vec<usize> = (0..2000).step_by(10).collect();
    assert_eq!(numbers(&records), facts);
    assert!(
        records.len() < 700,
        "only the newest segment keeps requests"
    );
    let first = midway.read_batch().unwrap()[0].position.seq;
    assert_eq!(first, 111, "the first fact after 105");
    while !entered.read_batch().unwrap().is_empty() {}
    assert_eq!(entered.position(), log.last().unwrap());
    for seq in [1, 10, 500, 777, 1500] {
        let rest = read_all(&log, Position { epoch: 1, seq });
        assert!(rest.iter().all(|record| record.position.seq > seq));
        let counted = numbers(&rest);
        assert!(facts.ends_with(&counted), "after {seq}");
    }
    assert!(log.repair().unwrap().is_empty(), "compaction is no damage");
}

#[test]
fn age_removes_whole_segments_but_not_past_a_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_of(directory.path(), 2000);
    let held = Position { epoch: 1, seq: 900 };
    log.cursor("netd").unwrap().store(held).unwrap();
    let far = Position {
        epoch: 1,
        seq: 2000,
    };
    log.cursor("volumed").unwrap().store(far).unwrap();

    let done = log.retain_at(&policy(), after(200)).unwrap();
    assert!(done.removed_segments > 0, "{done:?}");
    let rest = read_all(&log, held);
    assert_eq!(rest.len(), 1100, "the slowest consumer misses nothing");

    let (_, error) = try_read_all(&log, Position { epoch: 1, seq: 5 });
    let Some(ReadError::Gap { after, oldest }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(after.seq, 5);
    assert!(oldest.seq <= 901);
    assert_eq!(
        read_all(
            &log,
            Position {
                epoch: 1,
                seq: oldest.seq - 1
            }
        )[0]
        .position,
        oldest
    );
}

#[test]
fn size_removes_the_oldest_and_the_hard_cap_passes_cursors() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_of(directory.path(), 3000);
    let policy = RetentionPolicy {
        max_bytes: 3 * SEGMENT,
        ..policy()
    };
    let mut behind = log.read_after(Position::default()).unwrap();
    assert_eq!(behind.read_batch().unwrap().len(), 1024);
    log.cursor("netd").unwrap();
    let done = log.retain(&policy).unwrap();
    assert_eq!(done.removed_segments, 0, "a consumer has read nothing yet");

    let policy = RetentionPolicy {
        hard_bytes: 3 * SEGMENT,
        ..policy
    };
    let done = log.retain(&policy).unwrap();
    assert!(done.removed_segments > 0);
    assert!(segments(directory.path()).len() <= 4);
    let mut error = None;
    while error.is_none() {
        error = behind.read_batch().err();
    }
    assert!(matches!(error, Some(ReadError::Gap { .. })), "{error:?}");
}

#[test]
fn a_damaged_segment_is_never_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_of(directory.path(), 1000);
    let path = directory.path().join(&segments(directory.path())[0]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    base::file::replace(&path, &bytes, base::file::FileMode::Private).unwrap();
    log.retain_at(&policy(), after(2)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is evidence");
}
