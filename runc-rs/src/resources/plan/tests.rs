//! Plans for limits given as JSON, as `file=value` lines.

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::*;

fn planned(version: Version, resources: Value, existing: &Existing) -> Vec<String> {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    match plan(version, &resources, existing) {
        Ok(writes) => writes.iter().map(line).collect(),
        Err(error) => vec![format!("error: {error}")],
    }
}

fn line(write: &ControlWrite) -> String {
    let controller = write.controller.name();
    let missing = if write.if_missing == IfMissing::Skip {
        " (or skip)"
    } else {
        ""
    };
    let invalid = if write.if_invalid == IfInvalid::Retry {
        " (or retry)"
    } else {
        ""
    };
    format!(
        "{controller}: {}={}{missing}{invalid}",
        write.file, write.value
    )
}

#[track_caller]
fn check(version: Version, resources: Value, expected: &[&str]) {
    let found = planned(version, resources.clone(), &Existing::default());
    assert_eq!(found, expected, "{version:?} {resources}");
}

fn v1(resources: Value, expected: &[&str]) {
    check(Version::V1, resources, expected);
}

fn v2(resources: Value, expected: &[&str]) {
    check(Version::V2, resources, expected);
}

#[test]
fn nothing_asked_for_is_nothing_written() {
    for version in [Version::V1, Version::V2] {
        check(version, json!({}), &[]);
        let empty = json!({"memory": {}, "cpu": {}, "pids": {}, "blockIO": {}, "network": {},
            "rdma": {}, "unified": {}, "hugepageLimits": []});
        check(version, empty, &[]);
        let zero = json!({
            "memory": {"limit": 0, "swap": 0, "reservation": 0},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0,
                    "realtimePeriod": 0, "cpus": "", "mems": ""},
            "pids": {"limit": 0},
            "blockIO": {"weight": 0, "leafWeight": 0},
            "network": {"classID": 0},
        });
        check(version, zero, &[]);
    }
}

#[test]
fn memory_of_v1() {
    v1(
        json!({"memory": {"limit": 100, "reservation": 50, "swap": 200, "swappiness": 10,
            "disableOOMKiller": true, "kernel": 7, "kernelTCP": 8}}),
        &[
            "memory: memory.limit_in_bytes=100",
            "memory: memory.memsw.limit_in_bytes=200",
            "memory: memory.soft_limit_in_bytes=50",
            "memory: memory.oom_control=1",
            "memory: memory.swappiness=10",
        ],
    );
    v1(
        json!({"memory": {"limit": -1, "reservation": -1}}),
        &[
            "memory: memory.memsw.limit_in_bytes=-1 (or skip)",
            "memory: memory.limit_in_bytes=-1",
            "memory: memory.soft_limit_in_bytes=-1",
        ],
    );
    v1(
        json!({"memory": {"swappiness": u64::MAX, "disableOOMKiller": false}}),
        &[],
    );
}

#[test]
fn the_sum_of_memory_and_swap_is_never_below_the_memory_limit() {
    let order = |limit: i64, swap: i64, existing: u64| {
        let existing = Existing {
            memory_limit_bytes: Some(existing),
            ..Existing::default()
        };
        let memory = json!({"memory": {"limit": limit, "swap": swap}});
        let lines = planned(Version::V1, memory, &existing);
        lines[0].contains("memsw")
    };
    let swap_first = true;
    // Raised above what the sum was: room is made first.
    assert_eq!(order(60, 80, 30), swap_first);
    assert_eq!(order(60, -1, 30), swap_first);
    assert_eq!(order(60, -1, u64::MAX), swap_first);
    // Lowered: the sum would be refused while the memory limit is above it.
    assert_eq!(order(30, 50, 60), !swap_first);
    assert_eq!(order(30, 50, 50), !swap_first);
    assert_eq!(order(30, 50, 9_223_372_036_854_771_712), !swap_first);
}

