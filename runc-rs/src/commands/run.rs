//! `run`: create and start, and in the foreground wait for the end.

use std::process::ExitCode;

use rustix::process::Pid;

use super::create::{Attachment, plan};
use super::{Context, CreationArgs, Failure, delete, start};
use crate::create::{self, Created};
use crate::signals::Signals;
use crate::terminal::Proxy;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not wait for the container's end
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container after its end
    #[arg(long)]
    keep: bool,
    /// Accepted and without effect: no subreaper is needed
    #[arg(long)]
    no_subreaper: bool,
    #[command(flatten)]
    pub container: CreationArgs,
}

/// Runs a container.
///
/// # Errors
/// When it cannot be created or started; nothing of it remains then.
pub fn run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    try_run(context, args).map_err(|failure| failure.of("runc run failed"))
}

fn try_run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    if args.detach {
        let (spec, request) = plan(context, args.container, Attachment::Detached)?;
        let created = create::create(&context.store, context.log, spec, &request)?;
        start_or_remove(context, &created)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (spec, request) = plan(context, args.container, Attachment::Foreground)?;
    // Before there is a child whose end could be missed.
    let signals = Signals::block()?;
    let mut created = create::create(&context.store, context.log, spec, &request)?;
    let waited = wait(context, &signals, &mut created);
    if !args.keep || waited.is_err() {
        delete::remove(context, &created.directory, &created.record)?;
    }
    Ok(ExitCode::from(waited?))
}

fn wait(context: &Context<'_>, signals: &Signals, created: &mut Created) -> Result<u8, Failure> {
    let proxy = created.terminal.take().map(Proxy::start).transpose()?;
    if let Err(failure) = begin(context, created) {
        if let Some(proxy) = proxy {
            // What a hook said on the container's terminal.
            proxy.finish()?;
        }
        return Err(failure.of_program());
    }
    let pid = Pid::from_raw(created.init.pid).expect("init has a pid");
    Ok(signals.supervise(pid, proxy)?)
}

fn start_or_remove(context: &Context<'_>, created: &Created) -> Result<(), Failure> {
    let started = begin(context, created);
    if started.is_err() {
        delete::remove(context, &created.directory, &created.record)?;
    }
    started
}

fn begin(context: &Context<'_>, created: &Created) -> Result<(), Failure> {
    let container = (&created.directory, &created.record, &created.spec);
    start::start(context, container, Some(&created.init))
}
