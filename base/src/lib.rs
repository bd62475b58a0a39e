//! What two or more crates need and nobody else defines: ids, digests, atomic
//! files, locks, path errors, sizes, named steps, netlink sockets, user namespaces, the
//! directories of an installation.
//!
//! It knows nothing of containers' life, networks or images. A new item comes
//! here only when a second crate needs it.
#![forbid(unsafe_code)]

pub mod boot;
pub mod digest;
pub mod failure;
pub mod file;
pub mod id;
pub mod instance;
pub mod lock;
pub mod netlink;
pub mod size;
pub mod steps;
pub mod time;
pub mod user_namespace;

pub use digest::Digest;
pub use failure::{Failure, FailureKind};
pub use file::{PathContext, PathError};
pub use id::{ContainerId, NetworkId, RequestId, RunId, RunNumber, VolumeName};
pub use instance::Instance;
pub use steps::{FaultStep, Steps};
pub use time::Timestamp;
pub use user_namespace::{IdMappings, IdRange};
