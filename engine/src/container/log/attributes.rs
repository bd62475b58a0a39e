//! What of a container's labels and environment goes with its lines.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::options::Options;
use super::refuse_value;
use super::tag::Subject;
use crate::error::Result;

/// Returns what the options select.
///
/// # Errors
/// Invalid for a pattern that is none.
pub(super) fn of(options: &Options, subject: &Subject) -> Result<BTreeMap<String, String>> {
    let labels = subject.labels.iter();
    let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
    let environment = subject.environment.iter();
    let environment = environment.filter_map(|entry| entry.split_once('='));
    let mut selected = BTreeMap::new();
    select(options, "labels", labels, &mut selected)?;
    select(options, "env", environment, &mut selected)?;
    Ok(selected)
}

fn select<'a>(
    options: &Options,
    option: &str,
    from: impl Iterator<Item = (&'a str, &'a str)>,
    selected: &mut BTreeMap<String, String>,
) -> Result<()> {
    let names: Vec<&str> = options
        .value(option)
        .unwrap_or_default()
        .split(',')
        .collect();
    let pattern = pattern(options, &format!("{option}-regex"))?;
    for (name, value) in from {
        let matches = pattern.as_ref().is_some_and(|it| it.is_match(name));
        if names.contains(&name) || matches {
            selected.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// Returns the pattern that an option is.
///
/// # Errors
/// Invalid if it is none.
pub(super) fn pattern(options: &Options, name: &str) -> Result<Option<Regex>> {
    let pattern = options.value(name).map(Regex::new).transpose();
    pattern.map_err(|error| refuse_value(format!("error parsing regexp: {error}")))
}

/// Returns the fields of each entry in the journal.
///
/// # Errors
/// Invalid for a pattern or a tag that is none.
pub(super) fn journal_fields(
    options: &Options,
    subject: &Subject,
) -> Result<BTreeMap<String, String>> {
    let tag = options.tag(subject)?;
    let own = [
        ("CONTAINER_ID", subject.short_id()),
        ("CONTAINER_ID_FULL", subject.id.as_str()),
        ("CONTAINER_NAME", subject.name.as_str()),
        ("CONTAINER_TAG", tag.as_str()),
        ("IMAGE_NAME", subject.image.as_str()),
        ("SYSLOG_IDENTIFIER", tag.as_str()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut fields = BTreeMap::from(own);
    for (name, value) in of(options, subject)? {
        let name = field_name(&name);
        if !name.is_empty() {
            fields.insert(name, value);
        }
    }
    Ok(fields)
}

/// Only capitals, digits and lines, and no line first: such are journald's own.
fn field_name(name: &str) -> String {
    let allowed = |c: char| match c.to_ascii_uppercase() {
        upper @ ('A'..='Z' | '0'..='9') => upper,
        _ => '_',
    };
    let name: String = name.chars().map(allowed).collect();
    name.trim_start_matches('_').to_owned()
}
