//! Vetting bind sources: where they really are, what they are, and whether a
//! container may have them.
//!
//! A source is opened once and everything is asked of that descriptor, so that
//! the path told to the engine is the one that was examined. Nothing is made
//! here: directories to be made are returned.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use base::{Instance, PathContext as _, PathError};
use rustix::fs::{FileType, Mode, OFlags};
use volumed_api::{BindUse, MissingSource, ResolvedBind};

/// A source that may be bound once `create` is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VettedBind {
    pub resolved: ResolvedBind,
    /// Missing directories, the outermost first.
    pub create: Vec<PathBuf>,
}

/// Why a source is refused.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("invalid bind source {0:?}: the path must be absolute")]
    Relative(PathBuf),
    #[error("bind source path does not exist: {}", .0.display())]
    Missing(PathBuf),
    #[error(
        "invalid bind source {0:?}: it does not exist and cannot be made, since it holds \"..\""
    )]
    Unclean(PathBuf),
    #[error("error while creating mount source path {}: file exists", .0.display())]
    Dangling(PathBuf),
    #[error("invalid bind source {path:?}: {directory:?} is the engine's own")]
    Own { path: PathBuf, directory: PathBuf },
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Returns what a bind source is, without symbolic links.
///
/// # Errors
/// When it is not there and must not be made, or must not be bound.
pub fn vet(instance: &Instance, bind: &BindUse) -> Result<VettedBind, BindError> {
    let source = &bind.source;
    if !source.is_absolute() {
        return Err(BindError::Relative(source.clone()));
    }
    let vetted = match (open(source)?, bind.missing) {
        (Some(found), _) => VettedBind {
            resolved: resolve(&found, source)?,
            create: Vec::new(),
        },
        (None, MissingSource::Refuse) => return Err(BindError::Missing(source.clone())),
        (None, MissingSource::Create) => vet_missing(source)?,
    };
    refuse_own(instance, &vetted.resolved.source)?;
    Ok(vetted)
}

/// Returns the directories that make `source` exist, and what it will be then.
fn vet_missing(source: &Path) -> Result<VettedBind, BindError> {
    let (ancestor, rest) = nearest_ancestor(source)?;
    if !ancestor.is_directory {
        return Err(PathError {
            action: "make directory",
            path: source.to_owned(),
            source: io::ErrorKind::NotADirectory.into(),
        }
        .into());
    }
    let mut path = ancestor.source;
    let mut create = Vec::new();
    for component in rest.components() {
        let Component::Normal(name) = component else {
            return Err(BindError::Unclean(source.to_owned()));
        };
        path.push(name);
        create.push(path.clone());
    }
    // The kernel says it does not exist, so what is there leads nowhere.
    if create
        .first()
        .is_some_and(|p| fs::symlink_metadata(p).is_ok())
    {
        return Err(BindError::Dangling(source.to_owned()));
    }
    let resolved = ResolvedBind {
        source: path,
        is_directory: true,
    };
    Ok(VettedBind { resolved, create })
}

/// Returns the nearest ancestor that exists, and the path from there.
fn nearest_ancestor(source: &Path) -> Result<(ResolvedBind, PathBuf), BindError> {
    for ancestor in source.ancestors().skip(1) {
        if let Some(found) = open(ancestor)? {
            let rest = source.strip_prefix(ancestor);
            let rest = rest.expect("an ancestor is a prefix").to_owned();
            return Ok((resolve(&found, ancestor)?, rest));
        }
    }
    Err(BindError::Missing(source.to_owned()))
}

fn open(path: &Path) -> Result<Option<OwnedFd>, PathError> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => Ok(None),
        other => other.map(Some).at("open", path),
    }
}

fn resolve(found: &OwnedFd, path: &Path) -> Result<ResolvedBind, PathError> {
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let stat = rustix::fs::fstat(found).at("examine", path)?;
    Ok(ResolvedBind {
        source: fs::read_link(link).at("resolve", path)?,
        is_directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
    })
}

