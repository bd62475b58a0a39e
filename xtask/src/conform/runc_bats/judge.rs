//! What a run is worth: every test that the reference passes must pass, apart
//! from those that test the reference's identity, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::bats::{Ending, Results};
use super::mode::Mode;
use crate::workspace::{self, read_text, write_file};

const EXCEPTIONS: &str = "tests/conform/runc-bats.toml";

/// Tests that only the reference can pass.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(default)]
    exception: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    test: String,
    reason: String,
    /// Of the suite of this version alone.
    suite: Option<String>,
    /// In this mode alone.
    mode: Option<Mode>,
}

fn reference_file(version: &str, mode: Mode) -> PathBuf {
    let mode = match mode {
        Mode::Root => String::new(),
        mode => format!("-{}", mode.name()),
    };
    workspace::path(&format!(
        "tests/conform/runc-bats-{version}{mode}.reference.txt"
    ))
}

/// Writes which tests the reference passed.
///
/// # Errors
/// Fails when the file cannot be written.
pub(super) fn record(version: &str, mode: Mode, results: &Results) -> Result<()> {
    let passed = passed(results);
    let mut text = format!(
        "# Tests of runc {version}'s suite that runc {version} passes {}: \
         {} of {}.\n",
        mode.place(),
        passed.len(),
        results.len()
    );
    for (test, ending) in results {
        match ending {
            Ending::Passed => {}
            Ending::Failed => text += &format!("# failed: {test}\n"),
            Ending::Skipped { reason } => text += &format!("# skipped ({reason}): {test}\n"),
        }
    }
    for test in &passed {
        text += &format!("{test}\n");
    }
    println!("{}", summary(results));
    write_file(&reference_file(version, mode), text)
}

fn passed(results: &Results) -> BTreeSet<&str> {
    let passed = results
        .iter()
        .filter(|(_, ending)| **ending == Ending::Passed);
    passed.map(|(test, _)| test.as_str()).collect()
}

fn summary(results: &Results) -> String {
    let count = |wanted: fn(&Ending) -> bool| results.values().filter(|end| wanted(end)).count();
    format!(
        "{} passed, {} failed, {} skipped",
        count(|end| *end == Ending::Passed),
        count(|end| *end == Ending::Failed),
        count(|end| matches!(end, Ending::Skipped { .. }))
    )
}

/// Compares a run with the reference's.
///
/// # Errors
/// Fails when a test failed, was skipped or did not run that the reference passes.
pub(super) fn judge(version: &str, mode: Mode, results: &Results, partial: bool) -> Result<()> {
    let reference = read_text(&reference_file(version, mode))?;
    let mut expected: BTreeSet<&str> = reference
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    if partial {
        expected.retain(|test| results.contains_key(*test));
    }
    let exceptions = exceptions(version, mode)?;
    let passed = passed(results);
    let lost: Vec<&&str> = expected
        .iter()
        .filter(|test| !passed.contains(**test) && !exceptions.contains_key(**test))
        .collect();
    for test in &lost {
        println!("lost: {test}: {:?}", results.get(**test));
    }
    for (test, reason) in &exceptions {
        if expected.contains(test.as_str()) && !passed.contains(test.as_str()) {
            println!("excepted: {test}: {reason}");
        }
    }
    let more = passed.iter().filter(|test| !expected.contains(**test));
    println!(
        "of the {} that runc {version} passes, {} are lost; {} others pass",
        expected.len(),
        lost.len(),
        more.count()
    );
    println!("{}", summary(results));
    match lost.len() {
        0 => Ok(()),
        count => bail!("{count} tests are lost"),
    }
}

fn exceptions(version: &str, mode: Mode) -> Result<BTreeMap<String, String>> {
    let text = read_text(&workspace::path(EXCEPTIONS))?;
    let parsed: Exceptions = toml::from_str(&text).with_context(|| EXCEPTIONS.to_owned())?;
    let is_of_run = |one: &Exception| {
        let is_of_suite = one.suite.as_deref().is_none_or(|suite| suite == version);
        is_of_suite && one.mode.is_none_or(|only| only == mode)
    };
    let all = parsed.exception.into_iter().filter(is_of_run);
    Ok(all.map(|one| (one.test, one.reason)).collect())
}
