//! What one event holds, before and after it stands in the log.

use base::{RequestId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::position::Position;

/// How much a record matters across a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Something that happened; may be awaited until it is on disk.
    Fact,
    /// Asks a daemon for something; not synced.
    Request,
    /// Answers a request; not synced.
    Reply,
    /// How far something is; not synced.
    Progress,
}

/// An event that is not in the log yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The process that writes it: `engine`, `netd`, `volumed`, `shim`.
    pub source: &'static str,
    /// The event's type, `network.attached`. JSON field `type`.
    pub kind: &'static str,
    /// What it is about; order holds per subject. A run is `<id>.<run>`.
    pub subject: String,
    pub request: Option<RequestId>,
    pub data: Box<RawValue>,
}

impl Draft {
    /// Returns a draft with `data` serialized.
    ///
    /// # Errors
    /// When `data` cannot be written as JSON (a map with keys that are no strings).
    pub fn new(
        source: &'static str,
        kind: &'static str,
        subject: impl Into<String>,
        data: &impl Serialize,
    ) -> Result<Self, serde_json::Error> {
        let data = serde_json::value::to_raw_value(data)?;
        Ok(Self {
            source,
            kind,
            subject: subject.into(),
            request: None,
            data,
        })
    }

    /// Ties the draft to a request.
    #[must_use]
    pub fn with_request(mut self, request: RequestId) -> Self {
        self.request = Some(request);
        self
    }
}

/// An event that stands in the log; its checksum has been verified.
#[derive(Debug, Clone)]
pub struct Record {
    pub position: Position,
    pub time: Timestamp,
    pub source: String,
    /// The event's type. JSON field `type`.
    pub kind: String,
    pub subject: String,
    pub request: Option<RequestId>,
    pub data: Box<RawValue>,
}

impl Record {
    /// Reads the payload as `T`; fields it does not know are skipped.
    ///
    /// # Errors
    /// When the payload is not a `T`.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data.get())
    }
}

/// What the documentation says about one type of event; every api crate has a
/// table of these, and `docs/formats/events.md` is generated from them.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    /// JSON field `type`.
    pub kind: &'static str,
    pub class: Class,
    pub writer: &'static str,
    /// What `data` holds, in one line.
    pub payload: &'static str,
    pub readers: &'static str,
}
