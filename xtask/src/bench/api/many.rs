//! Many at once: `fan-out`, `parallel-100`; and `client-run`, the stock command line.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::{Connection, Request, Stream};
use super::containers::{self, Wanted};
use super::{Bench, Who};
use crate::bench::{bundle, daemons};
use crate::process::Cmd;

const CLIENTS: usize = 100;
const EVENTS: usize = 100;
const STARTS: usize = 100;
/// Runs of the stock command line in each turn.
const RUNS: usize = 3;
const EVENT_LIMIT: Duration = Duration::from_secs(60);

/// `client-run`: `docker run --rm` of the stock command line on each socket.
pub(super) fn client_run(bench: &Bench<'_>) -> Result<String> {
    for who in &bench.plan.contenders {
        run_once(bench, *who)?;
    }
    let mut series = bench.series("client-run");
    for round in bench.rounds() {
        for _ in 0..RUNS {
            for who in bench.turns(round) {
                series.add(who, run_once(bench, who)?.as_secs_f64() * 1e3);
            }
        }
    }
    series.report("ms")
}

fn run_once(bench: &Bench<'_>, who: Who) -> Result<Duration> {
    let token = bundle::fresh_token()?;
    let run = Cmd::new("docker")
        .arg("--host")
        .arg(format!("unix://{}", daemons::socket(who)))
        .args(["run", "--rm", &bench.image, "sh", "-c"])
        .arg(format!("echo {token}; exit 7"))
        .timed(Path::new("/tmp/bench-output"))?;
    ensure!(
        run.code == 7 && run.output.trim() == token,
        "docker run on {} ended with {} and printed {:?}",
        who.name(),
        run.code,
        run.output
    );
    Ok(run.elapsed)
}

/// `fan-out`: from the first of some events until all clients have all of them. The
/// events are execs that are created, one after another; how long that takes by
/// itself is shown as well.
pub(super) fn fan_out(bench: &Bench<'_>) -> Result<String> {
    let mut all = bench.series("fan-out");
    let mut causes = bench.series("fan-out-causes");
    for round in bench.rounds() {
        for who in bench.turns(round) {
            let told = fan_out_once(bench, who)?;
            all.add(who, told.all.as_secs_f64() * 1e3);
            causes.add(who, told.causes.as_secs_f64() * 1e3);
        }
    }
    Ok(all.report("ms")? + &causes.report("ms")?)
}

struct Told {
    /// Until all requests that cause events are answered.
    causes: Duration,
    all: Duration,
}

fn fan_out_once(bench: &Bench<'_>, who: Who) -> Result<Told> {
    let mut connection = Connection::open(who)?;
    let id = sleeper(bench).create(&mut connection)?;
    containers::start(&mut connection, &id)?;
    let path = events_of(&id);
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(Connection::open(who)?.stream(Request::get(&path))?);
    }
    let begun = Instant::now();
    let causing = thread::spawn({
        let id = id.clone();
        move || cause_events(&mut connection, &id, begun)
    });
    let heard = hear(&mut streams);
    let all = begun.elapsed();
    let causes = causing.join();
    let causes = causes.unwrap_or_else(|_| bail!("a thread of the bench panicked"))?;
    check_events(&heard?)?;
    containers::remove(who, &[id])?;
    Ok(Told { causes, all })
}

fn events_of(id: &str) -> String {
    // {"container":["ID"],"event":["exec_create"]}
    format!(
        "/events?filters=%7B%22container%22%3A%5B%22{id}%22%5D%2C\
         %22event%22%3A%5B%22exec_create%22%5D%7D"
    )
}

fn cause_events(connection: &mut Connection, id: &str, begun: Instant) -> Result<Duration> {
    let path = format!("/containers/{id}/exec");
    for number in 0..EVENTS {
        let body = format!("{{\"Cmd\":[\"event-{number}\"]}}");
        connection.call(Request::post(&path, &body, 201))?;
    }
    Ok(begun.elapsed())
}

