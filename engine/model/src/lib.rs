//! The pure domain: what a container is, what states it goes through, and the
//! plans that starting it consists of.
//!
//! No I/O, no async, no clock: facts about the host and the time are passed in,
//! so that every decision is a table in a test.
#![forbid(unsafe_code)]

pub mod container;
pub mod health;
pub mod mount;
pub mod plan;
pub mod resources;
pub mod restart;
pub mod security;
pub mod signal;

pub use container::{ContainerConfig, ContainerEvent, ContainerState, IllegalTransition, Status};
pub use health::{HealthConfig, HealthState, HealthStatus};
pub use mount::{MountConfig, MountSource, Propagation};
pub use resources::{Resources, Ulimit};
pub use restart::{RestartDecision, RestartPolicy};
pub use security::SecurityProfile;
