//! What an engine is asked, and what has to be there before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::client::{self, Answer};
use crate::normal::Normal;
use crate::table::{Leaves, Table, flatten};

/// How long something may take to come true.
const EVENTUALLY: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// Headers that say nothing about the API.
const UNTOLD_HEADERS: &[&str] = &[
    "date",
    "content-length",
    "server",
    "transfer-encoding",
    "connection",
];

/// Calls that prepare an engine, and questions asked of each version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// The first and the last minor version.
    versions: [u16; 2],
    /// Fields that no two hosts have alike, as `question.Path`, `*` for anything.
    volatile: Vec<String>,
    prepare: Vec<Call>,
    question: Vec<Question>,
}

/// One request that must succeed unless it says otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// A method and a path; `{name}` stands for what was kept, `{now}` for the
    /// time in seconds.
    call: String,
    body: Option<String>,
    /// Names, each with where in the answer it is found.
    #[serde(default)]
    keep: BTreeMap<String, String>,
    /// What the answer has to hold in the end; until then it is asked again.
    until: Option<String>,
    /// Whether it does not matter if it succeeds.
    #[serde(default)]
    may_fail: bool,
}

/// One request whose answer is recorded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    name: String,
    call: String,
    body: Option<String>,
    /// Calls before and after it, for each version anew.
    #[serde(default)]
    first: Vec<Call>,
    #[serde(default)]
    then: Vec<Call>,
    #[serde(default)]
    keep: BTreeMap<String, String>,
    /// Asked without a version in its path, once.
    #[serde(default)]
    versionless: bool,
}

impl Scene {
    /// Reads a scene.
    ///
    /// # Errors
    /// Fails for what is none.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("read the scene")
    }
}

/// Prepares the engine at a socket and asks it every question.
///
/// `folders` are where it has its data, which no two engines have in the same place.
///
/// # Errors
/// Fails when it does not answer, or refuses a call that prepares.
pub fn record(socket: &Path, scene: &Scene, folders: &[&str]) -> Result<Table> {
    let mut asking = Asking {
        socket,
        scene,
        normal: Normal::new(folders)?,
        kept: BTreeMap::new(),
    };
    let [first, last] = scene.versions;
    for call in &scene.prepare {
        asking.perform(call, None)?;
    }
    let mut table = Table::default();
    for question in &scene.question {
        let versions = match question.versionless {
            true => last..=last,
            false => first..=last,
        };
        let answers = table.0.entry(question.name.clone()).or_default();
        for version in versions {
            let leaves = asking
                .question(question, version)
                .with_context(|| format!("ask {} of 1.{version}", question.name))?;
            answers.add(version, leaves);
        }
    }
    Ok(table)
}

struct Asking<'a> {
    socket: &'a Path,
    scene: &'a Scene,
    normal: Normal,
    kept: BTreeMap<String, String>,
}

impl Asking<'_> {
    fn question(&mut self, question: &Question, version: u16) -> Result<Leaves> {
        let version = (!question.versionless).then_some(version);
        for call in &question.first {
            self.perform(call, version)?;
        }
        let answer = self.ask(&question.call, question.body.as_deref(), version)?;
        self.keep(&question.keep, &answer)?;
        for call in &question.then {
            self.perform(call, version)?;
        }
        Ok(self.leaves(&question.name, &answer))
    }

    fn perform(&mut self, call: &Call, version: Option<u16>) -> Result<()> {
        let deadline = Instant::now() + EVENTUALLY;
        loop {
            let answer = self.ask(&call.call, call.body.as_deref(), version)?;
            let text = String::from_utf8_lossy(&answer.body);
            ensure!(
                answer.status < 400 || call.may_fail,
                "{} was refused: {text}",
                call.call
            );
            let until = call.until.as_deref();
            if until.is_none_or(|until| text.contains(until)) {
                return self.keep(&call.keep, &answer);
            }
            ensure!(
                Instant::now() < deadline,
                "{} never said {until:?}: {text}",
                call.call
            );
            std::thread::sleep(POLL);
        }
    }

    fn ask(&self, call: &str, body: Option<&str>, version: Option<u16>) -> Result<Answer> {
        let mut call = self.filled(call);
        if let (Some(version), Some((method, path))) = (version, call.split_once(' ')) {
            call = format!("{method} /v1.{version}{path}");
        }
        client::ask(
            self.socket,
            &call,
            body.map(|body| self.filled(body)).as_deref(),
        )
    }

    fn filled(&self, text: &str) -> String {
        let fill = |text: String, (name, value): (&String, &String)| {
            text.replace(&format!("{{{name}}}"), value)
        };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let text = text.replace("{now}", &now);
        self.kept.iter().fold(text, fill)
    }

    fn keep(&mut self, wanted: &BTreeMap<String, String>, answer: &Answer) -> Result<()> {
        for (name, pointer) in wanted {
            let body: Value = serde_json::from_slice(&answer.body).context("read an answer")?;
            let found = body.pointer(pointer).and_then(Value::as_str);
            let text = String::from_utf8_lossy(&answer.body);
            let found = found.with_context(|| format!("there is no {pointer} in {text}"))?;
            self.kept.insert(name.clone(), found.to_owned());
        }
        Ok(())
    }

    fn leaves(&self, name: &str, answer: &Answer) -> Leaves {
        let volatile = |path: &str| {
            let full = format!("{name}{path}");
            self.scene
                .volatile
                .iter()
                .any(|pattern| matches(pattern, &full))
        };
        let body = &answer.body;
        let mut leaves = match serde_json::Deserializer::from_slice(body)
            .into_iter()
            .collect::<Result<Vec<Value>, _>>()
            .as_deref()
        {
            Ok([]) => Leaves::new(),
            Ok([one]) => flatten(&self.normal, &volatile, one),
            Ok(many) => flatten(&self.normal, &volatile, &Value::Array(many.to_vec())),
            Err(_) => {
                let text = Value::String(String::from_utf8_lossy(body).into_owned());
                flatten(&self.normal, &volatile, &text)
            }
        };
        leaves.insert(("status".into(), answer.status.to_string()));
        for (name, value) in &answer.headers {
            if !UNTOLD_HEADERS.contains(&name.as_str()) {
                leaves.insert((format!("header:{name}"), value.clone()));
            }
        }
        leaves
    }
}

/// Returns whether a text is as a pattern says, in which `*` stands for anything.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            let mut starts = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            starts.any(|at| matches(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("info.NCPU", "info.NCPU", true),
            ("info.*", "info.Swarm.Error", true),
            ("*.Size", "images[].Size", true),
            ("*.Size", "images[].SizeRw", false),
            ("a*c", "abcb", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
