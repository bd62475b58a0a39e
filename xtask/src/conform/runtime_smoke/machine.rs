//! podman and dockerd on cgroup v2, where systemd manages the control groups, and
//! systemd as a container's first process: in the emulated machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{REFERENCE, tested};
use crate::images;
use crate::vm::{Job, Machine};
use crate::workspace::{self, write_file};

const LIMIT: Duration = Duration::from_secs(45 * 60);
const DATA: &str = "conform-runtime-vm";
const SCRIPT: &str = include_str!("machine.sh");
const PACKAGES: &[&str] = &[
    "conmon",
    "containerd",
    "docker-cli",
    "docker.io",
    "podman",
    "runc",
    "uidmap",
];

/// Which runtime.
#[derive(Debug, clap::Args)]
pub(crate) struct MachineArguments {
    /// The runtime under test; the one of this checkout where none is given
    #[arg(long, value_name = "PATH", conflicts_with = "reference")]
    runtime: Option<PathBuf>,
    /// Tests the machine's own runc
    #[arg(long)]
    reference: bool,
}

/// Boots a machine and makes the checks there.
///
/// # Errors
/// Fails when one fails.
pub(crate) fn run_in_machine(arguments: &MachineArguments) -> Result<()> {
    let data = workspace::scratch(DATA)?;
    let script = data.join("checks.sh");
    write_file(&script, SCRIPT)?;
    let mut files = vec![script, images::busybox_archive(&data)?];
    let runtime = match arguments.reference {
        true => REFERENCE,
        false => {
            let copy = data.join("runc-rs");
            std::fs::copy(tested(arguments.runtime.as_deref())?, &copy)
                .context("copy the runtime")?;
            files.push(copy);
            "/xtask/runc-rs"
        }
    };
    let job = Job {
        machine: Machine {
            name: "vm-engines",
            suite: "unstable".to_owned(),
            packages: PACKAGES.to_vec(),
            sources: &[],
            parameters: "",
        },
        command: format!("bash checks.sh {runtime}"),
        files,
        limit: LIMIT,
    };
    let status = job.run()?.status;
    std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
    ensure!(status == 0, "a check failed");
    Ok(())
}
