//! The tree that the clients run in, and the clients themselves in their pinned versions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::FOLDER;
use crate::conform::clients::{self, pip};
use crate::host;
use crate::process::Cmd;
use crate::workspace::{self, cargo, read_text, write_file};

const PACKAGES: &[&str] = &["ca-certificates", "nodejs", "python3"];
/// Scenarios in Rust, packages outside the workspace.
const RUST: [&str; 2] = ["bollard", "testcontainers"];
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Makes or completes all of it.
///
/// # Errors
/// Fails when a registry of packages does not have a version, or a build fails.
pub(super) fn everything() -> Result<()> {
    clients::ensure_tree(&tree(), PACKAGES)?;
    python()?;
    node()?;
    RUST.iter().try_for_each(|name| rust(name))
}

/// Returns the tree of the clients.
pub(super) fn tree() -> PathBuf {
    made("client")
}

/// Returns what the tree has to see, and where.
pub(super) fn shown() -> [(PathBuf, &'static str); 4] {
    [
        (workspace::path(FOLDER), "sdk"),
        (made("python"), "site"),
        // Where node looks for what a file below the root asks for.
        (made("node/node_modules"), "node_modules"),
        (made("rust/debug"), "rust"),
    ]
}

fn made(name: &str) -> PathBuf {
    workspace::path("target/sdk").join(name)
}

fn python() -> Result<()> {
    let list = workspace::path(FOLDER).join("docker/requirements.txt");
    let site = made("python");
    ensure(&site, &[&list], || {
        host::ensure_packages(&["python3-pip"])?;
        pip("install")
            .args(["--no-deps", "--target"])
            .arg(&site)
            .arg("--requirement")
            .arg(&list)
            .run()
    })
}

fn node() -> Result<()> {
    let folder = made("node");
    let lists = ["package.json", "package-lock.json"];
    let from = lists.map(|name| workspace::path(FOLDER).join("dockerode").join(name));
    ensure(&folder, &[&from[0], &from[1]], || {
        if Cmd::new("npm").arg("--version").output().is_err() {
            host::ensure_packages(&["npm"])?;
        }
        for (name, file) in lists.iter().zip(&from) {
            write_file(&folder.join(name), read_text(file)?)?;
        }
        Cmd::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .directory(&folder)
            .timeout(INSTALL_LIMIT)
            .run()
    })
}

fn rust(name: &str) -> Result<()> {
    let manifest = workspace::path(FOLDER).join(name).join("Cargo.toml");
    cargo("build")
        .arg("--locked")
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(made("rust"))
        .timeout(BUILD_LIMIT)
        .run()
}

/// Makes a folder anew unless it was made of the same lists before.
fn ensure(folder: &Path, lists: &[&Path], make: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = folder.with_extension("stamp");
    let wanted = lists.iter().map(|list| read_text(list));
    let wanted = wanted.collect::<Result<String>>()?;
    if folder.is_dir() && read_text(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    make()?;
    write_file(&stamp, wanted)
}
