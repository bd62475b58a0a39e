//! `kill`: sends a signal. What becomes of the container is seen when its
//! state is asked for, never assumed from the signal.

use std::process::ExitCode;

use nix::sys::signal::Signal as NixSignal;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::process::Signal;

use super::{CommandError, Context, Failure, find};
use crate::cgroup::Freezer;
use crate::state::{ContainerDirectory, Record, Status};

/// How often processes are signalled that could not be frozen first.
const UNFROZEN_ROUNDS: usize = 3;

/// Arguments of `kill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal all processes of the container
    #[arg(short, long)]
    all: bool,
    /// The container's id
    id: String,
    /// Name or number
    #[arg(default_value = "TERM")]
    signal: String,
}

/// Sends the signal.
///
/// # Errors
/// When the container does not exist or does not run, or there is no such
/// signal.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let signal = parse_signal(&args.signal)
        .ok_or_else(|| Failure::usage(format!("unknown signal {:?}", args.signal)))?;
    let (directory, record) = find(context, &args.id)?;
    // Without groups only init is known.
    let has_groups = record.cgroup.has_groups();
    if args.all {
        let sent = match signal {
            Some(signal) if has_groups => signal_all(&record, signal),
            None if has_groups => Ok(()),
            signal => signal_init(&directory, &record, signal),
        };
        // As with runc: nobody being there is no error.
        return match sent {
            Ok(()) | Err(CommandError::NotRunning) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error.into()),
        };
    }
    let is_shared = || {
        directory
            .load_spec()
            .is_ok_and(|spec| shares_process_ids(&spec))
    };
    if signal == Some(Signal::KILL) && has_groups && is_shared() {
        // No kernel ends the others with init, which may be gone already.
        signal_all(&record, Signal::KILL)?;
    } else {
        signal_init(&directory, &record, signal)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn signal_init(
    directory: &ContainerDirectory,
    record: &Record,
    signal: Option<Signal>,
) -> Result<(), CommandError> {
    let init = record.live_init().ok_or(CommandError::NotRunning)?;
    let Some(signal) = signal else {
        return Ok(());
    };
    match init.signal(signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            return Err(CommandError::NotRunning);
        }
        sent => sent.map_err(|error| CommandError::Signal(record.id.clone(), error))?,
    }
    // A frozen process of the v1 freezer dies only once it is thawed.
    if signal == Signal::KILL && directory.status(record) == Status::Paused {
        record.cgroup.set(Freezer::Thawed)?;
    }
    Ok(())
}

/// Returns whether the container has no new pid namespace, whose end would be
/// that of all its processes.
fn shares_process_ids(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let mut namespaces = linux
        .into_iter()
        .flat_map(|linux| linux.namespaces().iter().flatten());
    !namespaces
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none())
}

/// Signals all processes while none can fork, where the host can freeze them.
fn signal_all(record: &Record, signal: Signal) -> Result<(), CommandError> {
    if record.cgroup.processes()?.is_empty() {
        return Err(CommandError::NotRunning);
    }
    let was_frozen = record.cgroup.is_frozen();
    // One that cannot be frozen, waiting for a disk say, is signalled all the
    // same, and again, for those that were made meanwhile.
    let frozen = was_frozen || record.cgroup.set(Freezer::Frozen).is_ok();
    let rounds = if frozen { 1 } else { UNFROZEN_ROUNDS };
    let signalled = (0..rounds).try_for_each(|_| record.cgroup.signal_all(signal));
    if frozen && (!was_frozen || signal == Signal::KILL) {
        record.cgroup.set(Freezer::Thawed)?;
    }
    Ok(signalled?)
}

/// Reads a signal as `9`, `KILL`, `SIGKILL` or `sigkill`, or a real-time one
/// as `RTMIN+3`. `0` is none: it asks only whether the container runs.
fn parse_signal(text: &str) -> Option<Option<Signal>> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let number = if let Ok(number) = name.parse::<i32>() {
        number
    } else if let Some(offset) = name.strip_prefix("RTMIN") {
        first.checked_add(parse_offset(offset)?)?
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        last.checked_add(parse_offset(offset)?)?
    } else {
        format!("SIG{name}").parse::<NixSignal>().ok()? as i32
    };
    match number {
        0 => Some(None),
        number if (1..=last).contains(&number) => {
            Some(Some(crate::sys::signal_from_number(number)))
        }
        _ => None,
    }
}

fn parse_offset(text: &str) -> Option<i32> {
    match text {
        "" => Some(0),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_read_as_names_and_numbers() {
        for text in ["9", "KILL", "SIGKILL", "sigkill", "Kill"] {
            assert_eq!(parse_signal(text), Some(Some(Signal::KILL)), "{text}");
        }
        assert_eq!(parse_signal("0"), Some(None));
        let number = |text| parse_signal(text)?.map(Signal::as_raw);
        assert_eq!(number("RTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(number("SIGRTMAX-1"), Some(libc::SIGRTMAX() - 1));
        assert_eq!(number("34"), Some(34));
        for text in ["", "-1", "65", "SIG", "NOPE", "RTMIN+99", "9 "] {
            assert_eq!(parse_signal(text), None, "{text:?}");
        }
    }
}
