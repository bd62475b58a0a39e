//! Installs what a command needs and the machine lacks, by Debian package name.
//!
//! Asks nothing. The package lists are refreshed only when an install fails
//! without that, so that a machine which has everything needs no network.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::Cmd;

const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What building the workspace needs beside a Rust toolchain.
pub(crate) const BUILD_PACKAGES: &[&str] = &["gcc", "git", "libc6-dev", "libseccomp-dev"];
/// What the tests start or read.
pub(crate) const TEST_PACKAGES: &[&str] = &[
    "busybox-static",
    "curl",
    "docker-registry",
    "iproute2",
    "nftables",
    "openssh-client",
    "openssh-server",
    "openssl",
    "procps",
    "runc",
    "skopeo",
    "strace",
    "tar",
    "util-linux",
];

/// Makes sure that all of the packages are installed.
///
/// # Errors
/// Fails when a package cannot be installed.
pub(crate) fn ensure_packages(packages: &[&str]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(" "));
    if install(&missing).is_ok() {
        return Ok(());
    }
    // One unreachable source must not keep us from what the others have.
    if let Err(error) = apt("update", &[]).read() {
        eprintln!("{error:#}");
    }
    install(&missing).with_context(|| format!("install {}", missing.join(" ")))
}

/// Makes sure that `cargo nextest` is there.
///
/// # Errors
/// Fails when it is missing and cannot be built.
pub(crate) fn ensure_nextest() -> Result<()> {
    let version = crate::workspace::cargo("nextest")
        .arg("--version")
        .output()?;
    if version.status.success() {
        return Ok(());
    }
    eprintln!("installing cargo-nextest");
    crate::workspace::cargo("install")
        .args(["cargo-nextest", "--locked"])
        .timeout(INSTALL_LIMIT)
        .run()
}

/// Fails unless we are root.
///
/// # Errors
/// Fails naming what needs root.
pub(crate) fn ensure_root(what: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{what} needs root");
    }
    Ok(())
}

fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let listed = Cmd::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output()?;
    let listed = listed.stdout_text();
    let installed = |name: &str| {
        listed
            .lines()
            .any(|line| line == format!("{name} installed"))
    };
    Ok(packages
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect())
}

fn install(packages: &[&str]) -> Result<()> {
    apt("install", packages).read().map(|_| ())
}

fn apt(subcommand: &str, packages: &[&str]) -> Cmd {
    Cmd::new("apt-get")
        .args([subcommand, "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .timeout(INSTALL_LIMIT)
}
