//! What the suite needs beside it: helper programs and images.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::commands::dist;
use crate::debian;
use crate::host;
use crate::images;
use crate::process::Cmd;
use crate::workspace::{self, TARGET, read_text, write_file};

const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
const PACK_LIMIT: Duration = Duration::from_secs(10 * 60);
const HELPERS: &str = "runc-bats";
/// Where the suite looks for its helpers, and where that of runc 1.1 does.
const HELPER_PLACES: &[&str] = &[
    "tests/cmd/_bin/recvtty",
    "tests/cmd/_bin/pidfd-kill",
    "tests/cmd/_bin/remap-rootfs",
    "tests/cmd/_bin/fs-idmap",
    "tests/cmd/_bin/sd-helper",
    "tests/cmd/_bin/seccompagent",
    "contrib/cmd/recvtty/recvtty",
    "contrib/cmd/sd-helper/sd-helper",
    "contrib/cmd/seccompagent/seccompagent",
];
/// Folders of busybox's image that ours has not.
const FOLDERS: &[&str] = &["home", "usr/bin", "usr/sbin", "sbin", "var/spool/mail"];

/// Where the suite is, below the data folder.
pub(super) const SUITE: &str = "suite";

/// Returns the version the suite says it is.
///
/// # Errors
/// Fails when it does not say one.
pub(super) fn version(data: &Path) -> Result<String> {
    Ok(read_text(&data.join(SUITE).join("VERSION"))?
        .trim()
        .to_owned())
}

/// Returns an empty scratch folder.
///
/// # Errors
/// Fails when an earlier one cannot be removed.
pub(super) fn fresh_data(name: &str) -> Result<PathBuf> {
    let data = workspace::scratch(name)?;
    std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
    workspace::scratch(name)
}

/// Which images the tests unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Images {
    All,
    /// None of Debian.
    Busybox,
}

/// Puts the helpers and images beside the suite.
///
/// # Errors
/// Fails when something cannot be built or copied.
pub(super) fn suite(data: &Path, wanted: Images) -> Result<()> {
    let suite = data.join(SUITE);
    let helpers = build_helpers()?;
    for place in HELPER_PLACES {
        let place = suite.join(place);
        let folder = place.parent().expect("a place is in a folder");
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        copy(&helpers, &place)?;
    }
    std::fs::create_dir_all(data.join("bin")).context("make the folder of commands")?;
    copy(&helpers, &data.join("bin/go"))?;
    let images = suite.join("tests/integration/testdata");
    pack(&busybox(data)?, &images.join("busybox-amd64.tar.xz"))?;
    match wanted {
        Images::All => pack(&debian()?, &images.join("debian-amd64.tar.xz")),
        Images::Busybox => Ok(()),
    }
}

fn build_helpers() -> Result<PathBuf> {
    dist::cargo_static(&[])
        .args(["--package", HELPERS])
        .timeout(BUILD_LIMIT)
        .run()?;
    Ok(workspace::path("target")
        .join(TARGET)
        .join("small")
        .join(HELPERS))
}

fn busybox(data: &Path) -> Result<PathBuf> {
    host::ensure_packages(&["busybox-static"])?;
    let root = data.join("busybox");
    images::busybox_root(&root)?;
    for folder in FOLDERS {
        std::fs::create_dir_all(root.join(folder)).with_context(|| format!("make {folder}"))?;
    }
    symlink("/bin/env", root.join("usr/bin/env")).context("link env")?;
    let users = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
        mail:x:8:8:mail:/var/spool/mail:/bin/false\nwww-data:x:33:33::/var/www:/bin/false\n\
        nobody:x:65534:65534:nobody:/home:/bin/false\n";
    write_file(&root.join("etc/passwd"), users)?;
    let groups = "root:x:0:\ndaemon:x:1:\nmail:x:8:\nwww-data:x:33:\nnogroup:x:65534:\n";
    write_file(&root.join("etc/group"), groups)?;
    Ok(root)
}

fn debian() -> Result<PathBuf> {
    let root = workspace::path("target/runc-suite-image");
    debian::Tree::new(&debian::suite()?, &[]).ensure(&root)?;
    Ok(root)
}

/// Packs a root. The suite unpacks by content, whatever the name says.
fn pack(root: &Path, archive: &Path) -> Result<()> {
    Cmd::new("tar")
        .args(["--create", "--numeric-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(root)
        .arg(".")
        .timeout(PACK_LIMIT)
        .read()
        .map(drop)
}

/// Copies a file or a folder.
///
/// # Errors
/// Fails when that cannot be done in time.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    Cmd::new("cp")
        .arg("--archive")
        .arg(from)
        .arg(to)
        .timeout(PACK_LIMIT)
        .read()
        .map(drop)
}
