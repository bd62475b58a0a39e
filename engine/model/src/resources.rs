//! Limits of a container.

use serde::{Deserialize, Serialize};

/// What a container may use; absent means no limit of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub memory_bytes: Option<i64>,
    /// Memory and swap together; -1 for no limit on swap.
    pub memory_swap_bytes: Option<i64>,
    pub memory_reservation_bytes: Option<i64>,
    /// How readily memory is swapped out, 0 to 100; of control groups v1.
    #[serde(default)]
    pub memory_swappiness: Option<u64>,
    pub cpu_shares: Option<u64>,
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids: Option<i64>,
    pub ulimits: Vec<Ulimit>,
    pub shm_size_bytes: Option<u64>,
    pub oom_score_adj: Option<i32>,
    pub oom_kill_disable: bool,
    /// Time for real-time scheduling, of control groups v1.
    #[serde(default)]
    pub cpu_realtime_period_us: Option<u64>,
    #[serde(default)]
    pub cpu_realtime_runtime_us: Option<i64>,
    #[serde(default)]
    pub block_io: BlockIo,
}

/// Limits of block devices, which are named by the paths of their nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// 10 to 1000, relative to others.
    pub weight: Option<u16>,
    pub device_weights: Vec<(String, u16)>,
    pub read_bytes_per_second: Vec<(String, u64)>,
    pub write_bytes_per_second: Vec<(String, u64)>,
    pub read_operations_per_second: Vec<(String, u64)>,
    pub write_operations_per_second: Vec<(String, u64)>,
}

impl BlockIo {
    /// Returns the path of every device, some more than once.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let rates = [
            &self.read_bytes_per_second,
            &self.write_bytes_per_second,
            &self.read_operations_per_second,
            &self.write_operations_per_second,
        ];
        let limited = rates.into_iter().flatten().map(|(path, _)| path.as_str());
        let weighed = self.device_weights.iter().map(|(path, _)| path.as_str());
        weighed.chain(limited)
    }
}

/// A resource limit of the container's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, without the `RLIMIT_` prefix.
    pub name: String,
    pub soft: u64,
    pub hard: u64,
}

impl Resources {
    /// Returns quota and period of the CPU limit, both in microseconds.
    pub fn cpu_bandwidth(&self) -> (Option<i64>, Option<u64>) {
        const PERIOD_US: i64 = 100_000;
        match self.nano_cpus {
            Some(nano) => (
                Some(nano / (1_000_000_000 / PERIOD_US)),
                Some(PERIOD_US as u64),
            ),
            None => (self.cpu_quota_us, self.cpu_period_us),
        }
    }
}
