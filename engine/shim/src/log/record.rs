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

/// The same as Docker writes it; `attributes` are from [`attributes`], `time` from
/// [`short`].
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
    batch.extend(time.as_bytes());
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
    if std::str::from_utf8(content).is_ok() {
        return escape_text(batch, content);
    }
    for chunk in content.utf8_chunks() {
        escape_text(batch, chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            batch.extend(b"\\ufffd");
        }
    }
}

/// Bytes that may not stand as they are; of those that begin with the last one
/// only two characters are meant.
const ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        escaped[control] = true;
        control += 1;
    }
    escaped[b'"' as usize] = true;
    escaped[b'\\' as usize] = true;
    escaped[b'<' as usize] = true;
    escaped[b'>' as usize] = true;
    escaped[b'&' as usize] = true;
    escaped[0xe2] = true;
    escaped
};

fn escape_text(batch: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(position) = rest.iter().position(|byte| ESCAPED[usize::from(*byte)]) {
        let (plain, from) = rest.split_at(position);
        batch.extend_from_slice(plain);
        rest = escape_first(batch, from);
    }
    batch.extend_from_slice(rest);
}

/// Appends what stands for the first character; returns what is after it.
fn escape_first<'a>(batch: &mut Vec<u8>, text: &'a [u8]) -> &'a [u8] {
    match text {
        [0xe2, 0x80, 0xa8, rest @ ..] => {
            batch.extend(b"\\u2028");
            rest
        }
        [0xe2, 0x80, 0xa9, rest @ ..] => {
            batch.extend(b"\\u2029");
            rest
        }
        [0xe2, rest @ ..] => {
            batch.push(0xe2);
            rest
        }
        [b'\n', rest @ ..] => {
            batch.extend(b"\\n");
            rest
        }
        [b'\r', rest @ ..] => {
            batch.extend(b"\\r");
            rest
        }
        [byte @ (b'"' | b'\\'), rest @ ..] => {
            batch.extend([b'\\', *byte]);
            rest
        }
        [other, rest @ ..] => {
            batch.extend(format!("\\u{other:04x}").bytes());
            rest
        }
        [] => text,
    }
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
