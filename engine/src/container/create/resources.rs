//! Limits.

use engine_api::host_config::{HostConfig, ThrottleDevice};
use engine_model::resources::BlockIo;
use engine_model::{Resources, Ulimit};

use crate::error::{Result, invalid};

/// Docker refuses less: the process could not even start.
const SMALLEST_MEMORY_BYTES: i64 = 6 << 20;

/// A hundredth of a CPU is the smallest quota the kernel takes, in the period
/// of 100 ms.
const SMALLEST_NANO_CPUS: i64 = 10_000_000;

/// Converts the limits; zero means none.
///
/// # Errors
/// Invalid for a combination Docker refuses too.
pub(in crate::container) fn convert(host: &HostConfig) -> Result<Resources> {
    check_memory(host)?;
    check_cpu(host)?;
    super::cpuset::check(host)?;
    let some = |value: i64| Some(value).filter(|value| *value != 0);
    let unsigned = |value: i64, name: &str| match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(invalid(format!("{name} cannot be negative"))),
    };
    let adjustment = i32::try_from(host.oom_score_adj)
        .ok()
        .filter(|value| (-1000..=1000).contains(value));
    let adjustment = adjustment.ok_or_else(|| {
        invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ))
    })?;
    Ok(Resources {
        memory_bytes: some(host.memory),
        memory_swap_bytes: swap(host),
        memory_reservation_bytes: some(host.memory_reservation),
        memory_swappiness: swappiness(host)?,
        cpu_shares: unsigned(host.cpu_shares, "CPU shares")?,
        cpu_quota_us: some(host.cpu_quota),
        cpu_period_us: unsigned(host.cpu_period, "CPU period")?,
        nano_cpus: some(host.nano_cpus),
        cpuset_cpus: Some(host.cpuset_cpus.clone()).filter(|set| !set.is_empty()),
        cpuset_mems: Some(host.cpuset_mems.clone()).filter(|set| !set.is_empty()),
        pids: host.pids_limit.filter(|limit| *limit > 0),
        ulimits: host
            .ulimits
            .iter()
            .flatten()
            .map(ulimit)
            .collect::<Result<_>>()?,
        shm_size_bytes: unsigned(host.shm_size, "SHM size")?,
        oom_score_adj: Some(adjustment).filter(|value| *value != 0),
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        cpu_realtime_period_us: unsigned(host.cpu_realtime_period, "CPU real-time period")?,
        cpu_realtime_runtime_us: some(host.cpu_realtime_runtime),
        block_io: block_io(host)?,
    })
}

fn block_io(host: &HostConfig) -> Result<BlockIo> {
    let check = |weight: u16| match weight {
        10..=1000 => Ok(weight),
        _ => Err(invalid("Range of blkio weight is from 10 to 1000")),
    };
    let weights = host.blkio_weight_device.iter().flatten();
    let weights = weights.map(|it| Ok((it.path.clone(), check(it.weight)?)));
    let rates = |list: &Option<Vec<ThrottleDevice>>| {
        let all = list.iter().flatten();
        all.map(|it| (it.path.clone(), it.rate)).collect()
    };
    Ok(BlockIo {
        weight: match host.blkio_weight {
            0 => None,
            weight => Some(check(weight)?),
        },
        device_weights: weights.collect::<Result<_>>()?,
        read_bytes_per_second: rates(&host.blkio_device_read_bps),
        write_bytes_per_second: rates(&host.blkio_device_write_bps),
        read_operations_per_second: rates(&host.blkio_device_read_iops),
        write_operations_per_second: rates(&host.blkio_device_write_iops),
    })
}

/// With a memory limit and nothing said of swap, Docker allows as much again.
pub(in crate::container) fn swap(host: &HostConfig) -> Option<i64> {
    match (host.memory, host.memory_swap) {
        (0, _) => None,
        (memory, 0) => Some(memory.saturating_mul(2)),
        (_, swap) => Some(swap),
    }
}

/// -1 says that the host's is meant.
fn swappiness(host: &HostConfig) -> Result<Option<u64>> {
    match host.memory_swappiness {
        None | Some(-1) => Ok(None),
        Some(value) => match u64::try_from(value) {
            Ok(value @ 0..=100) => Ok(Some(value)),
            _ => Err(invalid(format!(
                "Invalid value: {value}, valid memory swappiness range is 0-100"
            ))),
        },
    }
}

fn check_memory(host: &HostConfig) -> Result<()> {
    if host.memory != 0 && host.memory < SMALLEST_MEMORY_BYTES {
        return Err(invalid("Minimum memory limit allowed is 6MB"));
    }
    if host.memory_swap > 0 && host.memory == 0 {
        return Err(invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(invalid(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if host.memory_reservation < 0 || (host.memory > 0 && host.memory_reservation > host.memory) {
        return Err(invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    Ok(())
}

fn check_cpu(host: &HostConfig) -> Result<()> {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as i64;
    let allowed = SMALLEST_NANO_CPUS..=available * 1_000_000_000;
    if host.nano_cpus != 0 && !allowed.contains(&host.nano_cpus) {
        return Err(invalid(format!(
            "range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
        )));
    }
    if host.nano_cpus > 0 && (host.cpu_quota != 0 || host.cpu_period != 0) {
        return Err(invalid(match host.cpu_quota {
            0 => "Conflicting options: Nano CPUs and CPU Period cannot both be set",
            _ => "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        }));
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return Err(invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return Err(invalid(
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ));
    }
    Ok(())
}

fn ulimit(limit: &engine_api::host_config::Ulimit) -> Result<Ulimit> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    if !NAMES.contains(&limit.name.as_str()) {
        return Err(invalid(format!("invalid ulimit type: {}", limit.name)));
    }
    // -1 is RLIM_INFINITY.
    let value = |value: i64| if value < 0 { u64::MAX } else { value as u64 };
    let (soft, hard) = (value(limit.soft), value(limit.hard));
    if soft > hard {
        return Err(invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(Ulimit {
        name: limit.name.clone(),
        soft,
        hard,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_docker_refuses_are_refused() {
        let base = HostConfig::default;
        let cases = [
            HostConfig {
                memory: 1 << 20,
                ..base()
            },
            HostConfig {
                memory_swap: 64 << 20,
                ..base()
            },
            HostConfig {
                memory: 64 << 20,
                memory_swap: 32 << 20,
                ..base()
            },
            HostConfig {
                nano_cpus: 1 << 50,
                ..base()
            },
            HostConfig {
                nano_cpus: 1_000_000,
                ..base()
            },
            HostConfig {
                cpu_period: 10,
                ..base()
            },
            HostConfig {
                oom_score_adj: 2000,
                ..base()
            },
            HostConfig {
                cpu_shares: -1,
                ..base()
            },
        ];
        for case in cases {
            assert!(convert(&case).is_err(), "{case:?}");
        }
    }

    #[test]
    fn swap_follows_memory_unless_said() {
        let host = HostConfig {
            memory: 64 << 20,
            ..Default::default()
        };
        assert_eq!(convert(&host).unwrap().memory_swap_bytes, Some(128 << 20));
        let host = HostConfig {
            memory: 64 << 20,
            memory_swap: -1,
            ..Default::default()
        };
        assert_eq!(convert(&host).unwrap().memory_swap_bytes, Some(-1));
    }
}
