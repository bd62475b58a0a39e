//! One record to one line and back. `docs/formats/events.md` describes the
//! bytes; nothing else in this crate knows them.
//!
//! The checksum is computed over raw bytes and tested before anything is
//! parsed, so that a reader never acts on a line that no writer wrote.

use std::io::Write as _;

use base::{RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::position::Position;
use crate::record::{Draft, Record};

/// The most bytes a record may have, its newline included.
pub const RECORD_LIMIT_BYTES: usize = 64 * 1024;

const CRC_OPEN: &[u8] = b",\"crc\":\"";
const CRC_DIGITS: usize = 8;
const CRC_CLOSE: &[u8] = b"\"}";
/// Bytes of `,"crc":"xxxxxxxx"}`.
const CRC_BYTES: usize = CRC_OPEN.len() + CRC_DIGITS + CRC_CLOSE.len();
/// Bytes of an RFC 3339 time with nanoseconds, which every time here has.
const TIME_BYTES: usize = 30;
/// The most bytes that stand around a body: position, time, checksum, newline.
const FRAME_BYTES: usize =
    br#"{"epoch":,"seq":,"time":"","#.len() + 20 + 20 + TIME_BYTES + CRC_BYTES + 1;

/// What is about to be appended, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) source: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) request: Option<&'a RequestId>,
    pub(crate) data: &'a RawValue,
}

impl<'a> From<&'a Draft> for Entry<'a> {
    fn from(draft: &'a Draft) -> Self {
        Self {
            source: draft.source,
            kind: draft.kind,
            subject: &draft.subject,
            request: draft.request.as_ref(),
            data: &draft.data,
        }
    }
}

/// A valid line, with only what its place in the log needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A record.
    Record(Header<'a>),
    /// The first line of a compacted segment: seqs in here may be missing.
    Compacted { first: u64, last: u64 },
}

/// Where a record stands and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    pub position: Position,
    /// RFC 3339 in UTC with nanoseconds, hence ordered as text is.
    pub time: &'a str,
}

/// Appends the part of a line that does not depend on its position.
pub(crate) fn encode_body(entry: &Entry<'_>, out: &mut Vec<u8>) {
    push_text(out, "\"source\":", entry.source);
    push_text(out, ",\"type\":", entry.kind);
    push_text(out, ",\"subject\":", entry.subject);
    if let Some(request) = entry.request {
        push_text(out, ",\"request\":", request.as_str());
    }
    out.extend_from_slice(b",\"data\":");
    push_one_line(out, entry.data.get());
}

/// Returns whether a body of `size_bytes` fits into a record.
pub(crate) fn body_fits(size_bytes: usize) -> bool {
    size_bytes + FRAME_BYTES <= RECORD_LIMIT_BYTES
}

/// Appends the whole line of `body` at `position`.
pub(crate) fn push_line(out: &mut Vec<u8>, position: Position, time: Timestamp, body: &[u8]) {
    let start = out.len();
    let Position { epoch, seq } = position;
    write!(
        out,
        "{{\"epoch\":{epoch},\"seq\":{seq},\"time\":\"{time}\","
    )
    .expect("memory takes every write");
    out.extend_from_slice(body);
    push_crc(out, start);
}

/// Appends the line that begins a compacted segment.
pub(crate) fn push_compacted(out: &mut Vec<u8>, first: u64, last: u64) {
    let start = out.len();
    write!(out, "{{\"compacted\":[{first},{last}]").expect("memory takes every write");
    push_crc(out, start);
}

/// Tests the checksum of a line without its newline and reads its place.
///
/// # Errors
/// What is wrong with it, in a few words.
pub(crate) fn check_line(line: &[u8]) -> Result<Line<'_>, &'static str> {
    let content = checked_content(line)?;
    if let Some(rest) = content.strip_prefix(b"{\"compacted\":[") {
        return parse_compacted(rest).ok_or("unreadable compaction mark");
    }
    parse_header(content)
        .map(Line::Record)
        .ok_or("unreadable position")
}

/// Returns the place of a line without testing its checksum, for searching.
pub(crate) fn peek_header(line: &[u8]) -> Option<Header<'_>> {
    parse_header(line)
}

/// Reads a line whose checksum has been tested.
///
/// # Errors
/// When it is not a record in JSON.
pub(crate) fn decode(line: &[u8]) -> Result<Record, serde_json::Error> {
    let wire: WireRecord = serde_json::from_slice(line)?;
    Ok(Record {
        position: Position {
            epoch: wire.epoch,
            seq: wire.seq,
        },
        time: wire.time,
        source: wire.source,
        kind: wire.kind,
        subject: wire.subject,
        request: wire.request,
        data: wire.data,
    })
}

