//! `restore`: makes a container from what `checkpoint` wrote, by CRIU.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::Pid;

use super::checkpoint::CriuArgs;
use super::create::{Attachment, plan};
use super::{Context, CreationArgs, Failure, delete};
use crate::checkpoint::{self, RestoreRequest, Restored};
use crate::signals::Signals;
use crate::terminal::Proxy;

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    criu: CriuArgs,
    /// Do not wait for the container's end
    #[arg(short, long)]
    detach: bool,
    /// Directory with config.json; the working directory by default
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// Socket that gets the master side of the container's terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// File to write init's pid to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// Accepted and without effect: CRIU makes the root
    #[arg(long)]
    no_pivot: bool,
    /// Accepted and without effect: no subreaper is needed
    #[arg(long)]
    no_subreaper: bool,
    /// Profile of the security module, TYPE:NAME, in place of the dumped one
    #[arg(long)]
    lsm_profile: Option<String>,
    /// Context of mounts, in place of the dumped one
    #[arg(long)]
    lsm_mount_context: Option<String>,
    /// The new container's id
    id: String,
}

/// Restores a container.
///
/// # Errors
/// When it cannot be restored; nothing of it remains then.
pub fn run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    let attachment = match args.detach {
        true => Attachment::Detached,
        false => Attachment::Foreground,
    };
    let creation = CreationArgs {
        bundle: args.bundle,
        console_socket: args.console_socket,
        pid_file: args.pid_file,
        no_pivot: args.no_pivot,
        id: args.id,
        ..CreationArgs::default()
    };
    let (spec, container) = plan(context, creation, attachment)?;
    let request = RestoreRequest {
        options: args.criu.options()?,
        container,
        lsm_profile: args.lsm_profile,
        lsm_mount_context: args.lsm_mount_context,
    };
    // Before there is a child whose end could be missed.
    let signals = match attachment {
        Attachment::Foreground => Some(Signals::block()?),
        Attachment::Detached => None,
    };
    let restored = checkpoint::restore(&context.store, context.log, spec, &request)?;
    let Some(signals) = signals else {
        return Ok(ExitCode::SUCCESS);
    };
    let Restored {
        directory,
        record,
        pid,
        terminal,
    } = restored;
    let waited = wait(&signals, pid, terminal);
    delete::remove(context, &directory, &record)?;
    waited
}

fn wait(signals: &Signals, pid: i32, terminal: Option<OwnedFd>) -> Result<ExitCode, Failure> {
    let proxy = terminal.map(Proxy::start).transpose()?;
    let pid = Pid::from_raw(pid).expect("a restored process has a pid");
    Ok(ExitCode::from(signals.supervise(pid, proxy)?))
}
