//! Handlers, one file per area of the API: read the request, call the
//! operation, show the result.

pub(super) mod archives;
pub(super) mod attach;
pub(super) mod containers;
pub(super) mod disk;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod files;
pub(super) mod images;
mod log_stream;
pub(super) mod metrics;
pub(super) mod networks;
mod platform;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod registry;
pub(super) mod stats;
pub(super) mod system;
pub(super) mod volumes;
