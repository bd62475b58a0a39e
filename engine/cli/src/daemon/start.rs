//! Starting the daemon when nobody answers: through systemd where our unit is
//! installed, else as a process of its own session.
//!
//! Two that start it at once do no harm: the daemon takes a lock, the second
//! one ends, and both of us wait for the socket to answer. One that found the
//! lock with a daemon that was just dying is started again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base::PathError;
use base::file::{PathContext as _, make_directories};
use base::instance::{DEFAULT_ROOT, DEFAULT_RUN};
use base::lock::FileLock;
use engine_api::client::{Call, Client, ClientError};

use super::{DaemonOptions, HELD_EXIT_CODE, descriptors};

/// How long the daemon may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(5);
/// Bytes of the log that are shown when it does not start.
const TAIL_BYTES: u64 = 2048;
/// What the daemon and its helpers find in their environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The lock that the running daemon holds, in the run directory.
const LOCK: &str = "engine.lock";
/// Our unit, as packages install it.
pub(super) const UNIT: &str = "engine.service";
const UNIT_DIRECTORIES: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the engine is not running at {0}, and only root can start it")]
    NotRoot(String),
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot run {program}")]
    Spawn { program: String, source: io::Error },
    #[error("systemd could not start {UNIT}; see: journalctl -u {UNIT}")]
    Unit,
    #[error("the engine ended while it started ({status}){}", tail_text(tail))]
    Ended { status: String, tail: String },
    #[error("the engine did not answer within {START_LIMIT:?}{}", tail_text(tail))]
    Silent { tail: String },
    #[error(transparent)]
    Client(#[from] ClientError),
}

fn tail_text(tail: &str) -> String {
    match tail.is_empty() {
        true => String::new(),
        false => format!("; the end of its log:\n{tail}"),
    }
}

/// Starts the daemon and waits until it answers.
///
/// # Errors
/// When we may not, or it does not come up; the error shows the end of its log.
pub(crate) async fn start(options: &DaemonOptions, client: &Client) -> Result<(), StartError> {
    if !rustix::process::geteuid().is_root() {
        return Err(StartError::NotRoot(client.endpoint().to_string()));
    }
    if is_default(options) && has_unit() {
        systemctl("start")?;
        return wait(options, client, Started::Unit).await;
    }
    make_directories(&options.run, 0o711)?;
    let log = Log::open(options.run.join("engine.log"))?;
    let child = spawn(options, &log)?;
    wait(options, client, Started::Process { child, log }).await
}

/// What was started.
enum Started {
    Unit,
    Process { child: Child, log: Log },
}

/// The file that takes what the daemon prints.
struct Log {
    path: PathBuf,
    file: File,
    /// Where this start's part begins.
    begin: u64,
}

impl Log {
    fn open(path: PathBuf) -> Result<Self, PathError> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .at("open", &path)?;
        let begin = file.metadata().at("inspect", &path)?.len();
        Ok(Self { path, file, begin })
    }

    /// Returns the end of what this start wrote. It is read through the open
    /// file: the daemon may have mounted a tmpfs over the run directory.
    fn tail(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let end = self.file.metadata()?.len();
            let begin = self.begin.max(end.saturating_sub(TAIL_BYTES));
            let mut tail = vec![0; usize::try_from(end.saturating_sub(begin)).unwrap_or(0)];
            self.file.read_exact_at(&mut tail, begin)?;
            Ok(tail)
        };
        // The log only adds to the error that is being reported.
        String::from_utf8_lossy(&read().unwrap_or_default())
            .trim()
            .to_owned()
    }
}

fn spawn(options: &DaemonOptions, log: &Log) -> Result<Child, StartError> {
    descriptors::close_on_exec()?;
    let program = std::env::current_exe().at("find", "/proc/self/exe")?;
    let output = || log.file.try_clone().at("duplicate", &log.path);
    Command::new(&program)
        .args(options.to_arguments())
        .args(["daemon", "--foreground", "--own-session"])
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?)
        .spawn()
        .map_err(|source| StartError::Spawn {
            program: program.display().to_string(),
            source,
        })
}

