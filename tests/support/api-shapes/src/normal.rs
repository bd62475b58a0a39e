//! What differs from run to run, written by its kind: ids, digests, times, addresses.

use anyhow::{Context as _, Result};
use regex_lite::Regex;
use serde_json::Value;

/// The time that stands for none is kept.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Larger numbers are counts of bytes or moments.
const EXACT_NUMBER: f64 = 9999.0;

/// Rewrites values; the patterns are compiled once.
#[derive(Debug)]
pub(crate) struct Normal {
    patterns: Vec<(Regex, &'static str)>,
    /// Folders of the engine, the longest first.
    folders: Vec<String>,
}

impl Normal {
    pub(crate) fn new(folders: &[&str]) -> Result<Self> {
        let mut patterns = Vec::new();
        for (pattern, kind) in [
            (r"sha256:[0-9a-f]{64}", "<digest>"),
            (r"\b[0-9a-f]{64}\b", "<id>"),
            (r"\b[0-9a-f]{12}\b", "<short-id>"),
            (
                r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
                "<time>",
            ),
            (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
            (r"\b1(0|72|92)(\.\d{1,3}){3}\b", "<address>"),
        ] {
            patterns.push((Regex::new(pattern).context("compile a pattern")?, kind));
        }
        let mut folders: Vec<String> = folders.iter().map(|&text| text.to_owned()).collect();
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
        Ok(Self { patterns, folders })
    }

    /// Returns a text with what differs from run to run written by its kind.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if text == NEVER {
            return text;
        }
        for folder in &self.folders {
            text = text.replace(folder.as_str(), "<folder>");
        }
        for (pattern, kind) in &self.patterns {
            text = pattern.replace_all(&text, *kind).into_owned();
        }
        text
    }

    /// Returns what a table says of a value that is no list and no object.
    pub(crate) fn leaf(&self, value: &Value) -> String {
        match value {
            Value::String(text) => Value::String(self.text(text)).to_string(),
            Value::Number(number) if number.as_f64().is_some_and(|n| n.abs() > EXACT_NUMBER) => {
                "<number>".into()
            }
            Value::Array(_) => "[]".into(),
            Value::Object(_) => "{}".into(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        }
    }

    /// Returns what a table says of a value that is no two engines' alike.
    pub(crate) fn kind(value: &Value) -> &'static str {
        match value {
            Value::Null => "null",
            Value::Bool(_) => "<bool>",
            Value::Number(_) => "<number>",
            Value::String(_) => "<string>",
            Value::Array(_) => "<list>",
            Value::Object(_) => "<object>",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_named_by_its_kind() {
        let normal = Normal::new(&["/data", "/data/engine"]).unwrap();
        let id = "0123456789abcdef".repeat(4);
        for (text, expected) in [
            (
                format!("/data/engine/{id}/hosts"),
                "<folder>/<id>/hosts".to_owned(),
            ),
            (format!("box@sha256:{id}"), "box@<digest>".into()),
            (id[..12].to_owned(), "<short-id>".into()),
            ("2026-01-02T03:04:05.678Z".into(), "<time>".into()),
            (NEVER.into(), NEVER.into()),
            ("02:42:ac:11:00:02".into(), "<mac>".into()),
            ("172.17.0.1".into(), "<address>".into()),
            ("0.0.0.0".into(), "0.0.0.0".into()),
            ("overlay2".into(), "overlay2".into()),
        ] {
            assert_eq!(normal.text(&text), expected);
        }
    }

    #[test]
    fn small_numbers_are_kept() {
        let normal = Normal::new(&[]).unwrap();
        assert_eq!(normal.leaf(&serde_json::json!(42)), "42");
        assert_eq!(normal.leaf(&serde_json::json!(67108864)), "<number>");
        assert_eq!(normal.leaf(&serde_json::json!(null)), "null");
    }
}
