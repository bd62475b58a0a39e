//! The `netd` binary: command line, logging, signals.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use base::instance::{DEFAULT_ROOT, DEFAULT_RUN, InstanceName};
use base::{FaultStep, Instance, Steps};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

/// The networking daemon of an installation.
#[derive(Debug, Parser)]
#[command(name = "netd", version)]
struct Arguments {
    /// What survives a reboot.
    #[arg(long, env = "ENGINE_ROOT", default_value = DEFAULT_ROOT)]
    root: PathBuf,
    /// What does not.
    #[arg(long, env = "ENGINE_RUN", default_value = DEFAULT_RUN)]
    run_dir: PathBuf,
    /// The installation's name.
    #[arg(long, env = "ENGINE_INSTANCE")]
    instance: Option<InstanceName>,
    /// The configuration file.
    #[arg(long, env = "ENGINE_CONFIG")]
    config: Option<PathBuf>,
    /// What is logged: a level, or targets with levels.
    #[arg(long, env = "ENGINE_LOG", default_value = "info")]
    log_level: String,
    /// Ends the process by SIGKILL at this step, for tests of crashes.
    #[arg(long, value_name = "[NAME#]N", hide = true)]
    fault_step: Option<FaultStep>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Answers names without privilege; started by the daemon itself.
    #[command(hide = true)]
    Dns {
        /// The empty directory it sees as its root.
        jail: PathBuf,
    },
}

fn main() -> ExitCode {
    if let Some(code) = base::user_namespace::hold_if_asked(std::env::args()) {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_new(&arguments.log_level).context("cannot read --log-level")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    if let Some(Command::Dns { jail }) = arguments.command {
        return Ok(netd::dns::run_child(&jail)?);
    }
    raise_open_files()?;
    let stop = stop_on_signals()?;
    let config = netd::config::read(arguments.config.as_deref())?;
    let instance = Instance::open(&arguments.root, &arguments.run_dir, arguments.instance)?;
    let steps = Steps::new("netd", arguments.fault_step);
    netd::daemon::run(instance, config, steps, &stop)?;
    Ok(())
}

/// Every published port is an open descriptor.
fn raise_open_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// Blocks SIGTERM and SIGINT in every thread but the one that waits for them.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("cannot block signals")?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let wait = move || match signals.wait() {
        Ok(signal) => {
            tracing::info!(%signal, "stopping");
            flag.store(true, Ordering::Relaxed);
        }
        Err(error) => tracing::error!(%error, "cannot wait for signals"),
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("cannot start a thread for signals")?;
    Ok(stop)
}
