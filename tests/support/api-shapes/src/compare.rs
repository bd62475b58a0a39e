//! Where two tables differ, and which differences are on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::scene::matches;
use crate::table::{Answers, Table};
use crate::versions::Versions;

/// A field that the engine under test answers differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    question: String,
    path: String,
    /// What the model has there; empty where it has no such field.
    expected: BTreeSet<String>,
    found: BTreeSet<String>,
    versions: Versions,
}

/// Differences that are on purpose, each with its reason.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purposes {
    difference: Vec<Purpose>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Purpose {
    /// As `question.Path`, `*` for anything.
    field: String,
    reason: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |values: &BTreeSet<String>| match values.is_empty() {
            true => "nothing".to_owned(),
            false => Vec::from_iter(values.iter().map(String::as_str)).join(" | "),
        };
        write!(
            f,
            "{}: expected {}, found {} @{}",
            self.field(),
            shown(&self.expected),
            shown(&self.found),
            self.versions
        )
    }
}

impl Difference {
    fn field(&self) -> String {
        match self.path.starts_with(['.', '[']) {
            true => format!("{}{}", self.question, self.path),
            false => format!("{} {}", self.question, self.path),
        }
    }
}

impl Purposes {
    /// Reads the list.
    ///
    /// # Errors
    /// Fails for what is none, or a row without a reason.
    pub fn parse(text: &str) -> Result<Self> {
        let all: Self = toml::from_str(text).context("read the differences on purpose")?;
        let bare = all
            .difference
            .iter()
            .find(|row| row.reason.trim().is_empty());
        match bare {
            Some(row) => anyhow::bail!("{} has no reason", row.field),
            None => Ok(all),
        }
    }

    /// Returns what is wrong: differences that no row is about, and rows that are about
    /// no difference.
    pub fn judge(&self, differences: &[Difference]) -> Vec<String> {
        let is_meant = |difference: &Difference| {
            let field = difference.field();
            self.difference
                .iter()
                .any(|row| matches(&row.field, &field))
        };
        let unmeant = differences
            .iter()
            .filter(|difference| !is_meant(difference));
        let is_stale = |row: &&Purpose| {
            !differences
                .iter()
                .any(|difference| matches(&row.field, &difference.field()))
        };
        let stale = self.difference.iter().filter(is_stale);
        unmeant
            .map(ToString::to_string)
            .chain(stale.map(|row| format!("{}: there is no difference any more", row.field)))
            .collect()
    }
}

/// Returns where `found` differs from `model`.
pub fn differences(model: &Table, found: &Table) -> Vec<Difference> {
    let mut all = Vec::new();
    let none = Answers::default();
    let questions: BTreeSet<&String> = model.0.keys().chain(found.0.keys()).collect();
    for question in questions {
        let expected = model.0.get(question).unwrap_or(&none);
        let found = found.0.get(question).unwrap_or(&none);
        let paths: BTreeSet<&String> = expected.fields.keys().chain(found.fields.keys()).collect();
        for path in paths {
            all.extend(in_field(question, path, expected, found));
        }
    }
    all
}

fn in_field(question: &str, path: &str, expected: &Answers, found: &Answers) -> Vec<Difference> {
    let mut alike: BTreeMap<_, Versions> = BTreeMap::new();
    for &version in expected.asked.0.union(&found.asked.0) {
        let pair = (
            values(expected, path, version),
            values(found, path, version),
        );
        if pair.0 != pair.1 {
            alike.entry(pair).or_default().0.insert(version);
        }
    }
    let difference = |((expected, found), versions)| Difference {
        question: question.to_owned(),
        path: path.to_owned(),
        expected,
        found,
        versions,
    };
    alike.into_iter().map(difference).collect()
}

fn values(answers: &Answers, path: &str, version: u16) -> BTreeSet<String> {
    let values = answers.fields.get(path).into_iter().flatten();
    values
        .filter(|(_, versions)| versions.0.contains(&version))
        .map(|(value, _)| value.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "question one 1.40-1.42\n.A 1\n.B \"x\" @1.40\n.C true\n";
    const FOUND: &str =
        "question one 1.40-1.42\n.A 1\n.B \"x\"\n.C false @1.42\n.C true @1.40-1.41\n";

    #[test]
    fn differences_say_where_and_in_which_versions() {
        let found = differences(&MODEL.parse().unwrap(), &FOUND.parse().unwrap());
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "one.B: expected nothing, found \"x\" @1.41-1.42",
                "one.C: expected true, found false @1.42"
            ]
        );
    }

    #[test]
    fn a_purpose_without_a_difference_is_wrong_as_well() {
        let found = differences(&MODEL.parse().unwrap(), &FOUND.parse().unwrap());
        let purposes = "[[difference]]\nfield = \"one.B\"\nreason = \"why\"\n\
            [[difference]]\nfield = \"two.*\"\nreason = \"why\"\n";
        let wrong = Purposes::parse(purposes).unwrap().judge(&found);
        assert_eq!(
            wrong,
            [
                "one.C: expected true, found false @1.42",
                "two.*: there is no difference any more"
            ]
        );
        let unreasoned = "[[difference]]\nfield = \"one.B\"\nreason = \"\"\n";
        assert!(Purposes::parse(unreasoned).is_err());
    }
}
