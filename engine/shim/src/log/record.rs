//! One record of a container's log, as bytes: ours, and as Docker's `json-file`
//! driver spells it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stdio::Stream;

/// Appends the record for `content` to `batch`, newline included.
pub(super) fn encode(batch: &mut Vec<u8>, stream: Stream, content: &[u8], time: &str) {
    match std::str::from_utf8(content) {
        Ok(text) => {
            batch.extend(b"{\"log\":");
            serde_json::to_writer(&mut *batch, text).expect("a Vec takes every string");
        }
        Err(_) => {
            batch.extend(b"{\"bytes\":\"");
            batch.extend(STANDARD.encode(content).bytes());
            batch.push(b'"');
        }
    }
    batch.extend(b",\"stream\":\"");
    batch.extend(name(stream).as_bytes());
    batch.extend(b"\",\"time\":\"");
    batch.extend(time.as_bytes());
    batch.extend(b"\"}\n");
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// The same as Docker writes it; `attributes` are from [`attributes`].
pub(super) fn encode_json(
    batch: &mut Vec<u8>,
    stream: Stream,
    content: &[u8],
    time: &str,
    attributes: &[u8],
) {
    batch.extend(b"{\"log\":\"");
    escape(batch, content);
    batch.extend(b"\",\"stream\":\"");
    batch.extend(name(stream).as_bytes());
    batch.push(b'"');
    batch.extend(attributes);
    batch.extend(b",\"time\":\"");
    batch.extend(short(time).as_bytes());
    batch.extend(b"\"}\n");
}

/// Returns the part of a record that says its attributes; none say nothing.
pub(super) fn attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    if attributes.is_empty() {
        return Vec::new();
    }
    let mut part = b",\"attrs\":{".to_vec();
    for (number, (key, value)) in attributes.iter().enumerate() {
        part.extend(if number == 0 { &b"\""[..] } else { b",\"" });
        escape(&mut part, key.as_bytes());
        part.extend(b"\":\"");
        escape(&mut part, value.as_bytes());
        part.push(b'"');
    }
    part.push(b'}');
    part
}

/// Returns a time without the zeros its fraction ends with.
pub(super) fn short(time: &str) -> String {
    let digits = time.trim_end_matches('Z');
    let shorter = digits.trim_end_matches('0').trim_end_matches('.');
    // The zeros of whole seconds are none of a fraction.
    match digits.contains('.') {
        true => format!("{shorter}Z"),
        false => time.to_owned(),
    }
}

/// Appends text as Docker escapes it: safe in HTML, and each byte that is not
/// UTF-8 replaced.
fn escape(batch: &mut Vec<u8>, content: &[u8]) {
    for chunk in content.utf8_chunks() {
        escape_text(batch, chunk.valid());
        for _ in chunk.invalid() {
            batch.extend(b"\\ufffd");
        }
    }
}

fn escape_text(batch: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut begin = 0;
    for (position, byte) in bytes.iter().enumerate() {
        // U+2028 and U+2029 are the only ones that begin so and are escaped.
        let separator = *byte == 0xe2
            && matches!(
                bytes.get(position + 1..position + 3),
                Some([0x80, 0xa8 | 0xa9])
            );
        let width = match byte {
            b'"' | b'\\' | b'<' | b'>' | b'&' | 0..0x20 => 1,
            _ if separator => 3,
            _ => continue,
        };
        batch.extend(&bytes[begin..position]);
        begin = position + width;
        match byte {
            b'"' | b'\\' => batch.extend([b'\\', *byte]),
            b'\n' => batch.extend(b"\\n"),
            b'\r' => batch.extend(b"\\r"),
            0xe2 if bytes[position + 2] == 0xa8 => batch.extend(b"\\u2028"),
            0xe2 => batch.extend(b"\\u2029"),
            other => batch.extend(format!("\\u{other:04x}").bytes()),
        }
    }
    batch.extend(&bytes[begin..]);
}

/// Returns the record that says that `count` records were dropped here.
pub(super) fn dropped(count: u64, time: &str) -> Vec<u8> {
    format!("{{\"dropped\":{count},\"time\":\"{time}\"}}\n").into_bytes()
}

/// Returns the line that a file begins with.
pub(super) fn head(file: u64, time: &str) -> Vec<u8> {
    format!("{{\"file\":{file},\"time\":\"{time}\"}}\n").into_bytes()
}

/// Reads the number from the beginning of a file, if it has one.
pub(super) fn number_of(beginning: &[u8]) -> Option<u64> {
    let digits = beginning.strip_prefix(b"{\"file\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Returns where to cut a long line so that no character is split.
pub(super) fn text_boundary(line: &[u8]) -> usize {
    match std::str::from_utf8(line) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => line.len(),
    }
}
