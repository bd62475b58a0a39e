//! Limits and other facts that a container's processes find.

use std::fs;

use tests::{Installation, wait_until, words, words_and};

/// Returns a disk of the host with a node in `/dev`, and its numbers.
fn disk() -> (String, String) {
    let disks = fs::read_dir("/sys/block").expect("list the disks");
    let with_node = disks.flatten().find_map(|entry| {
        let node = format!("/dev/{}", entry.file_name().display());
        let numbers = fs::read_to_string(entry.path().join("dev")).ok()?;
        fs::metadata(&node).ok()?;
        Some((node, numbers.trim().to_owned()))
    });
    with_node.expect("the host has a disk")
}

#[test]
fn rates_of_block_devices_reach_the_control_group() {
    let host = Installation::new();
    let (node, numbers) = disk();
    let options = format!(
        "run --rm --device-read-bps {node}:1mb --device-write-iops {node}:100 --blkio-weight 300"
    );
    let mut run = words(&options);
    run.extend(["busybox:1", "sh", "-c"]);
    run.push(
        "cd /sys/fs/cgroup/blkio; cat blkio.throttle.read_bps_device blkio.throttle.write_iops_device blkio.bfq.weight",
    );
    let seen = host.ok(&run);
    assert_eq!(seen, format!("{numbers} 1048576\n{numbers} 100\n300\n"));
    host.fails(
        125,
        "Range of blkio weight is from 10 to 1000",
        &words("run --rm --blkio-weight 5 busybox:1 true"),
    );
    host.fails(
        125,
        "no block device",
        &words("run --rm --device-read-bps /dev/null:1mb busybox:1 true"),
    );
    host.ok(&words("run -d --name box busybox:1 sleep 1000"));
    host.ok(&words("update --blkio-weight 500 box"));
    let weight = words("exec box cat /sys/fs/cgroup/blkio/blkio.bfq.weight");
    assert_eq!(host.ok(&weight), "500\n");
    host.finish();
}

#[test]
fn a_container_has_the_parent_group_and_annotations_it_was_given() {
    let host = Installation::new();
    let parent = format!("/tests-{}", std::process::id());
    let run = format!(
        "run -d --name box --cgroupns host --cgroup-parent {parent} --annotation org.example.a=b busybox:1 sleep 1000"
    );
    host.ok(&words(&run));
    let id = host.ok(&words_and("inspect box --format", "{{.Id}}"));
    let groups = host.ok(&words("exec box cat /proc/1/cgroup"));
    let expected = format!(":{parent}/{}", id.trim());
    assert!(groups.contains(&expected), "{groups}");
    let shown = words_and("inspect box --format", "{{json .HostConfig.Annotations}}");
    assert_eq!(host.ok(&shown), "{\"org.example.a\":\"b\"}\n");
    let used = words_and("stats --no-stream --format", "{{.PIDs}}");
    assert_eq!(host.ok(&used), "1\n");
    host.fails(
        125,
        "invalid cgroup parent",
        &words("run --rm --cgroup-parent /../x busybox:1 true"),
    );
    host.ok(&words("rm -f box"));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let left = hierarchy.path().join(parent.trim_start_matches('/'));
        // What the container had in it goes behind the answer.
        wait_until("the parent is empty", || {
            !left.exists() || fs::remove_dir(&left).is_ok()
        });
    }
    host.finish();
}
