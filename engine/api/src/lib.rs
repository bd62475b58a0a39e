//! Docker's wire types, the framing of its streams, and a client.
//!
//! Every type reads and writes the JSON of the newest version of the API; what was
//! otherwise in earlier ones is in [`versions`]. The types know no rule beyond
//! their form; what a value means is decided where it is converted to the model. One module per area of the API, the client in [`client`].
#![forbid(unsafe_code)]

pub mod archive;
pub mod client;
pub mod config;
pub mod container;
pub mod detach_keys;
pub mod disk;
pub mod error;
pub mod event;
pub mod event_format;
pub mod exec;
pub mod filters;
pub mod host_config;
pub mod image;
pub mod inspect;
pub mod mount;
pub mod network;
pub mod progress;
pub mod prune;
pub mod registry;
pub mod socket;
pub mod stats;
pub mod stdcopy;
pub mod system;
pub mod target;
pub mod version;
pub mod versions;
pub mod volume;
pub mod wire;

#[cfg(test)]
mod golden;
