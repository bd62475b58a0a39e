//! netd and volumed: started with the engine, started again when they end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::{FaultStep, Instance};
use engine_cli::FaultSteps;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Engine;

/// The pause before a helper that ended is started again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A helper that lived this long ended for a new reason.
const LASTING: Duration = Duration::from_secs(10);
/// How long a helper may take to end when told to.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The running helpers.
pub(super) struct Helpers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Helpers {
    /// Ends every helper; containers do not notice.
    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a helper's supervisor failed");
            }
        }
    }
}

/// Starts netd and volumed and keeps them running.
pub(super) fn start_all(engine: &Arc<Engine>, faults: &FaultSteps) -> anyhow::Result<Helpers> {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = Vec::new();
    for (name, program, fault) in [
        ("netd", &engine.binaries.netd, &faults.netd),
        ("volumed", &engine.binaries.volumed, &faults.volumed),
    ] {
        engine.steps.reached("helper.replace");
        replace(&engine.instance.daemon_lock(name))?;
        engine.steps.reached("helper.start");
        let child = start(engine, program, fault.as_ref())?;
        tasks.push(tokio::spawn(supervise(
            engine.clone(),
            (name, program.clone()),
            child,
            stopped.clone(),
        )));
    }
    Ok(Helpers { stop, tasks })
}

/// Ends the helper that another daemon left, which may be of another build; the
/// kernel frees its lock when it has ended.
fn replace(lock: &Path) -> anyhow::Result<()> {
    let Some(pid) = base::lock::holder(lock)?.and_then(Pid::from_raw) else {
        return Ok(());
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Ok(());
    };
    // Between the two looks the process id cannot have been given to another.
    if base::lock::holder(lock)?.and_then(Pid::from_raw) != Some(pid) {
        return Ok(());
    }
    for signal in [Signal::TERM, Signal::KILL] {
        if let Err(error) = pidfd_send_signal(&pidfd, signal) {
            anyhow::ensure!(
                error == Errno::SRCH,
                "cannot end the helper that holds {lock:?}: {error}"
            );
        }
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: END_LIMIT.as_secs() as i64,
            tv_nsec: 0,
        };
        if poll(&mut ended, Some(&limit))? > 0 {
            return Ok(());
        }
    }
    anyhow::bail!("the helper that holds {lock:?} does not end")
}

/// Returns the command line of a helper, without the program.
fn arguments(instance: &Instance, config: Option<&Path>) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--root".into(), instance.root().into()];
    words.extend(["--run-dir".into(), instance.run().into()]);
    words.extend(["--instance".into(), instance.name().as_str().into()]);
    if let Some(config) = config {
        words.extend(["--config".into(), config.into()]);
    }
    words
}

fn start(engine: &Engine, program: &Path, fault: Option<&FaultStep>) -> anyhow::Result<Child> {
    Command::new(program)
        .args(arguments(&engine.instance, engine.config.file.as_deref()))
        .args(fault.map(|step| format!("--fault-step={step}")))
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {program:?}"))
}

async fn supervise(
    engine: Arc<Engine>,
    (name, program): (&'static str, PathBuf),
    mut child: Child,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = tokio::time::Instant::now();
        tokio::select! {
            status = child.wait() => tracing::warn!(?program, ?status, "a helper ended; starting it again"),
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return end(&program, child).await,
        }
        if begun.elapsed() > LASTING {
            pause = FIRST_PAUSE;
        }
        child = loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if *stop.borrow() {
                return;
            }
            match start(&engine, &program, None) {
                Ok(child) => {
                    engine.metrics.count_restart(name);
                    break child;
                }
                Err(error) => tracing::error!(
                    ?program,
                    error = format!("{error:#}"),
                    "cannot restart a helper"
                ),
            }
        };
    }
}

/// Ends a helper: asked first, killed when it does not listen.
async fn end(program: &Path, mut child: Child) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32));
    if let Some(pid) = pid
        && let Err(error) = rustix::process::kill_process(pid, Signal::TERM)
    {
        tracing::warn!(?program, %error, "cannot end a helper");
    }
    if tokio::time::timeout(END_LIMIT, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        tracing::warn!(?program, %error, "cannot kill a helper");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: Option<&str>, expected: &str) {
        let instance = Instance::from_canonical("/r".into(), "/run/r".into(), "x".parse().ok());
        let words = arguments(&instance, config.map(Path::new));
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn helpers_read_the_file_the_engine_read() {
        check(None, "--root /r --run-dir /run/r --instance x");
        check(
            Some("/etc/x.toml"),
            "--root /r --run-dir /run/r --instance x --config /etc/x.toml",
        );
    }
}
