//! netd's part of the configuration file, table `[network]`; other tables are
//! other daemons'.

use std::path::Path;

use base::PathError;
use base::file::read_bounded;
use serde::Deserialize;

use crate::pools::{AddressPool, default_pools};

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
    #[error("address pool {base} cannot be cut into subnets of prefix length {size}")]
    Pool { base: ipnet::Ipv4Net, size: u8 },
}

/// What the configuration says of networks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSection {
    pub address_pools: Vec<AddressPool>,
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self {
            address_pools: default_pools(),
        }
    }
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
    let bad = |pool: &&AddressPool| pool.size < pool.base.prefix_len() || pool.size > 30;
    match file.network.address_pools.iter().find(bad) {
        Some(pool) => Err(ConfigError::Pool {
            base: pool.base,
            size: pool.size,
        }),
        None => Ok(file.network),
    }
}
