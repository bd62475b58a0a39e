//! Requests and replies between a requester and a server on one log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use base::{Failure, FailureKind};
use events::{
    CallError, Log, Position, Record, Reply, RequestBody, Requester, Server, ServerConfig, Service,
};
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
struct Double {
    number: u64,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Doubled {
    number: u64,
}

impl RequestBody for Double {
    const KIND: &'static str = "math.double";
    const REPLY: &'static str = "math.doubled";
    const FAILED: &'static str = "math.double_failed";
    type Reply = Doubled;
}

struct Math;

impl Service for Math {
    fn name(&self) -> &'static str {
        "math"
    }
    fn is_request(&self, record: &Record) -> bool {
        record.kind == Double::KIND
    }
    fn is_observed(&self, _record: &Record) -> bool {
        false
    }
    fn is_teardown(&self, _record: &Record) -> bool {
        false
    }
    fn perform(&self, record: &Record) -> Result<Reply, Failure> {
        let request: events::Request<Double> = record
            .payload()
            .map_err(|error| Failure::from_error(FailureKind::Invalid, &error))?;
        let number = request
            .body
            .number
            .checked_mul(2)
            .ok_or_else(|| Failure::new(FailureKind::Invalid, "too large"))?;
        Ok(Reply::new(Double::REPLY, &Doubled { number }).unwrap())
    }
    fn failed_kind(&self, _request_kind: &str) -> &'static str {
        Double::FAILED
    }
    fn observe(&self, _record: &Record) -> Result<(), Failure> {
        Ok(())
    }
}

/// Runs `test` with a server of `Math` and a thread that feeds the requester.
fn with_server(test: impl FnOnce(&Requester)) {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let requester = Requester::new(log.clone(), "engine");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = Server::new(log.clone(), Arc::new(Math), ServerConfig::default());
        let served = scope.spawn(|| server.run(&stop));
        scope.spawn(|| {
            let mut reader = log.read_after(Position::default()).unwrap();
            while !stop.load(Ordering::Relaxed) {
                for record in reader.read_batch().unwrap() {
                    requester.observe(&record);
                }
                reader.wait(Duration::from_millis(50)).unwrap();
            }
        });
        test(&requester);
        stop.store(true, Ordering::Relaxed);
        served.join().unwrap().unwrap();
    });
}

fn ask(requester: &Requester, number: u64) -> Receiver<Result<Doubled, CallError>> {
    let (sender, receiver) = sync_channel(1);
    requester
        .send("subject", &Double { number }, LIMIT, move |result| {
            sender.send(result).unwrap();
        })
        .unwrap();
    receiver
}

#[test]
fn each_request_gets_its_own_reply() {
    with_server(|requester| {
        let answers: Vec<_> = (0..200).map(|number| ask(requester, number)).collect();
        for (number, answer) in answers.into_iter().enumerate() {
            let doubled = answer.recv_timeout(LIMIT).unwrap().unwrap();
            assert_eq!(doubled.number, 2 * number as u64);
        }
        assert_eq!(requester.open_calls(), 0);
    });
}

#[test]
fn a_refusal_carries_its_kind_and_text() {
    with_server(|requester| {
        let error = ask(requester, u64::MAX).recv_timeout(LIMIT).unwrap();
        let Err(CallError::Refused(failure)) = error else {
            panic!("not refused");
        };
        assert_eq!(failure, Failure::new(FailureKind::Invalid, "too large"));
    });
}
