//! Requests and replies between a requester and a server on one log.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use base::boot::BootInstant;
use base::{Failure, FailureKind, RequestId};
use events::request::{CANCELLED, Requester as Signature};
use events::{
    CallError, Draft, Log, Position, Record, Reply, Request, RequestBody, Requester, Server,
    ServerConfig, Service,
};
use serde::{Deserialize, Serialize};

use crate::common::boot_id;

/// Long, since a disk that discards what was deleted may stand still: 20 s were
/// not enough beside the removal of a large tree.
const LIMIT: Duration = Duration::from_secs(60);
/// The number whose doubling panics.
const PANICS: u64 = 13;
/// The number whose doubling has a reply that no record can hold.
const TOO_LARGE: u64 = 14;

#[derive(Debug, Serialize, Deserialize)]
struct Double {
    number: u64,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Doubled {
    number: u64,
    padding: String,
}

impl RequestBody for Double {
    const KIND: &'static str = "math.double";
    const REPLY: &'static str = "math.doubled";
    const FAILED: &'static str = "math.double_failed";
    type Reply = Doubled;
}

/// A service that notes what it did and can be held up, by subject.
#[derive(Default)]
struct Math {
    state: Mutex<MathState>,
    changed: Condvar,
    failing_observations: AtomicUsize,
}

#[derive(Default)]
struct MathState {
    begun: Vec<String>,
    performed: Vec<u64>,
    observed: Vec<String>,
    held: Vec<String>,
    resyncs: usize,
}

impl Math {
    fn hold(&self, subject: &str) {
        self.state.lock().unwrap().held.push(subject.to_owned());
    }

    fn release(&self, subject: &str) {
        self.state
            .lock()
            .unwrap()
            .held
            .retain(|held| held != subject);
        self.changed.notify_all();
    }

    fn performed(&self) -> Vec<u64> {
        self.state.lock().unwrap().performed.clone()
    }

    fn observed(&self) -> Vec<String> {
        self.state.lock().unwrap().observed.clone()
    }
}

impl Service for Math {
    fn name(&self) -> &'static str {
        "math"
    }
    fn is_request(&self, record: &Record) -> bool {
        record.kind == Double::KIND
    }
    fn is_observed(&self, record: &Record) -> bool {
        record.kind == "container.exited"
    }
    fn is_teardown(&self, record: &Record) -> bool {
        record.subject.starts_with("teardown")
    }
    fn perform(&self, record: &Record) -> Result<Reply, Failure> {
        let mut state = self.state.lock().unwrap();
        state.begun.push(record.subject.clone());
        let is_held = |state: &mut MathState| state.held.contains(&record.subject);
        let waited = self.changed.wait_timeout_while(state, LIMIT, is_held);
        let mut state = waited.unwrap().0;
        let request: Request<Double> = record
            .payload()
            .map_err(|error| Failure::from_error(FailureKind::Invalid, &error))?;
        let number = request.body.number;
        state.performed.push(number);
        drop(state);
        assert!(number != PANICS, "a panic on purpose");
        let length = if number == TOO_LARGE { 70_000 } else { 0 };
        let doubled = number
            .checked_mul(2)
            .ok_or_else(|| Failure::new(FailureKind::Invalid, "too large"))?;
        let padding = "x".repeat(length);
        let reply = Doubled {
            number: doubled,
            padding,
        };
        Ok(Reply::new(Double::REPLY, &reply).unwrap())
    }
    fn failed_kind(&self, _request_kind: &str) -> &'static str {
        Double::FAILED
    }
    fn observe(&self, record: &Record) -> Result<(), Failure> {
        let left = self.failing_observations.load(Ordering::Relaxed);
        if left > 0 {
            self.failing_observations.store(left - 1, Ordering::Relaxed);
            return Err(Failure::new(FailureKind::Internal, "not yet"));
        }
        self.state
            .lock()
            .unwrap()
            .observed
            .push(record.subject.clone());
        Ok(())
    }
    fn resync(&self) -> Result<(), Failure> {
        self.state.lock().unwrap().resyncs += 1;
        Ok(())
    }
}

/// What a test needs while a server runs.
struct Bench<'a> {
    log: &'a Log,
    requester: &'a Requester,
    math: &'a Math,
}

