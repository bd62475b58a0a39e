//! `resume`: thaws all processes of a paused container.

use std::process::ExitCode;

use super::{CommandError, ContainerArgs, Context, Failure, find};
use crate::cgroup::Freezer;
use crate::state::Status;

/// Arguments of `resume`.
pub type Args = ContainerArgs;

/// Resumes a container.
///
/// # Errors
/// When it does not exist, is not paused, or cannot be thawed.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let (directory, record) = find(context, &args.id)?;
    match directory.status(&record) {
        Status::Paused => record.cgroup.set(Freezer::Thawed)?,
        status => {
            let (id, action) = (record.id, "resume");
            return Err(CommandError::WrongStatus { action, id, status }.into());
        }
    }
    Ok(ExitCode::SUCCESS)
}
