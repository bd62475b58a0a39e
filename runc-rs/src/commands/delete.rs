//! `delete`: removes a container, its control groups and its record.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base::lock::FileLock;

use rustix::process::Signal;

use super::{CommandError, Context, Failure};
use crate::cgroup::Freezer;
use crate::hooks;
use crate::resources::rdt;
use crate::state::{ContainerDirectory, ContainerName, Record, StateError, Status};
use crate::systemd;

const KILL_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill the container if it runs; do not mind if it does not exist
    #[arg(short, long)]
    force: bool,
    /// The container's id
    id: String,
}

/// Deletes a container.
///
/// # Errors
/// When it does not exist or runs, both unless forced; when something of it
/// cannot be removed, in which case the command can be repeated.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let id: ContainerName = args.id.parse()?;
    let directory = context.store.directory(&id);
    let record = match directory.load() {
        Err(StateError::DoesNotExist(_)) if directory.path().exists() => {
            match recordless(&directory)? {
                Some(record) => record,
                None => return Ok(ExitCode::SUCCESS),
            }
        }
        Err(StateError::DoesNotExist(_)) if args.force => return Ok(ExitCode::SUCCESS),
        record => record?,
    };
    let status = directory.status(&record);
    let deletable = matches!(status, Status::Stopped | Status::Created);
    if !deletable && !args.force {
        return Err(CommandError::NotStopped { id, status }.into());
    }
    remove(context, &directory, &record)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes the directory of a creation that was killed before it wrote anything.
/// One that goes on writes its record, which is returned.
fn recordless(directory: &ContainerDirectory) -> Result<Option<Record>, StateError> {
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let lock = match FileLock::try_acquire(&directory.creation_lock()) {
            // Somebody else has removed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            lock => lock?,
        };
        match (directory.load(), lock) {
            (Err(StateError::DoesNotExist(_)), Some(_held)) => {
                directory.remove()?;
                return Ok(None);
            }
            (Err(StateError::DoesNotExist(id)), None) if Instant::now() > deadline => {
                return Err(StateError::DoesNotExist(id));
            }
            (Err(StateError::DoesNotExist(_)), None) => std::thread::sleep(POLL_INTERVAL),
            (record, _) => return record.map(Some),
        }
    }
}

/// Ends what still runs of a container and removes it, then runs its poststop
/// hooks, whose failures the specification wants logged only.
pub(super) fn remove(
    context: &Context<'_>,
    directory: &ContainerDirectory,
    record: &Record,
) -> Result<(), CommandError> {
    match record.init {
        Some(_) => kill_init(record)?,
        None => end_creation(directory, record)?,
    }
    context.log.step("ended init");
    record.cgroup.kill_all()?;
    context.log.step("ended the others");
    let stopped = systemd::stop(&record.cgroup);
    record.cgroup.remove()?;
    stopped?;
    if let Some(class) = &record.rdt {
        class.remove(Path::new(rdt::ROOT))?;
    }
    context.log.step("removed the control groups");
    let hooks = directory
        .load_spec()
        .ok()
        .and_then(|mut spec| spec.hooks_mut().take());
    directory.remove()?;
    context.log.step("removed the directory");
    hooks::run_poststop(hooks.as_ref(), record, context.log);
    Ok(())
}

/// Ends an unfinished creation and what it left: processes that may not have entered the
/// control groups yet, and end by themselves if they do not.
fn end_creation(directory: &ContainerDirectory, record: &Record) -> Result<(), CommandError> {
    let deadline = Instant::now() + KILL_LIMIT;
    if let Some(creator) = record.creator.open() {
        // It may have ended meanwhile, which is as good.
        creator.signal(Signal::KILL).ok();
    }
    loop {
        record.cgroup.kill_all()?;
        if !FileLock::is_held(&directory.creation_lock())? {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(CommandError::KillTimeout(record.id.clone()));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn kill_init(record: &Record) -> Result<(), CommandError> {
    let Some(init) = record.live_init() else {
        return Ok(());
    };
    match init.signal(Signal::KILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            return Err(CommandError::Signal(record.id.clone(), error));
        }
        _ => {}
    }
    if record.cgroup.is_frozen() {
        record.cgroup.set(Freezer::Thawed)?;
    }
    let ended = init
        .wait_end(KILL_LIMIT)
        .map_err(|error| CommandError::Signal(record.id.clone(), error))?;
    match ended {
        true => Ok(()),
        false => Err(CommandError::KillTimeout(record.id.clone())),
    }
}
