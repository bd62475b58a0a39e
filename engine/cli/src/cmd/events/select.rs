//! Which records `engine events -f` wants.
//!
//! A container is named in the log only where it is created and renamed, so
//! whoever asks for one by name has to have seen the records before as well.

use std::collections::BTreeSet;

use engine_api::filters::{FilterError, Filters};
use events::Record;
use serde_json::Value;

/// The conditions there are.
const KNOWN: &[&str] = &[
    "container",
    "event",
    "network",
    "request",
    "source",
    "subject",
    "type",
    "volume",
];

/// Containers that one condition by name stands for; those beyond are known by
/// their ids only.
const CONTAINER_LIMIT: usize = 4096;

/// The conditions, and the containers that those by name stand for.
#[derive(Debug)]
pub(super) struct Selection {
    filters: Filters,
    containers: BTreeSet<String>,
}

impl Selection {
    /// Returns the selection of `filters`.
    ///
    /// # Errors
    /// When one has a key that is not known.
    pub(super) fn new(filters: Filters) -> Result<Self, FilterError> {
        filters.check_keys(KNOWN)?;
        Ok(Self {
            filters,
            containers: BTreeSet::new(),
        })
    }

    /// Returns whether records before the first wanted one have to be seen.
    pub(super) fn needs_names(&self) -> bool {
        self.filters.has("container")
    }

    /// Notes which container a name stands for.
    pub(super) fn learn(&mut self, record: &Record) {
        let is_naming = matches!(
            record.kind.as_str(),
            "container.created" | "container.renamed"
        );
        if !is_naming || self.containers.len() >= CONTAINER_LIMIT {
            return;
        }
        let name = text(record, "name").unwrap_or_default();
        if self.filters.values("container").any(|value| value == name) {
            self.containers.insert(object(record).to_owned());
        }
    }

    /// Returns whether all conditions hold.
    pub(super) fn matches(&mut self, record: &Record) -> bool {
        self.learn(record);
        let (area, action) = record.kind.split_once('.').unwrap_or((&record.kind, ""));
        let is_kind = |part: &str, value: &str| value == part || value == record.kind;
        let request = record.request.as_ref().map(|request| request.as_str());
        let filters = &self.filters;
        filters.allows("type", |value| is_kind(area, value))
            && filters.allows("event", |value| is_kind(action, value))
            && filters.allows("source", |value| value == record.source)
            && filters.allows("subject", |value| value == record.subject)
            && filters.allows("request", |value| Some(value) == request)
            && filters.allows("container", |value| self.is_container(record, value))
            && filters.allows("network", |value| is_about(record, "network", value))
            && filters.allows("volume", |value| is_about(record, "volume", value))
    }

    /// A container is meant by its name or by the beginning of its id.
    fn is_container(&self, record: &Record, value: &str) -> bool {
        let id = object(record);
        self.containers.contains(id) || (!value.is_empty() && id.starts_with(value))
    }
}

/// Returns the subject without the number of the run.
fn object(record: &Record) -> &str {
    record.subject.split('.').next().unwrap_or_default()
}

/// Returns whether the record's subject, or what its payload names, is `value`.
fn is_about(record: &Record, kind: &str, value: &str) -> bool {
    let is_kind = record.kind.split('.').next() == Some(kind);
    let is_subject = is_kind && record.subject == value;
    let is_named = is_kind && text(record, "name").as_deref() == Some(value);
    is_subject || is_named || text(record, kind).as_deref() == Some(value)
}

/// Returns a text of the payload.
fn text(record: &Record, field: &str) -> Option<String> {
    let data: Value = serde_json::from_str(record.data.get()).ok()?;
    Some(data.get(field)?.as_str()?.to_owned())
}
