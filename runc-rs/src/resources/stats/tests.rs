//! Measures, from directories that look like groups.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::cgroup::Directories;

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let mode = base::file::FileMode::Public;
        base::file::replace(&directory.join(file), text.as_bytes(), mode).unwrap();
    }
}

fn to_json(stats: &Stats) -> Value {
    serde_json::to_value(stats).unwrap()
}

/// Returns v1 groups that are one directory, which has names enough.
fn split(directory: &Path) -> Cgroup {
    let names = [
        "blkio", "cpu", "cpuacct", "cpuset", "memory", "pids", "rdma",
    ];
    let groups = names.map(|name| (name.to_owned(), directory.to_owned()));
    Cgroup {
        path: "/c".into(),
        directories: Directories::Split(groups.into()),
        unit: None,
    }
}

/// What the files of a v1 group say.
const V1_FILES: &[(&str, &str)] = &[
    (
        "cpu.stat",
        "nr_periods 7\nnr_throttled 3\nthrottled_time 1000\n",
    ),
    ("cpuacct.usage", "123456\n"),
    ("cpuacct.stat", "user 5\nsystem 2\n"),
    ("cpuacct.usage_percpu", "100000 23456 \n"),
    (
        "cpuacct.usage_all",
        "cpu user system\n0 60000 40000\n1 20000 3456\n",
    ),
    ("cpuset.cpus", "0-1,4\n"),
    ("cpuset.mems", "0\n"),
    ("cpuset.sched_relax_domain_level", "-1\n"),
    (
        "memory.stat",
        "cache 4096\nrss 8192\nhierarchical_memory_limit 9223372036854771712\n",
    ),
    ("memory.usage_in_bytes", "12288\n"),
    ("memory.max_usage_in_bytes", "16384\n"),
    ("memory.limit_in_bytes", "9223372036854771712\n"),
    ("memory.failcnt", "1\n"),
    ("memory.kmem.usage_in_bytes", "10\n"),
    ("pids.current", "2\n"),
    ("pids.max", "max\n"),
    ("blkio.bfq.io_serviced_recursive", "Total 0\n"),
    (
        "blkio.throttle.io_serviced_recursive",
        "8:0 Read 4\n8:0 Total 4\nTotal 4\n",
    ),
    (
        "blkio.throttle.io_service_bytes_recursive",
        "8:0 Read 4096\nTotal 4096\n",
    ),
    ("rdma.current", "mlx4_0 hca_handle=2 hca_object=2000\n"),
    ("rdma.max", "mlx4_0 hca_handle=3 hca_object=max\n"),
];

#[test]
fn measures_of_v1_count_time_and_memory() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), V1_FILES);
    let stats = to_json(&v1::measure(&split(directory.path())).unwrap());
    assert_eq!(
        stats["cpu"],
        json!({
            "usage": {"total": 123_456, "percpu": [100_000, 23456], "percpu_kernel": [40000, 3456],
                "percpu_user": [60000, 20000], "kernel": 20_000_000, "user": 50_000_000},
            "throttling": {"periods": 7, "throttledPeriods": 3, "throttledTime": 1000},
        })
    );
    assert_eq!(stats["cpuset"]["cpus"], json!([0, 1, 4]));
    assert_eq!(stats["cpuset"]["sched_relax_domain_level"], json!(-1));
    let unlimited = 9_223_372_036_854_771_712_u64;
    assert_eq!(
        stats["memory"],
        json!({
            "cache": 4096,
            "usage": {"limit": unlimited, "usage": 12288, "max": 16384, "failcnt": 1},
            "swap": {"limit": 0, "failcnt": 0},
            "kernel": {"limit": 0, "usage": 10, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"cache": 4096, "rss": 8192, "hierarchical_memory_limit": unlimited},
        })
    );
}