impl Bench<'_> {
    fn ask(&self, subject: &str, number: u64) -> Receiver<Result<Doubled, CallError>> {
        let (sender, receiver) = sync_channel(1);
        self.requester
            .send(subject, &Double { number }, LIMIT, move |result| {
                sender.send(result).unwrap();
            })
            .unwrap();
        receiver
    }

    fn answer(&self, number: u64) -> Result<Doubled, CallError> {
        self.ask("subject", number).recv_timeout(LIMIT).unwrap()
    }
}

/// Runs `test` with a server and a thread that feeds the requester.
fn serve(log: &Log, config: ServerConfig, test: impl FnOnce(&Bench<'_>)) {
    let math = Arc::new(Math::default());
    let requester = Requester::new(log.clone(), "engine");
    let stop = AtomicBool::new(false);
    // From before anything is asked: a thread may begin after the answer.
    let mut reader = log.read_after(log.last().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let server = Server::new(log.clone(), math.clone(), config);
        let served = scope.spawn(|| server.run(&stop));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for record in reader.read_batch().unwrap_or_default() {
                    requester.observe(&record);
                }
                reader.wait(Duration::from_millis(20)).unwrap();
            }
        });
        let bench = Bench {
            log,
            requester: &requester,
            math: &math,
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&bench)));
        stop.store(true, Ordering::Relaxed);
        served.join().unwrap().unwrap();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

fn with_server(test: impl FnOnce(&Bench<'_>)) {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    serve(&log, ServerConfig::default(), test);
}

/// A request as some requester of this boot appends it.
fn request(log: &Log, subject: &str, number: u64) -> Draft {
    let signature = Signature::new(log.epoch(), log.boot_id().unwrap(), LIMIT);
    signed(subject, number, signature)
}

fn signed(subject: &str, number: u64, requester: Signature) -> Draft {
    let body = Double { number };
    let request = Request { requester, body };
    let draft = Draft::new("engine", Double::KIND, subject, &request).unwrap();
    draft.with_request(RequestId::random())
}

fn fact(kind: &'static str, subject: &str) -> Draft {
    Draft::new("shim", kind, subject, &()).unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn all(log: &Log) -> Vec<Record> {
    crate::common::read_all(log, Position::default())
}

/// Returns the answers to `draft`, in order.
fn answers(log: &Log, draft: &Draft) -> Vec<Record> {
    let mut records = all(log);
    records.retain(|record| record.source == "math" && record.request == draft.request);
    records
}

#[test]
fn each_request_gets_its_own_reply() {
    with_server(|bench| {
        let answers: Vec<_> = (100..300).map(|number| bench.ask("s", number)).collect();
        for (number, answer) in (100..).zip(answers) {
            let doubled = answer.recv_timeout(LIMIT).unwrap().unwrap();
            assert_eq!(doubled.number, 2 * number);
        }
        assert_eq!(bench.requester.open_calls(), 0);
        assert_eq!(bench.math.performed(), (100..300).collect::<Vec<_>>());
    });
}

#[test]
fn refusals_panics_and_oversized_replies_are_answered_and_the_server_goes_on() {
    with_server(|bench| {
        let cases = [
            (u64::MAX, FailureKind::Invalid, "too large"),
            (
                PANICS,
                FailureKind::Internal,
                "handling math.double panicked",
            ),
            (
                TOO_LARGE,
                FailureKind::Internal,
                "the reply to math.double is too large",
            ),
        ];
        for (number, kind, text) in cases {
            let Err(CallError::Refused(failure)) = bench.answer(number) else {
                panic!("{number} was not refused");
            };
            assert_eq!(failure, Failure::new(kind, text));
        }
        assert_eq!(bench.answer(4).unwrap().number, 8);
    });
}

#[test]
fn a_server_that_starts_late_runs_only_what_somebody_still_waits_for() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let (epoch, boot) = (log.epoch(), log.boot_id().unwrap());
    let other_boot = signed("s", 20, Signature::new(epoch, boot_id("other"), LIMIT));
    let expired = Signature {
        epoch,
        boot_id: boot,
        deadline: BootInstant(1),
    };
    let expired = signed("s", 21, expired);
    let cancelled = request(&log, "s", 22);
    let answered = request(&log, "s", 23);
    let of_ended_run = request(&log, "c.1", 24);
    let teardown_of_ended_run = request(&log, "teardown.1", 25);
    let live = request(&log, "s", 26);
    let withdrawal = Draft::new("engine", CANCELLED, "s", &()).unwrap();
    let reply = Doubled {
        number: 46,
        padding: String::new(),
    };
    let reply = Draft::new("math", Double::REPLY, "s", &reply).unwrap();
    let batch = [
        other_boot,
        expired,
        cancelled.clone(),
        answered.clone(),
        of_ended_run.clone(),
        teardown_of_ended_run,
        live,
        withdrawal.with_request(cancelled.request.unwrap()),
        reply.with_request(answered.request.unwrap()),
        fact("container.exited", "c.1"),
        fact("container.cleaned", "teardown.1"),
    ];
    log.append(&batch).unwrap();
    serve(&log, ServerConfig::default(), |bench| {
        assert_eq!(bench.answer(30).unwrap().number, 60);
        wait_until("not all were run", || bench.math.performed().len() == 3);
        let mut performed = bench.math.performed();
        performed.sort_unstable();
        assert_eq!(performed, [25, 26, 30]);
        wait_until("no refusal", || !answers(&log, &of_ended_run).is_empty());
        let refusal: Failure = answers(&log, &of_ended_run)[0].payload().unwrap();
        assert_eq!(refusal.kind, FailureKind::Cancelled);
    });
}

#[test]
fn a_repeated_request_repeats_its_recorded_result_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let repeated = request(&log, "s", 50);
    serve(&log, ServerConfig::default(), |bench| {
        for times in 1..=2 {
            log.append(std::slice::from_ref(&repeated)).unwrap();
            wait_until("no answer", || answers(&log, &repeated).len() == times);
        }
        assert_eq!(bench.math.performed(), [50]);
    });
    log.append(std::slice::from_ref(&repeated)).unwrap();
    serve(&log, ServerConfig::default(), |bench| {
        wait_until("no answer", || answers(&log, &repeated).len() == 3);
        log.append(std::slice::from_ref(&repeated)).unwrap();
        wait_until("no answer", || answers(&log, &repeated).len() == 4);
        assert!(bench.math.performed().is_empty());
    });
    for answer in answers(&log, &repeated) {
        assert_eq!(answer.kind, Double::REPLY);
        assert_eq!(answer.payload::<Doubled>().unwrap().number, 100);
    }
}

