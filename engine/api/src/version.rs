//! Versions of the API: `1.51`, in paths as `/v1.51/…`.

use std::fmt;
use std::str::FromStr;

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

/// The oldest version served.
pub const MIN_VERSION: ApiVersion = ApiVersion::v1(24);
/// The newest version served, and the one our client speaks.
pub const MAX_VERSION: ApiVersion = ApiVersion::v1(51);

/// Says that a text is not a version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid API version {0:?}: expected <major>.<minor>")]
pub struct ApiVersionError(String);

impl ApiVersion {
    /// Returns the version `1.<minor>`.
    pub const fn v1(minor: u16) -> Self {
        Self { major: 1, minor }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ApiVersionError;
    fn from_str(text: &str) -> Result<Self, ApiVersionError> {
        let number = |digits: &str| -> Option<u16> {
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some((number(major)?, number(minor)?)))
            .map(|(major, minor)| Self { major, minor })
            .ok_or_else(|| ApiVersionError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let version = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(version("1.9") < version("1.40"));
        assert_eq!(version("1.51"), MAX_VERSION);
        for bad in ["", "1", "1.", ".4", "+1.4", "1.4.4", "v1.44"] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad:?}");
        }
    }
}
