//! `cargo xtask vm CMD`: a Debian with systemd and cgroup v2 under qemu.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::commands::dist;
use crate::conform::{runc_bats, runtime_smoke};
use crate::debian;
use crate::selinux;
use crate::v2;
use crate::vm::{Job, Machine};
use crate::workspace;

const PACKAGES: &[&str] = &["busybox-static", "curl", "nftables"];

/// What to run, and what it needs.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    known: Option<Known>,
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

#[derive(Debug, clap::Subcommand)]
enum Known {
    /// Containers on cgroup v2 and across a second boot, with the programs of target/debug
    Containers,
    /// Labels of runc-rs, on a kernel with SELinux
    Selinux,
    /// An outside suite, in the machine
    Conform {
        #[command(subcommand)]
        suite: Suite,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Suite {
    /// runc's own suite, on an OCI runtime
    RuncBats(runc_bats::MachineArguments),
    /// The few of its tests that `xtask test` runs
    RuncBatsChosen(runc_bats::ChosenArguments),
    /// podman, dockerd and systemd's groups, on an OCI runtime
    RuntimeSmoke(runtime_smoke::MachineArguments),
}

/// Boots, runs the command, prints its output and returns its status.
///
/// # Errors
/// Fails when the machine does not boot or the command does not end in time.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let done = match &arguments.known {
        None => None,
        Some(Known::Containers) => Some(v2::run_containers(&workspace::path("target/debug"))),
        Some(Known::Selinux) => Some(selinux::run()),
        Some(Known::Conform { suite }) => Some(match suite {
            Suite::RuncBats(arguments) => runc_bats::run_in_machine(arguments),
            Suite::RuncBatsChosen(arguments) => runc_bats::run_chosen(&arguments.tested()?),
            Suite::RuntimeSmoke(arguments) => runtime_smoke::run_in_machine(arguments),
        }),
    };
    if let Some(done) = done {
        return done.map(|()| ExitCode::SUCCESS);
    }
    let mut job = Job {
        machine: machine()?,
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
    job.run().map(|ended| ExitCode::from(ended.status))
}

/// Returns the machine of this host's Debian.
///
/// # Errors
/// Fails when the host does not say which that is.
pub(crate) fn machine() -> Result<Machine> {
    Ok(Machine {
        name: "vm",
        suite: debian::suite()?,
        packages: PACKAGES.to_vec(),
        sources: &[],
        parameters: "",
    })
}
