//! A recording as text: a line for each value of a field, with the versions that have
//! it unless all of those the question was asked of do.
//!
//! ```text
//! question container-inspect 1.24-1.51
//! status 200
//! .Id "<id>"
//! .Config.MacAddress "<mac>" @1.24-1.43
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result};
use serde_json::Value;

use crate::normal::Normal;
use crate::versions::Versions;

/// The paths of an answer, each with what is there.
pub(crate) type Leaves = BTreeSet<(String, String)>;

/// What one question was answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// The versions it was asked of.
    pub(crate) asked: Versions,
    /// By path, then by value.
    pub(crate) fields: BTreeMap<String, BTreeMap<String, Versions>>,
}

/// What an engine answers, by question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table(pub(crate) BTreeMap<String, Answers>);

impl Answers {
    pub(crate) fn add(&mut self, version: u16, leaves: Leaves) {
        self.asked.0.insert(version);
        for (path, value) in leaves {
            let values = self.fields.entry(path).or_default();
            values.entry(value).or_default().0.insert(version);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, answers) in &self.0 {
            writeln!(f, "\nquestion {name} {}", answers.asked)?;
            for (path, values) in &answers.fields {
                for (value, versions) in values {
                    match *versions == answers.asked {
                        true => writeln!(f, "{path} {value}")?,
                        false => writeln!(f, "{path} {value} @{versions}")?,
                    }
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Table {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut table = Self::default();
        let mut current: Option<&mut Answers> = None;
        let is_line = |line: &&str| !line.is_empty() && !line.starts_with('#');
        for line in text.lines().filter(is_line) {
            if let Some((name, asked)) = line
                .strip_prefix("question ")
                .and_then(|l| l.split_once(' '))
            {
                let answers = table.0.entry(name.to_owned()).or_default();
                answers.asked = asked.parse()?;
                current = Some(answers);
                continue;
            }
            let answers = current.as_mut().context("a field before any question")?;
            let (path, rest) = line.split_once(' ').context("a field without a value")?;
            let (value, versions) = match rest.rsplit_once(" @") {
                Some((value, versions)) if versions.starts_with("1.") => (value, versions.parse()?),
                _ => (rest, answers.asked.clone()),
            };
            let values = answers.fields.entry(path.to_owned()).or_default();
            values.insert(value.to_owned(), versions);
        }
        Ok(table)
    }
}

/// Adds the paths below a value.
pub(crate) fn flatten(normal: &Normal, volatile: &dyn Fn(&str) -> bool, value: &Value) -> Leaves {
    let mut leaves = Leaves::new();
    let mut rest = vec![(String::new(), value)];
    while let Some((path, value)) = rest.pop() {
        if volatile(&path) {
            leaves.insert((shown(&path), Normal::kind(value).to_owned()));
            continue;
        }
        match value {
            Value::Array(all) if !all.is_empty() => {
                rest.extend(all.iter().map(|value| (format!("{path}[]"), value)));
            }
            Value::Object(all) if !all.is_empty() => {
                let below = |(key, value): (&String, _)| {
                    let key: String = normal.text(key);
                    (format!("{path}.{}", key.replace(' ', "_")), value)
                };
                rest.extend(all.iter().map(below));
            }
            leaf => {
                leaves.insert((shown(&path), normal.leaf(leaf)));
            }
        }
    }
    leaves
}

fn shown(path: &str) -> String {
    match path {
        "" => ".".into(),
        path => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_and_read() {
        let text = "\nquestion one 1.40-1.51\n.A \"x @1 y\"\n.A null @1.40-1.41\n.B[].C <number>\n[].D \"]\"\n";
        let table: Table = text.parse().unwrap();
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn a_value_becomes_paths() {
        let normal = Normal::new(&[]).unwrap();
        let value = serde_json::json!({"A": [{"B": 1}, {"B": 2}], "C": {}, "D": "host"});
        let leaves = flatten(&normal, &|path| path == ".D", &value);
        let expected = [
            (".A[].B", "1"),
            (".A[].B", "2"),
            (".C", "{}"),
            (".D", "<string>"),
        ];
        let expected: Leaves = expected.map(|(p, v)| (p.to_owned(), v.to_owned())).into();
        assert_eq!(leaves, expected);
    }
}
