//! Where a registry's images can be had as well.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::RegistryError;
use super::origin::{Origin, Url};

/// A server that has images of a registry under their own names: `https://host` or
/// `http://host:port`. It is never shown what the user logged in with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mirror(pub(super) Origin);

impl FromStr for Mirror {
    type Err = RegistryError;
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        // As Docker's, it has no path.
        let url = Url::parse(text).filter(|url| url.path == "/");
        url.map(|url| Self(url.origin))
            .ok_or_else(|| RegistryError::Address(text.to_owned()))
    }
}

impl TryFrom<String> for Mirror {
    type Error = RegistryError;
    fn try_from(text: String) -> Result<Self, RegistryError> {
        text.parse()
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_server_and_nothing_below() {
        let good = |text: &str| text.parse::<Mirror>().map(|mirror| mirror.to_string());
        assert_eq!(
            good("http://localhost:5000").unwrap(),
            "http://localhost:5000"
        );
        assert_eq!(good("https://mirror.test/").unwrap(), "https://mirror.test");
        for bad in [
            "localhost:5000",
            "ftp://a",
            "https://a/b",
            "https://a/?b",
            "https://u@a",
            "",
        ] {
            assert!(good(bad).is_err(), "{bad}");
        }
    }
}
