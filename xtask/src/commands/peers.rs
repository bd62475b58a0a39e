//! `cargo xtask peers`: the newest Debian suite's container tools, in a tree of their own.
//!
//! The tree is for comparison only. Nothing of it runs on the host: `peers CMD`,
//! benches and suites enter it in namespaces made for them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::debian;
use crate::enter::{Access, Bind, Entry, Network};
use crate::host;
use crate::process::Cmd;
use crate::workspace::{self, read_text};

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
const UNPACK_LIMIT: Duration = Duration::from_secs(30 * 60);

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
    let wanted = format!("{SUITE} {}", PACKAGES.join(" "));
    if read_text(&stamp()).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    host::ensure_packages(&["mmdebstrap"])?;
    eprintln!("unpacking {} packages of Debian {SUITE}", PACKAGES.len());
    if tree().exists() {
        std::fs::remove_dir_all(tree()).context("remove an unfinished tree")?;
    }
    mmdebstrap()?
        .arg(SUITE)
        .arg(tree())
        .arg(debian::mirror()?)
        .timeout(UNPACK_LIMIT)
        .read()?;
    workspace::write_file(&stamp(), wanted)
}

/// Returns "name version" of each peer, one a line.
///
/// # Errors
/// Fails when the tree's package list cannot be read.
pub(crate) fn versions() -> Result<String> {
    Cmd::new("dpkg-query")
        .arg(format!(
            "--admindir={}",
            tree().join("var/lib/dpkg").display()
        ))
        .args(["--show", "--showformat", "${Package} ${Version}\n"])
        .args(SHOWN)
        .read()
}

fn mmdebstrap() -> Result<Cmd> {
    let mut command = Cmd::new("mmdebstrap")
        .args(["--mode=root", "--variant=minbase", "--format=directory"])
        .arg(format!("--keyring={}", debian::keyring()?.display()))
        .arg(format!("--include={}", PACKAGES.join(",")));
    for option in debian::OLD_RELEASE_OPTIONS {
        command = command.arg(format!("--aptopt={option}"));
    }
    for folder in ["man", "doc", "locale"] {
        command = command.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    Ok(command)
}

fn tree() -> PathBuf {
    workspace::path("target/peers")
}

/// Beside the tree, so that a tree which was not finished has none.
fn stamp() -> PathBuf {
    Path::new(&tree()).with_extension("stamp")
}
