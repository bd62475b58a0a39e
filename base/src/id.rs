//! Ids and names, parsed once at the edge.
//!
//! Every type here has a checked constructor and no setter, so that a value
//! that exists is safe to use as a single path component.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What was wrong with an id or a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    #[error("invalid container id {0:?}: expected 64 lower-case hexadecimal digits")]
    ContainerId(String),
    #[error("invalid network id {0:?}: expected 64 lower-case hexadecimal digits")]
    NetworkId(String),
    #[error("invalid run {0:?}: expected <container id>.<run number>")]
    RunId(String),
    #[error(
        "invalid volume name {0:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, at least 2 and at most 255 of them"
    )]
    VolumeName(String),
    #[error("invalid request id {0:?}: expected a UUID")]
    RequestId(String),
}

/// Bytes of randomness in an id of 64 hexadecimal digits.
const ID_BYTES: usize = 32;

fn random_hex() -> String {
    let mut text = String::with_capacity(2 * ID_BYTES);
    for _ in 0..2 {
        text.push_str(&uuid::Uuid::new_v4().simple().to_string());
    }
    text
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Returns whether `text` fits Docker's rule for container, volume and network
/// names, `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, which makes it a safe path component.
pub fn is_valid_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    first
        && (2..=255).contains(&text.len())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                if ($valid)(text.as_str()) { Ok(Self(text)) } else { Err($error(text)) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A container: 64 lower-case hexadecimal digits, as Docker shows them.
    ContainerId, is_hex_id, IdError::ContainerId
);
text_id!(
    /// A network: 64 lower-case hexadecimal digits.
    NetworkId, is_hex_id, IdError::NetworkId
);
text_id!(
    /// A named volume.
    VolumeName, is_valid_name, IdError::VolumeName
);
text_id!(
    /// Ties a request event to its reply.
    RequestId, |text: &str| uuid::Uuid::try_parse(text).is_ok(), IdError::RequestId
);

impl ContainerId {
    /// Returns a new random id.
    pub fn random() -> Self {
        Self(random_hex())
    }

    /// Returns the 12-digit form that tables and host names use.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl NetworkId {
    /// Returns a new random id.
    pub fn random() -> Self {
        Self(random_hex())
    }

    /// Returns the 12-digit form that tables use.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl VolumeName {
    /// Returns a random name, as anonymous volumes get.
    pub fn random() -> Self {
        Self(random_hex())
    }
}

impl RequestId {
    /// Returns a new random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}

/// Counts the starts of one container, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunNumber(pub u64);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One start of one container, `<id>.<run>`: what leases, mount points,
/// namespaces and exit events are named after.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    pub container: ContainerId,
    pub run: RunNumber,
}

impl RunId {
    /// Returns the run `run` of `container`.
    pub fn new(container: ContainerId, run: RunNumber) -> Self {
        Self { container, run }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.container, self.run)
    }
}

impl FromStr for RunId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::RunId(text.to_owned());
        let (id, run) = text.split_once('.').ok_or_else(error)?;
        let container = id.parse().map_err(|_| error())?;
        let number: u64 = run.parse().map_err(|_| error())?;
        if number == 0 || number.to_string() != run {
            return Err(error());
        }
        Ok(Self {
            container,
            run: RunNumber(number),
        })
    }
}

impl TryFrom<String> for RunId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_a_directory_are_refused() {
        for bad in ["", "..", "../x", "a/b", ".hidden", "-x", "a\0b", "a"] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad:?}");
        }
        assert!("site".parse::<VolumeName>().is_ok());
        assert!("ABCDEF".repeat(11)[..64].parse::<ContainerId>().is_err());
        assert!(
            ContainerId::random()
                .as_str()
                .parse::<ContainerId>()
                .is_ok()
        );
    }

    #[test]
    fn a_run_id_reads_back_and_has_one_spelling() {
        let run = RunId::new(ContainerId::random(), RunNumber(12));
        assert_eq!(run.to_string().parse::<RunId>(), Ok(run.clone()));
        for bad in [
            "x.1",
            &format!("{}.01", run.container),
            &format!("{}.0", run.container),
            &format!("{}.+1", run.container),
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad:?}");
        }
    }
}
