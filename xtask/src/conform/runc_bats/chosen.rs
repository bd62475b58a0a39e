//! The few tests of the emulated machine that every `xtask test` runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::bats::Run;
use super::machine::{PATIENCE, Prepared};
use super::mode::Mode;
use super::prepare::Images;
use super::release::Release;
use crate::conform::results::Ending;
use crate::conform::tested;
use crate::workspace::{self, read_text};

const LIST: &str = "tests/conform/runc-bats-chosen.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    test: Vec<Test>,
}

/// None of them unpacks Debian's image.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    mode: Mode,
    file: String,
    name: String,
}

/// Which runtime they are run with.
#[derive(Debug, clap::Args)]
pub(crate) struct ChosenArguments {
    /// The one of this checkout where none is given
    #[arg(long, value_name = "PATH")]
    runtime: Option<PathBuf>,
}

impl ChosenArguments {
    /// Returns the runtime.
    ///
    /// # Errors
    /// Fails when it is not there, or cannot be built.
    pub(crate) fn tested(&self) -> Result<PathBuf> {
        tested(self.runtime.as_deref())
    }
}

/// Boots the machine once and runs the chosen tests, each in its mode.
///
/// # Errors
/// Fails when one of them does not pass.
pub(crate) fn run_chosen(runtime: &Path) -> Result<()> {
    let text = read_text(&workspace::path(LIST))?;
    let chosen: Chosen = toml::from_str(&text).context(LIST)?;
    let prepared = Prepared::new(Release::Newest, Images::Busybox)?;
    let runs = runs(&chosen.test, &prepared.take(runtime)?);
    let results = prepared.boot(&runs)?;
    let mut lost = 0;
    for test in &chosen.test {
        let run = runs.iter().position(|run| run.mode == test.mode);
        let results = run.and_then(|index| results.get(index));
        let key = format!("{}: {}", test.file, test.name);
        match results.and_then(|results| results.get(&key)) {
            Some(Ending::Passed) => {}
            other => {
                println!("lost: {} {key}: {other:?}", test.mode.name());
                lost += 1;
            }
        }
    }
    let count = chosen.test.len();
    println!(
        "{} of {count} chosen tests of runc's suite pass",
        count - lost
    );
    ensure!(lost == 0, "{lost} chosen tests of runc's suite are lost");
    Ok(())
}

/// Returns a run for each mode.
fn runs(tests: &[Test], runtime: &str) -> Vec<Run> {
    let mut by_mode: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
    for test in tests {
        by_mode.entry(test.mode.name()).or_default().push(test);
    }
    let run = |tests: Vec<&Test>| {
        let files: BTreeSet<String> = tests.iter().map(|test| test.file.clone()).collect();
        let names: Vec<String> = tests.iter().map(|test| escape(&test.name)).collect();
        Run {
            runtime: runtime.to_owned(),
            filter: format!("^({})$", names.join("|")),
            files: files.into_iter().collect(),
            mode: tests[0].mode,
            patience: PATIENCE,
        }
    };
    by_mode.into_values().map(run).collect()
}

/// Takes the meaning from what means something in an extended regular expression.
fn escape(name: &str) -> String {
    let escaped = |letter: char| match letter {
        '.' | '[' | ']' | '(' | ')' | '*' | '+' | '?' | '{' | '}' | '|' | '^' | '$' | '\\' => {
            format!("\\{letter}")
        }
        letter => letter.to_string(),
    };
    name.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_a_run_of_its_own() {
        let test = |mode, file: &str, name: &str| Test {
            mode,
            file: file.into(),
            name: name.into(),
        };
        let tests = [
            test(Mode::Unified, "exec.bats", "runc exec (cgroup v2)"),
            test(Mode::Rootless, "update.bats", "update"),
            test(Mode::Unified, "exec.bats", "runc exec [tty]"),
        ];
        let runs = runs(&tests, "/runtime");
        let all: Vec<_> = runs
            .iter()
            .map(|run| (run.mode, run.files.join(" "), run.filter.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                (Mode::Rootless, "update.bats".into(), "^(update)$"),
                (
                    Mode::Unified,
                    "exec.bats".into(),
                    r"^(runc exec \(cgroup v2\)|runc exec \[tty\])$"
                ),
            ]
        );
    }
}
