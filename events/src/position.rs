//! Where a record stands in the log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of a record: epochs count boots, `seq` is never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Position {
    pub epoch: u64,
    pub seq: u64,
}

/// Says that a text is not a position.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid position {0:?}: expected <epoch>:<seq>")]
pub struct PositionError(String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = PositionError;
    fn from_str(text: &str) -> Result<Self, PositionError> {
        let error = || PositionError(text.to_owned());
        let (epoch, seq) = text.split_once(':').ok_or_else(error)?;
        let epoch = epoch.parse().map_err(|_| error())?;
        let seq = seq.parse().map_err(|_| error())?;
        Ok(Self { epoch, seq })
    }
}
