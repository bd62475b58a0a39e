//! Contexts, kept where the `docker` command keeps them: `contexts/meta/<digest of the
//! name>/meta.json` in the user's directory, certificates beside that in `contexts/tls`.

pub(crate) mod archive;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base::file::{FileMode, PathContext as _, make_directories, read_bounded, write_durable};
use base::{Digest, PathError};
use engine_api::client::{ClientTls, ClientTlsFiles, Endpoint};
use serde_json::{Value, json};

use crate::context::Environment;
use crate::credentials;
use crate::error::CliError;
use crate::parse::host::{self, Host};
use crate::remote::{PLAIN_PORT, TLS_PORT};

/// Is always there and is in no file: the daemon that is meant without a context.
pub(crate) const DEFAULT_CONTEXT: &str = "default";
const LIMIT_BYTES: u64 = 4 << 20;

/// Why a context cannot be used or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextsError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("context {name:?}: context not found: {path:?} is not there")]
    Missing { name: String, path: PathBuf },
    #[error("context {0:?} already exists")]
    Exists(String),
    #[error(
        "context name {0:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
    )]
    Name(String),
    #[error("default is a reserved context name")]
    Reserved,
    #[error("{path:?} is not a context")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("this is not the archive of a context: {0}")]
    Archive(String),
    #[error("context {0:?} does not say where its daemon is")]
    NoHost(String),
}

/// The contexts of a user.
#[derive(Debug)]
pub(crate) struct Store(PathBuf);

/// A context as its file has it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) name: String,
    /// Whatever is in the file, also what others put there.
    pub(crate) content: Value,
    pub(crate) meta: PathBuf,
    pub(crate) tls: PathBuf,
}

/// What a context is to be.
#[derive(Debug)]
pub(crate) struct Draft {
    /// As in its file; the name does not matter.
    pub(crate) content: Value,
    /// Its certificates by the name of their file, where they are to be others.
    pub(crate) tls: Option<Vec<(String, Vec<u8>)>>,
}

impl Draft {
    /// Returns a context that is nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            content: json!({"Metadata": {}, "Endpoints": {}}),
            tls: None,
        }
    }

    /// Returns a context as another is, with its certificates.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn of(stored: &Stored) -> Result<Self, ContextsError> {
        let read = |name: &'static str| {
            let path = stored.tls.join("docker").join(name);
            Ok((name.to_owned(), read_bounded(&path, LIMIT_BYTES)?))
        };
        let files: Result<_, PathError> = stored.tls_files().into_iter().map(read).collect();
        Ok(Self {
            content: stored.content.clone(),
            tls: Some(files?),
        })
    }

    pub(crate) fn describe(&mut self, description: &str) {
        self.content["Metadata"]["Description"] = json!(description);
    }

    pub(crate) fn set_host(&mut self, host: &str) {
        let endpoint = json!({"Host": host, "SkipTLSVerify": false});
        self.content["Endpoints"] = json!({"docker": endpoint});
    }
}

impl Store {
    /// Returns the store of the user.
    ///
    /// # Errors
    /// When the environment does not say where it is.
    pub(crate) fn of(environment: &Environment) -> Result<Self, CliError> {
        Ok(Self(credentials::directory(environment)?.join("contexts")))
    }

    fn directories(&self, name: &str) -> (PathBuf, PathBuf) {
        let id = Digest::of(name.as_bytes()).hex();
        (self.0.join("meta").join(&id), self.0.join("tls").join(&id))
    }

