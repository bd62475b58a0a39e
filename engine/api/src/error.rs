//! The body of every refused request.

use base::FailureKind;
use serde::{Deserialize, Serialize};

/// `{"message": "…"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    pub message: String,
}

/// Returns the HTTP status that says `kind`.
pub fn status_of(kind: FailureKind) -> u16 {
    match kind {
        FailureKind::Invalid => 400,
        FailureKind::Unauthorized => 401,
        FailureKind::Forbidden => 403,
        FailureKind::NotFound => 404,
        FailureKind::Conflict => 409,
        FailureKind::Unsupported => 501,
        FailureKind::Unavailable => 503,
        FailureKind::Cancelled => 504,
        FailureKind::Exhausted | FailureKind::Internal => 500,
    }
}

/// Returns the kind of failure an HTTP status says.
pub fn kind_of(status: u16) -> FailureKind {
    match status {
        401 => FailureKind::Unauthorized,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        409 => FailureKind::Conflict,
        501 => FailureKind::Unsupported,
        503 => FailureKind::Unavailable,
        504 => FailureKind::Cancelled,
        400..=499 => FailureKind::Invalid,
        _ => FailureKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_survives_the_trip_through_a_status() {
        use FailureKind as K;
        let kinds = [
            K::Invalid,
            K::Unauthorized,
            K::Forbidden,
            K::NotFound,
            K::Conflict,
            K::Unsupported,
            K::Unavailable,
            K::Cancelled,
        ];
        for kind in kinds {
            assert_eq!(kind_of(status_of(kind)), kind);
        }
        assert_eq!(kind_of(status_of(K::Exhausted)), K::Internal);
    }
}
