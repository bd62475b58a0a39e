//! Limits in the runtime's form.

use oci_spec::runtime::{
    LinuxCpu, LinuxCpuBuilder, LinuxDeviceCgroup, LinuxMemoryBuilder, LinuxPids, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder,
};

use super::block_io::{BlockDevices, block_io};
use super::spec::{SpecError, build};
use crate::resources::{BlockIo, Resources};

/// Returns the limits that a container that runs has to be given, `None` where none has
/// changed: the number of processes apart from the others, which depend on each other
/// and are all said where one of them has.
///
/// # Errors
/// When one cannot be expressed.
pub fn changed_limits(
    old: &Resources,
    new: &Resources,
) -> Result<Option<LinuxResources>, SpecError> {
    let without_pids = |limits: &Resources| Resources {
        pids: None,
        // Devices are limited from the start only, as with Docker.
        block_io: BlockIo {
            weight: limits.block_io.weight,
            ..BlockIo::default()
        },
        ..limits.clone()
    };
    let devices = BlockDevices::new();
    let mut all = match without_pids(old) == without_pids(new) {
        true => resources(&Resources::default(), Vec::new(), &devices)?,
        false => resources(&without_pids(new), Vec::new(), &devices)?,
    };
    if old.pids != new.pids {
        // Without one again, it is unlimited.
        let limit = new.pids.unwrap_or(-1);
        all.set_pids(Some(pids(limit)?));
    }
    Ok((old != new).then_some(all))
}

fn pids(limit: i64) -> Result<LinuxPids, SpecError> {
    build(
        "pids limit",
        LinuxPidsBuilder::default().limit(limit).build(),
    )
}

pub(super) fn resources(
    limits: &Resources,
    devices: Vec<LinuxDeviceCgroup>,
    block_devices: &BlockDevices,
) -> Result<LinuxResources, SpecError> {
    let mut all = build(
        "resources",
        LinuxResourcesBuilder::default().devices(devices).build(),
    )?;
    if limits.memory_bytes.is_some()
        || limits.memory_swap_bytes.is_some()
        || limits.memory_reservation_bytes.is_some()
        || limits.memory_swappiness.is_some()
    {
        let mut memory = build("memory limits", LinuxMemoryBuilder::default().build())?;
        memory.set_limit(limits.memory_bytes);
        memory.set_swap(limits.memory_swap_bytes);
        memory.set_reservation(limits.memory_reservation_bytes);
        memory.set_swappiness(limits.memory_swappiness);
        memory.set_disable_oom_killer(limits.oom_kill_disable.then_some(true));
        all.set_memory(Some(memory));
    }
    all.set_block_io(block_io(&limits.block_io, block_devices)?);
    if let Some(cpu) = cpu(limits)? {
        all.set_cpu(Some(cpu));
    }
    if let Some(limit) = limits.pids {
        all.set_pids(Some(pids(limit)?));
    }
    Ok(all)
}

fn cpu(limits: &Resources) -> Result<Option<LinuxCpu>, SpecError> {
    let (quota, period) = limits.cpu_bandwidth();
    let mut cpu = build("CPU limits", LinuxCpuBuilder::default().build())?;
    cpu.set_quota(quota);
    cpu.set_period(period);
    cpu.set_shares(limits.cpu_shares);
    cpu.set_cpus(limits.cpuset_cpus.clone());
    cpu.set_mems(limits.cpuset_mems.clone());
    cpu.set_realtime_period(limits.cpu_realtime_period_us);
    cpu.set_realtime_runtime(limits.cpu_realtime_runtime_us);
    Ok(Some(cpu).filter(|cpu| *cpu != LinuxCpu::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_where_one_has_changed() {
        let old = Resources {
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(128 << 20),
            pids: Some(9),
            ..Resources::default()
        };
        assert_eq!(changed_limits(&old, &old).unwrap(), None);

        let fewer = Resources {
            pids: None,
            ..old.clone()
        };
        let limits = changed_limits(&old, &fewer).unwrap().unwrap();
        assert_eq!(limits.pids().as_ref().unwrap().limit(), -1);
        assert!(limits.memory().is_none() && limits.cpu().is_none());

        let more = Resources {
            memory_bytes: Some(100 << 20),
            ..old.clone()
        };
        let limits = changed_limits(&old, &more).unwrap().unwrap();
        let memory = limits.memory().unwrap();
        assert_eq!(memory.limit(), Some(100 << 20));
        assert_eq!(memory.swap(), Some(128 << 20));
        assert!(limits.pids().is_none());
    }
}
