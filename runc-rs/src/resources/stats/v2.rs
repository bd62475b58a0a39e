//! Measures of v2, one controller after the other, in v1's words.

use std::collections::BTreeMap;
use std::path::Path;

use base::file::PathError;

use super::{
    Blkio, Cpu, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Pressure, Stats, measure_rdma, number,
    page_sizes, parse,
};
use crate::cgroup::{Cgroup, Directories};
use crate::resources::files;

const MICROSECOND_NANOSECONDS: u64 = 1000;

/// Measures the group.
pub(super) fn measure(cgroup: &Cgroup) -> Result<Stats, PathError> {
    match &cgroup.directories {
        Directories::Unified(group) => measure_group(group),
        Directories::Split(_) => Ok(Stats::default()),
    }
}

/// Measures one group.
pub(super) fn measure_group(group: &Path) -> Result<Stats, PathError> {
    Ok(Stats {
        cpu: measure_cpu(group)?,
        cpuset: measure_cpuset(group)?,
        memory: measure_memory(group)?,
        pids: measure_pids(group)?,
        blkio: measure_io(group)?,
        hugetlb: measure_hugetlb(group)?,
        rdma: measure_rdma(group)?,
        ..Stats::default()
    })
}

fn keyed(group: &Path, file: &str) -> Result<BTreeMap<String, u64>, PathError> {
    let text = files::read_if_there(&group.join(file))?;
    Ok(parse::keyed(&text.unwrap_or_default()))
}

fn pressure(group: &Path, file: &str) -> Result<Option<Pressure>, PathError> {
    let text = files::read_if_there(&group.join(file))?;
    Ok(text.map(|text| parse::pressure(&text)))
}

fn measure_cpu(group: &Path) -> Result<Cpu, PathError> {
    let values = keyed(group, "cpu.stat")?;
    let count = |key: &str| values.get(key).copied().unwrap_or_default();
    let time = |key: &str| count(key).saturating_mul(MICROSECOND_NANOSECONDS);
    let mut cpu = Cpu {
        psi: pressure(group, "cpu.pressure")?,
        ..Cpu::default()
    };
    cpu.usage.total = time("usage_usec");
    cpu.usage.user = time("user_usec");
    cpu.usage.kernel = time("system_usec");
    cpu.throttling.periods = count("nr_periods");
    cpu.throttling.throttled_periods = count("nr_throttled");
    cpu.throttling.throttled_time = time("throttled_usec");
    Ok(cpu)
}

fn measure_cpuset(group: &Path) -> Result<Cpuset, PathError> {
    let list = |file: &str| -> Result<Vec<u16>, PathError> {
        let text = files::read_if_there(&group.join(file))?;
        Ok(parse::list(&text.unwrap_or_default()))
    };
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        mems: list("cpuset.mems")?,
        ..Cpuset::default()
    })
}

fn measure_memory(group: &Path) -> Result<Memory, PathError> {
    let raw = keyed(group, "memory.stat")?;
    let usage = memory_entry(group, "memory")?;
    let swap = memory_entry(group, "memory.swap")?;
    // v1 counts memory and swap together; the highest sum is not known.
    let both = MemoryEntry {
        limit: swap.limit.saturating_add(usage.limit),
        usage: swap.usage.saturating_add(usage.usage),
        max: 0,
        failcnt: swap.failcnt,
    };
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or_default(),
        usage,
        swap: both,
        psi: pressure(group, "memory.pressure")?,
        raw,
        ..Memory::default()
    })
}

fn memory_entry(group: &Path, prefix: &str) -> Result<MemoryEntry, PathError> {
    let number = |file: &str| number(group, &format!("{prefix}.{file}"));
    Ok(MemoryEntry {
        limit: number("max")?,
        usage: number("current")?,
        max: number("peak")?,
        failcnt: 0,
    })
}

/// Without the controller the members are counted.
fn measure_pids(group: &Path) -> Result<Pids, PathError> {
    if files::read_if_there(&group.join("pids.current"))?.is_none() {
        let members = files::read_if_there(&group.join("cgroup.procs"))?;
        let current = members.unwrap_or_default().lines().count() as u64;
        return Ok(Pids { current, limit: 0 });
    }
    let limit = number(group, "pids.max")?;
    Ok(Pids {
        current: number(group, "pids.current")?,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

fn measure_io(group: &Path) -> Result<Blkio, PathError> {
    let text = files::read_if_there(&group.join("io.stat"))?.unwrap_or_default();
    Ok(Blkio {
        io_service_bytes_recursive: parse::io(&text, "rbytes", "wbytes"),
        io_serviced_recursive: parse::io(&text, "rios", "wios"),
        psi: pressure(group, "io.pressure")?,
        ..Blkio::default()
    })
}

fn measure_hugetlb(group: &Path) -> Result<BTreeMap<String, Hugetlb>, PathError> {
    let mut sizes = BTreeMap::new();
    for size in page_sizes() {
        let prefix = format!("hugetlb.{size}");
        let reserved = files::read_if_there(&group.join(format!("{prefix}.rsvd.current")))?;
        let used = match reserved {
            Some(reserved) => Some(reserved),
            None => files::read_if_there(&group.join(format!("{prefix}.current")))?,
        };
        let Some(used) = used else { continue };
        let events = keyed(group, &format!("{prefix}.events"))?;
        let hugetlb = Hugetlb {
            usage: parse::number(&used),
            max: 0,
            failcnt: events.get("max").copied().unwrap_or_default(),
        };
        sizes.insert(size, hugetlb);
    }
    Ok(sizes)
}
