//! `exec`: another process in a container.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::file::{PathContext as _, read_bounded};
use oci_spec::runtime::Process;

use super::create::{Attachment, console};
use super::{CommandError, Context, Failure, absolute, find};
use crate::create::Console;
use crate::exec::{self, ExecError, ExecRequest, Overrides, Started, SubGroups, UserRequest};
use crate::handover;
use crate::log::Logger;
use crate::payload;
use crate::pid_file;
use crate::signals::Signals;
use crate::spec;
use crate::state::{ContainerDirectory, Record, Status};
use crate::terminal::{self, Proxy};

/// What runc exits with when the process could not be run.
const FAILED: u8 = 255;
const PROCESS_LIMIT_BYTES: u64 = 16 << 20;

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Socket that gets the master side of the process's terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// Working directory inside the container
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// Add a variable NAME=VALUE, or NAME with its value here
    #[arg(short, long)]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, as uid[:gid] or names of the container
    #[arg(short, long)]
    user: Option<UserRequest>,
    /// Further groups of the process
    #[arg(short = 'g', long)]
    additional_gids: Vec<u32>,
    /// File with the process as JSON
    #[arg(short, long)]
    process: Option<PathBuf>,
    /// Do not wait for the process's end
    #[arg(short, long)]
    detach: bool,
    /// File to write the process's pid to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// Socket that gets a pidfd of the process
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    /// Run in a group below the container's, PATH or CONTROLLER[,CONTROLLER]:PATH
    #[arg(long)]
    cgroup: Vec<String>,
    /// Set no_new_privs
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor profile of the process
    #[arg(long)]
    apparmor: Option<String>,
    /// SELinux label of the process
    #[arg(long)]
    process_label: Option<String>,
    /// Add a capability, as CAP_NAME
    #[arg(short, long)]
    cap: Vec<String>,
    /// Pass on this many descriptors after standard error
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
    /// Run in a paused container too; it stays paused
    #[arg(long)]
    ignore_paused: bool,
    /// The container's id
    id: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the process and returns its exit code, or success when detached.
///
/// # Errors
/// When it cannot be run; the exit code is then 255.
pub fn run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    try_run(context, args).map_err(|failure| failure.with_code(FAILED).of("exec failed"))
}

fn try_run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    let attachment = match args.detach {
        true => Attachment::Detached,
        false => Attachment::Foreground,
    };
    let pid_file = absolute(args.pid_file.clone())?;
    let socket = absolute(args.console_socket.clone())?;
    let pidfd_socket = args.pidfd_socket.as_deref();
    let pidfd_socket = pidfd_socket.map(handover::connect).transpose()?;
    let (directory, record) = find(context, &args.id)?;
    may_enter(&directory, &record, args.ignore_paused)?;
    let request = request(args, context.log)?;
    let target = exec::look_at(&record)?;
    let mut plan = exec::prepare(&directory, &record, &target, request)?;
    if let Some(mask) = plan.scheduling.initial_affinity() {
        // In the words that runc's users look for.
        context.log.debug(&format!("nsexec: affinity: {mask}"));
    }
    for warning in &plan.warnings {
        context.log.warn(warning);
    }
    let terminal = plan.process.terminal() == Some(true);
    let console = console(terminal, socket, attachment)?;
    if console == Console::Own {
        // The program must not see its terminal change size as it begins.
        plan.set_console_size(terminal::own_size());
        plan.is_proxied = true;
    }
    // Before there is a child whose end could be missed.
    let signals = match attachment {
        Attachment::Foreground => Some(Signals::block()?),
        Attachment::Detached => None,
    };
    context.log.step("planned the process");
    let (started, master) = perform(&target, &plan, &console)?;
    context.log.step("started the process");
    tell(started, pid_file.as_deref(), pidfd_socket.as_ref()).inspect_err(|_| kill(started))?;
    let Some(signals) = signals else {
        return Ok(ExitCode::SUCCESS);
    };
    let proxy = master.map(Proxy::start).transpose();
    let proxy = proxy.inspect_err(|_| kill(started))?;
    Ok(ExitCode::from(signals.supervise(started.pid, proxy)?))
}

