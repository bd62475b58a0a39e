//! `state`: prints a container's state as JSON.

use std::process::ExitCode;

use super::{ContainerArgs, Context, Failure, find, print};
use crate::oci_state::OciState;

/// Arguments of `state`.
pub type Args = ContainerArgs;

/// Prints the state.
///
/// # Errors
/// When the container does not exist.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let (directory, record) = find(context, &args.id)?;
    let status = directory.status(&record);
    let state = OciState::new(record, status);
    let text = serde_json::to_string_pretty(&state).expect("a state always serializes");
    print(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}
