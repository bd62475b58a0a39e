//! The table of differences that are meant, each with its reason.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::answers::Difference;
use crate::workspace::read_text;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    difference: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// As `Difference` has it; what is below it is meant too.
    path: String,
    /// Which clients, and which of their calls; all where there are none.
    #[serde(default)]
    sdks: Vec<String>,
    #[serde(default)]
    calls: Vec<String>,
    /// What ours is, as JSON; anything where it is missing.
    ours: Option<String>,
    reason: String,
    #[serde(skip)]
    is_used: bool,
}

impl Table {
    /// Reads it.
    ///
    /// # Errors
    /// Fails when it cannot be read, or a row has no reason or an answer that is no JSON.
    pub(super) fn read(file: &Path) -> Result<Self> {
        Self::parse(&read_text(file)?).with_context(|| format!("read {}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Self = toml::from_str(text)?;
        for row in &table.difference {
            let path = &row.path;
            ensure!(!row.reason.trim().is_empty(), "{path} has no reason");
            if let Some(ours) = &row.ours {
                serde_json::from_str::<Value>(ours)
                    .with_context(|| format!("{path}: {ours:?} is no JSON"))?;
            }
        }
        Ok(table)
    }

    /// Returns whether a row allows this; all that do are used then.
    pub(super) fn excuses(&mut self, sdk: &str, difference: &Difference) -> bool {
        let mut is_excused = false;
        for row in &mut self.difference {
            if row.allows(sdk, difference) {
                row.is_used = true;
                is_excused = true;
            }
        }
        is_excused
    }

    /// Fails for a row that allowed nothing.
    ///
    /// # Errors
    /// Fails naming those rows.
    pub(super) fn ensure_all_used(&self) -> Result<()> {
        let unused = self.difference.iter().filter(|row| !row.is_used);
        let unused: Vec<String> = unused
            .map(|row| format!("{} ({})", row.path, row.reason))
            .collect();
        if !unused.is_empty() {
            bail!("differences that are none any more: {}", unused.join("; "));
        }
        Ok(())
    }
}

impl Row {
    fn allows(&self, sdk: &str, difference: &Difference) -> bool {
        let is_among =
            |list: &[String], name: &str| list.is_empty() || list.iter().any(|n| n == name);
        let ours = self.ours.as_deref().map(|json| {
            serde_json::from_str::<Value>(json).expect("it was read when the table was")
        });
        is_among(&self.sdks, sdk)
            && is_among(&self.calls, &difference.call)
            && is_at_or_below(&difference.path, &self.path)
            && (ours.is_none() || ours == difference.found)
    }
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    let rest = path.strip_prefix(top);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(path: &str, found: Value) -> Difference {
        Difference {
            call: "inspect".to_owned(),
            path: path.to_owned(),
            expected: None,
            found: Some(found),
        }
    }

    const TABLE: &str = r#"
        [[difference]]
        path = "Data"
        sdks = ["docker"]
        calls = ["inspect"]
        reason = "why"
        [[difference]]
        path = "Name"
        ours = '"x"'
        reason = "why"
    "#;

    #[test]
    fn a_row_allows_what_it_says_and_no_more() {
        let mut table = Table::parse(TABLE).unwrap();
        assert!(!table.excuses("bollard", &difference("Data", 1.into())));
        assert!(!table.excuses("docker", &difference("Database", 1.into())));
        assert!(!table.excuses("docker", &difference("Name", "y".into())));
        assert!(table.ensure_all_used().is_err());
        assert!(table.excuses("docker", &difference("Data.Lower", 1.into())));
        assert!(table.excuses("docker", &difference("Name", "x".into())));
        table.ensure_all_used().unwrap();
    }

    #[test]
    fn a_row_needs_its_reason_and_json() {
        for wrong in [
            "[[difference]]\npath = \"a\"\nreason = \"\"",
            "[[difference]]\npath = \"a\"",
            "[[difference]]\npath = \"a\"\nours = \"{\"\nreason = \"why\"",
            "[[difference]]\npath = \"a\"\nreason = \"why\"\nmore = 1",
        ] {
            assert!(Table::parse(wrong).is_err(), "{wrong}");
        }
    }
}
