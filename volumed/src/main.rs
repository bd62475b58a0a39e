//! The `volumed` program: parses its command line and runs the daemon in the
//! foreground until SIGTERM or SIGINT.
#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context as _;
use base::instance::{DEFAULT_ROOT, DEFAULT_RUN, InstanceName};
use base::{FaultStep, Instance, Steps};
use clap::{Parser, ValueEnum};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use volumed::daemon::Daemon;
use volumed::overlay::MountWay;

/// The storage daemon of the engine: volumes and root filesystems.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The directory that survives a reboot
    #[arg(long, value_name = "DIR", default_value = DEFAULT_ROOT)]
    root: PathBuf,
    /// The directory that does not
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN)]
    run_dir: PathBuf,
    /// The name of this installation
    #[arg(long, value_name = "NAME")]
    instance: Option<InstanceName>,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Kill the daemon at a step, for tests
    #[arg(long, value_name = "[NAME#]N", hide = true)]
    fault_step: Option<FaultStep>,
    /// Force a way to mount, for tests
    #[arg(long, value_name = "WAY", hide = true)]
    mount_way: Option<Way>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    Append,
    List,
    Classic,
}

fn main() -> ExitCode {
    if let Some(code) = base::user_namespace::hold_if_asked(std::env::args()) {
        return code;
    }
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("VOLUMED_LOG")
        .from_env_lossy();
    let stderr = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    stderr.with_env_filter(filter).init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    raise_open_files().context("cannot raise the limit of open files")?;
    let stop = stop_on_signals().context("cannot wait for signals")?;
    let daemon = Daemon {
        config: volumed::config::read(arguments.config.as_deref())?,
        instance: Instance::open(&arguments.root, &arguments.run_dir, arguments.instance)?,
        steps: Steps::new("volumed", arguments.fault_step),
        mount_way: arguments.mount_way.map(|way| match way {
            Way::Append => MountWay::Append,
            Way::List => MountWay::List,
            Way::Classic => MountWay::Classic,
        }),
    };
    Ok(daemon.run(&stop)?)
}

/// Copying a deep tree holds several descriptors for each directory.
fn raise_open_files() -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)
}

/// Returns a flag that SIGTERM and SIGINT set. Called before any other thread is
/// started, so that every thread inherits the mask and only one gets the signals.
fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let waiter = thread::Builder::new().name("volumed-signals".to_owned());
    waiter.spawn(move || match signals.wait() {
        Ok(signal) => {
            tracing::info!(%signal, "stopping");
            told.store(true, Ordering::Relaxed);
        }
        Err(error) => tracing::error!(%error, "signals are lost"),
    })?;
    Ok(stop)
}
