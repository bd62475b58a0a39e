//! The stock docker command line against a socket.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::bench::Who;
use crate::bench::daemons::{self, REGISTRY_PORT};
use crate::conform::smoke::{Client, Outcome};
use crate::images;
use crate::process::{Background, Cmd};

/// The client's own, below /data.
const SETTINGS: &str = "client";

/// Where the tree has the runtime that dockerd is to use, if there is one.
pub(super) const RUNTIME: &str = "/tested/runc-rs";

/// Starts the engine under test and lets the suite judge it; it is told the client
/// and the registry's name.
///
/// # Errors
/// Fails when the engine or the registry cannot be started.
pub(super) fn run(
    against: Who,
    judge: impl FnOnce(&dyn Client, &str) -> Result<Outcome>,
) -> Result<Outcome> {
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
    let registry_name = format!("localhost:{REGISTRY_PORT}");
    let docker = Docker {
        socket: daemons::socket(against),
        image: format!("{registry_name}/smoke:1"),
        settings: daemons::folder(SETTINGS)?,
    };
    if against != Who::Ours && has_runtime() {
        let default = docker.read("info --format {{.DefaultRuntime}}")?;
        ensure!(default.trim() == "tested", "dockerd uses {default}");
    }
    docker.read(&format!("pull --quiet {}", docker.image))?;
    let outcome = judge(&docker, &registry_name)?;
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
    image: String,
    /// The folder of the client's own settings.
    settings: PathBuf,
}

impl Client for Docker {
    fn program(&self) -> Cmd {
        Cmd::new("/usr/bin/docker")
            .arg(format!("--host=unix://{}", self.socket))
            .env("DOCKER_CONFIG", &self.settings)
    }

    fn clean_up(&self) -> Result<()> {
        self.remove_all("ps --all --quiet --no-trunc", "rm --force --volumes")?;
        self.remove_all("volume ls --quiet", "volume rm --force")?;
        self.remove_all("network ls --quiet --filter type=custom", "network rm")?;
        std::fs::remove_dir_all(&self.settings).context("remove the client's settings")?;
        daemons::folder(SETTINGS)?;
        self.clean_up_images()
    }
}

impl Docker {
    /// Leaves the image of the rows, under that name only.
    fn clean_up_images(&self) -> Result<()> {
        let format = "'{{.Repository}}:{{.Tag}} {{.ID}}'";
        let listed = self.read(&format!("image ls --no-trunc --format {format}"))?;
        for line in listed.lines() {
            let (name, id) = line.split_once(' ').context("read the list of images")?;
            if name != self.image {
                let named = if name.contains("<none>") { id } else { name };
                self.read(&format!("image rm --force {named}"))?;
            }
        }
        if listed.contains(&self.image) {
            return Ok(());
        }
        self.read(&format!("pull --quiet {}", self.image)).map(drop)
    }
}
