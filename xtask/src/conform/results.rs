//! How the tests of an outside suite ended, and what that is worth: every test
//! that the reference passes must pass, apart from exceptions, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::workspace::{read_text, write_file};

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Passed,
    Failed,
    Skipped { reason: String },
}

/// How the tests ended, by name.
pub(crate) type Results = BTreeMap<String, Ending>;

/// What the reference passes, and where that is committed.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) file: PathBuf,
    /// As in "runc 1.3.6".
    pub(crate) name: String,
    /// Tests that only the reference can pass, and why.
    pub(crate) exceptions: BTreeMap<String, String>,
}

impl Reference {
    /// Writes which tests it passed, below a line that says what is recorded.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub(crate) fn record(&self, title: &str, results: &Results) -> Result<()> {
        let passed = passed(results);
        let mut text = format!("# {title}: {} of {}.\n", passed.len(), results.len());
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
        write_file(&self.file, text)
    }

    /// Compares a run with the reference's. Of a partial one only what ran counts.
    ///
    /// # Errors
    /// Fails when a test failed, was skipped or did not run that the reference passes.
    pub(crate) fn judge(&self, results: &Results, partial: bool) -> Result<()> {
        let text = read_text(&self.file)?;
        let mut expected: BTreeSet<&str> =
            text.lines().filter(|line| !line.starts_with('#')).collect();
        if partial {
            expected.retain(|test| results.contains_key(*test));
        }
        let passed = passed(results);
        let is_excepted = |test: &str| self.exceptions.contains_key(test);
        let (excepted, lost): (Vec<&str>, Vec<&str>) = expected
            .iter()
            .filter(|test| !passed.contains(**test))
            .partition(|test| is_excepted(test));
        for test in &lost {
            println!("lost: {test}: {:?}", results.get(*test));
        }
        for test in excepted {
            println!("excepted: {test}: {}", self.exceptions[test]);
        }
        let more = passed.iter().filter(|test| !expected.contains(**test));
        println!(
            "of the {} that {} passes, {} are lost; {} others pass",
            expected.len(),
            self.name,
            lost.len(),
            more.count()
        );
        println!("{}", summary(results));
        match lost.len() {
            0 => Ok(()),
            count => bail!("{count} tests are lost"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn results(endings: &[(&str, Ending)]) -> Results {
        let named = endings
            .iter()
            .map(|(name, ending)| ((*name).to_owned(), ending.clone()));
        named.collect()
    }

    #[test]
    fn what_the_reference_passes_must_pass() {
        let folder = tempfile::tempdir().unwrap();
        let reference = Reference {
            file: folder.path().join("list"),
            name: "it".to_owned(),
            exceptions: BTreeMap::from([("own".to_owned(), "its name".to_owned())]),
        };
        let skipped = Ending::Skipped {
            reason: "no reason".to_owned(),
        };
        let of_it = [
            ("a", Ending::Passed),
            ("b", Ending::Passed),
            ("c", Ending::Failed),
            ("own", Ending::Passed),
        ];
        reference
            .record("What it passes", &results(&of_it))
            .unwrap();

        let judge = |endings: &[(&str, Ending)], partial| {
            reference.judge(&results(endings), partial).is_ok()
        };
        let good = [("a", Ending::Passed), ("b", Ending::Passed)];
        assert!(judge(&good, false), "an exception need not pass");
        assert!(!judge(&good[..1], false), "one that did not run is lost");
        assert!(judge(&good[..1], true));
        for ending in [Ending::Failed, skipped] {
            assert!(!judge(&[("a", Ending::Passed), ("b", ending)], false));
        }
    }
}
