//! The rows of the tables in tests/conform/: what they say and how they are judged.
//!
//! Pure: running the commands is the suite's part.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Where the commands of a row run; `{folder}` in a table.
pub(crate) const FOLDER: &str = "/data/row";

/// What a table must have.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) rows_at_least: usize,
}

/// The whole table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) row: Vec<Row>,
}

/// One command and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Whether the engine must refuse.
    #[serde(default)]
    pub(crate) fails: bool,
    /// Files of the folder the commands run in, by name.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) setup: Vec<String>,
    pub(crate) run: String,
    #[serde(default)]
    pub(crate) stdin: String,
    /// Or a file of the folder.
    pub(crate) stdin_from: Option<String>,
    #[serde(default)]
    pub(crate) code: i32,
    #[serde(flatten)]
    pub(crate) expected: Expected,
    pub(crate) after: Vec<After>,
}

/// A look at the state after the command.
#[derive(Debug, Deserialize)]
pub(crate) struct After {
    /// A docker command line.
    pub(crate) run: Option<String>,
    /// How it must end.
    #[serde(default)]
    pub(crate) code: i32,
    /// Or an address to fetch.
    pub(crate) get: Option<String>,
    /// Or a file of the folder.
    pub(crate) file: Option<String>,
    /// Whether the state may take a moment.
    #[serde(default)]
    pub(crate) eventually: bool,
    #[serde(flatten)]
    pub(crate) expected: Expected,
}

/// What a command must print; what is not given is not looked at.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Expected {
    stdout: Option<String>,
    stderr: Option<String>,
    #[serde(default)]
    stdout_has: Vec<String>,
    #[serde(default)]
    stdout_lacks: Vec<String>,
    #[serde(default)]
    stderr_has: Vec<String>,
    /// On either stream.
    #[serde(default)]
    output_has: Vec<String>,
    stdout_length: Option<usize>,
    stdout_lines: Option<usize>,
}

impl Table {
    /// Reads the table with its placeholders filled in.
    ///
    /// # Errors
    /// Fails when it is malformed or breaks the suite's own rules.
    pub(crate) fn parse(text: &str, registry: &str, rules: &Rules) -> Result<Self> {
        let table = Self::parse_any(text, registry)?;
        table.check(rules)?;
        Ok(table)
    }

    /// Reads a table of any size.
    ///
    /// # Errors
    /// Fails when it is malformed.
    pub(crate) fn parse_any(text: &str, registry: &str) -> Result<Self> {
        let text = fill(text, registry);
        toml::from_str(&text).context("parse the table of rows")
    }

    fn check(&self, rules: &Rules) -> Result<()> {
        let wanted = rules.rows_at_least;
        let (rows, failures) = (
            self.row.len(),
            self.row.iter().filter(|row| row.fails).count(),
        );
        ensure!(
            rows >= wanted,
            "the table has {rows} rows, {wanted} are demanded"
        );
        ensure!(
            failures * 3 >= rows,
            "only {failures} of {rows} rows are failures"
        );
        let (mut lines, mut names) = (BTreeSet::new(), BTreeSet::new());
        for row in &self.row {
            ensure!(lines.insert(&row.run), "two rows run `{}`", row.run);
            ensure!(names.insert(&row.name), "two rows are named `{}`", row.name);
            ensure!(
                !row.after.is_empty(),
                "`{}` does not look at the state afterwards",
                row.name
            );
            ensure!(
                !row.fails || row.code != 0,
                "`{}` fails with code 0",
                row.name
            );
        }
        Ok(())
    }
}

