//! Measures of control groups v2 (kernel, admin-guide/cgroup-v2).

use engine_api::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, PidsStats, ThrottlingData,
};

use super::Counted;
use super::groups::{Groups, device, value};

pub(super) fn count(groups: &Groups) -> Counted {
    Counted {
        cpu: cpu(groups),
        memory: MemoryStats {
            usage: groups.number("", "memory.current"),
            max_usage: 0,
            stats: groups.table("", "memory.stat"),
            failcnt: value(&groups.table("", "memory.events"), "oom"),
            limit: groups.number("", "memory.max"),
        },
        pids: PidsStats {
            current: groups.number("", "pids.current"),
            limit: groups.number("", "pids.max"),
        },
        blkio: BlkioStats {
            io_service_bytes_recursive: Some(moved(&groups.text("", "io.stat"))),
            ..BlkioStats::default()
        },
    }
}

/// The file counts microseconds.
fn cpu(groups: &Groups) -> CpuStats {
    let table = groups.table("", "cpu.stat");
    let nanoseconds = |name: &str| value(&table, name).saturating_mul(1000);
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: nanoseconds("usage_usec"),
            percpu_usage: Vec::new(),
            usage_in_kernelmode: nanoseconds("system_usec"),
            usage_in_usermode: nanoseconds("user_usec"),
        },
        throttling_data: ThrottlingData {
            periods: value(&table, "nr_periods"),
            throttled_periods: value(&table, "nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        },
        ..CpuStats::default()
    }
}

/// Lines such as `8:16 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn moved(text: &str) -> Vec<BlkioEntry> {
    let of_line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let (major, minor) = device(name)?;
        let number = |name: &str| {
            let mut pairs = rest.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name)?.1.parse().ok()
        };
        let entry = |op: &str, value: u64| BlkioEntry {
            major,
            minor,
            op: op.to_owned(),
            value,
        };
        Some([
            entry("read", number("rbytes")?),
            entry("write", number("wbytes")?),
        ])
    };
    text.lines().filter_map(of_line).flatten().collect()
}

#[cfg(test)]
mod tests {
    use base::file::{FileMode, replace};

    use super::*;

    #[test]
    fn the_files_of_a_group_are_read() {
        let mount = tempfile::tempdir().unwrap();
        let files = [
            ("cgroup.controllers", "cpu memory\n"),
            (
                "c/cpu.stat",
                "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 1\nthrottled_usec 9\n",
            ),
            ("c/memory.current", "8192\n"),
            ("c/memory.max", "max\n"),
            ("c/memory.stat", "anon 4096\nfile 4096\n"),
            (
                "c/memory.events",
                "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n",
            ),
            ("c/pids.current", "1\n"),
            ("c/pids.max", "64\n"),
            (
                "c/io.stat",
                "254:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0\n259:0 \n",
            ),
        ];
        for (path, text) in files {
            let path = mount.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            replace(&path, text.as_bytes(), FileMode::Private).unwrap();
        }
        let groups = Groups::below(mount.path(), "/c");
        assert!(groups.is_unified);
        let counted = count(&groups);
        assert_eq!(counted.cpu.cpu_usage.total_usage, 5000);
        assert_eq!(counted.cpu.throttling_data.throttled_time, 9000);
        assert_eq!(
            (counted.memory.usage, counted.memory.limit),
            (8192, u64::MAX)
        );
        assert_eq!(counted.memory.failcnt, 2);
        assert_eq!(counted.pids.limit, 64);
        let moved = counted.blkio.io_service_bytes_recursive.unwrap();
        let values: Vec<(&str, u64)> = moved.iter().map(|e| (e.op.as_str(), e.value)).collect();
        assert_eq!(values, [("read", 4096), ("write", 512)]);
    }
}
