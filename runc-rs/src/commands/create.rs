//! `create`: a container whose program waits for `start`.

use std::path::PathBuf;
use std::process::ExitCode;

use oci_spec::runtime::Spec;

use super::{CommandError, Context, CreationArgs, Failure, absolute};
use crate::create::{self, Console, CreateRequest, RootSwitch};
use crate::resources::devices::is_unprivileged;
use crate::spec;
use crate::state::KeyringMode;

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub container: CreationArgs,
}

/// Whether the runtime stays with the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attachment {
    Detached,
    Foreground,
}

/// Creates a container.
///
/// # Errors
/// When it cannot be created; nothing of it remains then.
pub fn run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    try_run(context, args).map_err(|failure| failure.of("runc create failed"))
}

fn try_run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    let (spec, request) = plan(context, args.container, Attachment::Detached)?;
    create::create(&context.store, context.log, spec, &request)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the bundle and says what to create.
pub(super) fn plan(
    context: &Context<'_>,
    args: CreationArgs,
    attachment: Attachment,
) -> Result<(Spec, CreateRequest), CommandError> {
    let id = args.id.parse()?;
    let bundle = absolute(Some(args.bundle.unwrap_or_else(|| PathBuf::from("."))))?;
    let bundle = bundle.expect("a path was given");
    let spec = spec::load(&bundle.join("config.json"), context.log)?;
    let process = spec.process().as_ref();
    let terminal = process.and_then(|process| process.terminal()) == Some(true);
    let socket = absolute(args.console_socket)?;
    let request = CreateRequest {
        id,
        bundle,
        console: console(terminal, socket, attachment)?,
        pid_file: absolute(args.pid_file)?,
        pidfd_socket: absolute(args.pidfd_socket)?,
        preserve_fds: args.preserve_fds,
        keyring: match args.no_new_keyring {
            true => KeyringMode::Inherited,
            false => KeyringMode::Fresh,
        },
        root_switch: match args.no_pivot {
            true => RootSwitch::MoveMount,
            false => RootSwitch::PivotRoot,
        },
        cgroup_driver: context.cgroup_driver,
        is_rootless: context.rootless.unwrap_or_else(is_unprivileged),
    };
    Ok((spec, request))
}

/// Says who holds the terminal, or what is contradictory about it.
pub(super) fn console(
    terminal: bool,
    socket: Option<PathBuf>,
    attachment: Attachment,
) -> Result<Console, CommandError> {
    let contradiction = |text: &str| Err(CommandError::Usage(text.to_owned()));
    match (terminal, attachment, socket) {
        (true, Attachment::Detached, None) => {
            contradiction("cannot allocate a terminal when detached without --console-socket")
        }
        (true, Attachment::Detached, Some(socket)) => Ok(Console::Socket(socket)),
        (true, Attachment::Foreground, None) => Ok(Console::Own),
        (false, _, None) => Ok(Console::Inherited),
        (_, _, Some(_)) => {
            contradiction("cannot use --console-socket without a terminal or when not detached")
        }
    }
}
