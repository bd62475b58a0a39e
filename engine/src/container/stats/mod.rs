//! What a container uses: read from its control groups and from procfs; no process
//! is started for it. What a host does not count is left at zero, as by Docker.

mod groups;
mod host;
mod v1;
mod v2;

use base::Timestamp;
use engine_api::stats::{BlkioStats, CpuStats, MemoryStats, PidsStats, StatsResponse};
use engine_model::Status;
use engine_model::container::NetworkMode;

use self::groups::Groups;
use super::Container;
use super::start::cgroup_of;
use crate::Engine;

/// Docker's word for never.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the control groups say.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    cpu: CpuStats,
    memory: MemoryStats,
    pids: PidsStats,
    blkio: BlkioStats,
}

/// Measures a container; one that does not run uses nothing.
pub fn measure(engine: &Engine, container: &Container) -> StatsResponse {
    let state = container.state();
    let mut stats = nothing(container);
    if !matches!(state.status, Status::Running | Status::Paused) {
        return stats;
    }
    let groups = Groups::of(&cgroup_of(&engine.instance, container));
    let counted = match groups.is_unified {
        true => v2::count(&groups),
        false => v1::count(&groups),
    };
    stats.read = Timestamp::now().to_string();
    stats.pids_stats = counted.pids;
    stats.blkio_stats = counted.blkio;
    stats.cpu_stats = counted.cpu;
    (
        stats.cpu_stats.system_cpu_usage,
        stats.cpu_stats.online_cpus,
    ) = host::processors();
    stats.memory_stats = counted.memory;
    // Without a limit Docker says the host's size.
    stats.memory_stats.limit = stats.memory_stats.limit.min(host::memory_bytes());
    if matches!(
        container.config().network,
        NetworkMode::Networks(_) | NetworkMode::None
    ) {
        stats.networks = host::interfaces(state.pid);
    }
    stats
}

/// Says what the processors were at the measurement before.
pub fn follow(stats: &mut StatsResponse, before: &StatsResponse) {
    stats.preread.clone_from(&before.read);
    stats.precpu_stats = before.cpu_stats.clone();
}

fn nothing(container: &Container) -> StatsResponse {
    StatsResponse {
        name: format!("/{}", container.name()),
        id: container.id.to_string(),
        read: NEVER.to_owned(),
        preread: NEVER.to_owned(),
        ..StatsResponse::default()
    }
}
