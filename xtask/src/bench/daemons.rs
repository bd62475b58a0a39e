//! Starts the daemons of a bench inside the tree and knows each one's command line.
//!
//! Every daemon has its own data below `/data` (ext4) and its own run folder; all
//! of them end with the namespaces at the latest.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Plan, Who};
use crate::images;
use crate::process::{Background, Cmd};
use crate::workspace::write_file;

/// Where the command binds dist/ and the floor program.
pub(crate) const OURS: &str = "/ours";
pub(crate) const FLOOR: &str = "/floor";
/// The tree of Debian 12's peers.
pub(crate) const OLD: &str = "/old";
/// Those of it that the newest suite has no more.
pub(crate) const OLD_LIBRARIES: &str = "/old-libraries";
pub(crate) const REGISTRY_PORT: u16 = 5000;
const DOCKER_SOCKET: &str = "/run/docker.sock";
const ENGINE_SOCKET: &str = "/run/engine/engine.sock";
const CONFIG: &str = "/data/engine.toml";
const READY_LIMIT: Duration = Duration::from_secs(30);

/// The running daemons; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Daemons {
    pub(crate) docker: Option<Background>,
    pub(crate) engine: Option<Background>,
    registry: Background,
}

impl Daemons {
    /// Starts the registry and a daemon for each contender that has one.
    ///
    /// # Errors
    /// Fails when one of them does not answer in time.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let folder = folder("registry")?;
        let registry = images::start_registry(REGISTRY_PORT, &folder)?;
        let docker = plan.has(Who::Docker).then(start_docker).transpose()?;
        let engine = plan.has(Who::Ours).then(start_engine).transpose()?;
        Ok(Self {
            docker,
            engine,
            registry,
        })
    }

    /// Ends all of them, ours first.
    ///
    /// # Errors
    /// Fails when one cannot be ended.
    pub(crate) fn stop(self) -> Result<()> {
        if let Some(engine) = self.engine {
            command(Who::Ours)
                .args(["daemon", "stop", "--containers"])
                .read()?;
            engine.stop()?;
        }
        self.docker.map(Background::stop).transpose()?;
        self.registry.stop()
    }
}

/// Returns the command of a contender with the options that name its folders.
pub(crate) fn command(who: Who) -> Cmd {
    match who {
        Who::Ours => Cmd::new(format!("{OURS}/engine"))
            .args(["--root", "/data/engine", "--run-dir", "/run/engine"])
            .arg("--host")
            .arg(format!("unix://{ENGINE_SOCKET}")),
        Who::Docker => Cmd::new("docker")
            .arg("--host")
            .arg(format!("unix://{DOCKER_SOCKET}")),
        Who::Podman => Cmd::new("podman")
            .args(["--root", "/data/podman", "--runroot", "/run/podman"])
            .args([
                "--cgroup-manager",
                "cgroupfs",
                "--storage-driver",
                "overlay",
            ])
            .env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1"),
        Who::Crun => Cmd::new("crun"),
        Who::Runc => Cmd::new("runc"),
        Who::CrunOld => {
            Cmd::new(format!("{OLD}/usr/bin/crun")).env("LD_LIBRARY_PATH", OLD_LIBRARIES)
        }
        Who::RuncOld => Cmd::new(format!("{OLD}/usr/sbin/runc")),
        Who::Floor => Cmd::new(FLOOR),
    }
}

/// Returns the API socket of a contender that has one.
pub(crate) fn socket(who: Who) -> &'static str {
    if who == Who::Ours {
        ENGINE_SOCKET
    } else {
        DOCKER_SOCKET
    }
}

/// Pulls an image from the loopback registry with a contender that has images.
///
/// # Errors
/// Fails when the pull does.
pub(crate) fn pull(who: Who, reference: &str) -> Result<()> {
    let mut pull = command(who).arg("pull").timeout(Duration::from_secs(600));
    if who == Who::Podman {
        pull = pull.arg("--tls-verify=false");
    }
    pull.arg(reference).read().map(|_| ())
}

/// Makes a folder below `/data`.
///
/// # Errors
/// Fails when it cannot be made.
pub(crate) fn folder(name: &str) -> Result<PathBuf> {
    let folder = Path::new("/data").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Starts dockerd of the tree; it starts its containerd itself.
///
/// # Errors
/// Fails when it does not answer in time.
pub(crate) fn start_docker() -> Result<Background> {
    start_docker_with(&[])
}

/// Starts dockerd with more options.
///
/// # Errors
/// Fails when it does not answer in time.
pub(crate) fn start_docker_with(options: &[&str]) -> Result<Background> {
    let folder = folder("docker")?;
    let mut daemon = Cmd::new("dockerd")
        .arg("--data-root")
        .arg(&folder)
        .args([
            "--exec-root",
            "/run/docker",
            "--pidfile",
            "/run/dockerd.pid",
        ])
        .args([
            "--storage-driver",
            "overlay2",
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ])
        .arg("--host")
        .arg(format!("unix://{DOCKER_SOCKET}"))
        .args(options)
        .background(Path::new("/data/dockerd.log"))?;
    daemon.wait_until(READY_LIMIT, || UnixStream::connect(DOCKER_SOCKET).is_ok())?;
    command(Who::Docker).arg("version").read()?;
    Ok(daemon)
}

/// Starts our daemon in the foreground.
///
/// # Errors
/// Fails when it does not answer in time.
pub(crate) fn start_engine() -> Result<Background> {
    start_engine_with("")
}

/// Starts our daemon with a configuration.
///
/// # Errors
/// Fails when it does not answer in time.
pub(crate) fn start_engine_with(config: &str) -> Result<Background> {
    folder("engine")?;
    write_file(Path::new(CONFIG), config)?;
    let mut daemon = command(Who::Ours)
        .args(["daemon", "--foreground", "--config", CONFIG])
        .background(Path::new("/data/engine.log"))?;
    daemon.wait_until(READY_LIMIT, || UnixStream::connect(ENGINE_SOCKET).is_ok())?;
    command(Who::Ours).arg("version").read()?;
    Ok(daemon)
}
