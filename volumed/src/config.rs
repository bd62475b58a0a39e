//! volumed's part of the configuration file, table `[storage]`; other tables are
//! other daemons'. engine tests the names of all of them before it starts volumed.

use std::path::{Path, PathBuf};

use base::PathError;
use base::file::read_bounded;
use serde::Deserialize;
use volumed_api::config::StorageSectionError;

pub use volumed_api::config::StorageSection;

/// No configuration file is larger.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot read {path:?} as TOML")]
    Toml {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error(transparent)]
    Section(#[from] StorageSectionError),
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    storage: StorageSection,
}

/// Reads the configuration; without a path it is the default.
///
/// # Errors
/// When the file cannot be read or makes no sense.
pub fn read(path: Option<&Path>) -> Result<StorageSection, ConfigError> {
    let Some(path) = path else {
        return Ok(StorageSection::default());
    };
    let content = read_bounded(path, FILE_LIMIT_BYTES)?;
    let file: File = toml::from_slice(&content).map_err(|source| ConfigError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    file.storage.check()?;
    Ok(file.storage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str) -> Result<StorageSection, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        base::file::replace(&path, content.as_bytes(), base::file::FileMode::Private).unwrap();
        read(Some(&path)).map_err(|error| base::failure::chain(&error))
    }

    #[test]
    fn only_the_own_table_is_read_and_wrong_values_are_named() {
        assert_eq!(check("[network]\nx = 1\n"), Ok(StorageSection::default()));
        assert_eq!(check("[storage]\nworkers = 9\n").unwrap().workers, 9);
        assert!(
            check("[storage]\nworkers = 0\n")
                .unwrap_err()
                .contains("workers = 0")
        );
        assert!(
            check("[storage]\nwrokers = 1\n")
                .unwrap_err()
                .contains("wrokers")
        );
    }
}
