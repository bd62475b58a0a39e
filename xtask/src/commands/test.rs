//! `cargo xtask test`: everything CI runs, on a machine that may have nothing yet.
//!
//! Installs what is missing, builds once, runs every test, refuses skips that
//! tests/skips.toml does not name, and checks that nothing was left behind.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::commands::{check, leaks};
use crate::conform::runc_bats;
use crate::host;
use crate::junit::{self, Report};
use crate::skips::Skips;
use crate::snapshot::Snapshot;
use crate::v2;
use crate::workspace::{self, cargo, read_text};

const BUILD_LIMIT: Duration = Duration::from_secs(25 * 60);
const TESTS_LIMIT: Duration = Duration::from_secs(60 * 60);
const JUNIT_FILE: &str = "target/nextest/ci/junit.xml";

/// Runs everything; the last line says how many tests passed, failed and were skipped.
///
/// # Errors
/// Fails when a check or test fails, a skip is not allowed, or something leaked.
pub(crate) fn run() -> Result<()> {
    host::ensure_root("xtask test")?;
    host::ensure_packages(host::BUILD_PACKAGES)?;
    host::ensure_packages(host::TEST_PACKAGES)?;
    host::ensure_nextest()?;
    let before = Snapshot::take(Path::new("/"))?;
    let mut failures = Vec::new();
    failures.extend(check::run_static().err());
    build()?;
    failures.extend(nextest().err());
    let report = junit::parse(&read_text(&workspace::path(JUNIT_FILE))?);
    failures.extend(Skips::load()?.judge(&report).err());
    failures.extend(crate::commands::fuzz::replay_all().err());
    let programs = workspace::path("target/debug");
    failures.extend(v2::run_containers(&programs).err());
    failures.extend(runc_bats::run_chosen(&programs.join("runc-rs")).err());
    failures.extend(leaks::expect_none(&before).err());
    close(&report, &failures)
}

/// Builds the programs that the black-box tests start, with the tests' own profile.
fn build() -> Result<()> {
    cargo("build")
        .args(["--workspace", "--bins", "--locked"])
        .timeout(BUILD_LIMIT)
        .run()
}

fn nextest() -> Result<()> {
    let config = workspace::path("xtask/nextest.toml");
    cargo("nextest")
        .args([
            "run",
            "--workspace",
            "--locked",
            "--profile",
            "ci",
            "--no-fail-fast",
        ])
        .arg("--config-file")
        .arg(config)
        .timeout(TESTS_LIMIT)
        .run()
}

fn close(report: &Report, failures: &[anyhow::Error]) -> Result<()> {
    for failure in failures {
        eprintln!("{failure:#}");
    }
    let failed = report.failed();
    let skipped = report.skipped().count();
    println!(
        "{} passed, {failed} failed, {skipped} skipped",
        report.tests.len() - failed - skipped
    );
    if !failures.is_empty() {
        bail!("{} parts of the test run failed", failures.len());
    }
    Ok(())
}
