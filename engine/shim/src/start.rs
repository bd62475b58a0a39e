//! From the directory of a run to a shim that listens.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base::lock::FileLock;
use base::{PathContext as _, PathError};
use engine_shim_api::{
    ATTACH_SOCKET, CONFIG_FILE, CONTROL_SOCKET, LOCK_FILE, LOG_FILE, OLDEST_PROTOCOL_VERSION,
    PROTOCOL_VERSION, ShimConfig,
};
use events::OpenError;
use rustix::net::SocketType;

use crate::directory::Directory;
use crate::log::{LogWriter, OpenLogError};
use crate::outbox::Outbox;
use crate::runtime::Environment;
use crate::supervisor::{Parts, Supervisor};

/// A configuration is never larger.
const CONFIG_LIMIT_BYTES: u64 = 1 << 20;

/// Why a shim does not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot read the configuration")]
    Config(#[source] serde_json::Error),
    #[error("protocol {0} is not supported")]
    Protocol(u32),
    #[error("another shim serves this run")]
    Busy,
    #[error("failed to initialize logging driver")]
    Log(#[from] OpenLogError),
    #[error("cannot watch for children")]
    Children(#[source] std::io::Error),
    #[error("cannot open the event log")]
    Events(#[source] OpenError),
    #[error("cannot say that the shim is ready")]
    Ready(#[source] std::io::Error),
}

/// Serves the run whose directory this is, until it is over; `environment` is
/// what runtime commands get.
///
/// # Errors
/// When the shim cannot start; nothing was run then.
pub fn run(directory: &Path, environment: Environment) -> Result<(), RunError> {
    let directory = Directory::open(directory)?;
    let config = read_config(&directory)?;
    let lock = take_lock(&directory)?;
    let mut supervisor = Supervisor::new(prepare(config, environment, directory)?);
    detach_from_parent().map_err(RunError::Ready)?;
    supervisor.run();
    supervisor.remove_sockets();
    // The run is over for others the moment the lock is free.
    drop(lock);
    Ok(())
}

fn read_config(directory: &Directory) -> Result<ShimConfig, RunError> {
    let text = base::file::read_bounded(&directory.file(CONFIG_FILE), CONFIG_LIMIT_BYTES)?;
    let config: ShimConfig = serde_json::from_slice(&text).map_err(RunError::Config)?;
    if !(OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION).contains(&config.protocol) {
        return Err(RunError::Protocol(config.protocol));
    }
    Ok(config)
}

/// Takes the lock and writes our pid into it, for people and for the engine.
fn take_lock(directory: &Directory) -> Result<FileLock, RunError> {
    let path = directory.file(LOCK_FILE);
    let lock = FileLock::try_acquire(&path)?.ok_or(RunError::Busy)?;
    lock.file().set_len(0).at("truncate", &path)?;
    writeln!(&mut lock.file(), "{}", std::process::id()).at("write", &path)?;
    Ok(lock)
}

fn prepare(
    config: ShimConfig,
    environment: Environment,
    directory: Directory,
) -> Result<Parts, RunError> {
    let children = crate::sys::watch_children().map_err(RunError::Children)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| RunError::Children(errno.into()))?;
    let log = config.log.as_ref().map(LogWriter::open).transpose()?;
    let events = events::Log::open(&config.events).map_err(RunError::Events)?;
    let control = directory.listen(CONTROL_SOCKET, SocketType::SEQPACKET)?;
    let attach = directory.listen(ATTACH_SOCKET, SocketType::STREAM)?;
    redirect_errors(&directory)?;
    Ok(Parts {
        outbox: Outbox::new(events, config.run.to_string()),
        config,
        environment,
        directory,
        children,
        control,
        attach,
        log,
    })
}

/// From here on, what goes to standard error goes to `shim.log`.
fn redirect_errors(directory: &Directory) -> Result<(), PathError> {
    let path = directory.file(LOG_FILE);
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .at("open", &path)?;
    rustix::stdio::dup2_stderr(file.as_fd()).at("write to", &path)
}

/// Says `ready` and lets go of the engine's descriptors and directory.
fn detach_from_parent() -> std::io::Result<()> {
    std::io::stdout().write_all(b"ready\n")?;
    std::io::stdout().flush()?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::process::chdir("/")?;
    Ok(())
}
