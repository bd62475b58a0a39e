//! One record, as it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// One record of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub time: Timestamp,
    pub content: LogContent,
    /// What the driver's options say of every line.
    pub attributes: BTreeMap<String, String>,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogContent {
    /// A line, or a part of one: only its last part ends with a newline.
    Output { stream: LogStream, bytes: Vec<u8> },
    /// Records were lost here: the disk was full.
    Dropped { records: u64 },
    /// So many files were rotated out here before the reader came to them.
    Missed { files: u64 },
    /// The rest of a compressed file cannot be read.
    Damaged,
}

impl LogEntry {
    /// Returns what a reader has to say itself.
    pub(super) fn notice(time: Timestamp, content: LogContent) -> Self {
        Self {
            time,
            content,
            attributes: BTreeMap::new(),
        }
    }

    /// Returns whether this ends a line.
    pub fn ends_line(&self) -> bool {
        match &self.content {
            LogContent::Output { bytes, .. } => bytes.ends_with(b"\n"),
            LogContent::Dropped { .. } | LogContent::Missed { .. } | LogContent::Damaged => true,
        }
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    log: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    bytes: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<LogStream>,
    #[serde(default)]
    dropped: Option<u64>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: Timestamp,
}

/// Reads one line; one that is no record gives nothing.
pub(super) fn parse(line: &[u8]) -> Option<LogEntry> {
    let mut raw: Raw<'_> = serde_json::from_slice(line).ok()?;
    let attributes = std::mem::take(&mut raw.attrs);
    let content = match raw {
        Raw {
            dropped: Some(records),
            ..
        } => LogContent::Dropped { records },
        Raw {
            log: Some(text),
            stream: Some(stream),
            ..
        } => LogContent::Output {
            stream,
            bytes: text.into_owned().into_bytes(),
        },
        Raw {
            bytes: Some(text),
            stream: Some(stream),
            ..
        } => LogContent::Output {
            stream,
            bytes: STANDARD.decode(text.as_bytes()).ok()?,
        },
        _ => return None,
    };
    Some(LogEntry {
        time: raw.time,
        content,
        attributes,
    })
}

/// What a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct FileHead {
    /// Files of a log are numbered in the order they are begun.
    #[serde(rename = "file")]
    pub(super) number: u64,
    pub(super) time: Timestamp,
}

/// Reads the line a file begins with; any other gives nothing.
pub(super) fn parse_head(line: &[u8]) -> Option<FileHead> {
    serde_json::from_slice(line).ok()
}
