//! All automation of the project: `cargo xtask COMMAND`.
//!
//! One file per command in `commands/`; what several need sits beside this file.
//! Depends on none of our crates, so that it builds when they do not.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    expect(dead_code, reason = "the commands that use the rest follow")
)]

mod commands;
mod licence;
mod process;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks, tests, measures and packages the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Format, lints, tidy, layers and unit tests; needs no root and no network
    Check,
    /// Rules about files: lengths, headers, banned words, links
    Tidy,
    /// Rules about packages: allowed edges, duplicate versions, licences
    Layers,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check => commands::check::run(),
        Command::Tidy => commands::tidy::run(),
        Command::Layers => commands::layers::run(),
    }
    .map(|()| ExitCode::SUCCESS)
}
