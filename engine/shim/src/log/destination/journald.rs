//! Entries of the host's journal, in its native protocol: one datagram of
//! fields, `NAME=value`, or with the value's length where it has newlines.

use std::collections::BTreeMap;

use base::ContainerId;

use super::short;
use crate::log::Line;
use crate::stdio::OUTPUTS;

/// What syslog calls information, and an error.
const PRIORITIES: [&str; OUTPUTS.len()] = ["6", "3"];

/// Spells entries, with the fields that Docker writes.
#[derive(Debug)]
pub(super) struct Journal {
    /// Fields of every entry, spelled.
    fixed: Vec<u8>,
    /// Entries so far.
    ordinal: u64,
    /// What the parts of each stream's line have in common.
    lines: [String; OUTPUTS.len()],
}

impl Journal {
    pub(super) fn new(fields: &BTreeMap<String, String>) -> Self {
        let mut fixed = Vec::new();
        for (name, value) in fields {
            field(&mut fixed, name, value.as_bytes());
        }
        field(&mut fixed, "CONTAINER_LOG_EPOCH", random().as_bytes());
        Self {
            fixed,
            ordinal: 0,
            lines: [String::new(), String::new()],
        }
    }

    /// Appends the entry of one line.
    pub(super) fn encode(&mut self, entry: &mut Vec<u8>, line: &Line<'_>) {
        self.ordinal += 1;
        let stream = line.stream as usize;
        field(entry, "PRIORITY", PRIORITIES[stream].as_bytes());
        field(entry, "MESSAGE", line.text());
        entry.extend(&self.fixed);
        field(entry, "SYSLOG_TIMESTAMP", short(line.time).as_bytes());
        field(
            entry,
            "CONTAINER_LOG_ORDINAL",
            self.ordinal.to_string().as_bytes(),
        );
        if line.partial.ordinal == 0 {
            return;
        }
        if line.partial.ordinal == 1 {
            self.lines[stream] = random();
        }
        let is_last = line.partial.is_last;
        if !is_last {
            field(entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        field(entry, "CONTAINER_PARTIAL_ID", self.lines[stream].as_bytes());
        let ordinal = line.partial.ordinal.to_string();
        field(entry, "CONTAINER_PARTIAL_ORDINAL", ordinal.as_bytes());
        field(
            entry,
            "CONTAINER_PARTIAL_LAST",
            is_last.to_string().as_bytes(),
        );
    }
}

fn field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value);
    entry.push(b'\n');
}

/// Returns 64 hexadecimal digits, as an id has them.
fn random() -> String {
    ContainerId::random().to_string()
}
