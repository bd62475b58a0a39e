//! All automation of the project: `cargo xtask COMMAND`.
//!
//! One file per command in `commands/`; what several need sits beside this file.
//! Depends on none of our crates, so that it builds when they do not.

#![forbid(unsafe_code)]
#![expect(dead_code, reason = "the commands that use the rest follow")]

mod bench;
mod cgroups;
mod commands;
mod conform;
mod debian;
mod elf;
mod enter;
mod host;
mod images;
mod junit;
mod licence;
mod notices;
mod process;
mod selinux;
mod skips;
mod snapshot;
mod stats;
mod tidy;
mod v2;
mod vm;
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
    /// Installs what is missing and runs every test; what CI runs
    Test,
    /// Compares what is on the host before and after
    Leaks(commands::leaks::Arguments),
    /// Looks for inputs that break a parser
    Fuzz(commands::fuzz::Arguments),
    /// Many containers in parallel for long while daemons are killed
    Soak(commands::soak::Arguments),
    /// Checks or rewrites the committed snapshots
    Golden(commands::golden::Arguments),
    /// The newest container tools of Debian, in a tree of their own
    Peers(commands::peers::Arguments),
    /// Ours beside the peers: medians, spread and ratios
    Bench(commands::bench::Arguments),
    #[command(hide = true)]
    BenchInside { spec: String },
    /// Runs an outside suite against our binaries
    Conform(commands::conform::Arguments),
    #[command(hide = true)]
    ConformInside { suite: String, words: Vec<String> },
    /// Asks the reference implementation and writes what is committed of it
    Record(commands::record::Arguments),
    /// Shows everything once: installs, builds, pulls, runs, cleans up
    Demo,
    /// Runs a command in a bare Debian with only the toolchain and a clone
    Fresh(commands::fresh::Arguments),
    /// Runs a command in a virtual machine with systemd and cgroup v2
    Vm(commands::vm::Arguments),
    /// Release programs, units and notices in dist/
    Dist,
    #[command(hide = true)]
    Inside { stage: String, spec: String },
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
    let done = match &command {
        Command::Check => commands::check::run(),
        Command::Tidy => commands::tidy::run(),
        Command::Layers => commands::layers::run(),
        Command::Test => commands::test::run(),
        Command::Leaks(arguments) => return commands::leaks::run(arguments),
        Command::Fuzz(arguments) => commands::fuzz::run(arguments),
        Command::Soak(arguments) => commands::soak::run(arguments),
        Command::Golden(arguments) => commands::golden::run(arguments),
        Command::Peers(arguments) => return commands::peers::run(arguments),
        Command::Bench(arguments) => commands::bench::run(arguments),
        Command::BenchInside { spec } => return commands::bench::run_inside(spec),
        Command::Conform(arguments) => commands::conform::run(arguments),
        Command::ConformInside { suite, words } => commands::conform::run_inside(suite, words),
        Command::Record(arguments) => commands::record::run(arguments),
        Command::Fresh(arguments) => return commands::fresh::run(arguments),
        Command::Vm(arguments) => return commands::vm::run(arguments),
        Command::Demo => commands::demo::run(),
        Command::Dist => commands::dist::run(),
        Command::Inside { stage, spec } => return enter::run_stage(stage, spec),
    };
    done.map(|()| ExitCode::SUCCESS)
}
