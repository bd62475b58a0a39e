//! `cargo xtask peers`: the newest Debian suite's container tools, in a tree of their own.
//!
//! The tree is for comparison only. Nothing of it runs on the host: `peers CMD`,
//! benches and suites enter it in namespaces made for them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::debian;
use crate::enter::{Access, Bind, Entry, Network};
use crate::host;
use crate::process::Cmd;
use crate::workspace;

const SUITE: &str = "unstable";
const PACKAGES: &[&str] = &[
    "aardvark-dns",
    "buildah",
    "busybox-static",
    "ca-certificates",
    "conmon",
    "containerd",
    "criu",
    "crun",
    "curl",
    "docker-buildx",
    "docker-cli",
    "docker-compose",
    "docker-registry",
    "docker.io",
    "fuse-overlayfs",
    "hyperfine",
    "iproute2",
    "iptables",
    "netavark",
    "nftables",
    "passt",
    "podman",
    "procps",
    "runc",
    "skopeo",
    "strace",
    "uidmap",
    "umoci",
];
/// The peers whose versions are printed and recorded.
const SHOWN: &[&str] = &[
    "docker.io",
    "docker-compose",
    "podman",
    "containerd",
    "runc",
    "crun",
    "netavark",
    "buildah",
    "criu",
    "hyperfine",
    "docker-registry",
];

/// Debian 12's runtimes, for the bench of the runtime.
const OLD_SUITE: &str = "bookworm";
const OLD_PACKAGES: &[&str] = &["crun", "runc"];
/// What they want of that tree: the newest suite has no more of it.
pub(crate) const OLD_LIBRARIES: &[&str] = &["usr/lib/x86_64-linux-gnu/libyajl.so.2"];

/// What to run in the tree.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Runs a command in the tree, in namespaces made for it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Makes the tree where it is missing; prints the versions or runs a command.
///
/// # Errors
/// Fails when the tree cannot be made or entered.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure()?;
    if arguments.command.is_empty() {
        println!("{}", versions()?);
        return Ok(ExitCode::SUCCESS);
    }
    let code = entry("peers-data", arguments.command.clone())?.run()?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Returns an entry into the tree, with a scratch folder of that name at `/data`.
///
/// # Errors
/// Fails when the folder cannot be made.
pub(crate) fn entry(data: &str, command: Vec<String>) -> Result<Entry> {
    let data = workspace::scratch(data)?;
    Ok(
        Entry::new(tree(), Network::Private, command).bind(Bind::new(
            data,
            "data",
            Access::ReadWrite,
        )),
    )
}

/// Makes the tree unless it is there already, complete and of this list.
///
/// # Errors
/// Fails when it cannot be made.
pub(crate) fn ensure() -> Result<()> {
    host::ensure_root("the tree of peers")?;
    debian::Tree::new(SUITE, PACKAGES).ensure(&tree()).map(drop)
}

/// Makes the tree of Debian 12's runtimes like that of the newest, and returns it.
///
/// # Errors
/// Fails when it cannot be made.
pub(crate) fn ensure_old() -> Result<PathBuf> {
    debian::Tree::new(OLD_SUITE, OLD_PACKAGES).ensure(&old_tree())?;
    Ok(old_tree())
}

/// Returns "name version" of each peer, one a line.
///
/// # Errors
/// Fails when the tree's package list cannot be read.
pub(crate) fn versions() -> Result<String> {
    versions_in(&tree(), SHOWN)
}

/// Returns the versions of Debian 12's runtimes.
///
/// # Errors
/// Fails like `versions`.
pub(crate) fn old_versions() -> Result<String> {
    versions_in(&old_tree(), OLD_PACKAGES)
}

fn versions_in(tree: &Path, packages: &[&str]) -> Result<String> {
    Cmd::new("dpkg-query")
        .arg(format!(
            "--admindir={}",
            tree.join("var/lib/dpkg").display()
        ))
        .args(["--show", "--showformat", "${Package} ${Version}\n"])
        .args(packages)
        .read()
}

fn old_tree() -> PathBuf {
    workspace::path("target/peers-old")
}

fn tree() -> PathBuf {
    workspace::path("target/peers")
}
