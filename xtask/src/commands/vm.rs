//! `cargo xtask vm CMD`: a Debian with systemd and cgroup v2 under qemu.
//!
//! Emulated in software, so 7 to 9 times slower than the host. The root file
//! system is made once; each run sees it as new. What goes in is an ext4 image
//! with dist/ and the files named; what comes out is the output and the status,
//! each over a virtio port of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::commands::dist;
use crate::debian;
use crate::host;
use crate::process::Cmd;
use crate::workspace::{self, read_text, write_file};

const HOST_PACKAGES: &[&str] = &["e2fsprogs", "qemu-system-x86"];
const PACKAGES: &[&str] = &[
    "busybox-static",
    "curl",
    "dbus",
    "iproute2",
    "linux-image-cloud-amd64",
    "nftables",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
];
const ROOT_SIZE: &str = "3G";
const FILES_SIZE: &str = "1G";
const IMAGE_LIMIT: Duration = Duration::from_secs(300);
/// Booting takes about a minute; this much is added to the command's own limit.
const BOOT_LIMIT: Duration = Duration::from_secs(300);

/// Starts the command once systemd has reached its target. The job is done with the
/// start, so that the command may wait for the end of the boot.
const UNIT: &str = "[Unit]\nDescription=The command of xtask\nAfter=multi-user.target\n\
    [Service]\nType=exec\nExecStart=/usr/local/sbin/xtask-run\n\
    [Install]\nWantedBy=multi-user.target\n";
const RUN: &str = "#!/bin/sh\n\
    mkdir -p /xtask && mount /dev/vdb /xtask\n\
    cd /xtask\n\
    PATH=/xtask/dist:$PATH sh ./command </dev/null >/dev/virtio-ports/output 2>&1\n\
    echo \"status $?\" >/dev/virtio-ports/status\n\
    systemctl poweroff --no-block\n";

/// What to run, and what it needs.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Copies a file or folder into the working folder of the command
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Builds dist/ and puts it on the command's PATH
    #[arg(long)]
    dist: bool,
    /// How long the command may take
    #[arg(long, default_value_t = 900, value_name = "N")]
    seconds: u64,
    /// The command; by default says what runs there
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Boots, runs the command, prints its output and returns its status.
///
/// # Errors
/// Fails when the machine does not boot or the command does not end in time.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut job = Job {
        command: arguments.command.join(" "),
        files: arguments.files.clone(),
        limit: Duration::from_secs(arguments.seconds),
    };
    if job.command.is_empty() {
        job.command =
            "systemctl is-system-running --wait; uname -r; stat -fc %T /sys/fs/cgroup".into();
    }
    if arguments.dist {
        dist::programs()?;
        job.files.push(dist::folder());
    }
    job.run().map(ExitCode::from)
}

/// A command for the machine, the files it needs and how long it may take.
#[derive(Debug)]
pub(crate) struct Job {
    /// A shell script; the folder `dist` of the files is on its PATH.
    pub(crate) command: String,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) limit: Duration,
}

impl Job {
    /// Boots a new machine, runs the command there and prints its output.
    ///
    /// Returns its status.
    ///
    /// # Errors
    /// Fails when the machine does not boot or the command does not end in time.
    pub(crate) fn run(&self) -> Result<u8> {
        host::ensure_root("making a disk image")?;
        host::ensure_packages(HOST_PACKAGES)?;
        let root = ensure_root_image()?;
        let work = workspace::scratch("")?.join(format!("vm-{}", std::process::id()));
        let status = boot(self, &root, &work);
        std::fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        status
    }
}

fn boot(job: &Job, root: &Path, work: &Path) -> Result<u8> {
    let files = work.join("files.ext4");
    make_files(job, &work.join("files"))?;
    make_image(&work.join("files"), &files, FILES_SIZE)?;
    let limit = BOOT_LIMIT + job.limit;
    let ran = qemu(root, &files, work)?.timeout(limit).status();
    print!(
        "{}",
        std::fs::read_to_string(work.join("output")).unwrap_or_default()
    );
    let console = || std::fs::read_to_string(work.join("console")).unwrap_or_default();
    let ran = ran.with_context(|| format!("the console says:\n{}", tail(&console())))?;
    let answer = std::fs::read_to_string(work.join("status")).unwrap_or_default();
    match answer.trim().strip_prefix("status ").map(str::parse) {
        Some(Ok(status)) if ran.success() => Ok(status),
        _ => bail!(
            "the command never ended; the console says:\n{}",
            tail(&console())
        ),
    }
}

fn make_files(job: &Job, folder: &Path) -> Result<()> {
    write_file(&folder.join("command"), &job.command)?;
    for file in &job.files {
        Cmd::new("cp")
            .arg("--archive")
            .arg(file)
            .arg(folder)
            .read()?;
    }
    Ok(())
}

/// Makes the root image, or returns the one made of the same packages before.
fn ensure_root_image() -> Result<PathBuf> {
    let tree = workspace::path("target/vm");
    let image = workspace::path("target/vm.ext4");
    let stamp = tree.with_extension("ready");
    let wanted = format!("{UNIT}{RUN}");
    let anew = debian::Tree::new(&debian::suite()?, PACKAGES).ensure(&tree)?;
    if !anew && image.is_file() && read_text(&stamp).is_ok_and(|found| found == wanted) {
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
    make_image(&tree, &image, ROOT_SIZE)?;
    write_file(&stamp, wanted)?;
    Ok(image)
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

fn make_image(folder: &Path, image: &Path, size: &str) -> Result<()> {
    if image.exists() {
        std::fs::remove_file(image).with_context(|| format!("remove {}", image.display()))?;
    }
    Cmd::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(folder)
        .arg(image)
        .arg(size)
        .timeout(IMAGE_LIMIT)
        .read()
        .map(|_| ())
}

/// The root disk is a snapshot: what is written there goes to a temporary file.
fn qemu(root: &Path, files: &Path, work: &Path) -> Result<Cmd> {
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
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
        ])
        .args([
            "-display",
            "none",
            "-monitor",
            "none",
            "-no-reboot",
            "-nic",
            "none",
        ])
        .arg("-serial")
        .arg(format!("file:{}", work.join("console").display()))
        .arg("-drive")
        .arg(drive(root, "snapshot=on"))
        .arg("-drive")
        .arg(drive(files, "cache=unsafe"))
        .args(["-device", "virtio-serial-pci"])
        .args(port("output"))
        .args(port("status"))
        .arg("-kernel")
        .arg(boot_file("vmlinuz-")?)
        .arg("-initrd")
        .arg(boot_file("initrd.img-")?)
        .arg("-append")
        .arg("root=/dev/vda rw console=ttyS0 systemd.unified_cgroup_hierarchy=1 quiet"))
}

fn boot_file(prefix: &str) -> Result<PathBuf> {
    let boot = workspace::path("target/vm/boot");
    for entry in std::fs::read_dir(&boot).with_context(|| format!("read {}", boot.display()))? {
        let entry = entry.with_context(|| format!("read {}", boot.display()))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("there is no {prefix}* in {}", boot.display())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
