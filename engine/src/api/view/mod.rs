//! What clients see: model and state files, converted to Docker's wire types.

pub(super) mod docker_event;
pub(super) mod inspect;
pub(super) mod list;
pub(super) mod network;
pub(super) mod size;
pub(super) mod status;
pub(super) mod top;
pub(super) mod volume;
