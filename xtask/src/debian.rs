//! Where this machine gets Debian from: its own apt configuration says it.
//!
//! No host name is written anywhere in the project.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::Cmd;
use crate::workspace::read_text;

/// Lets apt take a suite whose Release file has expired; for one tree only.
pub(crate) const OLD_RELEASE_OPTIONS: &[&str] = &[
    "Acquire::Check-Valid-Until \"false\"",
    "Acquire::Check-Date \"false\"",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Returns the mirror that the host's own suite comes from.
///
/// # Errors
/// Fails when apt knows no source of that suite.
pub(crate) fn mirror() -> Result<String> {
    let suite = suite()?;
    let listed = Cmd::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(RELEASE) $(CODENAME) $(REPO_URI)",
        ])
        .read()?;
    let of_suite = |line: &&str| line.split(' ').take(2).any(|word| word == suite);
    match listed
        .lines()
        .find(of_suite)
        .and_then(|line| line.rsplit(' ').next())
    {
        Some(uri) => Ok(uri.trim_end_matches('/').to_owned()),
        None => bail!("apt has no source for Debian {suite}"),
    }
}

/// Returns the code name of the host's suite.
///
/// # Errors
/// Fails when os-release does not give one.
pub(crate) fn suite() -> Result<String> {
    let text = read_text(Path::new("/etc/os-release"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.map(|name| name.trim_matches('"').to_owned())
        .context("os-release has no code name")
}

/// Returns Debian's keyring.
///
/// # Errors
/// Fails when the package that has it is not installed.
pub(crate) fn keyring() -> Result<PathBuf> {
    crate::host::ensure_packages(&["debian-archive-keyring"])?;
    Ok(KEYRING.into())
}
