//! The messages a pull, a load or an import streams, one JSON object each.

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
