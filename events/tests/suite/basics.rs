//! Appending and reading, within one process.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{draft, numbers, read_all, segments};
use events::{AppendError, Draft, Log, LogOptions, OpenError, Position};

const SMALL_SEGMENT: u64 = 64 * 1024;

fn open(directory: &Path, segment_bytes: u64) -> Log {
    let options = LogOptions {
        segment_bytes,
        ..LogOptions::default()
    };
    Log::open_with(directory, &options).unwrap()
}

#[test]
fn records_come_back_in_order_across_rotation_from_any_position() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), SMALL_SEGMENT);
    let mut positions = Vec::new();
    for number in 0..3000 {
        positions.extend(log.append(&[draft(number)]).unwrap());
    }
    assert_eq!(log.last().unwrap(), *positions.last().unwrap());
    for start in [0, 1, 2, 500, 1499, 2998, 2999] {
        let after = positions[start];
        let expected: Vec<usize> = (start + 1..3000).collect();
        assert_eq!(numbers(&read_all(&log, after)), expected, "after {after}");
    }
    assert_eq!(read_all(&log, Position::default()).len(), 3000);
    let names = segments(directory.path());
    assert!(names.len() > 5, "{names:?}");
}

#[test]
fn a_second_opener_goes_on_where_the_first_is() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), SMALL_SEGMENT);
    let second = open(directory.path(), SMALL_SEGMENT);
    for number in 0..1000 {
        let log = if number % 3 == 0 { &first } else { &second };
        let positions = log.append(&[draft(number)]).unwrap();
        let seq = number as u64 + 1;
        assert_eq!(positions, [Position { epoch: 1, seq }]);
    }
    assert_eq!(read_all(&first, Position::default()).len(), 1000);
    assert_eq!(first.epoch(), second.epoch());
}

#[test]
fn a_reader_is_woken_and_follows_across_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), SMALL_SEGMENT);
    let mut reader = log.read_after(Position::default()).unwrap();
    let writer = std::thread::spawn({
        let log = log.clone();
        move || {
            for number in 0..2000 {
                log.append(&[draft(number)]).unwrap();
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut seen = Vec::new();
    while seen.len() < 2000 {
        assert!(Instant::now() < deadline, "only {} records", seen.len());
        seen.extend(numbers(&reader.read_batch().unwrap()));
        reader.wait(Duration::from_millis(200)).unwrap();
    }
    writer.join().unwrap();
    assert_eq!(seen, (0..2000).collect::<Vec<_>>());
}

#[test]
fn a_wait_ends_at_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), SMALL_SEGMENT);
    let mut reader = log.read_after(Position::default()).unwrap();
    assert!(reader.read_batch().unwrap().is_empty());
    assert!(reader.wait(Duration::ZERO).unwrap(), "the first call arms");
    let start = Instant::now();
    assert!(!reader.wait(Duration::from_millis(20)).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_record_over_the_limit_is_refused_and_nothing_of_its_batch_written() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 20);
    let large = Draft::new("netd", "test.large", "s", &"x".repeat(64 * 1024)).unwrap();
    let error = log.append(&[draft(1), large]).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    assert!(read_all(&log, Position::default()).is_empty());

    let fits = Draft::new("netd", "test.large", "s", &"x".repeat(65_000)).unwrap();
    log.append(&[fits, draft(2)]).unwrap();
    assert_eq!(read_all(&log, Position::default()).len(), 2);
}

/// Across segments and with records as large as pieces.
#[test]
fn pieces_are_small_and_hold_everything_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), SMALL_SEGMENT);
    let large = Draft::new("netd", "test.large", "s", &"x".repeat(60_000)).unwrap();
    for number in 0..1_000 {
        log.append(&[draft(number)]).unwrap();
        if number % 200 == 0 {
            log.append(std::slice::from_ref(&large)).unwrap();
            log.append(std::slice::from_ref(&large)).unwrap();
        }
    }
    let mut reader = log.read_after(Position::default()).unwrap();
    let mut seen = Vec::new();
    loop {
        let piece = reader.read_piece().unwrap();
        assert!(piece.len() <= 32, "{}", piece.len());
        let large = piece.iter().filter(|record| record.kind == "test.large");
        assert!(large.count() <= 2);
        if piece.is_empty() {
            break;
        }
        seen.extend(piece);
    }
    assert_eq!(seen.len(), 1_010);
    assert!(seen.is_sorted_by(|a, b| a.position < b.position));
}

#[test]
fn durable_appends_from_many_threads_all_return() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), SMALL_SEGMENT);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..50 {
                    log.append_durable(&[draft(number)]).unwrap();
                }
            });
        }
    });
    assert_eq!(read_all(&log, Position::default()).len(), 400);
}

#[test]
fn waiting_for_another_process_s_record_works_and_for_a_future_one_fails() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), SMALL_SEGMENT);
    let second = open(directory.path(), SMALL_SEGMENT);
    let positions = second.append(&[draft(1)]).unwrap();
    first.wait_durable(positions[0]).unwrap();
    let future = Position { epoch: 1, seq: 99 };
    let error = first.wait_durable(future).unwrap_err();
    assert!(matches!(error, AppendError::NotInLog { .. }), "{error}");
}

#[test]
fn reading_needs_no_writer_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Log::open_read_only(directory.path()).unwrap_err();
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
    let log = open(directory.path(), SMALL_SEGMENT);
    log.append(&[draft(1), draft(2)]).unwrap();
    drop(log);
    let log = Log::open_read_only(directory.path()).unwrap();
    assert_eq!(numbers(&read_all(&log, Position::default())), [1, 2]);
    assert!(matches!(
        log.append(&[draft(3)]),
        Err(AppendError::ReadOnly)
    ));
}

#[test]
fn a_time_finds_the_first_record_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), SMALL_SEGMENT);
    for number in 0..2000 {
        log.append(&[draft(number)]).unwrap();
    }
    let records = read_all(&log, Position::default());
    for index in [0, 1, 700, 1500, 1999] {
        let time = records[index].time;
        let first = records.iter().position(|r| r.time >= time).unwrap();
        let from = log.position_before(time).unwrap();
        assert_eq!(numbers(&read_all(&log, from))[0], first, "record {index}");
    }
    let future = base::Timestamp::from_seconds(4_000_000_000);
    assert!(read_all(&log, log.position_before(future).unwrap()).is_empty());
    let past = base::Timestamp::from_seconds(1);
    let all = read_all(&log, log.position_before(past).unwrap());
    assert_eq!(all.len(), 2000);
}
