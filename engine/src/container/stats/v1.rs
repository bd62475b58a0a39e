//! Measures of control groups v1 (kernel, admin-guide/cgroup-v1).

use engine_api::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, PidsStats, ThrottlingData,
};

use super::Counted;
use super::groups::{Groups, device, value};

/// `cpuacct.stat` counts in ticks of a hundredth of a second.
const TICK_NANOSECONDS: u64 = 10_000_000;

pub(super) fn count(groups: &Groups) -> Counted {
    Counted {
        cpu: cpu(groups),
        memory: memory(groups),
        pids: PidsStats {
            current: groups.number("pids", "pids.current"),
            // Docker tells no limit where there is none.
            limit: Some(groups.number("pids", "pids.max"))
                .filter(|limit| *limit < u64::MAX)
                .unwrap_or_default(),
        },
        blkio: blkio(groups),
    }
}

fn cpu(groups: &Groups) -> CpuStats {
    let times = groups.table("cpuacct", "cpuacct.stat");
    let periods = groups.table("cpu", "cpu.stat");
    let each = groups.text("cpuacct", "cpuacct.usage_percpu");
    let nanoseconds = |name: &str| value(&times, name).saturating_mul(TICK_NANOSECONDS);
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: groups.number("cpuacct", "cpuacct.usage"),
            percpu_usage: each
                .split_whitespace()
                .filter_map(|number| number.parse().ok())
                .collect(),
            usage_in_kernelmode: nanoseconds("system"),
            usage_in_usermode: nanoseconds("user"),
        },
        throttling_data: ThrottlingData {
            periods: value(&periods, "nr_periods"),
            throttled_periods: value(&periods, "nr_throttled"),
            throttled_time: value(&periods, "throttled_time"),
        },
        ..CpuStats::default()
    }
}

fn memory(groups: &Groups) -> MemoryStats {
    let number = |file: &str| groups.number("memory", file);
    MemoryStats {
        usage: number("memory.usage_in_bytes"),
        max_usage: number("memory.max_usage_in_bytes"),
        stats: groups.table("memory", "memory.stat"),
        failcnt: number("memory.failcnt"),
        limit: number("memory.limit_in_bytes"),
    }
}

/// The scheduler's counts where it has any, else those of throttling.
fn blkio(groups: &Groups) -> BlkioStats {
    let read = |file: &str| Some(entries(&groups.text("blkio", file)));
    let scheduler = BlkioStats {
        io_service_bytes_recursive: read("blkio.bfq.io_service_bytes_recursive"),
        io_serviced_recursive: read("blkio.bfq.io_serviced_recursive"),
        io_queue_recursive: read("blkio.bfq.io_queued_recursive"),
        io_service_time_recursive: read("blkio.bfq.io_service_time_recursive"),
        io_wait_time_recursive: read("blkio.bfq.io_wait_time_recursive"),
        io_merged_recursive: read("blkio.bfq.io_merged_recursive"),
        io_time_recursive: read("blkio.bfq.time_recursive"),
        sectors_recursive: read("blkio.bfq.sectors_recursive"),
    };
    if scheduler
        .io_serviced_recursive
        .as_ref()
        .is_some_and(|entries| !entries.is_empty())
    {
        return scheduler;
    }
    BlkioStats {
        io_service_bytes_recursive: read("blkio.throttle.io_service_bytes_recursive"),
        io_serviced_recursive: read("blkio.throttle.io_serviced_recursive"),
        ..scheduler
    }
}

/// Lines such as `8:16 Read 4096`; that of the sum of all devices names none.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let (word, number) = (words.next()?, words.next());
        Some(BlkioEntry {
            major,
            minor,
            op: number.map_or("", |_| word).to_lowercase(),
            value: number.unwrap_or(word).parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use base::file::{FileMode, replace};

    use super::*;

    #[test]
    fn the_files_of_every_hierarchy_are_read() {
        let mount = tempfile::tempdir().unwrap();
        let files = [
            ("cpuacct/a/c/cpuacct.usage", "4000000000\n"),
            (
                "cpuacct/a/c/cpuacct.usage_percpu",
                "1000000000 3000000000 \n",
            ),
            ("cpuacct/a/c/cpuacct.stat", "user 300\nsystem 90\n"),
            (
                "cpu/a/c/cpu.stat",
                "nr_periods 7\nnr_throttled 3\nthrottled_time 12345\n",
            ),
            ("memory/a/c/memory.usage_in_bytes", "8192\n"),
            ("memory/a/c/memory.max_usage_in_bytes", "16384\n"),
            ("memory/a/c/memory.failcnt", "2\n"),
            ("memory/a/c/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/a/c/memory.stat", "cache 10\nrss 20\n"),
            ("pids/a/c/pids.current", "4\n"),
            ("pids/a/c/pids.max", "max\n"),
            (
                "blkio/a/c/blkio.throttle.io_service_bytes_recursive",
                "254:0 Read 4096\n254:0 Total 4096\nTotal 4096\n",
            ),
        ];
        for (path, text) in files {
            let path = mount.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            replace(&path, text.as_bytes(), FileMode::Private).unwrap();
        }
        let counted = count(&Groups::below(mount.path(), "/a/c"));
        let usage = counted.cpu.cpu_usage;
        assert_eq!(usage.total_usage, 4_000_000_000);
        assert_eq!(usage.percpu_usage, [1_000_000_000, 3_000_000_000]);
        assert_eq!(usage.usage_in_usermode, 3_000_000_000);
        assert_eq!(usage.usage_in_kernelmode, 900_000_000);
        assert_eq!(counted.cpu.throttling_data.throttled_time, 12345);
        assert_eq!((counted.memory.usage, counted.memory.failcnt), (8192, 2));
        assert_eq!(counted.memory.stats["rss"], 20);
        assert_eq!((counted.pids.current, counted.pids.limit), (4, 0));
        let moved = counted.blkio.io_service_bytes_recursive.unwrap();
        let words: Vec<&str> = moved.iter().map(|entry| entry.op.as_str()).collect();
        assert_eq!(words, ["read", "total"]);
        assert_eq!((moved[0].major, moved[0].value), (254, 4096));
        assert_eq!(counted.blkio.io_serviced_recursive, Some(Vec::new()));
        assert_eq!(counted.blkio.io_queue_recursive, Some(Vec::new()));
    }

    #[test]
    fn groups_that_are_gone_count_nothing() {
        let mount = tempfile::tempdir().unwrap();
        let counted = count(&Groups::below(mount.path(), "/a/c"));
        assert_eq!(counted.cpu, CpuStats::default());
        assert_eq!(counted.memory, MemoryStats::default());
    }
}
