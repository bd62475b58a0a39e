//! `config.json` of the `docker` command: `auths`, `credsStore` and `credHelpers`.
//! Whatever else is in it is kept.

use std::path::PathBuf;

use base::PathContext as _;
use base::file::{FileMode, make_directories, read_bounded, write_durable};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_api::registry::AuthConfig;
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::{CredentialError, hostname};

/// The file is not expected to be larger.
const LIMIT_BYTES: u64 = 16 << 20;
const AUTHS: &str = "auths";
const CURRENT_CONTEXT: &str = "currentContext";

/// The file as it was read.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    content: Content,
}

/// Not to be printed: it holds passwords.
struct Content(Map<String, Value>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content(…)")
    }
}

impl ConfigFile {
    /// Reads the file; one that is not there, or empty, says nothing.
    ///
    /// # Errors
    /// When it cannot be read or is no JSON object.
    pub(crate) fn load(path: PathBuf) -> Result<Self, CredentialError> {
        let bytes = match read_bounded(&path, LIMIT_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        Self::parse(path, &bytes)
    }

    /// Reads what a file is to hold.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub(crate) fn parse(path: PathBuf, bytes: &[u8]) -> Result<Self, CredentialError> {
        let content = match bytes.iter().all(u8::is_ascii_whitespace) {
            true => Map::new(),
            false => serde_json::from_slice(bytes).map_err(|source| {
                let path = path.clone();
                CredentialError::Parse { path, source }
            })?,
        };
        let content = Content(content);
        Ok(Self { path, content })
    }

    /// Returns where the file is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Returns the context in use, if one was chosen.
    pub(crate) fn current_context(&self) -> Option<&str> {
        let name = self.content.0.get(CURRENT_CONTEXT)?.as_str()?;
        (!name.is_empty()).then_some(name)
    }

    /// Chooses the context in use; none is the usual daemon.
    ///
    /// # Errors
    /// When the file cannot be written; it is then what it was.
    pub(crate) fn use_context(&mut self, name: Option<&str>) -> Result<(), CredentialError> {
        let mut content = self.content.0.clone();
        match name {
            Some(name) => drop(content.insert(CURRENT_CONTEXT.to_owned(), json!(name))),
            None => drop(content.remove(CURRENT_CONTEXT)),
        }
        if content != self.content.0 {
            self.write(&content)?;
            self.content = Content(content);
        }
        Ok(())
    }

    /// Returns the program that keeps the credentials of a registry.
    pub(crate) fn helper(&self, key: &str) -> Option<&str> {
        let content = &self.content.0;
        let own = content.get("credHelpers").and_then(|all| all.get(key));
        let name = own.or_else(|| content.get("credsStore"))?.as_str()?;
        (!name.is_empty()).then_some(name)
    }

    /// Returns what the file itself keeps for a registry.
    ///
    /// # Errors
    /// When that is not in the form the file has.
    pub(crate) fn get(&self, key: &str) -> Result<Option<AuthConfig>, CredentialError> {
        let Some(Value::Object(all)) = self.content.0.get(AUTHS) else {
            return Ok(None);
        };
        // Older entries have an address in place of the host.
        let by_host = || all.iter().find(|(name, _)| hostname(name) == key);
        let found = all.get(key).or_else(|| by_host().map(|(_, entry)| entry));
        found.map(|entry| self.read(key, entry)).transpose()
    }

    fn read(&self, key: &str, entry: &Value) -> Result<AuthConfig, CredentialError> {
        let wrong = || CredentialError::Form {
            path: self.path.clone(),
            what: format!("invalid entry for {key}"),
        };
        let mut auth: AuthConfig = serde_json::from_value(entry.clone()).map_err(|_| wrong())?;
        let packed = entry.get("auth").and_then(Value::as_str);
        if let Some(packed) = packed.filter(|packed| !packed.is_empty()) {
            let decoded = STANDARD.decode(packed).map_err(|_| wrong())?;
            let text = String::from_utf8(decoded).map_err(|_| wrong())?;
            let (username, password) = text.split_once(':').ok_or_else(wrong)?;
            auth.username = username.to_owned();
            auth.password = password.trim_end_matches('\0').to_owned();
        }
        auth.server_address = key.to_owned();
        Ok(auth)
    }

    /// Sets what is kept for a registry; returns whether that changed the file.
    ///
    /// # Errors
    /// When the file cannot be written; it is then what it was.
    pub(crate) fn set(&mut self, key: &str, auth: &AuthConfig) -> Result<bool, CredentialError> {
        let mut entry = Map::new();
        if !auth.username.is_empty() {
            let text = format!("{}:{}", auth.username, auth.password);
            entry.insert("auth".to_owned(), json!(STANDARD.encode(text)));
        }
        if !auth.identity_token.is_empty() {
            entry.insert("identitytoken".to_owned(), json!(auth.identity_token));
        }
        self.change(|auths| {
            auths.insert(key.to_owned(), Value::Object(entry));
        })
    }

