//! Why no plan can be made of a specification's limits.

/// Says which value cannot be put into force, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("memory.{name}: {value} is not a limit: only -1, for none, is below zero")]
    Memory { name: &'static str, value: i64 },
    #[error("memory.swap: unable to set swap limit {0} without memory limit")]
    SwapWithoutMemory(i64),
    #[error("memory.swap: memory+swap limit {swap} should be >= memory limit {limit}")]
    SwapBelowMemory { swap: i64, limit: i64 },
    #[error("rejecting {name} limit {value} <= usage {usage}")]
    BelowUsage {
        name: &'static str,
        value: i64,
        usage: u64,
    },
    #[error("memory.swappiness: invalid value {0} (valid range is 0-100)")]
    Swappiness(u64),
    #[error("cpu.shares: {0} is too low: the minimum allowed cpu-shares is 2")]
    SharesTooLow(u64),
    #[error("cpu.shares: {0} is too high: the maximum allowed cpu-shares is 262144")]
    SharesTooHigh(u64),
    #[error("cpu.idle: {0} is neither 0 nor 1")]
    Idle(i64),
    #[error("pids.limit: {0} is not a limit: only -1, for none, is below zero")]
    Pids(i64),
    #[error("hugepageLimits: {0:?} is not a page size such as 2MB")]
    PageSize(String),
    #[error("hugepageLimits: {0} is not a limit: only -1, for none, is below zero")]
    HugePages(i64),
    #[error("network.priorities: {0:?} is not the name of an interface")]
    Interface(String),
    #[error("rdma: {0:?} is not the name of a device")]
    RdmaDevice(String),
    #[error("blockIO.weight: {0} is not in the range 10-1000")]
    BlockWeight(u16),
    #[error("devices: type {0:?} is not one of a, b and c")]
    DeviceType(String),
    #[error("devices: access {0:?} has none of r, w and m")]
    DeviceAccess(String),
    #[error("devices: {0} is not a device number")]
    DeviceNumber(i64),
    #[error("devices: {count} rules are more than the {limit} that fit into a program")]
    DeviceRules { count: usize, limit: usize },
    #[error(
        "devices: cgroup v1 cannot except {exception:?} from {rule:?}: a part of a wildcard rule \
         cannot be taken back"
    )]
    DeviceHole { exception: String, rule: String },
    #[error("invalid configuration: unified resource {0:?} cannot be used with cgroup v1")]
    UnifiedOnV1(String),
    #[error("unified resource {0:?} must be a file name (no slashes)")]
    UnifiedSlash(String),
    #[error("unified resource {0:?} must be in the form CONTROLLER.PARAMETER")]
    UnifiedForm(String),
    #[error("unified resource {key:?} can't be set: controller {controller:?} not available")]
    UnifiedController { key: String, controller: String },
}