/// Reads all streams, whichever has something, until each has said so many lines;
/// returns what they said.
fn hear(streams: &mut [Stream]) -> Result<Vec<Vec<u8>>> {
    let mut heard = vec![Vec::new(); streams.len()];
    let mut lines = vec![0; streams.len()];
    let deadline = Instant::now() + EVENT_LIMIT;
    while lines.iter().any(|count| *count < EVENTS) {
        ensure!(
            Instant::now() < deadline,
            "clients have {:?} of {EVENTS} events",
            lines.iter().min()
        );
        for index in ready(streams)? {
            let more = streams[index].read(&mut |piece| {
                lines[index] += piece.iter().filter(|byte| **byte == b'\n').count();
                heard[index].extend_from_slice(piece);
                Ok(())
            })?;
            ensure!(more, "a stream of events ended");
        }
    }
    Ok(heard)
}

fn ready(streams: &[Stream]) -> Result<Vec<usize>> {
    let mut polled: Vec<_> = streams
        .iter()
        .map(|stream| PollFd::new(stream, PollFlags::IN))
        .collect();
    let is_waiting = streams.iter().any(Stream::has_read);
    let limit = Timespec {
        tv_sec: i64::from(!is_waiting),
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&limit)).context("poll streams of events")?;
    let is_ready =
        |index: &usize| !polled[*index].revents().is_empty() || streams[*index].has_read();
    Ok((0..streams.len()).filter(is_ready).collect())
}

/// Every client must have heard of every exec, once and in order.
fn check_events(heard: &[Vec<u8>]) -> Result<()> {
    for bytes in heard {
        let text = std::str::from_utf8(bytes).context("read events as UTF-8")?;
        let actions = text.lines().map(|line| {
            let event = containers::parse(line.as_bytes())?;
            let action = event["Action"].as_str().context("an event has an action")?;
            // dockerd ends it with a space.
            let action = action.trim_start_matches("exec_create: ").trim_end();
            Ok(action.to_owned())
        });
        let actions = actions.collect::<Result<Vec<String>>>()?;
        let expected = (0..EVENTS).map(|number| format!("event-{number}"));
        ensure!(
            actions.iter().cloned().eq(expected),
            "a client heard {actions:?}"
        );
    }
    Ok(())
}

/// `parallel-100`: from the first request until all containers have been started, each
/// by a client of its own. They were created before.
pub(super) fn parallel(bench: &Bench<'_>) -> Result<String> {
    let mut series = bench.series("parallel-100");
    for round in bench.rounds() {
        for who in bench.turns(round) {
            let ids = sleeper(bench).create_many(who, STARTS)?;
            let elapsed = start_together(who, &ids)?;
            let running = containers::running(who)?.len();
            ensure!(
                running == STARTS,
                "{running} of {STARTS} containers of {} run",
                who.name()
            );
            series.add(who, elapsed.as_secs_f64() * 1e3);
            containers::remove(who, &ids)?;
        }
    }
    series.report("ms")
}

fn start_together(who: Who, ids: &[String]) -> Result<Duration> {
    let barrier = Barrier::new(ids.len() + 1);
    let mut connections = Vec::new();
    for id in ids {
        connections.push((Connection::open(who)?, id));
    }
    thread::scope(|scope| {
        let starts: Vec<_> = connections
            .into_iter()
            .map(|(mut connection, id)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    containers::start(&mut connection, id)
                })
            })
            .collect();
        barrier.wait();
        let begun = Instant::now();
        for start in starts {
            let ended = start.join();
            ended.unwrap_or_else(|_| bail!("a thread of the bench panicked"))?;
        }
        Ok(begun.elapsed())
    })
}

fn sleeper<'a>(bench: &'a Bench<'_>) -> Wanted<'a> {
    Wanted {
        image: &bench.image,
        command: &["sleep", "7200"],
        bind: None,
        input: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(numbers: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
        let line = |number| format!("{{\"Action\":\"exec_create: event-{number}\"}}\n");
        vec![numbers.map(line).collect::<String>().into_bytes()]
    }

    #[test]
    fn a_client_that_misses_an_event_fails_the_bench() {
        check_events(&heard(0..EVENTS)).unwrap();
        assert!(check_events(&heard(1..EVENTS)).is_err());
        assert!(check_events(&heard((0..EVENTS).rev())).is_err());
        assert!(check_events(&heard(0..=EVENTS)).is_err());
    }
}