/// Refuses what lies in the engine's own directories, but for the data of
/// volumes and for the API socket, which containers are given on purpose.
fn refuse_own(instance: &Instance, path: &Path) -> Result<(), BindError> {
    let own = [instance.root(), instance.run()];
    let Some(directory) = own.into_iter().find(|own| path.starts_with(own)) else {
        return Ok(());
    };
    if path == instance.socket() || is_volume_data(instance, path) {
        return Ok(());
    }
    Err(BindError::Own {
        path: path.to_owned(),
        directory: directory.to_owned(),
    })
}

fn is_volume_data(instance: &Instance, path: &Path) -> bool {
    let Ok(rest) = path.strip_prefix(instance.volumes()) else {
        return false;
    };
    let mut components = rest.iter();
    let name = components.next().and_then(|name| name.to_str());
    name.is_some_and(base::id::is_valid_name) && components.next().is_some_and(|c| c == "_data")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        instance: Instance,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let at = |name: &str| directory.path().join(name);
            let instance = Instance::open(&at("root"), &at("run"), None).unwrap();
            Self {
                directory,
                instance,
            }
        }

        fn vet(&self, path: &str, missing: MissingSource) -> Result<VettedBind, String> {
            let source = self.directory.path().join(path);
            let bind = BindUse { source, missing };
            vet(&self.instance, &bind).map_err(|error| error.to_string())
        }

        fn path(&self, path: &str) -> PathBuf {
            self.directory.path().canonicalize().unwrap().join(path)
        }
    }

    #[test]
    fn a_source_is_told_without_symbolic_links() {
        let place = Place::new();
        fs::create_dir_all(place.path("real/sub")).unwrap();
        fs::File::create(place.path("real/file")).unwrap();
        std::os::unix::fs::symlink("real", place.path("link")).unwrap();
        let directory = place
            .vet("link/../link/sub", MissingSource::Refuse)
            .unwrap();
        assert_eq!(directory.resolved.source, place.path("real/sub"));
        assert!(directory.resolved.is_directory);
        let file = place.vet("link/file", MissingSource::Create).unwrap();
        assert_eq!(file.resolved.source, place.path("real/file"));
        assert!(!file.resolved.is_directory && file.create.is_empty());
    }

    #[test]
    fn a_missing_source_is_refused_in_dockers_words_or_planned() {
        let place = Place::new();
        let refused = place.vet("a/b", MissingSource::Refuse).unwrap_err();
        let expected = format!(
            "bind source path does not exist: {}",
            place.directory.path().join("a/b").display()
        );
        assert_eq!(refused, expected);
        let planned = place.vet("a/b", MissingSource::Create).unwrap();
        assert_eq!(planned.create, [place.path("a"), place.path("a/b")]);
        assert!(planned.resolved.is_directory);
        assert!(!place.path("a").exists());
    }

    #[test]
    fn sources_that_cannot_be_made_are_refused() {
        let place = Place::new();
        fs::File::create(place.path("file")).unwrap();
        std::os::unix::fs::symlink("nowhere", place.path("dangling")).unwrap();
        for path in ["file/below", "dangling", "missing/../x", "dangling/x"] {
            assert!(place.vet(path, MissingSource::Create).is_err(), "{path}");
        }
        let relative = BindUse {
            source: "x".into(),
            missing: MissingSource::Create,
        };
        assert!(matches!(
            vet(&place.instance, &relative),
            Err(BindError::Relative(_))
        ));
    }

    #[test]
    fn the_engines_own_files_are_refused_but_for_volume_data_and_socket() {
        let place = Place::new();
        fs::create_dir_all(place.path("root/volumes/site/_data/x")).unwrap();
        fs::create_dir_all(place.path("root/volumes/.trash/_data")).unwrap();
        fs::File::create(place.path("run/engine.sock")).unwrap();
        std::os::unix::fs::symlink("root", place.path("link")).unwrap();
        for path in [
            "root",
            "run",
            "link/volumes",
            "root/volumes/site",
            "root/new",
        ] {
            let refused = place.vet(path, MissingSource::Create).unwrap_err();
            assert!(refused.contains("the engine's own"), "{path}: {refused}");
        }
        assert!(
            place
                .vet("root/volumes/.trash/_data", MissingSource::Refuse)
                .is_err()
        );
        for path in ["root/volumes/site/_data/x", "run/engine.sock", ""] {
            place.vet(path, MissingSource::Refuse).unwrap();
        }
    }
}
