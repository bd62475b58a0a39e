//! Several processes write at once, and some are killed. The other processes
//! are this test program again, told by the environment to run one test that
//! is a writer; started without that, such a test does nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use events::{Draft, Log, Position, REPAIRED, Record};
use serde::{Deserialize, Serialize};

use crate::common::{Random, open_in_boot, read_all};

const DIRECTORY: &str = "EVENTS_TEST_DIRECTORY";
const WRITER: &str = "EVENTS_TEST_WRITER";
const WRITERS: u64 = 8;
const RECORDS_EACH: u64 = 20_000;
const LIMIT: Duration = Duration::from_secs(120);

/// What a test writer writes: who, and its how manyeth.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Note {
    writer: u64,
    number: u64,
}

pub(crate) fn start(test: &str, directory: &Path, writer: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIRECTORY, directory)
        .env(WRITER, writer.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Returns what this process was started to do, if it is such a writer.
fn task() -> Option<(PathBuf, u64)> {
    let directory = std::env::var_os(DIRECTORY)?;
    let writer = std::env::var(WRITER).unwrap().parse().unwrap();
    Some((directory.into(), writer))
}

fn note(writer: u64, number: u64) -> Draft {
    let padding_subject = format!("subject-{}", number % 10);
    Draft::new(
        "test",
        "test.noted",
        padding_subject,
        &Note { writer, number },
    )
    .unwrap()
}

#[test]
fn child_writes_its_share() {
    let Some((directory, writer)) = task() else {
        return;
    };
    let log = Log::open(&directory).unwrap();
    let mut number = 0;
    while number < RECORDS_EACH {
        // Single records and batches of different sizes.
        let count = (1 + (number * 7 + writer) % 5).min(RECORDS_EACH - number);
        let drafts: Vec<Draft> = (number..number + count).map(|n| note(writer, n)).collect();
        log.append(&drafts).unwrap();
        number += count;
    }
}

#[test]
fn child_writes_until_it_is_killed() {
    let Some((directory, writer)) = task() else {
        return;
    };
    let log = Log::open(&directory).unwrap();
    let acknowledged = directory.join(format!("acknowledged-{writer}"));
    let deadline = Instant::now() + LIMIT;
    let mut number = 0;
    while Instant::now() < deadline {
        let count = 1 + number % 4;
        let drafts: Vec<Draft> = (number..number + count).map(|n| note(writer, n)).collect();
        if number % 16 == 0 {
            log.append_durable(&drafts).unwrap();
        } else {
            log.append(&drafts).unwrap();
        }
        number += count;
        let text = number.to_string();
        base::file::replace(
            &acknowledged,
            text.as_bytes(),
            base::file::FileMode::Private,
        )
        .unwrap();
    }
}

/// Asserts that every writer's notes stand there once and in its own order,
/// and that seq has no gap; returns how many notes each writer has.
fn check_order(records: &[Record]) -> HashMap<u64, u64> {
    let mut next: HashMap<u64, u64> = HashMap::new();
    for (record, seq) in records.iter().zip(1..) {
        assert_eq!(record.position.seq, seq);
        let note: Note = record.payload().unwrap();
        let expected = next.entry(note.writer).or_default();
        assert_eq!(note.number, *expected, "writer {}", note.writer);
        *expected += 1;
    }
    next
}

#[test]
fn eight_writers_at_once_lose_nothing_while_a_reader_follows() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let test = "processes::child_writes_its_share";
    let children: Vec<Child> = (0..WRITERS)
        .map(|writer| start(test, directory.path(), writer))
        .collect();
    let mut reader = log.read_after(Position::default()).unwrap();
    let mut followed = Vec::new();
    let deadline = Instant::now() + LIMIT;
    while (followed.len() as u64) < WRITERS * RECORDS_EACH {
        assert!(Instant::now() < deadline, "only {} records", followed.len());
        let batch = reader.read_batch().unwrap();
        if batch.is_empty() {
            reader.wait(Duration::from_millis(500)).unwrap();
        }
        followed.extend(batch);
    }
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let counts = check_order(&followed);
    assert!(counts.values().all(|count| *count == RECORDS_EACH));
    assert_eq!(read_all(&log, Position::default()).len(), followed.len());
}

#[test]
fn writers_killed_at_random_lose_nothing_they_were_told_is_recorded() {
    let seed = u64::from(std::process::id()) * 2_654_435_761;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let test = "processes::child_writes_until_it_is_killed";
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let mut reader = log.read_after(Position::default()).unwrap();
    let mut followed = Vec::new();
    for round in 0..15 {
        let writers = [2 * round, 2 * round + 1];
        let mut children = writers.map(|writer| start(test, directory.path(), writer));
        wait_for_acknowledgements(directory.path(), &writers);
        let patience = Duration::from_micros(random.below(20_000));
        let until = Instant::now() + patience;
        while Instant::now() < until {
            followed.extend(reader.read_batch().unwrap());
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    // The next append cuts what the last ones may have left.
    let verified = open_in_boot_of(&log);
    let records = read_all(&verified, Position::default());
    assert!(records.iter().all(|record| record.kind != REPAIRED));
    let counts = check_order(&records);
    for writer in 0..30 {
        let path = directory.path().join(format!("acknowledged-{writer}"));
        let told: u64 = std::fs::read_to_string(path).unwrap().parse().unwrap();
        assert!(counts[&writer] >= told, "writer {writer}");
    }
    followed.extend(reader.read_batch().unwrap());
    let same = followed.iter().zip(&records);
    assert!(same.clone().count() > 100);
    for (a, b) in same {
        assert_eq!(a.position, b.position);
        assert_eq!(a.data.get(), b.data.get());
    }
}

fn open_in_boot_of(log: &Log) -> Log {
    let boot = log.boot_id().unwrap().to_string();
    open_in_boot(log.directory(), &boot, events::log::SEGMENT_BYTES)
}

fn wait_for_acknowledgements(directory: &Path, writers: &[u64]) {
    let deadline = Instant::now() + LIMIT;
    for writer in writers {
        let path = directory.join(format!("acknowledged-{writer}"));
        while !path.exists() {
            assert!(Instant::now() < deadline, "writer {writer} does not start");
            std::thread::yield_now();
        }
    }
}
