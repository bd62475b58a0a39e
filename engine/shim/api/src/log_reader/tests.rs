//! Tests of the log reader, over files written here.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use super::*;

fn line(number: u32) -> String {
    let time = Timestamp::from_seconds(i64::from(number));
    format!("{{\"log\":\"line {number}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n")
}

fn place(directory: &Path) -> LogPlace {
    LogPlace {
        directory: directory.to_owned(),
        name: "container.log".to_owned(),
    }
}

fn append(directory: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .append(true)
        .open(directory.join("container.log"));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn rotate(directory: &Path, files: u32) {
    for number in (0..files - 1).rev() {
        let place = place(directory);
        std::fs::rename(place.file(number), place.file(number + 1)).ok();
        std::fs::rename(place.compressed(number), place.compressed(number + 1)).ok();
    }
}

/// Lines 0 to `count`, ten in a file.
fn log_of(count: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..count {
        if number > 0 && number % 10 == 0 {
            rotate(directory.path(), 100);
        }
        append(directory.path(), &line(number));
    }
    directory
}

fn read(reader: &mut LogReader) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        texts.push(match entry.content {
            LogContent::Output { bytes, .. } => String::from_utf8(bytes).unwrap(),
            LogContent::Dropped { records } => format!("dropped {records}"),
            LogContent::Missed { files } => format!("missed {files}"),
            LogContent::Damaged => "damaged".to_owned(),
        });
    }
    texts
}

fn read_from(directory: &Path, start: LogStart) -> Vec<String> {
    read(&mut LogReader::open(&place(directory), &start).unwrap())
}

fn lines(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("line {number}\n")).collect()
}

#[test]
fn all_files_are_read_oldest_first() {
    let log = log_of(45);
    assert_eq!(read_from(log.path(), LogStart::default()), lines(0..45));
}

#[test]
fn a_log_that_is_not_there_is_empty_and_may_come() {
    let directory = tempfile::tempdir().unwrap();
    let mut reader = LogReader::open(&place(directory.path()), &LogStart::default()).unwrap();
    assert_eq!(read(&mut reader), [""; 0]);
    append(directory.path(), &line(1));
    assert_eq!(read(&mut reader), lines(1..2));
}

#[test]
fn the_last_lines_across_files_whatever_their_number() {
    let log = log_of(45);
    for count in 0..60 {
        let start = LogStart {
            tail: Some(count),
            since: None,
        };
        let first = 45_u32.saturating_sub(u32::try_from(count).unwrap());
        assert_eq!(
            read_from(log.path(), start),
            lines(first..45),
            "tail {count}"
        );
    }
}

#[test]
fn a_line_in_parts_counts_once_and_an_unfinished_one_too() {
    let directory = tempfile::tempdir().unwrap();
    append(directory.path(), &line(1));
    for part in ["a", "b", "c\\n", "unfinished"] {
        let text = line(2).replace("line 2\\n", part);
        append(directory.path(), &text);
    }
    let tail = |count| {
        let start = LogStart {
            tail: Some(count),
            since: None,
        };
        read_from(directory.path(), start)
    };
    assert_eq!(tail(1), ["unfinished"]);
    assert_eq!(tail(2), ["a", "b", "c\n", "unfinished"]);
    assert_eq!(tail(3), ["line 1\n", "a", "b", "c\n", "unfinished"]);
}

#[test]
fn since_a_time() {
    let log = log_of(45);
    let start = LogStart {
        since: Some(Timestamp::from_seconds(23)),
        tail: None,
    };
    assert_eq!(read_from(log.path(), start), lines(23..45));
    let later = LogStart {
        since: Some(Timestamp::now()),
        tail: None,
    };
    assert_eq!(read_from(log.path(), later), [""; 0]);
}

