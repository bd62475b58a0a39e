//! Measures the log as `xtask bench events` reports it: append to wake-up with
//! three followers, request and reply through two processes, unsynced appends
//! in batches. Each result is one line, `name value unit`.
//!
//! The followers and the answering side are this program started again with a
//! role as its first argument.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use base::Failure;
use base::boot::BootInstant;
use events::{
    Draft, Log, Position, Record, Reply, RequestBody, Requester, Server, ServerConfig, Service,
};
use serde::{Deserialize, Serialize};

type Outcome<T> = Result<T, Box<dyn Error>>;

const WAKE_ROUNDS: usize = 2000;
const CALL_ROUNDS: usize = 2000;
const BATCH_RECORDS: usize = 256;
const BATCHES: usize = 800;
const FOLLOWERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let role = arguments.get(1).map(String::as_str);
    match (role, arguments.get(2).map(PathBuf::from)) {
        (Some("follow"), Some(directory)) => follow(&directory),
        (Some("answer"), Some(directory)) => answer(&directory),
        _ => measure(),
    }
}

fn measure() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    measure_wake(&directory.path().join("wake"))?;
    measure_calls(&directory.path().join("calls"))?;
    measure_appends(&directory.path().join("appends"))
}

/// Each record carries the moment before its append; each follower prints, at
/// the end, how long after that it held the record.
fn measure_wake(directory: &Path) -> Outcome<()> {
    let log = Log::open(directory)?;
    let followers = (0..FOLLOWERS)
        .map(|_| start("follow", directory))
        .collect::<Outcome<Vec<_>>>()?;
    wait_for_ready(&log, FOLLOWERS)?;
    for _ in 0..WAKE_ROUNDS {
        let moment = BootInstant::now().0;
        log.append(&[Draft::new("bench", "bench.tick", "wake", &moment)?])?;
        pause(Duration::from_micros(500));
    }
    log.append(&[Draft::new("bench", "bench.end", "wake", &())?])?;
    let mut nanoseconds = Vec::new();
    for follower in followers {
        let output = follower.wait_with_output()?;
        for line in String::from_utf8(output.stdout)?.lines() {
            nanoseconds.push(line.parse()?);
        }
    }
    print_percentiles("append-wake", nanoseconds);
    Ok(())
}

