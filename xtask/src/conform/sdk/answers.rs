//! The answers that a scenario got, and how two engines' answers compare.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::normal;

/// A scenario with fewer calls says little.
const CALLS_AT_LEAST: usize = 25;

/// Normalised answers, in the order of the calls.
#[derive(Debug)]
pub(super) struct Answers(Vec<(String, Value)>);

/// A place in an answer where the two are not the same.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) call: String,
    /// As in `Mounts[].Source`; `.` is the answer itself.
    pub(super) path: String,
    pub(super) expected: Option<Value>,
    pub(super) found: Option<Value>,
}

/// How two compare.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) calls: usize,
    pub(super) differ: usize,
    /// What to tell of those that differ.
    pub(super) lines: Vec<String>,
}

impl Answers {
    /// Reads what a scenario printed, and normalises it.
    ///
    /// # Errors
    /// Fails for a line that is no call, a name that is there twice, or too few calls.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let answers = text.lines().map(parse_line).collect::<Result<Vec<_>>>()?;
        let names: BTreeSet<&str> = answers.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(names.len() == answers.len(), "a call is there twice");
        ensure!(
            names.len() >= CALLS_AT_LEAST,
            "{} calls are too few, {CALLS_AT_LEAST} are wanted",
            names.len()
        );
        Ok(Self(answers))
    }

    /// Compares another engine's answers with these; `excuse` says which differences
    /// are known.
    pub(super) fn compare(
        &self,
        found: &Self,
        excuse: &mut dyn FnMut(&Difference) -> bool,
    ) -> Compared {
        let mut compared = Compared::default();
        for (call, expected) in &self.0 {
            compared.calls += 1;
            let lines = match found.get(call) {
                None => vec![format!("{call}: was not made")],
                Some(answer) => unexcused(call, expected, answer, excuse),
            };
            compared.differ += usize::from(!lines.is_empty());
            compared.lines.extend(lines);
        }
        for (call, _) in found.0.iter().filter(|(call, _)| self.get(call).is_none()) {
            compared.calls += 1;
            compared.differ += 1;
            compared
                .lines
                .push(format!("{call}: dockerd was not asked"));
        }
        compared
    }

    fn get(&self, call: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(name, _)| name == call);
        found.map(|(_, value)| value)
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        lines.try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        let (expected, found) = (shown(&self.expected), shown(&self.found));
        let (call, path) = (&self.call, &self.path);
        write!(f, "{call}: {path}: {expected} expected, not {found}")
    }
}

fn parse_line(line: &str) -> Result<(String, Value)> {
    let Some((name, json)) = line.split_once(' ') else {
        bail!("no call: {line:?}");
    };
    let value: Value = serde_json::from_str(json).with_context(|| format!("read {line:?}"))?;
    Ok((name.to_owned(), normal::normalised(value)))
}

fn unexcused(
    call: &str,
    expected: &Value,
    found: &Value,
    excuse: &mut dyn FnMut(&Difference) -> bool,
) -> Vec<String> {
    let mut differences = Vec::new();
    collect("", expected, found, &mut |path, expected, found| {
        differences.push(Difference {
            call: call.to_owned(),
            path: if path.is_empty() { "." } else { path }.to_owned(),
            expected: expected.cloned(),
            found: found.cloned(),
        });
    });
    let left = differences.iter().filter(|difference| !excuse(difference));
    left.map(ToString::to_string).collect()
}

/// Is told a place, and what each of the two has there.
type Tell<'a> = dyn FnMut(&str, Option<&Value>, Option<&Value>) + 'a;

/// Tells every place where the two differ; lists of unlike length as a whole.
fn collect(path: &str, expected: &Value, found: &Value, tell: &mut Tell<'_>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            for key in keys {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{key}");
                match (expected.get(key), found.get(key)) {
                    (Some(expected), Some(found)) => collect(&path, expected, found, tell),
                    (expected, found) => tell(&path, expected, found),
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let path = format!("{path}[]");
            for (expected, found) in expected.iter().zip(found) {
                collect(&path, expected, found, tell);
            }
        }
        _ if expected == found => {}
        _ => tell(path, Some(expected), Some(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(lines: &[(&str, &str)]) -> Answers {
        let filler = (0..CALLS_AT_LEAST).map(|number| format!("call-{number} null\n"));
        let own = lines.iter().map(|(name, json)| format!("{name} {json}\n"));
        Answers::parse(&filler.chain(own).collect::<String>()).unwrap()
    }

    fn told(expected: &str, found: &str) -> Vec<String> {
        let (expected, found) = (answers(&[("a", expected)]), answers(&[("a", found)]));
        expected.compare(&found, &mut |_| false).lines
    }

    #[test]
    fn places_that_differ_are_named() {
        let expected = r#"{"Mounts":[{"Source":"a","Mode":""}],"Gone":1,"List":[1,2]}"#;
        let found = r#"{"Mounts":[{"Source":"b","Mode":""}],"New":null,"List":[1]}"#;
        let lines = [
            "a: Gone: 1 expected, not nothing",
            "a: List: [1,2] expected, not [1]",
            "a: Mounts[].Source: \"a\" expected, not \"b\"",
            "a: New: nothing expected, not null",
        ];
        assert_eq!(told(expected, found), lines);
        assert_eq!(told(expected, expected), [""; 0]);
        assert_eq!(told("1", "\"1\""), ["a: .: 1 expected, not \"1\""]);
    }

    #[test]
    fn a_call_of_one_side_differs() {
        let (one, other) = (answers(&[("a", "1")]), answers(&[("b", "1")]));
        let compared = one.compare(&other, &mut |_| true);
        assert_eq!(
            compared.lines,
            ["a: was not made", "b: dockerd was not asked"]
        );
        assert_eq!((compared.calls, compared.differ), (CALLS_AT_LEAST + 2, 2));
    }

    #[test]
    fn what_is_excused_does_not_differ() {
        let (one, other) = (answers(&[("a", "1")]), answers(&[("a", "2")]));
        let compared = one.compare(&other, &mut |difference| difference.path == ".");
        assert_eq!((compared.differ, compared.lines.len()), (0, 0));
    }

    #[test]
    fn what_is_no_list_of_calls_is_refused() {
        assert!(Answers::parse("a 1\n").is_err(), "too few");
        let many: String = (0..CALLS_AT_LEAST)
            .map(|number| format!("c{number} 1\n"))
            .collect();
        assert!(Answers::parse(&format!("{many}c0 1\n")).is_err(), "twice");
        assert!(
            Answers::parse(&format!("{many}word\n")).is_err(),
            "no answer"
        );
        assert!(Answers::parse(&format!("{many}a {{\n")).is_err(), "no JSON");
    }
}
