//! `cargo xtask check`: what every commit passes; needs no root and no network.
//!
//! Goes on after a failing part, so that one run shows everything that is wrong.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::commands::{layers, tidy};
use crate::workspace::cargo;

/// A cold build of everything fits into this, a hang does not.
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// A part of the check: its name and what it does.
type Part = (&'static str, fn() -> Result<()>);

/// Runs every part and fails if any of them did.
///
/// # Errors
/// Fails naming the parts that failed.
pub(crate) fn run() -> Result<()> {
    run_parts(&[
        ("fmt", format),
        ("tidy", tidy::run),
        ("layers", layers::run),
        ("clippy", clippy),
        ("unit tests", unit_tests),
    ])
}

/// Runs what is checked without building tests.
///
/// # Errors
/// Fails naming the parts that failed.
pub(crate) fn run_static() -> Result<()> {
    run_parts(&[
        ("fmt", format),
        ("tidy", tidy::run),
        ("layers", layers::run),
        ("clippy", clippy),
    ])
}

fn run_parts(parts: &[Part]) -> Result<()> {
    let mut failed = Vec::new();
    for (name, part) in parts {
        let started = Instant::now();
        eprintln!("== {name}");
        if let Err(error) = part() {
            eprintln!("{name}: {error:#}");
            failed.push(*name);
        }
        eprintln!("== {name} took {:.1} s", started.elapsed().as_secs_f64());
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn format() -> Result<()> {
    cargo("fmt").args(["--all", "--check"]).run()
}

fn clippy() -> Result<()> {
    cargo("clippy")
        .args([
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])
        .timeout(BUILD_LIMIT)
        .run()
}

fn unit_tests() -> Result<()> {
    cargo("nextest")
        .args([
            "run",
            "--workspace",
            "--lib",
            "--bins",
            "--locked",
            "--no-tests",
            "pass",
        ])
        .timeout(BUILD_LIMIT)
        .run()
}
