//! Several processes write at once, and some are killed. The other processes
//! are this test program again, told by the environment to run one test that
//! is a writer; started without that, such a test does nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use base::{Failure, RequestId};
use events::{
    Draft, Log, Position, REPAIRED, Record, Reply, Request, Server, ServerConfig, Service,
};
use serde::{Deserialize, Serialize};

use crate::common::{Random, open_in_boot, read_all};

const DIRECTORY: &str = "EVENTS_TEST_DIRECTORY";
const WRITER: &str = "EVENTS_TEST_WRITER";
const WRITERS: u64 = 8;
const LIMIT: Duration = Duration::from_secs(120);

/// Returns how much each writer writes; `EVENTS_TEST_RECORDS` asks for more.
fn records_each() -> u64 {
    std::env::var("EVENTS_TEST_RECORDS").map_or(20_000, |text| text.parse().unwrap())
}

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
    let all = records_each();
    let mut number = 0;
    while number < all {
        // Single records and batches of different sizes.
        let count = (1 + (number * 7 + writer) % 5).min(all - number);
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

/// Notes every fact it observes and answers every request, by appending.
struct Recorder(Log);

impl Service for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }
    fn is_request(&self, record: &Record) -> bool {
        record.kind == "test.asked"
    }
    fn is_observed(&self, record: &Record) -> bool {
        record.kind == "test.happened"
    }
    fn is_teardown(&self, _record: &Record) -> bool {
        false
    }
    fn perform(&self, _record: &Record) -> Result<Reply, Failure> {
        Ok(Reply::new("test.answered", &()).unwrap())
    }
    fn failed_kind(&self, _request_kind: &str) -> &'static str {
        "test.ask_failed"
    }
    fn observe(&self, record: &Record) -> Result<(), Failure> {
        let draft = Draft::new("recorder", "test.observed", &record.subject, &()).unwrap();
        self.0.append(&[draft]).unwrap();
        Ok(())
    }
}

#[test]
fn child_serves_until_it_is_killed() {
    let Some((directory, _)) = task() else {
        return;
    };
    let log = Log::open(&directory).unwrap();
    let service = Arc::new(Recorder(log.clone()));
    let server = Server::new(log, service, ServerConfig::default());
    server.run(&AtomicBool::new(false)).unwrap();
}

#[test]
fn a_server_killed_at_random_answers_each_request_once_and_misses_no_fact() {
    let seed = u64::from(std::process::id()) * 2_654_435_761;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let mut number = 0;
    for _ in 0..12 {
        let mut server = start(SERVE, directory.path(), 0);
        let mut reader = log.read_after(log.last().unwrap()).unwrap();
        let deadline = Instant::now() + LIMIT;
        for _ in 0..100 {
            append_fact_and_request(&log, number);
            number += 1;
        }
        let is_at_work = |record: &Record| record.source == "recorder";
        while !reader.read_batch().unwrap().iter().any(is_at_work) {
            assert!(Instant::now() < deadline, "the server does not start");
            reader.wait(Duration::from_millis(100)).unwrap();
        }
        let until = Instant::now() + Duration::from_micros(random.below(5_000));
        while Instant::now() < until {
            append_fact_and_request(&log, number);
            number += 1;
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
    let mut server = start(SERVE, directory.path(), 0);
    let (observed, answered) = wait_for_all(&log, number);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(answered.values().all(|times| *times == 1));
    let again = observed.values().filter(|times| **times > 1).count();
    println!("{number} facts and requests, {again} facts observed again");
    assert!(again > 0, "no server was killed at work");
}

const SERVE: &str = "processes::child_serves_until_it_is_killed";

/// How often each subject was observed or answered.
type Counts = HashMap<String, usize>;

/// Waits until `number` subjects have been observed and answered.
fn wait_for_all(log: &Log, number: usize) -> (Counts, Counts) {
    let deadline = Instant::now() + LIMIT;
    let (mut observed, mut answered) = (Counts::new(), Counts::new());
    let mut reader = log.read_after(Position::default()).unwrap();
    while observed.len() < number || answered.len() < number {
        let (seen, told) = (observed.len(), answered.len());
        assert!(Instant::now() < deadline, "{seen} and {told} of {number}");
        for record in reader.read_batch().unwrap() {
            let counts = match record.kind.as_str() {
                "test.observed" => &mut observed,
                "test.answered" => &mut answered,
                _ => continue,
            };
            *counts.entry(record.subject).or_insert(0) += 1;
        }
        reader.wait(Duration::from_millis(100)).unwrap();
    }
    (observed, answered)
}

fn append_fact_and_request(log: &Log, number: usize) {
    let subject = format!("subject-{number}");
    let fact = Draft::new("test", "test.happened", &subject, &()).unwrap();
    let boot_id = log.boot_id().unwrap();
    let requester = events::request::Requester::new(log.epoch(), boot_id, LIMIT);
    let request = Request {
        requester,
        body: (),
    };
    let request = Draft::new("test", "test.asked", &subject, &request).unwrap();
    let request = request.with_request(RequestId::random());
    log.append(&[fact, request]).unwrap();
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
    while (followed.len() as u64) < WRITERS * records_each() {
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
    assert!(counts.values().all(|count| *count == records_each()));
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
