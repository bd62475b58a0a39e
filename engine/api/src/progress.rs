//! The messages a pull, a push, a load or an import streams, one JSON object each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::is_zero;

/// One progress message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProgressMessage {
    #[serde(skip_serializing_if = "is_zero")]
    pub stream: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The bar drawn by the server, for clients that draw none.
    #[serde(skip_serializing_if = "is_zero")]
    pub progress: String,
    /// What the message is about: a short layer digest.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The error's text again.
    #[serde(skip_serializing_if = "is_zero")]
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<Value>,
}

impl ProgressMessage {
    /// Returns a message that only says `status`.
    pub fn status(status: impl Into<String>) -> Self {
        Self {
            status: status.into(),
            ..Self::default()
        }
    }

    /// Returns a message that says `status` about `id`.
    pub fn about(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            progress_detail: Some(ProgressDetail::default()),
            ..Self::status(status)
        }
    }

    /// Returns a message about `id` of which so many bytes are done, with the bar
    /// that Docker draws for clients that have none of their own.
    pub fn bytes(
        id: impl Into<String>,
        status: impl Into<String>,
        current: u64,
        total: u64,
    ) -> Self {
        let clip = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Self {
            progress_detail: Some(ProgressDetail {
                current: clip(current),
                total: clip(total),
            }),
            progress: bar(current, total),
            ..Self::about(id, status)
        }
    }

    /// Returns a message that carries `value` for programs.
    pub fn with_aux(value: Value) -> Self {
        Self {
            progress_detail: Some(ProgressDetail::default()),
            aux: Some(value),
            ..Self::default()
        }
    }

    /// Returns the message that ends a stream with an error.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error: message.clone(),
            error_detail: Some(ErrorDetail { code: 0, message }),
            ..Self::default()
        }
    }

    /// Returns the error this message carries.
    pub fn failure(&self) -> Option<&str> {
        match &self.error_detail {
            Some(detail) if !detail.message.is_empty() => Some(&detail.message),
            _ if !self.error.is_empty() => Some(&self.error),
            _ => None,
        }
    }

    /// Returns the message as one line of the stream, with Docker's `\r\n`.
    ///
    /// # Panics
    /// Never: every field is a string, a number or JSON already.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("keys are strings");
        line.extend_from_slice(b"\r\n");
        line
    }
}

/// Draws `[==>   ]  1.2kB/3MB`.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return match current {
            0 => String::new(),
            current => format!("{:>8}", size(current)),
        };
    }
    let filled = usize::try_from(current.saturating_mul(50) / total).map_or(50, |it| it.min(50));
    let (done, left) = ("=".repeat(filled), " ".repeat(50 - filled));
    let of = match current > total {
        true => String::new(),
        false => format!("/{}", size(total)),
    };
    format!("[{done}>{left}] {:>8}{of}", size(current))
}

/// Four significant digits and decimal units, as in Docker's bars.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        value if value < 10.0 => 3,
        value if value < 100.0 => 2,
        value if value < 1000.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{}", UNITS[unit])
}

/// How far a step is, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub total: i64,
}

/// Why a stream ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    #[serde(skip_serializing_if = "is_zero")]
    pub code: i64,
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_drawn_as_docker_draws_it() {
        let begun = "[>                                                  ]   34.3kB/1.982MB";
        assert_eq!(bar(34_304, 1_982_256), begun);
        let over = "[==================================================>]  1.987MB";
        assert_eq!(bar(1_986_560, 1_982_256), over);
        let half = "[=========================>                         ]     500B/1kB";
        assert_eq!(bar(500, 1000), half);
        assert_eq!((&*bar(0, 0), &*bar(12, 0)), ("", "     12B"));
        assert!(
            bar(u64::MAX, 1).ends_with("18447PB"),
            "{}",
            bar(u64::MAX, 1)
        );
    }
}
