//! The daemon's life: take the installation, start the helpers, bring
//! containers up to date, serve, and leave everything running.

mod cgroup;
mod helper;
mod notify;
mod release;
mod run_dir;
mod upkeep;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::lock::FileLock;
use base::{Instance, Steps, Timestamp};
use engine_cli::{DaemonOptions, Held};
use engine_image::{ImageStore, Limits, StoreError};
use engine_model::{ContainerState, Status};
use events::{Log, LogOptions, Verify};
use tokio::signal::unix::{SignalKind, signal};

use crate::bus::Bus;
use crate::container::group_moves::GroupMoves;
use crate::container::network;
use crate::container::registry::Registry;
use crate::container::{Container, adopt, exit, store, told};
use crate::{Binaries, Engine, Leaving, api, config};
use run_dir::Prepared;

/// Threads that run tasks: the daemon waits much and computes little.
const WORKER_THREADS: usize = 2;
/// How long a daemon that was killed may take to let go of the image store.
const IMAGES_LIMIT: Duration = Duration::from_secs(5);
const IMAGES_POLL: Duration = Duration::from_millis(2);
/// Threads for blocking work; they end when idle.
const BLOCKING_THREADS: usize = 64;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// When it cannot start: another one runs, a directory or file cannot be used.
pub fn run(options: DaemonOptions) -> anyhow::Result<ExitCode> {
    log_to_stderr(&options.log_level, &options.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(serve(options))
}

/// Colours only where somebody looks: on a terminal.
fn log_to_stderr(level: &str, format: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(level).context("invalid log level")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let set = match format {
        "json" => builder.json().flatten_event(true).try_init(),
        _ => builder.try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("cannot set up logging: {error}"))
}

async fn serve(options: DaemonOptions) -> anyhow::Result<ExitCode> {
    let instance = open_instance(&options)?;
    let lock = take_lock(&instance)?;
    let steps = Steps::new("engine", options.faults.engine.clone());
    steps.reached("daemon.run_directory");
    // A new mount hides the file that the lock is on: others see another one.
    let locks = match run_dir::prepare(&instance)? {
        Prepared::Mounted => (lock, Some(take_lock(&instance)?)),
        Prepared::Found => (lock, None),
    };
    steps.reached("daemon.cgroup");
    cgroup::enter(&instance);
    steps.reached("daemon.open");
    let (engine, monitored) = open(&options, instance, steps)?;
    let mut helpers = helper::start_all(&engine, &options.faults)?;
    load_containers(&engine)?;
    let removing = engine.leaving.all();
    let (caught_up, monitor) = follow(&engine, monitored)?;
    engine.steps.reached("daemon.listen");
    let listeners = api::listen::bind(&engine, options.host.as_deref()).await?;
    caught_up
        .await
        .context("the event log cannot be followed")?;
    adopt_all(&engine, removing).await;
    if !network::await_predefined(&engine.instance).await {
        tracing::warn!("netd has not made the default networks yet");
    }
    let upkeep = tokio::spawn(upkeep::run(engine.clone()));
    notify::ready();
    let stop = wait_for_end();
    api::server::serve(&engine, listeners, stop).await;
    engine.stopping.store(true, Ordering::Relaxed);
    helpers.stop().await;
    upkeep.abort();
    release::release(&engine);
    drop(monitor);
    drop(locks);
    Ok(ExitCode::SUCCESS)
}

/// Takes the lock that makes the daemon the only one of its installation.
fn take_lock(instance: &Instance) -> anyhow::Result<FileLock> {
    let path = instance.daemon_lock("engine");
    let Some(lock) = FileLock::try_acquire(&path)? else {
        let root = instance.root().to_owned();
        return Err(Held { root, lock: path }.into());
    };
    lock.record_holder(&path, env!("CARGO_PKG_VERSION"))?;
    Ok(lock)
}

fn open_instance(options: &DaemonOptions) -> anyhow::Result<Instance> {
    let instance = Instance::open(&options.root, &options.run, options.instance.clone())?;
    run_dir::refuse_overlay(instance.root())?;
    Ok(instance)
}

/// Waits for SIGTERM or SIGINT.
fn wait_for_end() -> impl Future<Output = ()> {
    let handlers = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        match handlers {
            (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
            // Without handlers the signals end the process by themselves.
            _ => std::future::pending().await,
        }
    }
}

struct Monitored {
    log: Log,
}

fn open(
    options: &DaemonOptions,
    instance: Instance,
    steps: Steps,
) -> anyhow::Result<(Arc<Engine>, Monitored)> {
    let config = config::EngineConfig::load(options.config.as_deref())?;
    for directory in [
        instance.containers(),
        instance.networks(),
        instance.volumes(),
        instance.images(),
    ] {
        base::file::make_directories(&directory, 0o700)?;
    }
    for directory in [instance.shims(), instance.runtime_state()] {
        base::file::make_directories(&directory, 0o700)?;
    }
    let options = LogOptions {
        verify: Verify::Full,
        ..LogOptions::default()
    };
    let log = Log::open_with(&instance.events(), &options).context("cannot open the event log")?;
    let images =
        open_images(&instance, config.images.limits()).context("cannot open the image store")?;
    let engine = Engine {
        config,
        binaries: find_binaries()?,
        bus: Bus::new(log.clone()),
        images: Arc::new(images),
        containers: Registry::default(),
        execs: Default::default(),
        leaving: Leaving::default(),
        group_moves: GroupMoves::default(),
        started: Timestamp::now(),
        metrics: Default::default(),
        audit: Default::default(),
        steps,
        stopping: Arc::new(AtomicBool::new(false)),
        instance,
    };
    Ok((Arc::new(engine), Monitored { log }))
}

/// A daemon that was killed a moment ago lets go of its files one by one: its
/// own lock may be free before the store's.
fn open_images(instance: &Instance, limits: Limits) -> Result<ImageStore, StoreError> {
    let begun = Instant::now();
    loop {
        match ImageStore::open_with(&instance.images(), limits) {
            Err(StoreError::Locked(_)) if begun.elapsed() < IMAGES_LIMIT => {
                std::thread::sleep(IMAGES_POLL);
            }
            opened => return opened,
        }
    }
}

/// All programs are installed in one directory, and are of one build.
fn find_binaries() -> anyhow::Result<Binaries> {
    let own = std::env::current_exe().context("cannot find the engine's own program")?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    let find = |name: &str| {
        let path = directory.join(name);
        anyhow::ensure!(
            path.is_file(),
            "{path:?} is missing: it belongs beside the engine's own program"
        );
        Ok(path)
    };
    Ok(Binaries {
        netd: find("netd")?,
        volumed: find("volumed")?,
        shim: find("engine-shim")?,
        runtime: find("runc-rs")?,
    })
}

fn load_containers(engine: &Arc<Engine>) -> anyhow::Result<()> {
    for (id, directory) in store::list(&engine.instance.containers())? {
        match store::read(&directory) {
            Ok(store::Found::Whole(stored, state)) => {
                let container = Arc::new(Container::new(*stored, state, directory));
                register(engine, container);
            }
            Ok(store::Found::Untold(stored)) => {
                let state = ContainerState::created();
                let container = Arc::new(Container::new(*stored, state, directory));
                if let Err(error) = told::complete_creation(engine, &container) {
                    tracing::error!(%id, %error, "cannot tell that a container was created");
                }
                register(engine, container);
            }
            Ok(store::Found::Leftover) => {
                engine.steps.reached("load.leftover");
                if let Err(error) = std::fs::remove_dir_all(&directory) {
                    tracing::warn!(%id, %error, "cannot remove the leftover directory of a container");
                }
            }
            Err(error) => {
                tracing::error!(%id, error = base::failure::chain(&error), "cannot read a container")
            }
        }
    }
    Ok(())
}

/// A container whose removal was under way is gone for clients already.
fn register(engine: &Engine, container: Arc<Container>) {
    if container.state().status == Status::Removing {
        if let Err(error) = told::complete_removal(engine, &container) {
            tracing::error!(id = %container.id, %error, "cannot tell that a container was removed");
        }
        engine.leaving.keep(&container);
        return;
    }
    if let Err(error) = engine.containers.add(container.clone()) {
        tracing::error!(id = %container.id, %error, "cannot register a container");
    }
    let run = container.run();
    let restored = engine.execs.restore(&engine.instance.shim(&run), &run);
    if let Err(error) = restored {
        tracing::warn!(id = %container.id, %error, "its execs are forgotten");
    }
}

type CaughtUp = tokio::sync::oneshot::Receiver<()>;

/// Starts the reader and the monitor; the first result is ready once every
/// record that was there at the start has been handled.
fn follow(
    engine: &Arc<Engine>,
    monitored: Monitored,
) -> anyhow::Result<(CaughtUp, tokio::task::JoinHandle<()>)> {
    let cursor = monitored.log.cursor(crate::event::SOURCE)?;
    let last = monitored.log.last()?;
    let records = engine
        .bus
        .follow(cursor.position(), engine.stopping.clone())?;
    let (sender, caught_up) = tokio::sync::oneshot::channel();
    let monitor = tokio::spawn(exit::monitor(
        engine.clone(),
        records,
        cursor,
        exit::CaughtUp::new(last, sender),
    ));
    Ok((caught_up, monitor))
}

/// The log may have told meanwhile that the last run of a container in
/// `removing` is cleaned up; its removal is to be finished all the same.
async fn adopt_all(engine: &Arc<Engine>, removing: Vec<Arc<Container>>) {
    let mut all = engine.containers.all();
    let mut leaving = engine.leaving.all();
    leaving.retain(|it| !removing.iter().any(|other| Arc::ptr_eq(it, other)));
    all.extend(removing);
    all.extend(leaving);
    if let Err(error) = adopt::forget_old_runs(engine) {
        tracing::error!(%error, "cannot forget old runs");
    }
    for container in all {
        adopt::adopt(engine, &container).await;
    }
}
