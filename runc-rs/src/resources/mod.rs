//! The limits of a container: making its control groups and putting
//! limits into force.
//!
//! `plan/` and `devices/` say what to write, pure; `make.rs`, `apply.rs` and
//! `join.rs` act, on the directories the container's record names, in this
//! order: a process that has joined is limited from its first instruction on.

pub mod devices;
pub mod plan;

mod apply;
mod delegate;
mod error;
mod existing;
mod files;
mod join;
mod make;

pub use apply::apply;
pub use delegate::{delegate, delegation_owner};
pub use error::ResourceError;
pub use join::join;
pub use make::make;
