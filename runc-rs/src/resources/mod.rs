//! The limits of a container: making its control groups, putting limits into
//! force, changing and measuring them.
//!
//! `plan/` and `devices/` say what to write, pure; `make.rs`, `apply.rs` and
//! `join.rs` act, on the directories the container's record names, in this
//! order: a process that has joined is limited from its first instruction on.
//! The table of mounts is read only when a group is added that the container
//! was created without (`widen.rs`).

pub mod devices;
pub mod events;
pub mod plan;
pub mod rdt;
pub mod stats;
pub mod update;

mod apply;
mod delegate;
mod error;
mod existing;
mod files;
mod join;
mod make;
mod need;
mod undo;
mod widen;

pub use apply::apply;
pub(crate) use apply::plan_limits;
pub use delegate::{delegate, delegation_owner};
pub use error::ResourceError;
pub use join::join;
pub use make::{Reach, make, make_group, narrow};
pub use need::{Need, forget_refused};
pub(crate) use undo::{earlier, perform_or_restore};
pub(crate) use widen::widen;
