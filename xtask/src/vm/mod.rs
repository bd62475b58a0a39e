//! A Debian with systemd and cgroup v2 under qemu.
//!
//! Emulated in software, so 7 to 9 times slower than the host. The root file
//! system is made once; each run sees it as new. What goes in is an ext4 image
//! with the files named; what comes out is the output and the status, each over
//! a virtio port of its own.

mod image;
mod qemu;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host;
use crate::process::Cmd;
use crate::workspace::{self, write_file};

const HOST_PACKAGES: &[&str] = &["e2fsprogs", "qemu-system-x86"];
const FILES_SIZE: &str = "1G";
/// Booting takes less than a minute on an idle host.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
const BOOT_ATTEMPTS: usize = 3;
/// What a command says to boot again, as its last line.
pub(crate) const REBOOT: &str =
    "echo reboots >/dev/virtio-ports/status; systemctl reboot --no-block; sleep 600";
/// As the last line of the status: the next boot has not begun its command.
const REBOOTS: &str = "reboots";
const POLL: Duration = Duration::from_millis(200);

/// What is installed in a machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Of its tree and image, below the target folder.
    pub(crate) name: &'static str,
    /// A suite of Debian.
    pub(crate) suite: String,
    /// Beside those that it boots with.
    pub(crate) packages: Vec<&'static str>,
    /// Source packages, whose archives its tree has.
    pub(crate) sources: &'static [&'static str],
    /// More for the kernel's command line.
    pub(crate) parameters: &'static str,
}

/// A command for a machine, the files it needs and how long it may take.
///
/// The command may boot the machine again by [`REBOOT`]; it is then run once more, and
/// what was written to the disk is there.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) machine: Machine,
    /// A shell script; the folder `dist` of the files is on its PATH.
    pub(crate) command: String,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) limit: Duration,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: u8,
    pub(crate) output: String,
}

impl Job {
    /// Boots a new machine, runs the command there and prints its output.
    ///
    /// # Errors
    /// Fails when the machine does not boot or the command does not end in time.
    pub(crate) fn run(&self) -> Result<Ended> {
        host::ensure_root("making a disk image")?;
        host::ensure_packages(HOST_PACKAGES)?;
        let root = self.machine.ensure_image()?;
        let work = workspace::scratch("")?.join(format!("vm-{}", std::process::id()));
        let ended = self.boot(&root, &work);
        std::fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        ended
    }

    fn boot(&self, root: &Path, work: &Path) -> Result<Ended> {
        let files = work.join("files.ext4");
        self.make_files(&work.join("files"))?;
        image::make(&work.join("files"), &files, FILES_SIZE)?;
        let command = qemu::command(
            &self.machine,
            self.command.contains(REBOOT),
            root,
            &files,
            work,
        )?;
        for _ in 0..BOOT_ATTEMPTS {
            eprintln!("a machine boots; it prints to {}/output", work.display());
            match self.attempt(&command, work)? {
                Some(ended) => return Ok(ended),
                None => eprintln!("it does not boot"),
            }
        }
        bail!("the machine did not boot in {BOOT_ATTEMPTS} attempts")
    }

    /// Returns nothing where the machine does not boot: under emulation a kernel
    /// now and then goes round in a circle as it begins.
    fn attempt(&self, command: &Cmd, work: &Path) -> Result<Option<Ended>> {
        let read = |name: &str| {
            let bytes = std::fs::read(work.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let begun = Instant::now();
        let mut booting_since = Some(begun);
        let mut running = command.background(&work.join("qemu.log"))?;
        while !running.has_ended()? {
            std::thread::sleep(POLL);
            let passed = begun.elapsed();
            booting_since = match is_booting(&read(qemu::STATUS)) {
                true => booting_since.or_else(|| Some(Instant::now())),
                false => None,
            };
            if booting_since.is_some_and(|since| since.elapsed() > BOOT_LIMIT) {
                running.stop()?;
                return Ok(None);
            }
            if passed > BOOT_LIMIT + self.limit {
                running.stop()?;
                print!("{}", read(qemu::OUTPUT));
                bail!("the command did not end within {:?}", self.limit);
            }
        }
        let output = read(qemu::OUTPUT);
        print!("{output}");
        let status = read(qemu::STATUS);
        let last = status.trim().lines().last().unwrap_or_default();
        match last.strip_prefix("status ").map(str::parse) {
            Some(Ok(status)) => Ok(Some(Ended { status, output })),
            _ => bail!(
                "the command never ended; the console says:\n{}\n{}",
                tail(&read(qemu::CONSOLE)),
                read("qemu.log")
            ),
        }
    }

    fn make_files(&self, folder: &Path) -> Result<()> {
        write_file(&folder.join("command"), &self.command)?;
        for file in &self.files {
            Cmd::new("cp")
                .arg("--archive")
                .arg(file)
                .arg(folder)
                .read()?;
        }
        Ok(())
    }
}

/// Returns whether the command of this boot has not begun.
fn is_booting(status: &str) -> bool {
    status.lines().last().is_none_or(|last| last == REBOOTS)
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_boots_until_its_command_begins() {
        for (status, boots) in [
            ("", true),
            ("begun\n", false),
            ("begun\nreboots\n", true),
            ("begun\nreboots\nbegun\n", false),
            ("begun\nreboots\nbegun\nstatus 0\n", false),
        ] {
            assert_eq!(is_booting(status), boots, "{status:?}");
        }
        assert!(REBOOT.starts_with(&format!("echo {REBOOTS} ")));
    }
}