/// Refuses a container that has ended, and a paused one unless that is ignored.
fn may_enter(
    directory: &ContainerDirectory,
    record: &Record,
    ignore_paused: bool,
) -> Result<(), ExecError> {
    match directory.status(record) {
        Status::Running | Status::Created => Ok(()),
        Status::Paused if ignore_paused => Ok(()),
        Status::Paused => Err(ExecError::Paused),
        status => {
            let (id, status) = (record.id.to_string(), status.word());
            Err(ExecError::NotRunning { id, status })
        }
    }
}

fn perform(
    target: &exec::Target,
    plan: &exec::ExecPlan,
    console: &Console,
) -> Result<(Started, Option<OwnedFd>), CommandError> {
    match console {
        Console::Inherited => Ok((exec::perform(target, plan, None)?, None)),
        Console::Socket(path) => {
            let socket = handover::connect(path)?;
            let started = exec::perform(target, plan, Some(socket.as_fd()))?;
            Ok((started, None))
        }
        Console::Own => {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()
                .map_err(|error| ExecError::Kernel("make a socket pair", error))?;
            let started = exec::perform(target, plan, Some(theirs.as_fd()))?;
            Ok((started, Some(handover::receive(ours.as_fd())?)))
        }
    }
}

/// Tells the caller which process it is, in every way it asked for.
fn tell(
    started: Started,
    pid_file: Option<&Path>,
    pidfd_socket: Option<&UnixStream>,
) -> Result<(), CommandError> {
    if let Some(path) = pid_file {
        pid_file::write(path, started.pid.as_raw_nonzero().get())?;
    }
    if let Some(socket) = pidfd_socket {
        handover::send_pidfd(socket, started.pid)?;
    }
    Ok(())
}

/// Ends a process whose caller could not be told its pid.
fn kill(started: Started) {
    // It may have ended by itself, which is as good.
    rustix::process::kill_process(started.pid, rustix::process::Signal::KILL).ok();
}

fn request(args: Args, log: &Logger) -> Result<ExecRequest, CommandError> {
    let process = args.process.as_deref();
    let process = process.map(|path| read_process(path, log)).transpose()?;
    if process.is_none() && args.command.is_empty() {
        let message = "either a command or --process is needed";
        return Err(CommandError::Usage(message.to_owned()));
    }
    let env = args.env.into_iter().filter_map(with_value).collect();
    Ok(ExecRequest {
        groups: SubGroups::parse(&args.cgroup).map_err(ExecError::from)?,
        overrides: Overrides {
            // A process file brings its own command, as with runc.
            args: match process {
                Some(_) => Vec::new(),
                None => args.command,
            },
            cwd: args.cwd,
            env,
            user: args.user,
            additional_gids: args.additional_gids,
            capabilities: args.cap,
            no_new_privileges: args.no_new_privs.then_some(true),
            apparmor: args.apparmor,
            label: args.process_label,
            // Init's own terminal says nothing about this process's.
            terminal: match process {
                Some(_) => args.tty.then_some(true),
                None => Some(args.tty),
            },
        },
        process,
        preserve_fds: args.preserve_fds,
        activation_sockets: payload::activation_sockets(),
    })
}

/// Returns `NAME=VALUE`; a bare name takes its value from this process, and is
/// dropped where that has none.
fn with_value(variable: String) -> Option<String> {
    if variable.contains('=') {
        return Some(variable);
    }
    let value = std::env::var(&variable).ok()?;
    Some(format!("{variable}={value}"))
}

fn read_process(path: &Path, log: &Logger) -> Result<Process, CommandError> {
    let text = match path.to_str() {
        Some("-") => {
            use std::io::Read as _;
            let mut text = Vec::new();
            let mut input = std::io::stdin().lock().take(PROCESS_LIMIT_BYTES);
            input.read_to_end(&mut text).at("read", path)?;
            text
        }
        _ => read_bounded(path, PROCESS_LIMIT_BYTES)?,
    };
    Ok(spec::parse(&text, path, log)?)
}
