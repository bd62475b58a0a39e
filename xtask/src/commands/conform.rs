//! `cargo xtask conform NAME`: an outside suite against our binaries.
//!
//! The reference implementation's list of passed tests is committed; a test it
//! passes and ours does not counts as failed, whatever the reason.

use anyhow::Result;

use crate::conform::{self, docker, docker_py, runc_bats, runtime_smoke, sdk};

/// Which suite, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, clap::Subcommand)]
enum Suite {
    /// The integration tests of Docker's SDK for Python
    DockerPy(docker_py::Arguments),
    /// The stock docker command line on a socket, thoroughly
    DockerCli(docker::Arguments),
    /// The stock compose plugin on a socket
    DockerCompose(docker::Arguments),
    /// The stock docker command line on a socket, quickly
    DockerSmoke(docker::Arguments),
    /// runc's own suite, on an OCI runtime
    RuncBats(runc_bats::Arguments),
    /// podman and ctr, on an OCI runtime
    RuntimeSmoke(runtime_smoke::Arguments),
    /// Clients from the registries of packages, with scenarios on a socket
    Sdk(sdk::Arguments),
}

/// Runs the suite in a tree of its own.
///
/// # Errors
/// Fails when a test fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.suite {
        Suite::DockerPy(arguments) => docker_py::run(arguments),
        Suite::DockerCli(arguments) => docker::CLI.run(arguments),
        Suite::DockerCompose(arguments) => docker::COMPOSE.run(arguments),
        Suite::DockerSmoke(arguments) => docker::SMOKE.run(arguments),
        Suite::RuncBats(arguments) => runc_bats::run(arguments),
        Suite::RuntimeSmoke(arguments) => runtime_smoke::run(arguments),
        Suite::Sdk(arguments) => sdk::run(arguments),
    }
}

/// The part of the command that runs in the tree.
///
/// # Errors
/// Fails when a test fails.
pub(crate) fn run_inside(suite: &str, words: &[String]) -> Result<()> {
    conform::run_inside(suite, words)
}
