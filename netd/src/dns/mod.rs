//! Names of containers on user networks.

use crate::state::State;

/// Hands the names of all containers to whoever answers for them.
#[derive(Debug, Default)]
pub struct Names {}

impl Names {
    /// Takes note of who is called what.
    pub fn publish(&self, _state: &State) {}
}
