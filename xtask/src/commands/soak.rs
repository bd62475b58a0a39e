//! `cargo xtask soak`: many containers come and go in parallel for long while daemons
//! are killed, as the test `soak` does for a short while with every run of the tests.
//!
//! Builds what is needed and hands its options to that test; knows nothing of the rest.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::host;
use crate::workspace::{self, cargo};

const TEST: &str = "containers_come_and_go_in_parallel_while_daemons_are_killed";
const BUILD_LIMIT: Duration = Duration::from_secs(25 * 60);
/// What the first and the last containers, and the checks, may take on top.
const GRACE: Duration = Duration::from_secs(20 * 60);

/// For how long, with how much, and by which choices.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long containers are started
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// How many are up at once
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    containers: u64,
    /// Repeats the choices of an earlier run, which printed it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs the test for long.
///
/// # Errors
/// Fails when something was left behind, lost or told twice; says where the logs are.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    host::ensure_root("xtask soak")?;
    host::ensure_packages(host::TEST_PACKAGES)?;
    host::ensure_nextest()?;
    cargo("build")
        .args(["--workspace", "--bins", "--locked"])
        .timeout(BUILD_LIMIT)
        .run()?;
    let lasts = Duration::from_secs(arguments.minutes * 60);
    let logs = workspace::scratch("soak")?;
    let mut test = cargo("nextest")
        .args(["run", "--locked", "-p", "tests", "--test", "soak"])
        .arg("--no-capture")
        .args(["-E", &format!("test(={TEST})")])
        .env("ENGINE_SOAK_SECONDS", lasts.as_secs().to_string())
        .env("ENGINE_SOAK_CONTAINERS", arguments.containers.to_string())
        .env("ENGINE_SOAK_LOGS", &logs);
    if let Some(seed) = arguments.seed {
        test = test.env("ENGINE_TEST_SEED", seed.to_string());
    }
    if test.timeout(BUILD_LIMIT + lasts + GRACE).run().is_err() {
        bail!(
            "the soak failed; its seed is printed above, its logs are in {}",
            logs.display()
        );
    }
    Ok(())
}
