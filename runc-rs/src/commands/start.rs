//! `start`: lets the program of a created container run.

use std::process::ExitCode;

use oci_spec::runtime::Spec;

use super::{CommandError, ContainerArgs, Context, Failure, find};
use crate::hooks::{self, HookPoint};
use crate::init::{Init, gate};
use crate::oci_state::OciState;
use crate::state::{ContainerDirectory, Record, Status};

/// Arguments of `start`.
pub type Args = ContainerArgs;

/// Starts a container.
///
/// # Errors
/// When it does not exist or is not created.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let (directory, record) = find(context, &args.id)?;
    let status = directory.status(&record);
    if status != Status::Created {
        let id = record.id;
        let action = "start";
        return Err(CommandError::WrongStatus { action, id, status }.into());
    }
    let spec = directory.load_spec()?;
    start(context, (&directory, &record, &spec), None)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the container of `record` and runs its poststart hooks. As with
/// runc, the first that fails ends the command with an error. Whoever made
/// `init` learns whether it executed its program.
pub(super) fn start(
    context: &Context<'_>,
    (directory, record, spec): (&ContainerDirectory, &Record, &Spec),
    init: Option<&Init>,
) -> Result<(), Failure> {
    gate::open(&directory.gate(), context.log)?;
    if let Some(init) = init {
        init.wait_executed()?;
    }
    let hooks = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.poststart().as_deref());
    let state = OciState::new(record.clone(), Status::Running).to_json();
    let ran = hooks::run_all(hooks, HookPoint::Poststart, &state, &record.bundle);
    Ok(ran.map_err(CommandError::Hook)?)
}
