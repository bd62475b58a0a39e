//! What an engine answers to each version of Docker's API, as a table small enough
//! to be read: which fields there are, with what in them, from which version to which.
//!
//! [`record`] asks an engine the questions of a scene; a [`Table`] is written to text
//! and read from it; [`differences`] compares two. The text of Docker's own engine is
//! committed, recorded by `cargo xtask record`; a test records ours and compares.
//! Depends on none of our crates.
#![forbid(unsafe_code)]

mod client;
mod compare;
mod normal;
mod scene;
mod table;
mod versions;

pub use compare::{Difference, Purposes, differences};
pub use scene::{Scene, record};
pub use table::Table;
pub use versions::Versions;
