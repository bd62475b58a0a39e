//! Trees that clients run in: the peers' tree, where the engine runs, has one bound
//! below it, whose programs and libraries are those that the clients are made for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::{Who, daemons};
use crate::commands::{dist, peers};
use crate::debian;
use crate::enter::{Access, Bind, Entry};
use crate::process::Cmd;

/// Where the peers' tree has that of the clients.
const FOLDER: &str = "client";
/// What both see alike.
const SHARED: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];
/// Debian's own, whatever else is on the path: its Python is the trees'.
const PYTHON: &str = "/usr/bin/python3";
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Makes a tree of the host's suite of Debian, with these packages.
///
/// # Errors
/// Fails when it cannot be made.
pub(super) fn ensure_tree(tree: &Path, packages: &[&str]) -> Result<()> {
    debian::Tree::new(&debian::suite()?, packages)
        .ensure(tree)
        .map(drop)
}

/// Returns an entry into the peers' tree that has the clients' one, and the scratch
/// folder of that name at `/data` in both.
///
/// # Errors
/// Fails when the folder cannot be made.
pub(super) fn entry(tree: PathBuf, name: &str, command: Vec<String>) -> Result<Entry> {
    let data = crate::workspace::scratch(name)?;
    let entry = peers::entry(name, command)?.bind(Bind::new(tree, FOLDER, Access::ReadWrite));
    Ok(bind(entry, data, "data", Access::ReadWrite))
}

/// Shows the peers' tree our programs, those of a folder or a build of them.
///
/// # Errors
/// Fails when there is no such folder, or they cannot be built.
pub(super) fn with_ours(entry: Entry, programs: Option<&Path>) -> Result<Entry> {
    let folder = match programs {
        Some(folder) => folder.canonicalize().context("find the programs")?,
        None => {
            dist::programs()?;
            dist::folder()
        }
    };
    let to = daemons::OURS.trim_start_matches('/');
    Ok(entry.bind(Bind::new(folder, to, Access::ReadOnly)))
}

/// Shows the clients a folder of the host, at a path of their tree.
pub(super) fn bind(entry: Entry, from: impl Into<PathBuf>, to: &str, access: Access) -> Entry {
    entry.bind(Bind::new(from, format!("{FOLDER}/{to}"), access))
}

/// Makes what both trees see alike; to be done once, within the peers' tree and after
/// the engine has begun, which mounts its folder.
///
/// # Errors
/// Fails when it cannot be mounted.
pub(super) fn share() -> Result<()> {
    for shared in SHARED {
        Cmd::new("mount")
            .args([
                "--rbind",
                &format!("/{shared}"),
                &format!("/{FOLDER}/{shared}"),
            ])
            .read()?;
    }
    Ok(())
}

/// Returns a command in the clients' tree, told where the engine is.
pub(super) fn command(who: Who) -> Cmd {
    Cmd::new("chroot")
        .arg(format!("/{FOLDER}"))
        .env("DOCKER_HOST", format!("unix://{}", daemons::socket(who)))
        .env("PYTHONDONTWRITEBYTECODE", "1")
}

/// Returns a command of the installer of Python's packages.
pub(super) fn pip(subcommand: &str) -> Cmd {
    Cmd::new(PYTHON)
        .args(["-m", "pip", subcommand, "--quiet"])
        .timeout(INSTALL_LIMIT)
}
