//! The `engine` program: command line and daemon in one.

use std::process::ExitCode;

fn main() -> ExitCode {
    engine_cli::run(std::env::args_os(), engine::daemon::run)
}