    /// Removes what is kept for a registry.
    ///
    /// # Errors
    /// When the file cannot be written; it is then what it was.
    pub(crate) fn remove(&mut self, key: &str) -> Result<(), CredentialError> {
        let auths = self.content.0.get(AUTHS);
        if auths.and_then(|all| all.get(key)).is_none() {
            return Ok(());
        }
        self.change(|auths| drop(auths.remove(key))).map(drop)
    }

    fn change(
        &mut self,
        edit: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<bool, CredentialError> {
        let mut content = self.content.0.clone();
        let auths = content.entry(AUTHS).or_insert_with(|| json!({}));
        let Value::Object(auths) = auths else {
            return Err(CredentialError::Form {
                path: self.path.clone(),
                what: format!("{AUTHS:?} is no object"),
            });
        };
        edit(auths);
        if content == self.content.0 {
            return Ok(false);
        }
        self.write(&content)?;
        self.content = Content(content);
        Ok(true)
    }

    /// Replaces the file, or what it is a link to.
    fn write(&self, content: &Map<String, Value>) -> Result<(), CredentialError> {
        let target = match std::fs::canonicalize(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.path.clone(),
            other => other.at("resolve", &self.path)?,
        };
        if let Some(directory) = target.parent() {
            make_directories(directory, 0o700)?;
        }
        let mut bytes = Vec::new();
        let indented = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indented);
        content
            .serialize(&mut serializer)
            .map_err(|source| CredentialError::Parse {
                path: target.clone(),
                source,
            })?;
        Ok(write_durable(&target, &bytes, FileMode::Private)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::file::replace;
    use std::os::unix::fs::PermissionsExt as _;

    fn basic(username: &str, password: &str) -> AuthConfig {
        AuthConfig {
            username: username.to_owned(),
            password: password.to_owned(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn what_docker_writes_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let text = r#"{"auths":{"localhost:5001":{"auth":"dXNlcjpwYTpzcw=="},
            "https://old.test/v1/":{"username":"u","password":"p"},
            "token.test":{"auth":"dTo=","identitytoken":"t"},"bad.test":{"auth":"%"}},
            "credHelpers":{"helped.test":"x"}}"#;
        replace(&path, text.as_bytes(), FileMode::Private).unwrap();
        let file = ConfigFile::load(path).unwrap();
        let of = |key: &str| file.get(key).unwrap().unwrap();
        assert_eq!(
            (of("localhost:5001").username, of("localhost:5001").password),
            ("user".to_owned(), "pa:ss".to_owned())
        );
        assert_eq!(of("old.test").password, "p");
        assert_eq!(of("token.test").identity_token, "t");
        assert!(file.get("none.test").unwrap().is_none());
        assert!(file.get("bad.test").is_err());
        assert_eq!(file.helper("helped.test"), Some("x"));
        assert_eq!(file.helper("localhost:5001"), None);
        assert!(!format!("{file:?}").contains("dXNl"));
    }

    #[test]
    fn unknown_fields_links_and_modes_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real.json");
        let path = directory.path().join("config.json");
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let text = br#"{"psFormat":"x","auths":{"a":{"auth":"dTpw","email":"e"}}}"#;
        replace(&real, text, FileMode::Public).unwrap();
        let mut file = ConfigFile::load(path.clone()).unwrap();
        assert!(file.set("b", &basic("user", "pass")).unwrap());
        assert!(!file.set("b", &basic("user", "pass")).unwrap());
        assert!(path.is_symlink());
        let mode = real.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let written = std::fs::read_to_string(&real).unwrap();
        let expected = json!({"psFormat": "x", "auths": {
            "a": {"auth": "dTpw", "email": "e"}, "b": {"auth": "dXNlcjpwYXNz"}}});
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
        assert!(written.contains("\n\t\"auths\": {\n\t\t\"a\""), "{written}");
        file.remove("b").unwrap();
        file.remove("a").unwrap();
        let again = ConfigFile::load(path).unwrap();
        assert_eq!(again.content.0["auths"], json!({}));
    }

    #[test]
    fn a_broken_file_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        for text in ["{", "[]", r#"{"auths":[]}"#] {
            replace(&path, text.as_bytes(), FileMode::Private).unwrap();
            let set =
                ConfigFile::load(path.clone()).and_then(|mut file| file.set("b", &basic("u", "p")));
            assert!(set.is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_is_made_with_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/config.json");
        let mut file = ConfigFile::load(path.clone()).unwrap();
        file.remove("x").unwrap();
        assert!(!path.exists());
        let token = AuthConfig {
            identity_token: "t".into(),
            ..basic("u", "")
        };
        file.set("x", &token).unwrap();
        let read = ConfigFile::load(path).unwrap().get("x").unwrap().unwrap();
        assert_eq!((&*read.username, &*read.identity_token), ("u", "t"));
    }
}
