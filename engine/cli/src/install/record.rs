//! What was installed, `etc/engine/installed.json` below the prefix: nothing else is
//! ever removed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base::file::{FileMode, PathContext as _, make_directories, read_bounded, write_durable};
use serde::{Deserialize, Serialize};

use super::InstallError;
use super::plan::{Content, Item, resolve};

const FILE: &str = "etc/engine/installed.json";
const LIMIT_BYTES: u64 = 1 << 20;

/// What was made, by its path below the prefix.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    items: BTreeMap<PathBuf, Content>,
    /// Directories that were not there before.
    directories: Vec<PathBuf>,
}

impl Record {
    /// Reads the record; where there is none nothing was installed.
    pub(super) fn load(prefix: &Path) -> Result<Self, InstallError> {
        let path = resolve(prefix, Path::new(FILE))?;
        match read_bounded(&path, LIMIT_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            read => serde_json::from_slice(&read?)
                .map_err(|source| InstallError::Record { path, source }),
        }
    }

    pub(super) fn save(&mut self, prefix: &Path) -> Result<(), InstallError> {
        self.note_directories(Path::new(FILE), prefix);
        let path = resolve(prefix, Path::new(FILE))?;
        let text = serde_json::to_vec_pretty(self).map_err(|source| InstallError::Record {
            path: path.clone(),
            source,
        })?;
        make_directories(path.parent().unwrap_or(prefix), 0o755)?;
        Ok(write_durable(&path, &text, FileMode::Public)?)
    }

    /// Removes the record, and the directories that were made where they are empty.
    pub(super) fn remove(&mut self, prefix: &Path) -> Result<(), InstallError> {
        let path = resolve(prefix, Path::new(FILE))?;
        base::file::remove_if_there(&path)?;
        // The deepest first.
        self.directories.sort();
        for directory in self.directories.iter().rev() {
            let directory = resolve(prefix, directory)?;
            match fs::remove_dir(&directory) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    return Ok(Err(error).at("remove", &directory)?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn note(&mut self, item: &Item, prefix: &Path) {
        self.note_directories(&item.path, prefix);
        self.items.insert(item.path.clone(), item.content.digest());
    }

    pub(super) fn wrote(&self, path: &Path) -> Option<&Content> {
        self.items.get(path)
    }

    pub(super) fn items(&self) -> Vec<Item> {
        let items = self.items.iter();
        items
            .map(|(path, content)| Item {
                path: path.clone(),
                content: content.clone(),
            })
            .collect()
    }

    fn note_directories(&mut self, path: &Path, prefix: &Path) {
        for directory in path.ancestors().skip(1) {
            let is_new = !prefix.join(directory).exists();
            if is_new && !self.directories.iter().any(|known| known == directory) {
                self.directories.push(directory.to_owned());
            }
        }
    }
}
