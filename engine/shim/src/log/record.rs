//! One record of a container's log, as bytes.

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
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    batch.extend(b",\"stream\":\"");
    batch.extend(name.as_bytes());
    batch.extend(b"\",\"time\":\"");
    batch.extend(time.as_bytes());
    batch.extend(b"\"}\n");
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