impl Expected {
    /// Compares what was printed.
    ///
    /// # Errors
    /// Fails naming the first thing that differs.
    pub(crate) fn judge(&self, stdout: &str, stderr: &str) -> Result<()> {
        same("standard output", self.stdout.as_deref(), stdout)?;
        same("standard error", self.stderr.as_deref(), stderr)?;
        has("standard output", &self.stdout_has, stdout)?;
        has("standard error", &self.stderr_has, stderr)?;
        has(
            "the output",
            &self.output_has,
            &format!("{stdout}\n{stderr}"),
        )?;
        for word in &self.stdout_lacks {
            ensure!(
                !stdout.contains(word.as_str()),
                "standard output has {word:?}"
            );
        }
        let length = stdout.trim().len();
        ensure!(
            self.stdout_length.is_none_or(|wanted| wanted == length),
            "it has {length} bytes"
        );
        let lines = stdout.lines().count();
        ensure!(
            self.stdout_lines.is_none_or(|wanted| wanted == lines),
            "it has {lines} lines"
        );
        Ok(())
    }
}

fn same(what: &str, wanted: Option<&str>, found: &str) -> Result<()> {
    let found = found.trim_end();
    ensure!(
        wanted.is_none_or(|wanted| wanted == found),
        "{what} is {found:?}, not {wanted:?}"
    );
    Ok(())
}

fn has(what: &str, words: &[String], found: &str) -> Result<()> {
    let lower = found.to_lowercase();
    for word in words {
        ensure!(
            lower.contains(&word.to_lowercase()),
            "{what} lacks {word:?}: {:?}",
            found.trim()
        );
    }
    Ok(())
}

/// Fills in the placeholders of a text.
pub(crate) fn fill(text: &str, registry: &str) -> String {
    text.replace("{image}", &format!("{registry}/smoke:1"))
        .replace("{registry}", registry)
        .replace("{folder}", FOLDER)
}

/// Splits a command line into words as a shell does, with both kinds of quotes.
///
/// # Errors
/// Fails when a quote is not closed.
pub(crate) fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("a quote is not closed in `{line}`");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_breaks_a_rule_is_refused() {
        let row = |name: &str, run: &str, more: &str| {
            format!("[[row]]\nname = {name:?}\nrun = {run:?}\nafter = [{{ run = \"ps\" }}]\n{more}")
        };
        let refused = "fails = true\ncode = 1\n";
        let judge = |rows: &[String], rows_at_least| {
            Table::parse(&rows.concat(), "here", &Rules { rows_at_least })
                .map(drop)
                .map_err(|error| error.to_string())
        };
        let (good, bad) = (row("a", "top a", ""), row("b", "top b", refused));
        judge(&[good.clone(), bad.clone()], 2).unwrap();
        for (rows, at_least, message) in [
            (vec![good.clone(), bad.clone()], 3, "3 are demanded"),
            (vec![good.clone()], 1, "only 0 of 1 rows"),
            (
                vec![bad.clone(), row("c", "top b", "")],
                1,
                "two rows run `top b`",
            ),
            (
                vec![bad.clone(), row("b", "top c", "")],
                1,
                "two rows are named `b`",
            ),
            (
                vec![row("d", "top d", "fails = true\n")],
                1,
                "fails with code 0",
            ),
        ] {
            let error = judge(&rows, at_least).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn words_are_split_like_a_shell_does() {
        assert_eq!(
            words("sh -c 'echo \"a b\"; exit 3' --env B='two words' ''").unwrap(),
            [
                "sh",
                "-c",
                "echo \"a b\"; exit 3",
                "--env",
                "B=two words",
                ""
            ]
        );
        assert!(words("sh -c 'open").is_err());
    }

    #[test]
    fn a_judgement_looks_at_what_is_given_only() {
        let nothing = Expected::default();
        nothing.judge("any", "thing").unwrap();
        let exact = Expected {
            stdout: Some("a\nb".into()),
            ..Expected::default()
        };
        exact.judge("a\nb\n", "warning").unwrap();
        assert!(exact.judge("a\nb\nc\n", "").is_err());
        let fragment = Expected {
            stderr_has: vec!["No Such".into()],
            ..Expected::default()
        };
        fragment.judge("", "Error: no such container").unwrap();
        assert!(fragment.judge("no such", "").is_err());
    }
}
