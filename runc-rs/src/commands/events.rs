//! `events`: what a container uses, again and again, and when it has run out
//! of memory; one JSON object on a line each.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::{CommandError, Context, Failure, find};
use crate::proc::LiveProcess;
use crate::resources::events::OomWatch;
use crate::resources::stats::{self, Stats};
use crate::state::{ContainerDirectory, Record};

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often to print what is used, such as 5s or 1m30s
    #[arg(long, default_value = "5s", value_parser = parse_duration, allow_hyphen_values = true)]
    interval: Duration,
    /// Print what is used once
    #[arg(long)]
    stats: bool,
    /// The container's id
    id: String,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: EventKind,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum EventKind {
    Stats,
    Oom,
}

/// Prints events until the container ends, or one with `--stats`.
///
/// # Errors
/// When the container does not exist or does not run.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    if args.interval.is_zero() {
        return Err(Failure::usage("duration interval must be greater than 0"));
    }
    let (directory, record) = find(context, &args.id)?;
    let not_running = || CommandError::NotRunningById(record.id.clone());
    let init = record.live_init().ok_or_else(not_running)?;
    let source = Source {
        context,
        class: class(&directory, &record)?,
        record: &record,
        init,
    };
    match args.stats {
        // Whether somebody reads it is the caller's matter.
        true => drop(source.print_stats()?),
        false => source.follow(args.interval)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The class of service, by which its share of the caches is found.
fn class(directory: &ContainerDirectory, record: &Record) -> Result<String, CommandError> {
    let spec = directory.load_spec()?;
    let linux = spec.linux().as_ref();
    let class = linux.and_then(|linux| linux.intel_rdt().as_ref()?.clos_id().clone());
    Ok(class.unwrap_or_else(|| record.id.to_string()))
}

struct Source<'a> {
    context: &'a Context<'a>,
    record: &'a Record,
    init: LiveProcess,
    class: String,
}

impl Source<'_> {
    fn follow(&self, interval: Duration) -> Result<(), CommandError> {
        let mut watch = OomWatch::start(&self.record.cgroup)?;
        if watch.is_none() {
            let text = "the container has no memory control group: running out is not noticed";
            self.context.log.warn(text);
        }
        let mut due = Instant::now() + interval;
        loop {
            let has_ended = self.wait(watch.as_ref(), due)?;
            // Before the end is believed: it may be what ended the container.
            if let Some(watch) = &mut watch
                && watch.take()? > 0
                && self.print(EventKind::Oom, None)?.is_break()
            {
                return Ok(());
            }
            if has_ended {
                return Ok(());
            }
            if Instant::now() >= due {
                due = Instant::now() + interval;
                if self.print_stats()?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Waits until something is to be looked at, and returns whether init has
    /// ended.
    fn wait(&self, watch: Option<&OomWatch>, due: Instant) -> Result<bool, CommandError> {
        let pidfd = self.init.pidfd().as_fd();
        let mut watched = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        if let Some(watch) = watch {
            watched.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN));
        }
        let limit = due.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(limit).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        match poll(&mut watched, Some(&limit)) {
            Err(Errno::INTR) => return Ok(false),
            polled => polled.map_err(|error| CommandError::Poll(error.into()))?,
        };
        Ok(!watched[0].revents().is_empty())
    }

    /// Prints what is used.
    fn print_stats(&self) -> Result<ControlFlow<()>, CommandError> {
        let measured = stats::measure(&self.record.cgroup, Some(&self.init), &self.class);
        self.print(EventKind::Stats, Some(measured?))
    }

    /// Prints a line, and says to stop when nobody reads it any more.
    fn print(&self, kind: EventKind, data: Option<Stats>) -> Result<ControlFlow<()>, CommandError> {
        let id = self.record.id.as_str();
        let event = Event { kind, id, data };
        let mut line = serde_json::to_vec(&event).expect("an event always serializes");
        line.push(b'\n');
        match io::stdout().lock().write_all(&line) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(CommandError::Output(error)),
            Ok(()) => Ok(ControlFlow::Continue(())),
        }
    }
}

/// Reads a duration as Go writes it: numbers with units, `1h2m3.5s`, `100ms`.
/// One below zero is none.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || format!("invalid duration {text:?}");
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(error());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
        let unit_at = rest.find(|c| !is_of_number(c)).ok_or_else(error)?;
        let (number, tail) = rest.split_at(unit_at);
        let next_at = tail.find(is_of_number).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(next_at);
        let number: f64 = number.parse().map_err(|_| error())?;
        seconds += number * unit_seconds(unit).ok_or_else(error)?;
        rest = tail;
    }
    match is_negative {
        true => Ok(Duration::ZERO),
        false => Duration::try_from_secs_f64(seconds).map_err(|_| error()),
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        // The letter and the sign that look the same.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
        let cases = [
            ("5s", 5_000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("0.25s", 250),
            ("2000us", 2),
            ("3000\u{b5}s", 3),
            ("0", 0),
            ("-5s", 0),
        ];
        for (text, milliseconds) in cases {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Ok(expected), "{text:?}");
        }
        for bad in ["", "5", "s", "5x", "5s3", "-", "1..5s", "1e3s", " 5s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
