//! `record api-versions`: dockerd's answers to the questions of a scene, in each version
//! of its API, as a table that the tests compare ours with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::docker::suite;
use crate::bench::{Who, daemons};
use crate::commands::peers;
use crate::enter::{Access, Bind};
use crate::process::Cmd;
use crate::workspace::{self, cargo, read_text, write_file};

pub(super) const NAME: &str = "api-versions";
const SCENE: &str = "tests/conform/api-versions.toml";
const TABLE: &str = "tests/conform/api-versions.dockerd.txt";
const DATA: &str = "conform-api-versions";
/// The program that asks.
const RECORDER: &str = "api-shapes";
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
const RECORD_LIMIT: Duration = Duration::from_secs(20 * 60);
/// The image of the scene, in the registry.
const IMAGE: &str = "scene:1";

/// Enters the tree of peers, asks dockerd there and writes the table.
///
/// # Errors
/// Fails when dockerd cannot be started or asked.
pub(crate) fn run() -> Result<()> {
    peers::ensure()?;
    let data = workspace::scratch(DATA)?;
    std::fs::remove_dir_all(&data)?;
    let data = workspace::scratch(DATA)?;
    write_file(
        &data.join("scene.toml"),
        read_text(&workspace::path(SCENE))?,
    )?;
    let command = ["/proc/self/exe", "conform-inside", NAME];
    let code = peers::entry(DATA, command.map(str::to_owned).to_vec())?
        .bind(Bind::new(recorder()?, "recorder", Access::ReadOnly))
        .run()?;
    if code != 0 {
        bail!("recording ended with status {code}");
    }
    let versions = peers::versions()?;
    let version = versions
        .lines()
        .find(|line| line.starts_with("docker.io"))
        .unwrap_or_default();
    let table = read_text(&data.join("table.txt"))?;
    let head = format!("# What {version} answers; written by `cargo xtask record {NAME}`.\n");
    write_file(&workspace::path(TABLE), head + &table)?;
    std::fs::remove_dir_all(&data)?;
    Ok(())
}

fn recorder() -> Result<PathBuf> {
    cargo("build")
        .args(["--package", RECORDER])
        .timeout(BUILD_LIMIT)
        .run()?;
    Ok(workspace::path("target/debug").join(RECORDER))
}

/// The part that runs in the tree.
///
/// # Errors
/// Fails when dockerd or the registry cannot be started, or a call is refused.
pub(crate) fn run_inside() -> Result<()> {
    let registry = suite::start_registry_with(IMAGE)?;
    let engine = daemons::start_docker()?;
    let table = Cmd::new("/recorder")
        .arg(daemons::socket(Who::Docker))
        .args(["/data/scene.toml", "/data/docker", "/run/docker"])
        .timeout(RECORD_LIMIT)
        .read()?;
    write_file(Path::new("/data/table.txt"), table)?;
    engine.stop()?;
    registry.stop()
}