#[test]
fn memory_of_v2() {
    v2(
        json!({"memory": {"limit": 100, "reservation": 50, "swap": 250, "swappiness": 10,
            "disableOOMKiller": true}}),
        &[
            "memory: memory.swap.max=150",
            "memory: memory.max=100",
            "memory: memory.low=50",
        ],
    );
    v2(
        json!({"memory": {"limit": 100, "swap": 100}}),
        &[
            "memory: memory.swap.max=0 (or skip)",
            "memory: memory.max=100",
        ],
    );
    v2(
        json!({"memory": {"limit": -1}}),
        &[
            "memory: memory.swap.max=max (or skip)",
            "memory: memory.max=max",
        ],
    );
    v2(
        json!({"memory": {"limit": -1, "swap": 100}}),
        &["memory: memory.swap.max=100", "memory: memory.max=max"],
    );
    v2(
        json!({"memory": {"swap": -1}}),
        &["memory: memory.swap.max=max (or skip)"],
    );
    v2(
        json!({"memory": {"swap": 100}}),
        &["error: memory.swap: unable to set swap limit 100 without memory limit"],
    );
}

#[test]
fn a_limit_below_the_usage_is_refused_on_v2_if_that_is_asked_for() {
    let existing = Existing {
        memory_usage_bytes: Some(100),
        ..Existing::default()
    };
    let with = |limits: Value| {
        let mut limits = limits;
        limits["checkBeforeUpdate"] = json!(true);
        planned(Version::V2, json!({"memory": limits}), &existing).remove(0)
    };
    let refused = |name: &str| format!("error: rejecting {name} limit 100 <= usage 100");
    assert_eq!(with(json!({"limit": 100})), refused("memory"));
    let both = json!({"limit": 100, "swap": 100});
    assert_eq!(with(both), refused("memory+swap"));
    assert_eq!(with(json!({"limit": 101})), "memory: memory.max=101");
}

#[test]
fn cpu_of_v1() {
    v1(
        json!({"cpu": {"shares": 512, "quota": 20000, "period": 100_000, "burst": 1000,
            "realtimeRuntime": 900, "realtimePeriod": 1000, "idle": 0}}),
        &[
            "cpu: cpu.idle=0",
            "cpu: cpu.shares=512",
            "cpu: cpu.cfs_period_us=100000 (or retry)",
            "cpu: cpu.cfs_burst_us=1000 (or retry)",
            "cpu: cpu.cfs_quota_us=20000",
            "cpu: cpu.rt_period_us=1000 (or retry)",
            "cpu: cpu.rt_runtime_us=900",
        ],
    );
    v1(
        json!({"cpu": {"period": 5000}}),
        &["cpu: cpu.cfs_period_us=5000"],
    );
    v1(json!({"cpu": {"quota": -1}}), &["cpu: cpu.cfs_quota_us=-1"]);
    v1(
        json!({"cpu": {"burst": 0}}),
        &["cpu: cpu.cfs_burst_us=0 (or skip)"],
    );
    v1(
        json!({"cpu": {"shares": 512, "idle": 1}}),
        &["cpu: cpu.idle=1"],
    );
    v1(
        json!({"cpu": {"realtimePeriod": 5}}),
        &["cpu: cpu.rt_period_us=5"],
    );
}

#[test]
fn cpu_of_v2() {
    v2(
        json!({"cpu": {"shares": 1024, "quota": 20000, "period": 100_000, "burst": 1000,
            "realtimeRuntime": 900, "realtimePeriod": 1000, "idle": 0}}),
        &[
            "cpu: cpu.idle=0",
            "cpu: cpu.weight=100",
            "cpu: cpu.max.burst=1000 (or retry)",
            "cpu: cpu.max=20000 100000",
        ],
    );
    v2(json!({"cpu": {"period": 5000}}), &["cpu: cpu.max=max 5000"]);
    v2(json!({"cpu": {"quota": 5000}}), &["cpu: cpu.max=5000"]);
    v2(json!({"cpu": {"quota": -1}}), &["cpu: cpu.max=max"]);
    v2(
        json!({"cpu": {"quota": -1, "period": 7000}}),
        &["cpu: cpu.max=max 7000"],
    );
    v2(
        json!({"cpu": {"shares": 512, "idle": 1}}),
        &["cpu: cpu.idle=1"],
    );
    v2(
        json!({"cpu": {"burst": 0}}),
        &["cpu: cpu.max.burst=0 (or skip)"],
    );
}

