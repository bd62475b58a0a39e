//! `list`: the containers of a root.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::{CommandError, Context, Failure, print};
use crate::oci_state::OciState;
use crate::state::StateError;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    format: ListFormat,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
}

/// The forms a list can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    #[default]
    Table,
    Json,
}

/// Prints the list.
///
/// # Errors
/// When the root cannot be read.
pub fn run(context: &Context<'_>, args: &Args) -> Result<ExitCode, Failure> {
    let states = states(context)?;
    let text = match (args.quiet, args.format) {
        (true, _) => states
            .iter()
            .map(|state| format!("{}\n", state.id))
            .collect(),
        (false, ListFormat::Table) => table(&states),
        (false, ListFormat::Json) => {
            serde_json::to_string(&states).expect("states always serialize") + "\n"
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the states of all containers. One that is just made or removed is
/// left out; one that cannot be read is named in a warning.
fn states(context: &Context<'_>) -> Result<Vec<OciState>, CommandError> {
    let mut states = Vec::new();
    for id in context.store.ids()? {
        let directory = context.store.directory(&id);
        match directory.load() {
            Ok(record) => {
                let status = directory.status(&record);
                states.push(OciState::new(record, status));
            }
            Err(StateError::DoesNotExist(_)) => {}
            Err(error) => context.log.warn(&base::failure::chain(&error)),
        }
    }
    Ok(states)
}

fn table(states: &[OciState]) -> String {
    let width = states
        .iter()
        .map(|state| state.id.len())
        .max()
        .unwrap_or(0)
        .max(2);
    let bundles = states.iter().map(|state| state.bundle.as_os_str().len());
    let path_width = bundles.max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:width$}  {:<10}  {:<8}  {:<path_width$}  {:<30}  OWNER\n",
        "ID", "PID", "STATUS", "BUNDLE", "CREATED"
    );
    for state in states {
        writeln!(
            text,
            "{:width$}  {:<10}  {:<8}  {:<path_width$}  {:<30}  {}",
            state.id,
            state.pid,
            state.status,
            state.bundle.display().to_string(),
            state.created.to_string(),
            state.owner,
        )
        .expect("writing to a string cannot fail");
    }
    text
}
