//! What clients and the engine say of registries: credentials, search results, what
//! is under a name.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::wire::{is_zero, null_is_default, wire};

/// The header that carries an [`AuthConfig`].
pub const AUTH_HEADER: &str = "X-Registry-Auth";

/// What a user logs in to a registry with: the body of `POST /auth`, and the header
/// [`AUTH_HEADER`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub username: String,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub password: String,
    #[serde(rename = "serveraddress", alias = "serverAddress")]
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub server_address: String,
    /// A token of an earlier login, in place of the password.
    #[serde(rename = "identitytoken", alias = "identityToken")]
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub identity_token: String,
    /// A token that the registry itself takes.
    #[serde(rename = "registrytoken", alias = "registryToken")]
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub registry_token: String,
}

impl std::fmt::Debug for AuthConfig {
    /// Prints nothing secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

impl AuthConfig {
    /// Returns the value of the header.
    ///
    /// # Panics
    /// Never: the fields are strings.
    pub fn to_header(&self) -> String {
        URL_SAFE.encode(serde_json::to_vec(self).expect("fields are strings"))
    }

    /// Reads the value of the header, `None` if it is none.
    pub fn from_header(value: &str) -> Option<Self> {
        let decoded = URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&decoded).ok()
    }
}

wire! {
    /// The answer to `POST /auth`.
    pub struct AuthResponse {
        pub identity_token: String,
        pub status: String,
    }

    /// The answer to `GET /distribution/{name}/json`.
    pub struct DistributionInspect {
        pub descriptor: Descriptor,
        pub platforms: Vec<Platform>,
    }

    /// What ends the push of a tag.
    pub struct PushResult {
        pub tag: String,
        pub digest: String,
        pub size: u64,
    }
}

/// A manifest or an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
}

/// What an image runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(rename = "os.version", skip_serializing_if = "is_zero")]
    pub os_version: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub variant: String,
}

/// A row of `GET /images/search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    pub is_automated: bool,
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_clients_write_it() {
        // With and without the padding, and with characters of the URL's alphabet.
        for header in [
            "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6Ij8_PiIsInNlcnZlcmFkZHJlc3MiOiJyIn0=",
            "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6Ij8_PiIsInNlcnZlcmFkZHJlc3MiOiJyIn0",
        ] {
            let read = AuthConfig::from_header(header).unwrap();
            assert_eq!((&*read.username, &*read.password), ("u", "??>"));
            assert_eq!(read.server_address, "r");
        }
        assert_eq!(AuthConfig::from_header("e30="), Some(AuthConfig::default()));
        for bad in ["%%%", "e30+", "MQ=="] {
            assert_eq!(AuthConfig::from_header(bad), None, "{bad}");
        }
        let token = AuthConfig {
            identity_token: "t".into(),
            ..AuthConfig::default()
        };
        assert_eq!(AuthConfig::from_header(&token.to_header()), Some(token));
    }

    #[test]
    fn secrets_are_not_printed() {
        let auth = AuthConfig {
            password: "hunter2".into(),
            identity_token: "hunter2".into(),
            registry_token: "hunter2".into(),
            ..AuthConfig::default()
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
