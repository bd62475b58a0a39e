//! Outside suites run against our binaries, inside trees of other software.

pub(crate) mod api_versions;
mod clients;
pub(crate) mod docker;
pub(crate) mod docker_commands;
pub(crate) mod docker_py;
mod mirror;
mod results;
pub(crate) mod runc_bats;
pub(crate) mod runtime_smoke;
pub(crate) mod sdk;
mod smoke;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::commands::dist;

/// Runs the part of a suite that runs in its tree.
///
/// # Errors
/// Fails when a test fails.
pub(crate) fn run_inside(suite: &str, words: &[String]) -> Result<()> {
    if let Some(found) = docker::SUITES.iter().find(|known| known.name == suite) {
        return found.run_inside(words);
    }
    match suite {
        api_versions::NAME => api_versions::run_inside(),
        docker_commands::NAME => docker_commands::run_inside(),
        docker_py::NAME => docker_py::run_inside(words),
        runtime_smoke::NAME => runtime_smoke::run_inside(words),
        runc_bats::NAME => runc_bats::run_inside(words),
        sdk::NAME => sdk::run_inside(words),
        other => bail!("there is no suite {other:?}"),
    }
}

/// Returns the runtime that is named, or this checkout's.
///
/// # Errors
/// Fails when there is none of that name, or it cannot be built.
pub(crate) fn tested(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(path) => path.canonicalize().context("find the runtime"),
        None => {
            dist::programs()?;
            Ok(dist::folder().join("runc-rs"))
        }
    }
}
