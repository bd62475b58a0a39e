//! The tables of event types agree with each other, with the code, and with
//! docs/formats/events.md, whose list is generated from them: with
//! `UPDATE_GOLDEN=1` in the environment it is written anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use events::RequestBody;

use super::*;

const DOCUMENT: &str = "docs/formats/events.md";
const BEGIN: &str = "<!-- types -->\n";
const END: &str = "<!-- /types -->";
/// Where event types are defined, and nothing else has a name of their form but
/// files.
const DEFINING: [&str; 5] = [
    "engine/src/event.rs",
    "engine/shim/api/src",
    "netd/api/src",
    "volumed/api/src",
    "events/src",
];
/// Where events are written or read.
const USING: [&str; 5] = [
    "engine/src",
    "engine/shim/src",
    "engine/cli/src",
    "netd/src",
    "volumed/src",
];
const FILE_SUFFIXES: [&str; 4] = ["json", "log", "sock", "damaged"];

fn workspace() -> &'static Path {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
    engine.parent().unwrap()
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Fact => "fact",
        Class::Request => "request",
        Class::Reply => "reply",
        Class::Progress => "progress",
    }
}

fn rendered() -> String {
    let mut text = String::new();
    for table in TABLES {
        writeln!(text, "\nOf `{}`:\n", table.package).unwrap();
        text.push_str("| type | class | written by | data | read by |\n|---|---|---|---|---|\n");
        for event in table.events {
            let EventType {
                kind,
                class,
                writer,
                payload,
                readers,
            } = event;
            let class = class_name(*class);
            writeln!(
                text,
                "| `{kind}` | {class} | {writer} | `{payload}` | {readers} |"
            )
            .unwrap();
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_documented_types_are_those_of_the_code() {
    let path = workspace().join(DOCUMENT);
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (documented, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let document = format!("{before}{BEGIN}{}{END}{after}", rendered());
        base::file::replace(&path, document.as_bytes(), base::file::FileMode::Public).unwrap();
        return;
    }
    assert_eq!(
        documented,
        rendered(),
        "{DOCUMENT} differs: run `cargo xtask golden --update`"
    );
}

#[test]
fn no_type_is_defined_twice() {
    let mut packages = BTreeMap::new();
    for table in TABLES {
        for event in table.events {
            let former = packages.insert(event.kind, table.package);
            assert_eq!(former, None, "{} of {}", event.kind, table.package);
        }
    }
}

/// Every request has its replies, and they have the names the log gives them.
#[test]
fn requests_and_replies_are_in_the_tables_with_their_class() {
    check_request::<netd_api::Attach>();
    check_request::<netd_api::Detach>();
    check_request::<netd_api::Connect>();
    check_request::<netd_api::Disconnect>();
    check_request::<netd_api::CreateNetwork>();
    check_request::<netd_api::RemoveNetwork>();
    check_request::<volumed_api::MountRootfs>();
    check_request::<volumed_api::UnmountRootfs>();
    check_request::<volumed_api::RemoveFiles>();
    check_request::<volumed_api::CreateVolume>();
    check_request::<volumed_api::RemoveVolume>();
    let requests = TABLES.iter().flat_map(|table| table.events);
    let requests = requests.filter(|event| event.class == Class::Request);
    assert_eq!(requests.count(), 11 + 1, "a request is not checked above");
}

fn check_request<B: RequestBody>() {
    assert_eq!(class_of(B::KIND), Some(Class::Request), "{}", B::KIND);
    assert_eq!(class_of(B::FAILED), Some(Class::Reply), "{}", B::FAILED);
    assert!(
        matches!(class_of(B::REPLY), Some(Class::Reply | Class::Fact)),
        "{}",
        B::REPLY
    );
    assert_eq!(B::FAILED, format!("{}_failed", B::KIND));
}

fn class_of(kind: &str) -> Option<Class> {
    let mut all = TABLES.iter().flat_map(|table| table.events);
    all.find(|event| event.kind == kind)
        .map(|event| event.class)
}

#[test]
fn every_type_in_the_code_is_in_a_table() {
    let areas: Vec<&str> = TABLES
        .iter()
        .flat_map(|table| table.events)
        .filter_map(|event| event.kind.split('.').next())
        .collect();
    let mut seen = 0;
    for file in DEFINING.iter().flat_map(|place| sources(place)) {
        for name in dotted_literals(&code(&file)) {
            let (area, word) = name.split_once('.').unwrap();
            if areas.contains(&area) && !FILE_SUFFIXES.contains(&word) {
                assert!(
                    class_of(&name).is_some(),
                    "{name:?} in {file:?} is in no table"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} found: the sources moved");
}

/// What is written goes through a constant, so that the test above sees it.
#[test]
fn no_event_is_written_with_a_literal_type() {
    let known = |name: &String| class_of(name).is_some();
    for file in USING.iter().flat_map(|place| sources(place)) {
        if file.ends_with("engine/src/event.rs") {
            continue;
        }
        let code = code(&file);
        for call in ["Draft::new(", ".publish("] {
            for (at, _) in code.match_indices(call) {
                let statement = code[at..].split(';').next().unwrap_or_default();
                let literal = dotted_literals(statement).find(known);
                assert_eq!(literal, None, "in {file:?}");
            }
        }
    }
}

/// The files of a package without its tests.
fn sources(place: &str) -> Vec<PathBuf> {
    let place = workspace().join(place);
    if place.is_file() {
        return vec![place];
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&place).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            files.extend(sources(path.to_str().unwrap()));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

/// What stands before the test module.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.to_owned()
}

/// String literals of the form of an event type, `area.word`.
fn dotted_literals(code: &str) -> impl Iterator<Item = String> {
    let quoted = code.split('"').skip(1).step_by(2);
    let is_type = |text: &&str| {
        let word = |part: &str| {
            let letters = |b: u8| b.is_ascii_lowercase() || b == b'_';
            !part.is_empty() && part.bytes().all(letters)
        };
        text.split_once('.')
            .is_some_and(|(a, b)| word(a) && word(b))
    };
    quoted.filter(is_type).map(str::to_owned)
}