#[test]
fn order_holds_per_subject_and_a_slow_subject_delays_no_other() {
    with_server(|bench| {
        bench.math.hold("slow");
        let slow: Vec<_> = (100..110).map(|n| bench.ask("slow", n)).collect();
        for number in 200..220 {
            let fast = bench.ask("fast", number).recv_timeout(LIMIT).unwrap();
            assert_eq!(fast.unwrap().number, 2 * number);
        }
        assert_eq!(bench.math.performed(), (200..220).collect::<Vec<_>>());
        bench.math.release("slow");
        for answer in slow {
            answer.recv_timeout(LIMIT).unwrap().unwrap();
        }
        let performed = bench.math.performed();
        assert_eq!(performed[20..], (100..110).collect::<Vec<_>>());
    });
}

#[test]
fn teardown_that_hangs_leaves_the_other_workers_alone() {
    with_server(|bench| {
        let subjects: Vec<String> = (0..8).map(|n| format!("teardown-{n}")).collect();
        for subject in &subjects {
            bench.math.hold(subject);
        }
        let slow: Vec<_> = (300..)
            .zip(&subjects)
            .map(|(n, s)| bench.ask(s, n))
            .collect();
        assert_eq!(bench.answer(1).unwrap().number, 2);
        for subject in &subjects {
            bench.math.release(subject);
        }
        for answer in slow {
            answer.recv_timeout(LIMIT).unwrap().unwrap();
        }
    });
}

#[test]
fn a_full_queue_only_delays() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let config = ServerConfig {
        queue_limit: 2,
        workers: 1,
        teardown_workers: 1,
    };
    serve(&log, config, |bench| {
        let ask = |n: u64| bench.ask(&format!("s{}", n % 7), n);
        let answers: Vec<_> = (100..200).map(ask).collect();
        for answer in answers {
            answer.recv_timeout(LIMIT).unwrap().unwrap();
        }
    });
}

