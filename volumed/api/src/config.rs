//! Table `[storage]` of the configuration file, docs/formats/config.md.
//!
//! It is a type of volumed's api so that engine can test the whole file before
//! it starts anything: volumed reads only its own table and could not tell a
//! misspelt name of a table from another daemon's.

use events::ServerConfig;
use serde::Deserialize;

/// Threads of one kind.
pub const WORKER_LIMIT: usize = 64;

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StorageSectionError {
    #[error("{key} = {value} in table storage: expected 1 to {WORKER_LIMIT}")]
    Workers { key: &'static str, value: usize },
}

/// What the configuration says of storage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StorageSection {
    /// Mounts worked on at once.
    pub workers: usize,
    /// Unmounts and removals worked on at once.
    pub teardown_workers: usize,
}

impl Default for StorageSection {
    fn default() -> Self {
        let server = ServerConfig::default();
        Self {
            workers: server.workers,
            teardown_workers: server.teardown_workers,
        }
    }
}

impl StorageSection {
    /// Tests what the types alone do not say.
    ///
    /// # Errors
    /// When a number of workers is out of range.
    pub fn check(&self) -> Result<(), StorageSectionError> {
        let counts = [
            ("workers", self.workers),
            ("teardown-workers", self.teardown_workers),
        ];
        match counts.iter().find(|(_, n)| !(1..=WORKER_LIMIT).contains(n)) {
            Some((key, value)) => Err(StorageSectionError::Workers { key, value: *value }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_workers_out_of_range_is_named() {
        let check = |workers, teardown_workers| {
            let section = StorageSection {
                workers,
                teardown_workers,
            };
            section.check().map_err(|error| error.to_string())
        };
        assert_eq!(StorageSection::default().check(), Ok(()));
        assert_eq!(check(1, 64), Ok(()));
        assert!(check(0, 1).unwrap_err().starts_with("workers = 0 "));
        assert!(
            check(1, 65)
                .unwrap_err()
                .starts_with("teardown-workers = 65 ")
        );
    }
}