    /// Returns a context.
    ///
    /// # Errors
    /// When it is not there or its file cannot be read.
    pub(crate) fn get(&self, name: &str) -> Result<Stored, ContextsError> {
        let (meta, tls) = self.directories(name);
        match read(&meta, tls) {
            Err(ContextsError::Path(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(ContextsError::Missing {
                    name: name.to_owned(),
                    path: meta.join("meta.json"),
                })
            }
            other => other,
        }
    }

    /// Returns all contexts, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn list(&self) -> Result<Vec<Stored>, ContextsError> {
        let meta = self.0.join("meta");
        let entries = match fs::read_dir(&meta) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("read", &meta)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.at("read", &meta)?;
            let tls = self.0.join("tls").join(entry.file_name());
            match read(&entry.path(), tls) {
                // A directory that is being made or removed.
                Err(ContextsError::Path(error)) if error.kind() == io::ErrorKind::NotFound => {}
                other => all.push(other?),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Makes a context.
    ///
    /// # Errors
    /// When its name is none or taken, or it cannot be written.
    pub(crate) fn create(&self, name: &str, new: Draft) -> Result<(), ContextsError> {
        check_name(name)?;
        let (meta, _) = self.directories(name);
        if meta.join("meta.json").exists() {
            return Err(ContextsError::Exists(name.to_owned()));
        }
        self.write(name, new)
    }

    /// Replaces a context; its certificates stay where the draft has none to say.
    ///
    /// # Errors
    /// When it is not there or cannot be written.
    pub(crate) fn update(&self, name: &str, new: Draft) -> Result<(), ContextsError> {
        self.get(name)?;
        self.write(name, new)
    }

    fn write(&self, name: &str, new: Draft) -> Result<(), ContextsError> {
        let (meta, tls) = self.directories(name);
        let mut content = new.content;
        content["Name"] = json!(name);
        if let Some(files) = new.tls {
            remove_directory(&tls)?;
            let directory = tls.join("docker");
            if !files.is_empty() {
                make_directories(&directory, 0o700)?;
            }
            for (name, bytes) in files {
                write_durable(&directory.join(name), &bytes, FileMode::Private)?;
            }
        }
        make_directories(&meta, 0o755)?;
        let path = meta.join("meta.json");
        let text = content.to_string();
        Ok(write_durable(&path, text.as_bytes(), FileMode::Public)?)
    }

    /// Removes a context and its certificates.
    ///
    /// # Errors
    /// When it is not there or cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ContextsError> {
        self.get(name)?;
        let (meta, tls) = self.directories(name);
        remove_directory(&tls)?;
        remove_directory(&meta)
    }
}

impl Stored {
    fn docker(&self, field: &str) -> Option<&str> {
        self.content["Endpoints"]["docker"][field].as_str()
    }

    pub(crate) fn host(&self) -> &str {
        self.docker("Host").unwrap_or_default()
    }

    pub(crate) fn description(&self) -> &str {
        self.content["Metadata"]["Description"]
            .as_str()
            .unwrap_or_default()
    }

    /// The names of its files of certificates.
    pub(crate) fn tls_files(&self) -> Vec<&'static str> {
        let names = ["ca.pem", "cert.pem", "key.pem"];
        let is_there = |name: &&str| self.tls.join("docker").join(name).is_file();
        names.into_iter().filter(is_there).collect()
    }

    /// Returns where its daemon is.
    ///
    /// # Errors
    /// When the file does not say that, or certificates cannot be used.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, CliError> {
        if self.host().is_empty() {
            return Err(ContextsError::NoHost(self.name.clone()).into());
        }
        Ok(match host::parse(self.host())? {
            Host::Unix(path) => Endpoint::Unix(path),
            Host::Ssh(host) => Endpoint::Ssh(host),
            Host::Tcp { host, port } => {
                let files = self.tls_files();
                let path = |name: &str| self.tls.join("docker").join(name);
                let tls = match files.is_empty() {
                    true => None,
                    false => Some(ClientTls::load(&ClientTlsFiles {
                        ca: path("ca.pem"),
                        identity: (files.contains(&"cert.pem") || files.contains(&"key.pem"))
                            .then(|| (path("cert.pem"), path("key.pem"))),
                    })?),
                };
                let usual = if tls.is_some() { TLS_PORT } else { PLAIN_PORT };
                let port = port.unwrap_or(usual);
                Endpoint::Tcp { host, port, tls }
            }
        })
    }
}

fn remove_directory(directory: &Path) -> Result<(), ContextsError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Ok(Err(error).at("remove", directory)?)
        }
        _ => Ok(()),
    }
}

fn read(meta: &Path, tls: PathBuf) -> Result<Stored, ContextsError> {
    let path = meta.join("meta.json");
    let bytes = read_bounded(&path, LIMIT_BYTES)?;
    let content: Value =
        serde_json::from_slice(&bytes).map_err(|source| ContextsError::Parse { path, source })?;
    Ok(Stored {
        name: content["Name"].as_str().unwrap_or_default().to_owned(),
        content,
        meta: meta.to_owned(),
        tls,
    })
}

fn check_name(name: &str) -> Result<(), ContextsError> {
    let is_in = |b: u8| b.is_ascii_alphanumeric() || b"_.+-".contains(&b);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    match (name, begins && name.len() > 1 && name.bytes().all(is_in)) {
        (DEFAULT_CONTEXT, _) => Err(ContextsError::Reserved),
        (_, true) => Ok(()),
        _ => Err(ContextsError::Name(name.to_owned())),
    }
}
