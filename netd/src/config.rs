//! netd's part of the configuration file, table `[network]`; other tables are
//! other daemons'. engine tests the names of all of them before it starts netd.

use std::path::Path;

use base::PathError;
use base::file::read_bounded;
use netd_api::config::NetworkSectionError;
use serde::Deserialize;

pub use netd_api::config::NetworkSection;

/// No configuration file is larger.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot read {path:?} as TOML")]
    Toml {
        path: std::path::PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error(transparent)]
    Section(#[from] NetworkSectionError),
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    network: NetworkSection,
}

/// Reads the configuration; without a path it is the default.
///
/// # Errors
/// When the file cannot be read or makes no sense.
pub fn read(path: Option<&Path>) -> Result<NetworkSection, ConfigError> {
    let Some(path) = path else {
        return Ok(NetworkSection::default());
    };
    let content = read_bounded(path, FILE_LIMIT_BYTES)?;
    let file: File = toml::from_slice(&content).map_err(|source| ConfigError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    file.network.check()?;
    Ok(file.network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str) -> Result<NetworkSection, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        base::file::replace(&path, content.as_bytes(), base::file::FileMode::Private).unwrap();
        read(Some(&path)).map_err(|error| base::failure::chain(&error))
    }

    #[test]
    fn only_the_own_table_is_read_and_wrong_values_are_named() {
        let others = "insecure-registries = []\n[storage]\nx = 1\n";
        assert_eq!(check(others), Ok(NetworkSection::default()));
        let pool = "[[network.address-pools]]\nbase = \"10.9.0.0/16\"\nsize = ";
        let section = check(&format!("{pool}24\n")).unwrap();
        assert_eq!(section.address_pools.len(), 1);
        let refused = check(&format!("{pool}8\n")).unwrap_err();
        assert!(refused.contains("10.9.0.0/16"), "{refused}");
        let refused = check("[network]\naddress-pool = []\n").unwrap_err();
        assert!(refused.contains("address-pool"), "{refused}");
    }
}
