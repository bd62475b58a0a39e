//! Where this machine gets Debian from: its own apt configuration says it.
//!
//! No host name is written anywhere in the project.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host;
use crate::process::Cmd;
use crate::workspace::{read_text, write_file};

/// Lets apt take a suite whose Release file has expired; for one tree only.
const OLD_RELEASE_OPTIONS: &[&str] = &[
    "Acquire::Check-Valid-Until \"false\"",
    "Acquire::Check-Date \"false\"",
];
const UNPACK_LIMIT: Duration = Duration::from_secs(30 * 60);
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Returns the mirror that the host's own suite comes from.
///
/// # Errors
/// Fails when apt knows no source of that suite.
fn mirror() -> Result<String> {
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
fn keyring() -> Result<PathBuf> {
    host::ensure_packages(&["debian-archive-keyring"])?;
    Ok(KEYRING.into())
}

/// Where a tree keeps the archives of its source packages.
pub(crate) const SOURCES: &str = "usr/src/packages";

/// A tree of packages of one suite, and what they depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    pub(crate) suite: &'a str,
    pub(crate) packages: &'a [&'a str],
    /// Source packages, whose archives are put below `SOURCES` as they are.
    pub(crate) sources: &'a [&'a str],
}

impl<'a> Tree<'a> {
    pub(crate) fn new(suite: &'a str, packages: &'a [&'a str]) -> Self {
        Self {
            suite,
            packages,
            sources: &[],
        }
    }

    /// Unpacks it into a folder, which is complete or absent: an unfinished one
    /// is removed first.
    ///
    /// # Errors
    /// Fails when a package does not exist or the mirror does not answer.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<()> {
        host::ensure_packages(&["mmdebstrap"])?;
        if folder.exists() {
            std::fs::remove_dir_all(folder)
                .with_context(|| format!("remove {}", folder.display()))?;
        }
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("make {}", parent.display()))?;
        }
        let (suite, mirror) = (self.suite, mirror()?);
        eprintln!(
            "unpacking Debian {suite} with {} packages",
            self.packages.len()
        );
        let mut command = self
            .command()?
            .arg(suite)
            .arg(folder)
            .arg(format!("deb {mirror} {suite} main"));
        if !self.sources.is_empty() {
            command = command.arg(format!("deb-src {mirror} {suite} main"));
        }
        command.timeout(UNPACK_LIMIT).read().map(drop)
    }

    fn command(&self) -> Result<Cmd> {
        let mut command = Cmd::new("mmdebstrap")
            .args(["--mode=root", "--variant=minbase", "--format=directory"])
            .arg(format!("--keyring={}", keyring()?.display()));
        if !self.packages.is_empty() {
            command = command.arg(format!("--include={}", self.packages.join(",")));
        }
        for option in OLD_RELEASE_OPTIONS {
            command = command.arg(format!("--aptopt={option}"));
        }
        for folder in ["man", "locale"] {
            command = command.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
        }
        if !self.sources.is_empty() {
            let hook = format!(
                "--customize-hook=mkdir -p \"$1/{SOURCES}\" && cd \"$1/{SOURCES}\" && \
                 APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get source --download-only {}",
                self.sources.join(" ")
            );
            command = command.arg(hook);
        }
        Ok(command)
    }

    /// Unpacks it only when the folder was not made of the same list before.
    ///
    /// Returns whether it was unpacked anew.
    ///
    /// # Errors
    /// Fails like `unpack`.
    pub(crate) fn ensure(&self, folder: &Path) -> Result<bool> {
        // Beside the folder, and written last, so that an unfinished tree has none.
        let stamp = folder.with_extension("stamp");
        let lists = [self.packages, self.sources].concat();
        let wanted = format!("{} {}", self.suite, lists.join(" "));
        if folder.is_dir() && read_text(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(false);
        }
        self.unpack(folder)?;
        write_file(&stamp, wanted)?;
        Ok(true)
    }
}