/// Fields this version does not know are skipped.
#[derive(Deserialize)]
struct WireRecord {
    epoch: u64,
    seq: u64,
    time: Timestamp,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    request: Option<RequestId>,
    data: Box<RawValue>,
}

fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(name.as_bytes());
    text.serialize(&mut serde_json::Serializer::new(out))
        .expect("memory takes every string");
}

/// A payload that was read from an indented file has newlines between its
/// tokens; inside strings JSON has none, so each can become a space.
fn push_one_line(out: &mut Vec<u8>, json: &str) {
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

fn push_crc(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c::crc32c(&out[start..]);
    writeln!(out, ",\"crc\":\"{crc:08x}\"}}").expect("memory takes every write");
}

fn checked_content(line: &[u8]) -> Result<&[u8], &'static str> {
    let (content, crc) = line
        .len()
        .checked_sub(CRC_BYTES)
        .map(|end| line.split_at(end))
        .ok_or("line too short")?;
    let digits = crc
        .strip_prefix(CRC_OPEN)
        .and_then(|rest| rest.strip_suffix(CRC_CLOSE))
        .ok_or("no checksum")?;
    let written = parse_crc(digits).ok_or("unreadable checksum")?;
    if crc32c::crc32c(content) != written {
        return Err("wrong checksum");
    }
    Ok(content)
}

fn parse_crc(digits: &[u8]) -> Option<u32> {
    let lower = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    if !digits.iter().all(lower) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn parse_header(content: &[u8]) -> Option<Header<'_>> {
    let rest = content.strip_prefix(b"{\"epoch\":")?;
    let (epoch, rest) = parse_number(rest)?;
    let rest = rest.strip_prefix(b",\"seq\":")?;
    let (seq, rest) = parse_number(rest)?;
    let rest = rest.strip_prefix(b",\"time\":\"")?;
    let (time, rest) = rest.split_at_checked(TIME_BYTES)?;
    rest.strip_prefix(b"\",")?;
    Some(Header {
        position: Position { epoch, seq },
        time: std::str::from_utf8(time).ok()?,
    })
}

fn parse_compacted(rest: &[u8]) -> Option<Line<'_>> {
    let (first, rest) = parse_number(rest)?;
    let (last, rest) = parse_number(rest.strip_prefix(b",")?)?;
    (rest == b"]" && first <= last).then_some(Line::Compacted { first, last })
}

fn parse_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, subject: &str, data: &str) -> Vec<u8> {
        let data = RawValue::from_string(data.to_owned()).unwrap();
        let entry = Entry {
            source: "netd",
            kind,
            subject,
            request: None,
            data: &data,
        };
        let mut body = Vec::new();
        encode_body(&entry, &mut body);
        let mut out = Vec::new();
        let position = Position { epoch: 2, seq: 7 };
        push_line(&mut out, position, Timestamp::from_seconds(1), &body);
        out
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let text = String::from_utf8(line("network.attached", "x.1", r#"{"a":1}"#)).unwrap();
        let (content, crc) = text.split_at(text.len() - CRC_BYTES - 1);
        assert_eq!(
            content,
            r#"{"epoch":2,"seq":7,"time":"1970-01-01T00:00:01.000000000Z","source":"netd","type":"network.attached","subject":"x.1","data":{"a":1}"#
        );
        let expected = crc32c::crc32c(content.as_bytes());
        assert_eq!(crc, format!(",\"crc\":\"{expected:08x}\"}}\n"));
    }

    #[test]
    fn a_record_reads_back_whatever_its_text_is() {
        let mut bytes = line("a\"b", "line\nbreak \u{1F600}", "{\n  \"a\": \"x\\ny\"\n}");
        assert_eq!(bytes.pop(), Some(b'\n'));
        assert!(!bytes.contains(&b'\n'));
        let Ok(Line::Record(header)) = check_line(&bytes) else {
            panic!("not a record");
        };
        assert_eq!(header.position, Position { epoch: 2, seq: 7 });
        let record = decode(&bytes).unwrap();
        assert_eq!(record.kind, "a\"b");
        assert_eq!(record.subject, "line\nbreak \u{1F600}");
        let data: serde_json::Value = record.payload().unwrap();
        assert_eq!(data["a"], "x\ny");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let bytes = line("k", "s", "{}");
        let bytes = &bytes[..bytes.len() - 1];
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                assert!(check_line(&changed).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_compaction_mark_reads_back() {
        let mut out = Vec::new();
        push_compacted(&mut out, 3, 9);
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(out.starts_with(b"{\"compacted\":[3,9],\"crc\":"));
        assert_eq!(check_line(&out), Ok(Line::Compacted { first: 3, last: 9 }));
    }
}