#[test]
fn shares_become_weights() {
    let cases = [
        (1, 1),
        (2, 1),
        (3, 2),
        (10, 4),
        (100, 17),
        (200, 29),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (8192, 532),
        (262_143, 10_000),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ];
    for (shares, weight) in cases {
        v2(
            json!({"cpu": {"shares": shares}}),
            &[&format!("cpu: cpu.weight={weight}")],
        );
    }
    let weights: Vec<u64> = (1..=262_144).step_by(97).map(v2::cpu::weight).collect();
    assert!(weights.is_sorted(), "more shares are never less weight");
}

#[test]
fn cpusets_are_the_same_in_both() {
    for version in [Version::V1, Version::V2] {
        check(
            version,
            json!({"cpu": {"cpus": "0-2,5", "mems": "0"}}),
            &["cpuset: cpuset.cpus=0-2,5", "cpuset: cpuset.mems=0"],
        );
        check(
            version,
            json!({"cpu": {"mems": "1"}}),
            &["cpuset: cpuset.mems=1"],
        );
    }
}

#[test]
fn an_empty_cpuset_inherits_what_it_lacks() {
    let values = |cpus: &str, mems: &str| CpusetValues {
        cpus: cpus.to_owned(),
        mems: mems.to_owned(),
    };
    let parent = values("0-3", "0");
    let lines =
        |own: &CpusetValues| -> Vec<String> { inherited(own, &parent).iter().map(line).collect() };
    let both = ["cpuset: cpuset.cpus=0-3", "cpuset: cpuset.mems=0"];
    assert_eq!(lines(&values("", "")), both);
    assert_eq!(lines(&values("1", "")), both[1..]);
    assert_eq!(lines(&values("1", "0")), [""; 0]);
}

#[test]
fn processes_are_the_same_in_both() {
    for version in [Version::V1, Version::V2] {
        check(
            version,
            json!({"pids": {"limit": 17}}),
            &["pids: pids.max=17"],
        );
        check(
            version,
            json!({"pids": {"limit": -1}}),
            &["pids: pids.max=max"],
        );
    }
}

fn block_io() -> Value {
    json!({"blockIO": {
        "weight": 500,
        "leafWeight": 300,
        "weightDevice": [
            {"major": 8, "minor": 0, "weight": 100, "leafWeight": 200},
            {"major": 8, "minor": 16, "weight": 1000},
            {"major": 8, "minor": 32, "weight": 0},
        ],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 2}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
    }})
}

fn with_weights(weight_file: WeightFile) -> Existing {
    Existing {
        weight_file,
        ..Existing::default()
    }
}

