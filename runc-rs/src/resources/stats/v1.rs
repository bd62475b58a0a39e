//! Measures of v1, one hierarchy after the other.

use std::collections::BTreeMap;
use std::path::Path;

use base::file::PathError;

use super::{
    Blkio, BlkioEntry, Cpu, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats, measure_rdma,
    number, page_sizes, parse,
};
use crate::cgroup::Cgroup;
use crate::resources::files;

/// Clock ticks are hundredths of a second for every program.
const TICK_NANOSECONDS: u64 = 10_000_000;

/// Measures the groups the container has.
pub(super) fn measure(cgroup: &Cgroup) -> Result<Stats, PathError> {
    let group = |controller: &str| files::group(cgroup, controller);
    let mut stats = Stats::default();
    if let Some(group) = group("cpu") {
        measure_throttling(group, &mut stats.cpu)?;
    }
    if let Some(group) = group("cpuacct") {
        measure_cpu(group, &mut stats.cpu)?;
    }
    if let Some(group) = group("cpuset") {
        stats.cpuset = measure_cpuset(group)?;
    }
    if let Some(group) = group("memory") {
        stats.memory = measure_memory(group)?;
    }
    if let Some(group) = group("pids") {
        stats.pids = measure_pids(group)?;
    }
    if let Some(group) = group("blkio") {
        stats.blkio = measure_blkio(group)?;
    }
    if let Some(group) = group("hugetlb") {
        stats.hugetlb = measure_hugetlb(group)?;
    }
    if let Some(group) = group("rdma") {
        stats.rdma = measure_rdma(group)?;
    }
    Ok(stats)
}

fn measure_throttling(group: &Path, cpu: &mut Cpu) -> Result<(), PathError> {
    let text = files::read_if_there(&group.join("cpu.stat"))?.unwrap_or_default();
    let values = parse::keyed(&text);
    let value = |key: &str| values.get(key).copied().unwrap_or_default();
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = value("throttled_time");
    Ok(())
}

fn measure_cpu(group: &Path, cpu: &mut Cpu) -> Result<(), PathError> {
    let read = |file: &str| -> Result<String, PathError> {
        let text = files::read_if_there(&group.join(file))?;
        Ok(text.unwrap_or_default())
    };
    let modes = parse::keyed(&read("cpuacct.stat")?);
    let ticks = |mode: &str| modes.get(mode).copied().unwrap_or_default();
    cpu.usage.total = number(group, "cpuacct.usage")?;
    cpu.usage.user = ticks("user").saturating_mul(TICK_NANOSECONDS);
    cpu.usage.kernel = ticks("system").saturating_mul(TICK_NANOSECONDS);
    let per_cpu = read("cpuacct.usage_percpu")?;
    cpu.usage.percpu = per_cpu
        .split_ascii_whitespace()
        .map(parse::number)
        .collect();
    // A heading, then lines `cpu user system`.
    for line in read("cpuacct.usage_all")?.lines().skip(1) {
        let mut words = line.split_ascii_whitespace().skip(1).map(parse::number);
        if let (Some(user), Some(kernel)) = (words.next(), words.next()) {
            cpu.usage.percpu_user.push(user);
            cpu.usage.percpu_kernel.push(kernel);
        }
    }
    Ok(())
}

fn measure_cpuset(group: &Path) -> Result<Cpuset, PathError> {
    let list = |file: &str| -> Result<Vec<u16>, PathError> {
        let text = files::read_if_there(&group.join(file))?;
        Ok(parse::list(&text.unwrap_or_default()))
    };
    let level = files::read_if_there(&group.join("cpuset.sched_relax_domain_level"))?;
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number(group, "cpuset.cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number(group, "cpuset.mem_hardwall")?,
        mem_exclusive: number(group, "cpuset.mem_exclusive")?,
        memory_migrate: number(group, "cpuset.memory_migrate")?,
        memory_spread_page: number(group, "cpuset.memory_spread_page")?,
        memory_spread_slab: number(group, "cpuset.memory_spread_slab")?,
        memory_pressure: number(group, "cpuset.memory_pressure")?,
        sched_load_balance: number(group, "cpuset.sched_load_balance")?,
        sched_relax_domain_level: level
            .and_then(|level| level.parse().ok())
            .unwrap_or_default(),
    })
}

fn measure_memory(group: &Path) -> Result<Memory, PathError> {
    let text = files::read_if_there(&group.join("memory.stat"))?.unwrap_or_default();
    let raw = parse::keyed(&text);
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or_default(),
        usage: memory_entry(group, "memory")?,
        swap: memory_entry(group, "memory.memsw")?,
        kernel: memory_entry(group, "memory.kmem")?,
        kernel_tcp: memory_entry(group, "memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

fn memory_entry(group: &Path, prefix: &str) -> Result<MemoryEntry, PathError> {
    let number = |file: &str| number(group, &format!("{prefix}.{file}"));
    Ok(MemoryEntry {
        limit: number("limit_in_bytes")?,
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
    })
}

fn measure_pids(group: &Path) -> Result<Pids, PathError> {
    let limit = number(group, "pids.max")?;
    Ok(Pids {
        current: number(group, "pids.current")?,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

/// What the files of block I/O are called depends on the scheduler and its
/// debugging; the first family that counts anything is the one.
fn measure_blkio(group: &Path) -> Result<Blkio, PathError> {
    let mut blkio = Blkio::default();
    for prefix in ["blkio.bfq.", "blkio."] {
        for (name, entries) in fields(&mut blkio) {
            *entries = entries_of(group, &format!("{prefix}{name}_recursive"))?;
        }
        if !blkio.io_serviced_recursive.is_empty() {
            return Ok(blkio);
        }
    }
    for suffix in ["_recursive", ""] {
        let entries = |kind: &str| entries_of(group, &format!("blkio.throttle.{kind}{suffix}"));
        blkio.io_serviced_recursive = entries("io_serviced")?;
        blkio.io_service_bytes_recursive = entries("io_service_bytes")?;
        if !blkio.io_serviced_recursive.is_empty() {
            break;
        }
    }
    Ok(blkio)
}

fn fields(blkio: &mut Blkio) -> [(&'static str, &mut Vec<BlkioEntry>); 8] {
    [
        ("io_service_bytes", &mut blkio.io_service_bytes_recursive),
        ("io_serviced", &mut blkio.io_serviced_recursive),
        ("io_queued", &mut blkio.io_queued_recursive),
        ("io_service_time", &mut blkio.io_service_time_recursive),
        ("io_wait_time", &mut blkio.io_wait_time_recursive),
        ("io_merged", &mut blkio.io_merged_recursive),
        ("time", &mut blkio.io_time_recursive),
        ("sectors", &mut blkio.sectors_recursive),
    ]
}

fn entries_of(group: &Path, file: &str) -> Result<Vec<BlkioEntry>, PathError> {
    let text = files::read_if_there(&group.join(file))?;
    Ok(text.map(|text| parse::blkio(&text)).unwrap_or_default())
}

fn measure_hugetlb(group: &Path) -> Result<BTreeMap<String, Hugetlb>, PathError> {
    let mut sizes = BTreeMap::new();
    for size in page_sizes() {
        // Reservations are what the limit is compared with, where they count.
        let reserved = format!("hugetlb.{size}.rsvd");
        let prefix = match group.join(format!("{reserved}.usage_in_bytes")).exists() {
            true => reserved,
            false => format!("hugetlb.{size}"),
        };
        let number = |file: &str| number(group, &format!("{prefix}.{file}"));
        let hugetlb = Hugetlb {
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        };
        sizes.insert(size, hugetlb);
    }
    Ok(sizes)
}
