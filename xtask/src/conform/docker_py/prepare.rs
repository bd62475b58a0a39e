//! The suite, the packages it pins, and a Python that those are made for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::conform::clients::{self, pip};
use crate::host;
use crate::process::Cmd;
use crate::workspace::{self, read_text, write_file};

/// The source distribution, with its version.
pub(super) const SDK: &str = "docker==7.0.0";
const PACKAGES: &[&str] = &["ca-certificates", "gnupg", "pass", "python3"];
/// Where the suite is, below the data folder.
pub(super) const SUITE: &str = "suite";

/// Makes the tree of Debian's Python.
///
/// # Errors
/// Fails when it cannot be made.
pub(super) fn client() -> Result<()> {
    clients::ensure_tree(&tree(), PACKAGES)
}

/// Returns that tree.
pub(super) fn tree() -> PathBuf {
    workspace::path("target/docker-py")
}

/// Returns the folder of the packages that the suite needs.
pub(super) fn site() -> PathBuf {
    workspace::path("target/docker-py-site")
}

/// Unpacks the suite into the data folder and installs what it pins.
///
/// # Errors
/// Fails when the registry of packages does not have it.
pub(super) fn suite(data: &Path) -> Result<()> {
    host::ensure_packages(&["python3-pip"])?;
    let archives = workspace::path("target/docker-py-sdist");
    let archive = archives.join(SDK.replace("==", "-") + ".tar.gz");
    if !archive.is_file() {
        pip("download")
            .args(["--no-deps", "--no-binary", "docker", "--dest"])
            .arg(&archives)
            .arg(SDK)
            .run()?;
    }
    let suite = data.join(SUITE);
    std::fs::create_dir_all(&suite).context("make the folder of the suite")?;
    Cmd::new("tar")
        .args(["--extract", "--strip-components=1", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(&suite)
        .read()?;
    install(&suite)
}

fn install(suite: &Path) -> Result<()> {
    let site = site();
    let stamp = site.with_extension("stamp");
    if site.is_dir() && read_text(&stamp).is_ok_and(|found| found == SDK) {
        return Ok(());
    }
    pip("install")
        .args(["--upgrade", "--target"])
        .arg(&site)
        .arg("--requirement")
        .arg(suite.join("requirements.txt"))
        .arg("--requirement")
        .arg(suite.join("test-requirements.txt"))
        .run()?;
    write_file(&stamp, SDK)
}