fn follow(directory: &Path) -> Outcome<()> {
    let log = Log::open(directory)?;
    let mut reader = log.read_after(log.last()?)?;
    reader.read_batch()?;
    reader.wait(Duration::ZERO)?;
    log.append(&[Draft::new("bench", "bench.ready", "wake", &())?])?;
    let mut nanoseconds = Vec::with_capacity(WAKE_ROUNDS);
    loop {
        for record in reader.read_batch()? {
            let now = BootInstant::now().0;
            match record.kind.as_str() {
                "bench.tick" => nanoseconds.push(now - record.payload::<u64>()?),
                "bench.end" => {
                    for value in nanoseconds {
                        println!("{value}");
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
        reader.wait(PATIENCE)?;
    }
}

fn measure_calls(directory: &Path) -> Outcome<()> {
    let log = Log::open(directory)?;
    let mut server = start("answer", directory)?;
    wait_for_ready(&log, 1)?;
    let requester = Requester::new(log.clone(), "bench");
    let mut reader = log.read_after(log.last()?)?;
    let mut nanoseconds = Vec::with_capacity(CALL_ROUNDS);
    for number in 0..CALL_ROUNDS {
        let (sender, receiver) = sync_channel(1);
        let started = Instant::now();
        let subject = format!("subject-{number}");
        requester.send(&subject, &Echo {}, PATIENCE, move |result| {
            let sent = sender.try_send(result.is_ok());
            assert!(sent.is_ok(), "the receiver lives in this very thread");
        })?;
        while receiver.try_recv().is_err() {
            for record in reader.read_batch()? {
                requester.observe(&record);
            }
            if requester.open_calls() > 0 {
                reader.wait(PATIENCE)?;
            }
        }
        nanoseconds.push(started.elapsed().as_nanos() as u64);
    }
    server.kill()?;
    server.wait()?;
    print_percentiles("request-reply", nanoseconds);
    Ok(())
}

fn measure_appends(directory: &Path) -> Outcome<()> {
    let log = Log::open(directory)?;
    let draft = Draft::new("bench", "bench.bulk", "bulk", &"x".repeat(100))?;
    let drafts = vec![draft; BATCH_RECORDS];
    let started = Instant::now();
    for _ in 0..BATCHES {
        log.append(&drafts)?;
    }
    let rate = (BATCHES * BATCH_RECORDS) as f64 / started.elapsed().as_secs_f64();
    println!("appends-batched {rate:.0} records/s");
    let started = Instant::now();
    for _ in 0..20_000 {
        log.append(&drafts[..1])?;
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / 20_000.0;
    println!("append-single {micros:.2} us");
    let started = Instant::now();
    for _ in 0..200 {
        log.append_durable(&drafts[..1])?;
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / 200.0;
    println!("append-durable {micros:.0} us");
    let started = Instant::now();
    for _ in 0..200 {
        Log::open(directory)?;
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / 200.0;
    println!("open {micros:.0} us");
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
struct Echo {}

impl RequestBody for Echo {
    const KIND: &'static str = "echo.ask";
    const REPLY: &'static str = "echo.answered";
    const FAILED: &'static str = "echo.ask_failed";
    type Reply = Echo;
}

struct EchoService;

impl Service for EchoService {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn is_request(&self, record: &Record) -> bool {
        record.kind == Echo::KIND
    }
    fn is_observed(&self, _record: &Record) -> bool {
        false
    }
    fn is_teardown(&self, _record: &Record) -> bool {
        false
    }
    fn perform(&self, _record: &Record) -> Result<Reply, Failure> {
        Reply::new(Echo::REPLY, &Echo {})
            .map_err(|error| Failure::from_error(base::FailureKind::Internal, &error))
    }
    fn failed_kind(&self, _request_kind: &str) -> &'static str {
        Echo::FAILED
    }
    fn observe(&self, _record: &Record) -> Result<(), Failure> {
        Ok(())
    }
}

fn answer(directory: &Path) -> Outcome<()> {
    let log = Log::open(directory)?;
    log.append(&[Draft::new("bench", "bench.ready", "calls", &())?])?;
    let server = Server::new(log, Arc::new(EchoService), ServerConfig::default());
    Ok(server.run(&AtomicBool::new(false))?)
}

fn start(role: &str, directory: &Path) -> Outcome<Child> {
    let child = Command::new(std::env::current_exe()?)
        .arg(role)
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn wait_for_ready(log: &Log, count: usize) -> Outcome<()> {
    let mut reader = log.read_after(Position::default())?;
    let deadline = Instant::now() + PATIENCE;
    let mut ready = 0;
    while ready < count {
        let records = reader.read_batch()?;
        ready += records.iter().filter(|r| r.kind == "bench.ready").count();
        if Instant::now() > deadline {
            return Err("the other processes do not start".into());
        }
        reader.wait(Duration::from_millis(100))?;
    }
    Ok(())
}

/// Lets followers go back to sleep, so that each append wakes them.
fn pause(length: Duration) {
    std::thread::sleep(length);
}

fn print_percentiles(name: &str, mut nanoseconds: Vec<u64>) {
    nanoseconds.sort_unstable();
    for (label, share) in [("p50", 0.50), ("p99", 0.99)] {
        let index = (nanoseconds.len() as f64 * share) as usize;
        let value = nanoseconds.get(index).copied().unwrap_or_default();
        println!("{name}-{label} {:.1} us", value as f64 / 1000.0);
    }
}
