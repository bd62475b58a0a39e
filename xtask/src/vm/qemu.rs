//! How qemu is called.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Machine;
use crate::process::Cmd;

/// The files of the machine's console and ports, in its working folder.
pub(super) const CONSOLE: &str = "console";
pub(super) const OUTPUT: &str = "output";
pub(super) const STATUS: &str = "status";

/// One thread takes turns for both processors: with a thread each, now and then
/// one of them executes the kernel's code while the other patches it, and hangs
/// or panics. A kernel that panics ends the machine, unless it may boot again.
///
/// The root disk is a snapshot: what is written there goes to a temporary file, which
/// is there until the machine ends.
pub(super) fn command(
    machine: &Machine,
    reboots: bool,
    root: &Path,
    files: &Path,
    work: &Path,
) -> Result<Cmd> {
    let drive =
        |file: &Path, more: &str| format!("file={},format=raw,if=virtio,{more}", file.display());
    let port = |name: &str| {
        let file = format!("file,id={name},path={}", work.join(name).display());
        let device = format!("virtserialport,chardev={name},name={name}");
        ["-chardev".to_owned(), file, "-device".to_owned(), device]
    };
    Ok(Cmd::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
        ])
        .args(["-display", "none", "-monitor", "none", "-nic", "none"])
        .args((!reboots).then_some("-no-reboot"))
        .arg("-serial")
        .arg(format!("file:{}", work.join(CONSOLE).display()))
        .arg("-drive")
        .arg(drive(root, "snapshot=on"))
        .arg("-drive")
        .arg(drive(files, "cache=unsafe"))
        .args(["-device", "virtio-serial-pci"])
        .args(port(OUTPUT))
        .args(port(STATUS))
        .arg("-kernel")
        .arg(boot_file(machine, "vmlinuz-")?)
        .arg("-initrd")
        .arg(boot_file(machine, "initrd.img-")?)
        .arg("-append")
        .arg(format!(
            "root=/dev/vda rw console=ttyS0 panic=-1 systemd.unified_cgroup_hierarchy=1 quiet {}",
            machine.parameters
        )))
}

fn boot_file(machine: &Machine, prefix: &str) -> Result<PathBuf> {
    let boot = machine.tree().join("boot");
    for entry in std::fs::read_dir(&boot).with_context(|| format!("read {}", boot.display()))? {
        let entry = entry.with_context(|| format!("read {}", boot.display()))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("there is no {prefix}* in {}", boot.display())
}
