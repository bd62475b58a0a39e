//! `pause`: freezes all processes of a container.

use std::process::ExitCode;

use super::{CommandError, ContainerArgs, Context, Failure, find};
use crate::cgroup::Freezer;
use crate::state::Status;

/// Arguments of `pause`.
pub type Args = ContainerArgs;

/// Pauses a container.
///
/// # Errors
/// When it does not exist, does not run, or cannot be frozen.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let (directory, record) = find(context, &args.id)?;
    match directory.status(&record) {
        Status::Running | Status::Created => record.cgroup.set(Freezer::Frozen)?,
        status => {
            let (id, action) = (record.id, "pause");
            return Err(CommandError::WrongStatus { action, id, status }.into());
        }
    }
    Ok(ExitCode::SUCCESS)
}
