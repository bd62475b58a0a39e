//! The tests that may be skipped, and why: tests/skips.toml.
//!
//! A test skips itself by printing a line that begins with `skipped: `. Every
//! such line is a failure unless the list names the test.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::junit::Report;
use crate::workspace::{self, read_text};

const FILE: &str = "tests/skips.toml";

/// The list of allowed skips.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skips {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// Package, binary and test as nextest prints them, separated by a space.
    test: String,
    /// The kernel feature that is missing.
    needs: String,
}

impl Skips {
    /// Reads the list.
    ///
    /// # Errors
    /// Fails when the file is missing or malformed, or names no feature.
    pub(crate) fn load() -> Result<Self> {
        Self::parse(&read_text(&workspace::path(FILE))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let skips: Self = toml::from_str(text).with_context(|| format!("parse {FILE}"))?;
        for skip in &skips.skip {
            anyhow::ensure!(
                !skip.needs.trim().is_empty(),
                "{FILE}: {} needs nothing",
                skip.test
            );
        }
        Ok(skips)
    }

    /// Compares the list with what was skipped.
    ///
    /// # Errors
    /// Fails naming the skips that are not on the list, and entries that name no test.
    pub(crate) fn judge(&self, report: &Report) -> Result<()> {
        let listed = |name: &str| self.skip.iter().any(|skip| skip.test == name);
        let mut wrong: Vec<String> = report
            .skipped()
            .filter(|test| !listed(&test.name))
            .map(|test| format!("{} was skipped and is not in {FILE}", test.name))
            .collect();
        let known = |name: &str| report.tests.iter().any(|test| test.name == name);
        let stale = self.skip.iter().filter(|skip| !known(&skip.test));
        wrong.extend(stale.map(|skip| format!("{FILE}: there is no test {}", skip.test)));
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::junit::Test;

    fn report(skipped: bool) -> Report {
        Report {
            tests: vec![Test {
                name: "runc-rs v2".into(),
                failed: false,
                skipped,
            }],
        }
    }

    #[test]
    fn a_skip_that_is_not_listed_fails() {
        let none = Skips::parse("").unwrap();
        assert!(none.judge(&report(true)).is_err());
        assert!(none.judge(&report(false)).is_ok());
    }

    #[test]
    fn a_listed_skip_passes_also_where_the_kernel_has_the_feature() {
        let list = Skips::parse("[[skip]]\ntest = 'runc-rs v2'\nneeds = 'cgroup v2'").unwrap();
        assert!(list.judge(&report(true)).is_ok());
        assert!(list.judge(&report(false)).is_ok());
    }

    #[test]
    fn an_entry_for_no_test_fails() {
        let list = Skips::parse("[[skip]]\ntest = 'gone'\nneeds = 'x'").unwrap();
        assert!(list.judge(&report(false)).is_err());
    }
}