#[test]
fn a_request_cancelled_while_it_waits_its_turn_is_not_run() {
    with_server(|bench| {
        bench.math.hold("s");
        let first = bench.ask("s", 40);
        let never = |_| panic!("a cancelled call has no reply");
        let second = Double { number: 41 };
        let id = bench.requester.send("s", &second, LIMIT, never).unwrap();
        let third = bench.ask("s", 42);
        bench.requester.cancel(&id).unwrap();
        // Once this is answered the server has read the cancellation.
        bench.ask("other", 43).recv_timeout(LIMIT).unwrap().unwrap();
        bench.math.release("s");
        first.recv_timeout(LIMIT).unwrap().unwrap();
        third.recv_timeout(LIMIT).unwrap().unwrap();
        assert_eq!(bench.math.performed(), [43, 40, 42]);
    });
}

#[test]
fn a_reply_that_comes_after_giving_up_asks_for_the_undo() {
    with_server(|bench| {
        let (sender, late) = sync_channel(1);
        bench.requester.on_late_reply(move |record| {
            sender.send(record.subject.clone()).unwrap();
        });
        bench.math.hold("s");
        let (sender, ended) = sync_channel(1);
        let patience = Duration::from_millis(300);
        let on_reply = move |result: Result<Doubled, CallError>| sender.send(result).unwrap();
        let body = Double { number: 3 };
        let id = bench
            .requester
            .send("s", &body, patience, on_reply)
            .unwrap();
        wait_until("not begun", || {
            !bench.math.state.lock().unwrap().begun.is_empty()
        });
        wait_until("not expired", || {
            bench.requester.expire().unwrap();
            bench.requester.open_calls() == 0
        });
        let error = ended.recv_timeout(LIMIT).unwrap().unwrap_err();
        assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
        let is_withdrawal = |r: &Record| r.kind == CANCELLED && r.request.as_ref() == Some(&id);
        assert!(all(bench.log).iter().any(is_withdrawal));
        bench.math.release("s");
        assert_eq!(late.recv_timeout(LIMIT).unwrap(), "s");
    });
}

#[test]
fn the_number_of_open_calls_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let requester = Requester::new(log, "engine");
    let body = Double { number: 1 };
    for _ in 0..events::client::OPEN_CALLS_LIMIT {
        requester.send("s", &body, LIMIT, |_| {}).unwrap();
    }
    let error = requester.send("s", &body, LIMIT, |_| {}).unwrap_err();
    assert!(matches!(error, CallError::TooMany { .. }), "{error}");
}

#[test]
fn a_fact_that_cannot_be_acted_on_at_once_is_tried_again() {
    with_server(|bench| {
        bench.math.failing_observations.store(3, Ordering::Relaxed);
        bench
            .log
            .append(&[fact("container.exited", "c.1")])
            .unwrap();
        wait_until("not observed", || bench.math.observed() == ["c.1"]);
    });
}

#[test]
fn a_consumer_whose_facts_were_dropped_resyncs_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let options = events::LogOptions {
        segment_bytes: 64 * 1024,
        ..Default::default()
    };
    let log = Log::open_with(directory.path(), &options).unwrap();
    let facts: Vec<Draft> = (0..100)
        .map(|n| fact("container.exited", &format!("c.{n}")))
        .collect();
    log.append(&facts[..10]).unwrap();
    let first = Position { epoch: 1, seq: 1 };
    log.cursor("math").unwrap().store(first).unwrap();
    for _ in 0..20 {
        log.append(&facts).unwrap();
    }
    drop_oldest(directory.path());
    let kept = all(&log).len();
    assert!(kept < 2000);
    serve(&log, ServerConfig::default(), |bench| {
        wait_until("not all seen", || bench.math.observed().len() == kept);
        assert_eq!(bench.math.state.lock().unwrap().resyncs, 1);
    });
}

fn drop_oldest(directory: &Path) {
    let names = crate::common::segments(directory);
    assert!(names.len() > 2);
    std::fs::remove_file(directory.join(&names[0])).unwrap();
}

/// A server that is stopped and started sees every fact, in the order of its
/// subject, and does not begin anew.
#[test]
fn facts_are_observed_across_restarts_from_the_low_water_mark() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path()).unwrap();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for round in 0..5 {
        let subject = format!("c.{}", round + 1);
        log.append(&[fact("container.exited", &subject)]).unwrap();
        serve(&log, ServerConfig::default(), |bench| {
            wait_until("not observed", || bench.math.observed().contains(&subject));
            for subject in bench.math.observed() {
                *seen.entry(subject).or_default() += 1;
            }
        });
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    let cursor = log.cursor("math").unwrap().position();
    assert_eq!(cursor, log.last().unwrap());
}
