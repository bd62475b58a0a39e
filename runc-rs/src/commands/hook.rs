//! The hidden command a hook of libcontainer's is run through.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::create::become_hook;

/// Arguments of the hidden command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The caller's bundle
    bundle: PathBuf,
    /// The hook's file
    path: PathBuf,
    /// The hook's arguments
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Becomes the hook.
///
/// # Errors
/// When it cannot be executed.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    match become_hook(&args.bundle, &args.path, &args.arguments)? {}
}
