//! Debian's suites whose runc comes with a test suite, and the tree of each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::host;
use crate::process::Cmd;
use crate::workspace;

pub(super) const SOURCES: &[&str] = &["runc"];
/// What the tests call, and runc itself.
const PACKAGES: &[&str] = &[
    "bats",
    "busybox-static",
    "gawk",
    "gcc",
    "iproute2",
    "iptables",
    "jq",
    "kmod",
    "libc6-dev",
    "openssh-client",
    "procps",
    "python3-minimal",
    "runc",
    "sshfs",
    "sudo",
    "udev",
    "uidmap",
    "xz-utils",
];
/// Debian 12's does not work on newer kernels.
const NEWEST_PACKAGES: &[&str] = &["criu"];

/// A Debian suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    Newest,
    Old,
}

impl Release {
    /// Returns what `--suite` says: a release, and the source where it is given.
    ///
    /// # Errors
    /// Fails when it is neither a release nor a folder.
    pub(super) fn of_argument(text: &str) -> Result<(Self, Option<PathBuf>)> {
        match text {
            "newest" => Ok((Self::Newest, None)),
            "old" => Ok((Self::Old, None)),
            other if Path::new(other).join("tests/integration").is_dir() => {
                Ok((Self::Newest, Some(other.into())))
            }
            other => bail!("{other} is neither newest, old, nor an unpacked source of runc"),
        }
    }

    pub(super) fn tree(self) -> PathBuf {
        workspace::path(match self {
            Self::Newest => "target/runc-suite",
            Self::Old => "target/runc-suite-old",
        })
    }

    /// Returns where the tree has its own runc.
    pub(super) fn reference(self) -> &'static str {
        "/usr/sbin/runc"
    }

    /// Returns what Debian calls it.
    pub(super) fn suite(self) -> &'static str {
        match self {
            Self::Newest => "unstable",
            Self::Old => "bookworm",
        }
    }

    /// Returns what the tests need installed.
    pub(super) fn packages(self) -> Vec<&'static str> {
        match self {
            Self::Newest => [PACKAGES, NEWEST_PACKAGES].concat(),
            Self::Old => PACKAGES.to_vec(),
        }
    }

    /// Makes the tree unless it is there already.
    ///
    /// # Errors
    /// Fails when it cannot be made.
    pub(super) fn ensure_tree(self) -> Result<()> {
        let tree = debian::Tree {
            suite: self.suite(),
            packages: &self.packages(),
            sources: SOURCES,
        };
        tree.ensure(&self.tree()).map(drop)
    }
}

/// Unpacks the source of runc that a tree has into a new folder.
///
/// # Errors
/// Fails when the tree has none.
pub(super) fn unpack_source(tree: &Path, folder: &Path) -> Result<()> {
    host::ensure_packages(&["xz-utils"])?;
    let archives = tree.join(debian::SOURCES);
    let found = std::fs::read_dir(&archives)
        .with_context(|| format!("read {}", archives.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains(".orig.tar."));
    let archive = found.with_context(|| format!("{} has no source", archives.display()))?;
    std::fs::create_dir(folder).with_context(|| format!("make {}", folder.display()))?;
    Cmd::new("tar")
        .args(["--extract", "--strip-components=1", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .read()
        .map(drop)
}