#[test]
fn block_io_of_v1() {
    let throttles = [
        "blkio: blkio.throttle.read_bps_device=8:0 1",
        "blkio: blkio.throttle.write_bps_device=8:0 2",
        "blkio: blkio.throttle.read_iops_device=8:0 3",
        "blkio: blkio.throttle.write_iops_device=8:0 0",
    ];
    let weights = |prefix: &str| {
        [
            format!("blkio: {prefix}weight=500"),
            "blkio: blkio.leaf_weight=300".to_owned(),
            format!("blkio: {prefix}weight_device=8:0 100"),
            "blkio: blkio.leaf_weight_device=8:0 200".to_owned(),
            format!("blkio: {prefix}weight_device=8:16 1000"),
        ]
    };
    let cases = [
        (WeightFile::Common, "blkio."),
        (WeightFile::Bfq, "blkio.bfq."),
    ];
    for (weight_file, prefix) in cases {
        let found = planned(Version::V1, block_io(), &with_weights(weight_file));
        let expected = weights(prefix).into_iter();
        let expected: Vec<String> = expected.chain(throttles.map(str::to_owned)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn block_io_of_v2() {
    let throttles = [
        "io: io.max=8:0 rbps=1",
        "io: io.max=8:0 wbps=2",
        "io: io.max=8:0 riops=3",
        "io: io.max=8:0 wiops=max",
    ];
    let cases: [(WeightFile, &[&str]); 3] = [
        (
            WeightFile::Common,
            &[
                "io: io.weight=4950",
                "io: io.weight=8:0 910",
                "io: io.weight=8:16 10000",
            ],
        ),
        (
            WeightFile::Bfq,
            &[
                "io: io.bfq.weight=500",
                "io: io.bfq.weight=8:0 100",
                "io: io.bfq.weight=8:16 1000",
            ],
        ),
        (WeightFile::BfqWithoutDevices, &["io: io.bfq.weight=500"]),
    ];
    for (weight_file, weights) in cases {
        let found = planned(Version::V2, block_io(), &with_weights(weight_file));
        assert_eq!(found, [weights, &throttles].concat());
    }
    v2(json!({"blockIO": {"weight": 10}}), &["io: io.weight=1"]);
}

#[test]
fn huge_pages() {
    let limits = json!({"hugepageLimits": [
        {"pageSize": "2MB", "limit": 4096}, {"pageSize": "1GB", "limit": -1},
    ]});
    v1(
        limits.clone(),
        &[
            "hugetlb: hugetlb.2MB.limit_in_bytes=4096",
            "hugetlb: hugetlb.2MB.rsvd.limit_in_bytes=4096 (or skip)",
            "hugetlb: hugetlb.1GB.limit_in_bytes=-1",
            "hugetlb: hugetlb.1GB.rsvd.limit_in_bytes=-1 (or skip)",
        ],
    );
    v2(
        limits,
        &[
            "hugetlb: hugetlb.2MB.max=4096",
            "hugetlb: hugetlb.2MB.rsvd.max=4096 (or skip)",
            "hugetlb: hugetlb.1GB.max=max",
            "hugetlb: hugetlb.1GB.rsvd.max=max (or skip)",
        ],
    );
}

#[test]
fn networks_have_classes_on_v1_only() {
    let network = json!({"network": {"classID": 1_048_577, "priorities": [
        {"name": "lo", "priority": 500}, {"name": "eth0", "priority": 1000},
    ]}});
    v1(
        network.clone(),
        &[
            "net_cls: net_cls.classid=1048577",
            "net_prio: net_prio.ifpriomap=lo 500",
            "net_prio: net_prio.ifpriomap=eth0 1000",
        ],
    );
    v2(network, &[]);
}

#[test]
fn rdma_is_the_same_in_both() {
    let rdma = json!({"rdma": {
        "mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000},
        "mlx4_0": {"hcaObjects": 1000},
        "rxe3": {},
    }});
    for version in [Version::V1, Version::V2] {
        check(
            version,
            rdma.clone(),
            &[
                "rdma: rdma.max=mlx4_0 hca_object=1000",
                "rdma: rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
            ],
        );
    }
}

#[test]
fn free_values_come_last_line_by_line() {
    let existing = Existing {
        controllers: ["cpu", "memory", "misc"].map(str::to_owned).into(),
        ..Existing::default()
    };
    let found = planned(
        Version::V2,
        json!({
            "unified": {"misc.max": "a 1\nb 2\n", "memory.high": "99", "cgroup.max.depth": "3"},
            "cpu": {"quota": 1},
        }),
        &existing,
    );
    let expected = [
        "cpu: cpu.max=1",
        "unified: cgroup.max.depth=3",
        "unified: memory.high=99",
        "unified: misc.max=a 1",
        "unified: misc.max=b 2",
    ];
    assert_eq!(found, expected);
}

#[test]
fn free_values_name_a_file_of_a_controller_that_is_there() {
    let refused = |key: &str| {
        planned(
            Version::V2,
            json!({"unified": {key: "1"}}),
            &Existing::default(),
        )
        .remove(0)
    };
    let slashes = "must be a file name (no slashes)";
    assert_eq!(
        refused("a/b.c"),
        format!("error: unified resource \"a/b.c\" {slashes}")
    );
    assert_eq!(
        refused("../cpu.max"),
        format!("error: unified resource \"../cpu.max\" {slashes}")
    );
    assert_eq!(
        refused("memory"),
        "error: unified resource \"memory\" must be in the form CONTROLLER.PARAMETER"
    );
    assert_eq!(
        refused("pids.max"),
        "error: unified resource \"pids.max\" can't be set: controller \"pids\" not available"
    );
    assert!(refused("..").contains("controller \"\" not available"));
    v1(
        json!({"unified": {"pids.max": "1"}}),
        &[
            "error: invalid configuration: unified resource \"pids.max\" cannot be used with cgroup v1",
        ],
    );
}

#[test]
fn values_out_of_range_are_named() {
    let cases = [
        (
            json!({"memory": {"limit": -2}}),
            "memory.limit: -2 is not a limit",
        ),
        (
            json!({"memory": {"swap": -7}}),
            "memory.swap: -7 is not a limit",
        ),
        (
            json!({"memory": {"reservation": -7}}),
            "memory.reservation: -7 is not a limit",
        ),
        (
            json!({"memory": {"limit": 9, "swap": 8}}),
            "limit 8 should be >= memory limit 9",
        ),
        (json!({"cpu": {"idle": 2}}), "cpu.idle: 2 is neither"),
        (json!({"pids": {"limit": -3}}), "pids.limit: -3"),
        (
            json!({"hugepageLimits": [{"pageSize": "2mb", "limit": 1}]}),
            "\"2mb\" is not a page size",
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "../MB", "limit": 1}]}),
            "is not a page size",
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "MB", "limit": 1}]}),
            "is not a page size",
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": -9}]}),
            "-9 is not a limit",
        ),
        (
            json!({"rdma": {"a b": {"hcaObjects": 1}}}),
            "\"a b\" is not the name of a device",
        ),
    ];
    for (resources, expected) in cases {
        for version in [Version::V1, Version::V2] {
            let found = planned(version, resources.clone(), &Existing::default()).join("\n");
            assert!(found.starts_with("error:"), "{resources}: {found}");
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
    }
}

