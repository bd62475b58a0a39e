//! The small image of a bench, and bundles for OCI runtimes with the seccomp
//! filter that dockerd writes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Who;
use super::daemons::{REGISTRY_PORT, command, folder};
use crate::images;
use crate::workspace::{read_text, write_file};

/// Where docker's containerd keeps the bundle of a running container.
const DOCKER_BUNDLES: &str = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby";

/// Pushes an image of busybox to the loopback registry and returns its name.
///
/// # Errors
/// Fails when it cannot be made or pushed.
pub(crate) fn make_image() -> Result<String> {
    let work = folder("image")?;
    let root = work.join("root");
    images::busybox_root(&root)?;
    images::write_layout(&work.join("layout"), "1", &[root], &["sh"])?;
    let image = format!("localhost:{REGISTRY_PORT}/web:1");
    images::push(&work.join("layout"), "1", &image)?;
    Ok(image)
}

/// Returns the filter of a container of docker's.
///
/// # Errors
/// Fails when it cannot be run, or has none.
pub(crate) fn seccomp_of_docker(image: &str) -> Result<Value> {
    let docker = || command(Who::Docker);
    let id = docker()
        .args(["run", "--detach", "--network=none", image, "sleep", "600"])
        .read()?;
    let config = read_text(&Path::new(DOCKER_BUNDLES).join(&id).join("config.json"));
    docker().args(["rm", "--force", &id]).read()?;
    let config: Value = serde_json::from_str(&config?).context("parse docker's bundle")?;
    let seccomp = config["linux"]["seccomp"].clone();
    ensure!(seccomp.is_object(), "docker's bundle has no seccomp filter");
    Ok(seccomp)
}

/// Makes a bundle of busybox with the specification that `runtime` writes.
///
/// # Errors
/// Fails when a file cannot be written.
pub(crate) fn make(bundle: &Path, runtime: Who, seccomp: &Value) -> Result<()> {
    images::busybox_root(&bundle.join("rootfs"))?;
    command(runtime).arg("spec").directory(bundle).read()?;
    change(bundle, |config| {
        // Debian 12's crun takes no newer one.
        config["ociVersion"] = json!("1.0.2");
        config["process"]["terminal"] = json!(false);
        config["linux"]["seccomp"] = seccomp.clone();
    })
}

/// Sets what a bundle's container runs.
///
/// # Errors
/// Fails when its specification cannot be read or written.
pub(crate) fn set_process(bundle: &Path, process: &[String]) -> Result<()> {
    change(bundle, |config| config["process"]["args"] = json!(process))
}

/// Sets the limit of memory of a bundle's container, in bytes, or none.
///
/// # Errors
/// Fails when its specification cannot be read or written.
pub(crate) fn set_memory(bundle: &Path, limit: Option<u64>) -> Result<()> {
    let memory = limit.map_or(json!({}), |limit| json!({"limit": limit}));
    change(bundle, |config| {
        config["linux"]["resources"]["memory"] = memory;
    })
}

fn change(bundle: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_str(&read_text(&file)?).context("parse a bundle")?;
    change(&mut config);
    write_file(&file, config.to_string())
}

/// Returns a word that nobody can have said before.
///
/// # Errors
/// Fails when the kernel gives none.
pub(crate) fn fresh_token() -> Result<String> {
    let token = read_text(Path::new("/proc/sys/kernel/random/uuid"))?;
    Ok(token.trim().to_owned())
}
