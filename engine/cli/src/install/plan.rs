//! What there should be on a host: files and links, below a prefix.

use std::path::{Component, Path, PathBuf};

use base::Digest;
use base::file::read_bounded;
use serde::{Deserialize, Serialize};

use super::InstallError;

const SERVICE: &str = include_str!("../../../../packaging/engine.service");
const GROUP: &str = include_str!("../../../../packaging/engine-sysusers.conf");
const DOCKER_SOCKET: &str = include_str!("../../../../packaging/engine-docker-socket.conf");
/// Where the shipped unit has the program.
const SHIPPED_PROGRAM: &str = "/usr/bin/engine";
const SOCKET_LINK: &str = "run/docker.sock";
/// A unit is no larger.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) prefix: PathBuf,
    /// The program, as it is called once the prefix is the root.
    pub(crate) program: PathBuf,
    pub(crate) docker_socket: bool,
    pub(crate) docker_names: bool,
}

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    #[serde(skip)]
    Text(String),
    Digest(Digest),
    Link(PathBuf),
}

impl Content {
    pub(super) fn read(path: &Path) -> Result<Self, InstallError> {
        let bytes = read_bounded(path, FILE_LIMIT_BYTES)?;
        Ok(Self::Digest(Digest::of(&bytes)))
    }

    /// Returns what a record keeps of it.
    pub(super) fn digest(&self) -> Self {
        match self {
            Self::Text(text) => Self::Digest(Digest::of(text.as_bytes())),
            other => other.clone(),
        }
    }

    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

/// A place below the prefix and what belongs there.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

/// What there should be.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) prefix: PathBuf,
    pub(super) items: Vec<Item>,
}

impl Plan {
    /// Returns what there should be.
    ///
    /// # Errors
    /// When the program's path cannot stand in a unit.
    pub(crate) fn new(options: &Options) -> Result<Self, InstallError> {
        let program = options.program.to_str().filter(|path| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@:".contains(&b);
            path.starts_with('/') && path.bytes().all(is_plain)
        });
        let program = program.ok_or_else(|| InstallError::Program {
            path: options.program.clone(),
        })?;
        let text = |path: &str, text: &str| Item {
            path: path.into(),
            content: Content::Text(text.to_owned()),
        };
        let link = |path: &str, target: &str| Item {
            path: path.into(),
            content: Content::Link(target.into()),
        };
        let mut items = vec![
            text(
                "etc/systemd/system/engine.service",
                &SERVICE.replace(SHIPPED_PROGRAM, program),
            ),
            text("etc/sysusers.d/engine.conf", GROUP),
            // What `systemctl enable` makes; a prefix need not have systemd.
            link(
                "etc/systemd/system/multi-user.target.wants/engine.service",
                "../engine.service",
            ),
        ];
        if options.docker_socket {
            items.push(text(
                "etc/tmpfiles.d/engine-docker-socket.conf",
                DOCKER_SOCKET,
            ));
            items.push(link(SOCKET_LINK, "engine/engine.sock"));
        }
        if options.docker_names {
            items.push(link("usr/local/bin/docker", program));
            items.push(link("usr/local/bin/dockerd", program));
        }
        Ok(Self {
            prefix: options.prefix.clone(),
            items,
        })
    }

    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf, InstallError> {
        resolve(&self.prefix, path)
    }
}

/// Returns the place of `path` below `prefix`. A link on the way would be followed on
/// this host, and not below the prefix.
pub(super) fn resolve(prefix: &Path, path: &Path) -> Result<PathBuf, InstallError> {
    let mut resolved = prefix.to_owned();
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            return Err(InstallError::Leads {
                path: path.to_owned(),
            });
        };
        resolved.push(name);
        let leads = components.peek().is_some() && prefix != Path::new("/");
        if leads && resolved.is_symlink() {
            return Err(InstallError::Leads { path: resolved });
        }
    }
    Ok(resolved)
}
