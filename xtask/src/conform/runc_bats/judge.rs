//! What a run of runc's suite is compared with: by version and mode, apart from
//! tests of the reference's identity.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::mode::Mode;
use crate::conform::results::{Reference, Results};
use crate::workspace::{self, read_text};

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

/// Writes which tests the reference passed.
///
/// # Errors
/// Fails when the file cannot be written.
pub(super) fn record(version: &str, mode: Mode, results: &Results) -> Result<()> {
    let title = format!(
        "Tests of runc {version}'s suite that runc {version} passes {}",
        mode.place()
    );
    reference(version, mode)?.record(&title, results)
}

/// Compares a run with the reference's.
///
/// # Errors
/// Fails when a test failed, was skipped or did not run that the reference passes.
pub(super) fn judge(version: &str, mode: Mode, results: &Results, partial: bool) -> Result<()> {
    reference(version, mode)?.judge(results, partial)
}

fn reference(version: &str, mode: Mode) -> Result<Reference> {
    let suffix = match mode {
        Mode::Root => String::new(),
        mode => format!("-{}", mode.name()),
    };
    let file = format!("tests/conform/runc-bats-{version}{suffix}.reference.txt");
    Ok(Reference {
        file: workspace::path(&file),
        name: format!("runc {version}"),
        exceptions: exceptions(version, mode)?,
    })
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