#[test]
fn measures_of_v1_count_processes_and_devices() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), V1_FILES);
    let stats = to_json(&v1::measure(&split(directory.path())).unwrap());
    assert_eq!(stats["pids"], json!({"current": 2}));
    assert_eq!(
        stats["blkio"],
        json!({
            "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 4}, {"major": 8, "op": "Total", "value": 4},
            ],
        })
    );
    assert_eq!(
        stats["rdma"],
        json!({
            "current": [{"device": "mlx4_0", "hca_handles": 2, "hca_objects": 2000}],
            "limit": [{"device": "mlx4_0", "hca_handles": 3, "hca_objects": u32::MAX}],
        })
    );
    for (key, empty) in [
        ("hugetlb", json!({})),
        ("intel_rdt", json!({})),
        ("network_interfaces", json!([])),
    ] {
        assert_eq!(stats[key], empty, "{key}");
    }
}

/// What the files of a v2 group say.
fn v2_files() -> Vec<(&'static str, &'static str)> {
    let pressure = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 \
        avg300=0.00 total=7\n";
    vec![
        (
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 7\nnr_throttled 3\n\
             throttled_usec 5\n",
        ),
        ("cpu.pressure", pressure),
        ("memory.stat", "anon 100\nfile 200\n"),
        ("memory.current", "300\n"),
        ("memory.max", "1000\n"),
        ("memory.peak", "400\n"),
        ("memory.swap.current", "50\n"),
        ("memory.swap.max", "500\n"),
        ("pids.current", "2\n"),
        ("pids.max", "20\n"),
        (
            "io.stat",
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:16 \n",
        ),
    ]
}

#[test]
fn measures_of_v2_are_in_the_words_of_v1() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &v2_files());
    let stats = to_json(&v2::measure_group(directory.path()).unwrap());
    assert_eq!(
        stats["cpu"],
        json!({
            "usage": {"total": 30000, "kernel": 10000, "user": 20000},
            "throttling": {"periods": 7, "throttledPeriods": 3, "throttledTime": 5000},
            "psi": {
                "some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 42},
                "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 7},
            },
        })
    );
    assert_eq!(
        stats["memory"],
        json!({
            "cache": 200,
            "usage": {"limit": 1000, "usage": 300, "max": 400, "failcnt": 0},
            "swap": {"limit": 1500, "usage": 350, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"anon": 100, "file": 200},
        })
    );
    assert_eq!(stats["pids"], json!({"current": 2, "limit": 20}));
    let entry = |op: &str, value: u64| json!({"major": 8, "op": op, "value": value});
    assert_eq!(
        stats["blkio"],
        json!({
            "ioServiceBytesRecursive": [entry("Read", 1), entry("Write", 2)],
            "ioServicedRecursive": [entry("Read", 3), entry("Write", 4)],
        })
    );
}

#[test]
fn without_a_controller_members_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[("cgroup.procs", "1\n2\n3\n")]);
    let stats = to_json(&v2::measure_group(directory.path()).unwrap());
    assert_eq!(stats["pids"], json!({"current": 3}));
}

#[test]
fn a_vanished_group_measures_nothing() {
    let gone = Path::new("/nonexistent/group");
    assert_eq!(v1::measure(&split(gone)).unwrap(), Stats::default());
    v2::measure_group(gone).unwrap();
}

#[test]
fn interfaces_are_read_without_the_loopback() {
    let table = "Inter-|   Receive                 |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
        lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
        eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
    let found = network::parse(table);
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        json!([{"Name": "eth0", "RxBytes": 10, "RxPackets": 2, "RxErrors": 3, "RxDropped": 4,
            "TxBytes": 50, "TxPackets": 6, "TxErrors": 7, "TxDropped": 8}])
    );
}

#[test]
fn page_sizes_are_spelled_as_in_control_files() {
    let cases = [
        ("hugepages-2048kB", Some("2MB")),
        ("hugepages-1048576kB", Some("1GB")),
        ("hugepages-64kB", Some("64KB")),
        ("other", None),
        ("hugepages-64", None),
    ];
    for (directory, expected) in cases {
        assert_eq!(
            parse::page_size(directory).as_deref(),
            expected,
            "{directory}"
        );
    }
}
