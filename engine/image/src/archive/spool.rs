//! Files of an archive kept on disk while it is being read, since their order is anyone's.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base::digest::Digester;
use base::{Digest, PathContext as _, PathError};

use crate::layer::inflate::inflating;
use crate::layer::tar::{Kind, TarReader};
use crate::layer::{LayerError, TarError};
use crate::store::ImageStore;

/// More files than any archive of images has.
const MAX_FILES: u64 = 100_000;
/// Links followed for one name.
const MAX_LINKS: usize = 16;
const BUFFER: usize = 256 << 10;

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// The files of one archive by name; gone when dropped.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    files: HashMap<PathBuf, Spooled>,
    links: HashMap<PathBuf, PathBuf>,
    store: ImageStore,
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = self.store.discard(&self.directory) {
            let error = base::failure::chain(&error);
            tracing::warn!(%error, "a temporary directory stays until the store is opened again");
        }
    }
}

impl Spool {
    /// Makes an empty spool.
    pub(super) fn new(store: &ImageStore) -> Result<Self, PathError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".tmp-load-{}-{number}", std::process::id());
        let directory = store.layout().ingests().join(name);
        std::fs::create_dir(&directory).at("make directory", &directory)?;
        Ok(Self {
            directory,
            files: HashMap::new(),
            links: HashMap::new(),
            store: store.clone(),
        })
    }

    /// Keeps all files of the archive in `stream`, which may be compressed.
    pub(super) fn fill(&mut self, stream: impl Read + Send) -> Result<(), LayerError> {
        let stream = inflating(BufReader::with_capacity(BUFFER, stream))?;
        let mut archive = TarReader::new(BufReader::with_capacity(BUFFER, stream));
        let (mut count, mut total) = (0, 0_u64);
        let limits = self.store.limits();
        while let Some(entry) = archive.next_entry()? {
            count += 1;
            if count > MAX_FILES {
                return Err(LayerError::TooMany { limit: MAX_FILES });
            }
            let name = crate::layer::clean_path(&entry.path)?;
            match entry.kind {
                Kind::File => {
                    total = total.saturating_add(entry.stored);
                    if total > limits.archive_bytes {
                        return Err(LayerError::TooLarge {
                            limit: limits.archive_bytes,
                        });
                    }
                    self.store.check_space(entry.stored)?;
                    let spooled = self.keep(count, || read_piece(&mut archive))?;
                    self.files.insert(name, spooled);
                }
                Kind::Symlink | Kind::HardLink => {
                    let target = path_of(&entry.link);
                    let base = match entry.kind {
                        Kind::Symlink => name.parent().unwrap_or(Path::new("")).join(target),
                        _ => target,
                    };
                    self.links.insert(name, base);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps a whole stream as one file.
    pub(super) fn keep_stream(&mut self, mut stream: impl Read) -> Result<Spooled, LayerError> {
        let limit = self.store.limits().archive_bytes;
        let mut total = 0;
        let store = self.store.clone();
        self.keep(0, move || {
            let mut piece = vec![0; BUFFER];
            let length = stream.read(&mut piece).map_err(TarError::from)?;
            piece.truncate(length);
            total += length as u64;
            if total > limit {
                return Err(LayerError::TooLarge { limit });
            }
            store.check_space(length as u64)?;
            Ok(piece)
        })
    }

    fn keep(
        &self,
        number: u64,
        mut next: impl FnMut() -> Result<Vec<u8>, LayerError>,
    ) -> Result<Spooled, LayerError> {
        let path = self.directory.join(number.to_string());
        let mut file = File::create_new(&path).at("create", &path)?;
        let (mut digester, mut size) = (Digester::new(), 0);
        loop {
            let piece = next()?;
            if piece.is_empty() {
                break;
            }
            file.write_all(&piece).at("write", &path)?;
            digester.update(&piece);
            size += piece.len() as u64;
        }
        Ok(Spooled {
            path,
            digest: digester.finish(),
            size,
        })
    }

    /// Returns the file `name`, through links within the archive.
    pub(super) fn get(&self, name: &str) -> Option<&Spooled> {
        let mut name = normal(Path::new(name))?;
        for _ in 0..MAX_LINKS {
            if let Some(file) = self.files.get(&name) {
                return Some(file);
            }
            name = normal(self.links.get(&name)?)?;
        }
        None
    }

    /// Returns the blob `digest` of an OCI layout if its content is right.
    pub(super) fn blob(&self, digest: &Digest) -> Option<&Spooled> {
        self.get(&super::blob_name(digest))
            .filter(|file| file.digest == *digest)
    }

    /// Returns the bytes of a small file.
    pub(super) fn read(&self, file: &Spooled, limit: u64) -> Result<Vec<u8>, PathError> {
        base::file::read_bounded(&file.path, limit)
    }
}

fn read_piece<R: std::io::BufRead>(archive: &mut TarReader<R>) -> Result<Vec<u8>, LayerError> {
    let piece = archive.data()?.to_vec();
    archive.consume(piece.len());
    Ok(piece)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Resolves `.` and `..` by name; `None` if that leads over the top.
///
/// These names are keys of a table, never paths of the file system.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if !clean.pop() => return None,
            Component::ParentDir
            | Component::CurDir
            | Component::RootDir
            | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}