#[test]
fn a_follower_sees_every_line_across_rotations() {
    let log = log_of(5);
    let mut reader = LogReader::open(&place(log.path()), &LogStart::default()).unwrap();
    assert_eq!(read(&mut reader), lines(0..5));
    // More in the old file, then two rotations before the reader looks again.
    for number in 5..30 {
        if number % 10 == 0 {
            rotate(log.path(), 100);
        }
        append(log.path(), &line(number));
    }
    assert_eq!(read(&mut reader), lines(5..30));
}

#[test]
fn what_is_open_stays_readable_when_it_is_rotated_out() {
    let log = log_of(40);
    let mut reader = LogReader::open(&place(log.path()), &LogStart::default()).unwrap();
    assert!(reader.next_entry().unwrap().is_some());
    for number in 1..4 {
        std::fs::remove_file(place(log.path()).file(number)).unwrap();
    }
    assert_eq!(read(&mut reader), lines(1..40));
}

#[test]
fn a_torn_record_is_waited_for_and_may_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    append(directory.path(), &line(1));
    let whole = std::fs::metadata(directory.path().join("container.log"));
    let whole = whole.unwrap().len();
    let mut reader = LogReader::open(&place(directory.path()), &LogStart::default()).unwrap();
    assert_eq!(read(&mut reader), lines(1..2));
    for cut in 1..line(2).len() {
        append(directory.path(), &line(2)[..cut]);
        assert_eq!(read(&mut reader), [""; 0], "cut at {cut}");
        let file = OpenOptions::new()
            .write(true)
            .open(directory.path().join("container.log"));
        file.unwrap().set_len(whole).unwrap();
        assert_eq!(read(&mut reader), [""; 0]);
    }
    append(directory.path(), &line(3));
    assert_eq!(read(&mut reader), lines(3..4));
}

#[test]
fn what_is_no_record_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    append(directory.path(), "garbage\n\n{}\n");
    append(directory.path(), &line(1));
    append(
        directory.path(),
        &format!("{}\n", "x".repeat(3 * RECORD_LIMIT_BYTES)),
    );
    append(
        directory.path(),
        "{\"dropped\":7,\"time\":\"2026-01-01T00:00:00Z\"}\n",
    );
    append(directory.path(), &line(2));
    let expected = ["line 1\n", "dropped 7", "line 2\n"];
    assert_eq!(read_from(directory.path(), LogStart::default()), expected);
}

#[test]
fn waiting_ends_with_a_write_and_with_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let mut reader = LogReader::open(&place(directory.path()), &LogStart::default()).unwrap();
    reader.wait(Duration::from_secs(60));
    reader.wait(Duration::from_millis(1));
    assert_eq!(read(&mut reader), [""; 0]);
    append(directory.path(), &line(1));
    let begin = std::time::Instant::now();
    reader.wait(Duration::from_secs(60));
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(read(&mut reader), lines(1..2));
}

#[test]
fn missing_files_are_told_once_where_they_are_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let begin = |number: u32| {
        let time = Timestamp::from_seconds(i64::from(number));
        append(
            path,
            &format!("{{\"file\":{number},\"time\":\"{time}\"}}\n"),
        );
        append(path, &line(number));
    };
    begin(1);
    let mut reader = LogReader::open(&place(path), &LogStart::default()).unwrap();
    assert_eq!(read(&mut reader), lines(1..2));
    let tail = Some(0);
    let mut at_the_end = LogReader::open(&place(path), &LogStart { tail, since: None }).unwrap();
    assert_eq!(read(&mut at_the_end), [""; 0]);
    for number in 2..=5 {
        rotate(path, 2);
        begin(number);
    }
    let expected = ["missed 2", "line 4\n", "line 5\n"];
    assert_eq!(read(&mut reader), expected);
    assert_eq!(read(&mut at_the_end), expected);
    rotate(path, 2);
    append(path, "");
    assert_eq!(read(&mut reader), [""; 0], "empty as yet");
    begin(6);
    assert_eq!(read(&mut reader), lines(6..7));
    let all = ["line 5\n", "line 6\n"];
    assert_eq!(
        read_from(path, LogStart::default()),
        all,
        "a new reader misses nothing"
    );
}