/// Waits for the daemon to answer. A process of ours that ended is no failure
/// while another holds the daemon's lock: somebody else started it just before.
async fn wait(
    options: &DaemonOptions,
    client: &Client,
    mut started: Started,
) -> Result<(), StartError> {
    let deadline = Instant::now() + START_LIMIT;
    let lock = options.run.join(LOCK);
    loop {
        match client.done(Call::get("/_ping")).await {
            Ok(_) => return Ok(()),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = started.ended()
            && !FileLock::is_held(&lock)?
        {
            match &mut started {
                Started::Process { child, log } if was_held(status) => {
                    *child = spawn(options, log)?;
                }
                _ => {
                    let (status, tail) = (status.to_string(), started.tail());
                    return Err(StartError::Ended { status, tail });
                }
            }
        }
        if Instant::now() >= deadline {
            let tail = started.tail();
            return Err(StartError::Silent { tail });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Returns whether there is no daemon, or one that is just dying.
pub(crate) fn is_gone(error: &ClientError) -> bool {
    error.is_not_running() || error.is_unread()
}

/// Returns whether a daemon ended since another one held the lock.
fn was_held(status: ExitStatus) -> bool {
    status.code() == Some(HELD_EXIT_CODE.into())
}

impl Started {
    /// Returns how the process ended, if it did.
    fn ended(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Unit => None,
            Self::Process { child, .. } => child.try_wait().ok().flatten(),
        }
    }

    fn tail(&self) -> String {
        match self {
            Self::Unit => String::new(),
            Self::Process { log, .. } => log.tail(),
        }
    }
}

/// Returns whether the installation is the one our unit runs.
pub(super) fn is_default(options: &DaemonOptions) -> bool {
    options.root == Path::new(DEFAULT_ROOT)
        && options.run == Path::new(DEFAULT_RUN)
        && options.instance.is_none()
        && options.config.is_none()
        && options.host.is_none()
}

/// Returns whether systemd runs this host and has our unit.
pub(super) fn has_unit() -> bool {
    let mut directories = UNIT_DIRECTORIES.iter().map(Path::new);
    Path::new("/run/systemd/system").exists()
        && directories.any(|directory| directory.join(UNIT).exists())
}

/// Has systemd do `verb` to our unit.
pub(super) fn systemctl(verb: &str) -> Result<(), StartError> {
    let status = Command::new("systemctl")
        .args([verb, UNIT])
        .stdin(Stdio::null())
        .status()
        .map_err(|source| StartError::Spawn {
            program: "systemctl".to_owned(),
            source,
        })?;
    match status.success() {
        true => Ok(()),
        false => Err(StartError::Unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_this_start_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.log");
        base::file::replace(&path, b"an old failure\n", base::file::FileMode::Private).unwrap();
        let log = Log::open(path).unwrap();
        assert_eq!(log.tail(), "");
        use std::io::Write as _;
        (&log.file).write_all(b"cannot bind\n").unwrap();
        assert_eq!(log.tail(), "cannot bind");
        let long = "x".repeat(2 * TAIL_BYTES as usize);
        (&log.file).write_all(long.as_bytes()).unwrap();
        assert_eq!(log.tail().len(), TAIL_BYTES as usize);
    }

    #[tokio::test]
    async fn a_daemon_that_ends_at_once_is_reported_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path().join("engine.log")).unwrap();
        let script = "echo 'address pool is empty'; exit 3";
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdout(log.file.try_clone().unwrap())
            .spawn()
            .unwrap();
        let options = DaemonOptions {
            root: directory.path().into(),
            run: directory.path().into(),
            instance: None,
            config: None,
            host: None,
            log_level: "info".to_owned(),
            log_format: "text".to_owned(),
            faults: Default::default(),
        };
        let client = Client::new(directory.path().join("engine.sock"));
        let started = Started::Process { child, log };
        let error = wait(&options, &client, started)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("address pool is empty"), "{error}");
    }
}
