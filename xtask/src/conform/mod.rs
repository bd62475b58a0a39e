//! Outside suites run against our binaries, inside trees of other software.

pub(crate) mod docker_smoke;
pub(crate) mod runc_bats;
pub(crate) mod runtime_smoke;
mod smoke;

use anyhow::{Result, bail};

/// Runs the part of a suite that runs in its tree.
///
/// # Errors
/// Fails when a test fails.
pub(crate) fn run_inside(suite: &str, words: &[String]) -> Result<()> {
    match suite {
        docker_smoke::NAME => docker_smoke::run_inside(words),
        runtime_smoke::NAME => runtime_smoke::run_inside(words),
        runc_bats::NAME => runc_bats::run_inside(words),
        other => bail!("there is no suite {other:?}"),
    }
}
