//! What a container has at `/dev/shm`.
//!
//! Private memory is mounted by the runtime, in the container's own mount
//! namespace, where nobody else can bind it. What others may share is mounted by
//! volumed and bound into all of them.

use std::path::{Path, PathBuf};

use base::ContainerId;
use engine_model::container::NamespaceMode;

use super::spec::live;
use crate::Engine;
use crate::container::Container;
use crate::error::{Result, invalid};

/// Containers that each share the memory of the next.
const CHAIN_LIMIT: usize = 64;
const OF_HOST: &str = "/dev/shm";

/// Returns the size of what volumed is to mount for others to share.
pub(super) fn shareable_bytes(container: &Container) -> Option<u64> {
    let config = container.config();
    is_shareable(container).then(|| config.resources.shm_size_bytes.unwrap_or_default())
}

fn is_shareable(container: &Container) -> bool {
    container.requested().host_config.ipc_mode == "shareable"
}

/// Returns what is bound to `/dev/shm`; `None` leaves it to the runtime.
///
/// # Errors
/// When the container it belongs to does not run or does not share it.
pub(super) fn find(engine: &Engine, container: &Container) -> Result<Option<PathBuf>> {
    match &container.config().ipc_mode {
        NamespaceMode::Container(id) => {
            let asked = &container.requested().host_config.ipc_mode;
            let name = asked.strip_prefix("container:").unwrap_or(asked);
            of_other(engine, id, name).map(Some)
        }
        NamespaceMode::Host => host_has_it().map(|()| None),
        NamespaceMode::Private if is_shareable(container) => Ok(Some(volumed_api::shared_memory(
            &engine.instance,
            &container.run(),
        ))),
        NamespaceMode::Private => Ok(None),
    }
}

fn of_other(engine: &Engine, id: &ContainerId, name: &str) -> Result<PathBuf> {
    let mut other = live(engine, id)?;
    let refused = || {
        invalid(format!(
            "failed to join IPC namespace: container {name}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
        ))
    };
    for _ in 0..CHAIN_LIMIT {
        let next = match &other.config().ipc_mode {
            NamespaceMode::Host => return Ok(OF_HOST.into()),
            NamespaceMode::Container(next) => next.clone(),
            NamespaceMode::Private => {
                let path = volumed_api::shared_memory(&engine.instance, &other.run());
                // What was started before this was told apart has none.
                return Some(path).filter(|path| path.is_dir()).ok_or_else(refused);
            }
        };
        other = engine.containers.by_id(&next).ok_or_else(refused)?;
    }
    Err(refused())
}

/// The host's own are bound into a container that shares its IPC namespace.
fn host_has_it() -> Result<()> {
    let needed = [OF_HOST, "/dev/mqueue"];
    match needed.iter().find(|path| !Path::new(path).is_dir()) {
        Some(path) => Err(invalid(format!(
            "{path} is not mounted, but must be for --ipc=host"
        ))),
        None => Ok(()),
    }
}