#[test]
fn values_out_of_range_in_one_version_are_named() {
    v1(
        json!({"memory": {"swappiness": 101}}),
        &["error: memory.swappiness: invalid value 101 (valid range is 0-100)"],
    );
    v1(
        json!({"cpu": {"shares": 1}}),
        &["error: cpu.shares: 1 is too low: the minimum allowed cpu-shares is 2"],
    );
    v1(
        json!({"cpu": {"shares": 262_145}}),
        &["error: cpu.shares: 262145 is too high: the maximum allowed cpu-shares is 262144"],
    );
    v2(
        json!({"blockIO": {"weight": 9}}),
        &["error: blockIO.weight: 9 is not in the range 10-1000"],
    );
}

#[test]
fn only_hierarchies_that_serve_a_purpose_are_joined() {
    let joined = |resources: Value| -> Vec<&str> {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let all = [
            "blkio",
            "cpu",
            "cpuacct",
            "cpuset",
            "devices",
            "freezer",
            "hugetlb",
            "memory",
            "net_cls",
            "net_prio",
            "perf_event",
            "pids",
            "rdma",
        ];
        all.into_iter()
            .filter(|name| is_joined(name, &resources))
            .collect()
    };
    let always = [
        "blkio", "cpu", "cpuacct", "devices", "freezer", "memory", "pids",
    ];
    assert_eq!(joined(json!({})), always);
    assert_eq!(
        joined(json!({"cpu": {"cpus": ""}, "network": {"priorities": []}})),
        always
    );
    let full = json!({
        "cpu": {"cpus": "0"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
        "rdma": {"a": {}},
    });
    assert_eq!(joined(full).len(), always.len() + 5);
}
