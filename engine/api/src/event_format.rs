//! The form of `GET /events`: one message after the other, told apart as the client
//! asks for in `Accept`.
//!
//! Docker negotiates this from API 1.52 on ("`GET /events` now supports negotiating
//! output formats" in its changelog); a client of an earlier version that names none of
//! the types gets what it always got.

use serde::Serialize;

/// Begins a text of a sequence (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFormat {
    /// JSON values one after the other, a line each.
    Json,
    /// `application/x-ndjson`: the same, by its name.
    NdJson,
    /// `application/jsonl`: another name of it.
    JsonLines,
    /// `application/json-seq`: each value after a record separator.
    JsonSequence,
}

impl EventFormat {
    /// Returns the format that a header `Accept` likes best: of the highest quality,
    /// and of those the first.
    pub fn accepted(header: &str) -> Self {
        let mut best = (Self::Json, 0.0);
        for (format, quality) in header.split(',').filter_map(offer) {
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// Returns the type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::JsonLines => "application/jsonl",
            Self::JsonSequence => "application/json-seq",
        }
    }

    /// Returns a message as it is sent.
    ///
    /// # Errors
    /// When `message` is no JSON, as a map whose keys are no strings.
    pub fn encode(self, message: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = Vec::with_capacity(512);
        if self == Self::JsonSequence {
            bytes.push(RECORD_SEPARATOR);
        }
        serde_json::to_writer(&mut bytes, message)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Reads one of the things a client accepts, if it is one of ours.
fn offer(text: &str) -> Option<(EventFormat, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let format = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/json" => EventFormat::Json,
        "application/x-ndjson" => EventFormat::NdJson,
        "application/jsonl" => EventFormat::JsonLines,
        "application/json-seq" => EventFormat::JsonSequence,
        _ => return None,
    };
    let quality = parts.find_map(|part| part.strip_prefix("q="));
    Some((format, quality.map_or(Some(1.0), |text| text.parse().ok())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changelog of API 1.52: "`GET /events` now supports negotiating output formats".
    #[test]
    fn the_best_of_what_is_accepted_is_taken() {
        for (header, format) in [
            ("", EventFormat::Json),
            ("*/*", EventFormat::Json),
            ("text/html, application/json", EventFormat::Json),
            ("application/json-seq", EventFormat::JsonSequence),
            ("Application/X-NDJSON", EventFormat::NdJson),
            (
                "application/json;q=0.1, application/jsonl ; q=0.9",
                EventFormat::JsonLines,
            ),
            (
                "application/x-ndjson, application/json-seq",
                EventFormat::NdJson,
            ),
            (
                "application/json-seq;q=0, application/json",
                EventFormat::Json,
            ),
            ("application/json-seq;q=nonsense", EventFormat::Json),
        ] {
            assert_eq!(EventFormat::accepted(header), format, "{header:?}");
        }
    }

    #[test]
    fn a_sequence_has_its_separators() {
        let value = serde_json::json!({"a": "b\n"});
        let line = b"{\"a\":\"b\\n\"}\n";
        for format in [
            EventFormat::Json,
            EventFormat::NdJson,
            EventFormat::JsonLines,
        ] {
            assert_eq!(format.encode(&value).unwrap(), line);
        }
        let sequence = EventFormat::JsonSequence.encode(&value).unwrap();
        assert_eq!(sequence, [&b"\x1e"[..], line].concat());
    }
}
