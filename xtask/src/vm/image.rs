//! The root image of a machine, made once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Machine;
use crate::debian;
use crate::process::Cmd;
use crate::workspace::{self, read_text, write_file};

/// What it boots with.
const PACKAGES: &[&str] = &[
    "dbus",
    "iproute2",
    "linux-image-cloud-amd64",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
];
const SIZE: &str = "3G";
const LIMIT: Duration = Duration::from_secs(300);

/// What the machine says first on the port of the status.
pub(super) const BEGUN: &str = "begun";

/// Starts the command once systemd has reached its target. The job is done with the
/// start, so that the command may wait for the end of the boot.
const UNIT: &str = "[Unit]\nDescription=The command of xtask\nAfter=multi-user.target\n\
    [Service]\nType=exec\nExecStart=/usr/local/sbin/xtask-run\n\
    [Install]\nWantedBy=multi-user.target\n";
const RUN: &str = "#!/bin/sh\n\
    echo begun >/dev/virtio-ports/status\n\
    mkdir -p /xtask && mount /dev/vdb /xtask\n\
    cd /xtask\n\
    PATH=/xtask/dist:$PATH sh ./command </dev/null >/dev/virtio-ports/output 2>&1\n\
    echo \"status $?\" >/dev/virtio-ports/status\n\
    systemctl poweroff --no-block\n";

impl Machine {
    pub(crate) fn tree(&self) -> PathBuf {
        workspace::path("target").join(self.name)
    }

    /// Makes the tree that the root image is made of, where it is missing.
    ///
    /// # Errors
    /// Fails when it cannot be made.
    pub(crate) fn ensure_tree(&self) -> Result<()> {
        let packages = [PACKAGES, &self.packages].concat();
        let tree = debian::Tree {
            suite: &self.suite,
            packages: &packages,
            sources: self.sources,
        };
        tree.ensure(&self.tree()).map(drop)
    }

    /// Makes the root image, or returns the one made of the same packages before.
    pub(super) fn ensure_image(&self) -> Result<PathBuf> {
        let tree = self.tree();
        let image = tree.with_extension("ext4");
        let stamp = tree.with_extension("ready");
        self.ensure_tree()?;
        let made_of = read_text(&tree.with_extension("stamp"))?;
        let wanted = format!("{made_of}\n{UNIT}{RUN}");
        if image.is_file() && read_text(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(image);
        }
        write_file(&tree.join("etc/systemd/system/xtask-run.service"), UNIT)?;
        write_file(&tree.join("usr/local/sbin/xtask-run"), RUN)?;
        write_file(&tree.join("etc/fstab"), "/dev/vda / ext4 defaults 0 0\n")?;
        Cmd::new("chmod")
            .arg("0755")
            .arg(tree.join("usr/local/sbin/xtask-run"))
            .read()?;
        enable(&tree)?;
        make(&tree, &image, SIZE)?;
        write_file(&stamp, wanted)?;
        Ok(image)
    }
}

/// What `systemctl enable` does; the host need not have systemd.
fn enable(tree: &Path) -> Result<()> {
    let wants = tree.join("etc/systemd/system/multi-user.target.wants");
    let link = wants.join("xtask-run.service");
    std::fs::create_dir_all(&wants).with_context(|| format!("create {}", wants.display()))?;
    match std::os::unix::fs::symlink("../xtask-run.service", &link) {
        // From an image that was made before.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.with_context(|| format!("create {}", link.display())),
    }
}

/// Makes an image of a folder.
///
/// # Errors
/// Fails when the folder is larger than the image.
pub(super) fn make(folder: &Path, image: &Path, size: &str) -> Result<()> {
    if image.exists() {
        std::fs::remove_file(image).with_context(|| format!("remove {}", image.display()))?;
    }
    Cmd::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(folder)
        .arg(image)
        .arg(size)
        .timeout(LIMIT)
        .read()
        .map(|_| ())
}
