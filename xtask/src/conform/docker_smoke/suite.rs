//! The stock docker command line against a socket.

use anyhow::{Result, ensure};

use crate::bench::Who;
use crate::bench::daemons::{self, REGISTRY_PORT};
use crate::conform::smoke::rows::Table;
use crate::conform::smoke::{Client, Outcome, run_rows};
use crate::images;
use crate::process::{Background, Cmd};

/// Where the tree has the runtime that dockerd is to use, if there is one.
pub(super) const RUNTIME: &str = "/tested/runc-rs";

/// Where the rows' logins are kept, for as long as the suite runs.
const CONFIG: &str = "--config=/tmp/docker-config";

/// Starts the engine under test and runs every row whose name has the filter in it.
///
/// # Errors
/// Fails when the engine or the registry cannot be started.
pub(crate) fn run(against: Who, table: &str, filter: &str) -> Result<Outcome> {
    let registry = start_registry()?;
    let engine = match against {
        Who::Ours => daemons::start_engine()?,
        _ if has_runtime() => daemons::start_docker_with(&[
            "--add-runtime",
            &format!("tested={RUNTIME}"),
            "--default-runtime=tested",
        ])?,
        _ => daemons::start_docker()?,
    };
    let table = Table::parse(table, &format!("localhost:{REGISTRY_PORT}"))?;
    let docker = Docker {
        socket: daemons::socket(against),
    };
    if against != Who::Ours && has_runtime() {
        let default = docker.read("info --format {{.DefaultRuntime}}")?;
        ensure!(default.trim() == "tested", "dockerd uses {default}");
    }
    docker.read(&format!("pull --quiet localhost:{REGISTRY_PORT}/smoke:1"))?;
    let outcome = run_rows(&docker, table.row.iter(), filter);
    if against == Who::Ours {
        daemons::command(Who::Ours)
            .args(["daemon", "stop", "--containers"])
            .read()?;
    }
    engine.stop()?;
    registry.stop()?;
    Ok(outcome)
}

/// The place of an earlier run's is an empty file.
fn has_runtime() -> bool {
    std::fs::metadata(RUNTIME).is_ok_and(|found| found.len() > 0)
}

/// Starts a registry that has the image of the rows.
///
/// # Errors
/// Fails when it cannot be made or pushed.
pub(in crate::conform) fn start_registry() -> Result<Background> {
    start_registry_with("smoke:1")
}

/// Starts a registry that has one image of busybox by that name.
///
/// # Errors
/// Fails when it cannot be made or pushed.
pub(in crate::conform) fn start_registry_with(name: &str) -> Result<Background> {
    let work = daemons::folder("image")?;
    images::busybox_root(&work.join("root"))?;
    images::write_layout(&work.join("layout"), "1", &[work.join("root")], &["sh"])?;
    let registry = images::start_registry(REGISTRY_PORT, &daemons::folder("registry")?)?;
    images::push(
        &work.join("layout"),
        "1",
        &format!("localhost:{REGISTRY_PORT}/{name}"),
    )?;
    Ok(registry)
}

struct Docker {
    socket: &'static str,
}

impl Client for Docker {
    fn program(&self) -> Cmd {
        Cmd::new("/usr/bin/docker")
            .arg(format!("--host=unix://{}", self.socket))
            .arg(CONFIG)
    }

    fn clean_up(&self) -> Result<()> {
        self.remove_all("ps --all --quiet --no-trunc", "rm --force --volumes")?;
        self.remove_all("volume ls --quiet", "volume rm --force")?;
        self.remove_all("network ls --quiet --filter type=custom", "network rm")
    }
}
