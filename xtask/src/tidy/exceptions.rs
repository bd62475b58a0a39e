//! The list of places that may break a rule: xtask/tidy-exceptions.toml.
//!
//! Every entry gives a reason; one that no longer matches anything is itself a
//! violation, and the list may not grow against origin/main.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Violation;
use crate::process::Cmd;
use crate::workspace::{self, read_text};

const FILE: &str = "xtask/tidy-exceptions.toml";

/// The exceptions as they are now.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exceptions {
    #[serde(default)]
    exception: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    file: String,
    rule: String,
    item: String,
    reason: String,
}

impl Exceptions {
    /// Reads the list.
    ///
    /// # Errors
    /// Fails when the file is missing, malformed, or an entry gives no reason.
    pub(crate) fn load() -> Result<Self> {
        Self::parse(&read_text(&workspace::path(FILE))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text).with_context(|| format!("parse {FILE}"))?;
        for entry in &list.exception {
            anyhow::ensure!(
                !entry.reason.trim().is_empty(),
                "{FILE}: {} has no reason",
                entry.item
            );
        }
        Ok(list)
    }

    /// Returns a violation when the list is longer than on origin/main.
    ///
    /// # Errors
    /// Fails when origin/main has the list but it cannot be parsed.
    pub(crate) fn check_growth(&self) -> Result<Vec<Violation>> {
        let shown = Cmd::new("git")
            .args(["show", &format!("origin/main:{FILE}")])
            .directory(workspace::root())
            .output()?;
        if !shown.status.success() {
            return Ok(Vec::new()); // No origin/main, or no list there yet.
        }
        let before = Self::parse(&shown.stdout_text())?.exception.len();
        let grown = self.exception.len() > before;
        Ok(grown
            .then(|| own_violation("growth", "the list may only shrink"))
            .into_iter()
            .collect())
    }

    /// Returns the violations no entry covers, and one for each entry that covers none.
    pub(crate) fn remaining(&self, found: Vec<Violation>) -> Vec<Violation> {
        let covers = |entry: &Exception, violation: &Violation| {
            entry.file == violation.file
                && entry.rule == violation.rule
                && entry.item == violation.item
        };
        let stale = self
            .exception
            .iter()
            .filter(|entry| !found.iter().any(|violation| covers(entry, violation)))
            .map(|entry| own_violation(&entry.item, "this exception is not needed any more"));
        let mut remaining: Vec<Violation> = stale.collect();
        remaining.extend(
            found
                .into_iter()
                .filter(|violation| !self.exception.iter().any(|entry| covers(entry, violation))),
        );
        remaining
    }
}

fn own_violation(item: &str, message: &str) -> Violation {
    Violation {
        file: FILE.to_owned(),
        line: 1,
        rule: "exceptions",
        item: item.to_owned(),
        message: format!("{item}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[exception]]\nfile = 'a.rs'\nrule = 'function-length'\nitem = 'f'\n";

    fn long_function(item: &str) -> Violation {
        Violation {
            file: "a.rs".into(),
            line: 3,
            rule: "function-length",
            item: item.into(),
            message: String::new(),
        }
    }

    #[test]
    fn an_entry_takes_off_only_its_own_place() {
        let list = Exceptions::parse(&format!("{ONE}reason = 'straight system calls'")).unwrap();
        let remaining = list.remaining(vec![long_function("f"), long_function("g")]);
        assert_eq!(remaining, [long_function("g")]);
    }

    #[test]
    fn an_entry_that_covers_nothing_is_a_violation() {
        let list = Exceptions::parse(&format!("{ONE}reason = 'x'")).unwrap();
        assert_eq!(list.remaining(Vec::new())[0].rule, "exceptions");
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        assert!(Exceptions::parse(&format!("{ONE}reason = ' '")).is_err());
        assert!(Exceptions::parse(ONE).is_err());
    }
}
