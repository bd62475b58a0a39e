//! `events`: measures, and running out of memory.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::Child;

use serde_json::{Value, json};

use crate::bundle::{Bundle, wait, wait_until};

/// A call of `events` whose output is looked at while it runs.
struct Follower {
    child: Child,
    output: File,
}

impl Follower {
    fn start(bundle: &Bundle, interval: &str) -> Self {
        let output = tempfile::tempfile().unwrap();
        let mut command = bundle.command(&["events", "--interval", interval, "c"]);
        command.stdout(output.try_clone().unwrap());
        let child = command.spawn().unwrap();
        // Before, what happens to the container is not its business.
        let descriptors = format!("/proc/{}/fd", child.id());
        let watches = |path: std::path::PathBuf| {
            let target = std::fs::read_link(path).unwrap_or_default();
            let name = target.to_string_lossy().into_owned();
            name.ends_with("[eventfd]") || name.ends_with("inotify")
        };
        wait_until("it watches", || {
            let entries = std::fs::read_dir(&descriptors).into_iter().flatten();
            entries.flatten().any(|entry| watches(entry.path()))
        });
        Self { child, output }
    }

    /// Returns the whole lines so far. The writer's offset is not moved.
    fn events(&self) -> Vec<Value> {
        use std::os::unix::fs::FileExt as _;
        let length = self.output.metadata().unwrap().len();
        let mut text = vec![0; usize::try_from(length).unwrap()];
        self.output.read_exact_at(&mut text, 0).unwrap();
        let text = String::from_utf8(text).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn stats_are_one_line_in_the_layout_of_runc() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["resources"] = json!({
        "memory": {"limit": 32 << 20},
        "pids": {"limit": 17},
    });
    bundle.start("c");
    let text = bundle.runc(&["events", "--stats", "c"]).ok();
    assert_eq!(text.lines().count(), 1, "{text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&event["type"], &event["id"]),
        (&json!("stats"), &json!("c"))
    );
    let data = &event["data"];
    assert!(
        data["cpu"]["usage"]["total"].as_u64().unwrap() > 0,
        "{text}"
    );
    assert_eq!(data["memory"]["usage"]["limit"], 32 << 20);
    assert!(
        data["memory"]["usage"]["usage"].as_u64().unwrap() > 0,
        "{text}"
    );
    assert!(
        !data["memory"]["raw"].as_object().unwrap().is_empty(),
        "{text}"
    );
    assert_eq!(data["pids"], json!({"current": 1, "limit": 17}));
    for key in ["blkio", "hugetlb", "intel_rdt", "cpuset"] {
        assert!(data[key].is_object(), "{key} in {text}");
    }
    // A network of its own, with nothing but the loopback in it.
    for interface in data["network_interfaces"].as_array().unwrap() {
        assert_ne!(interface["Name"], "lo", "{text}");
    }
}

#[test]
fn stats_come_again_until_the_container_ends() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let mut follower = Follower::start(&bundle, "20ms");
    wait_until("there are three measures", || follower.events().len() >= 3);
    for event in follower.events() {
        assert_eq!(event["type"], "stats");
    }
    bundle.runc(&["kill", "c", "KILL"]).ok();
    assert!(wait(&mut follower.child).success());
}

#[test]
fn running_out_of_memory_is_told() {
    let mut bundle = Bundle::with_script(
        "while ! test -e /tmp/go; do :; done; x=aaaaaaaa; while :; do x=$x$x; done",
    );
    bundle.config["linux"]["resources"] = json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}});
    bundle.start("c");
    let mut follower = Follower::start(&bundle, "1h");
    // It has begun to watch once it waits.
    let state = format!("/proc/{}/stat", follower.child.id());
    wait_until("it waits", || {
        let stat = std::fs::read_to_string(&state).unwrap_or_default();
        stat.contains(") S ")
    });
    let go = bundle.rootfs().join("tmp/go");
    base::file::replace(&go, b"", base::file::FileMode::Public).unwrap();
    assert!(wait(&mut follower.child).success());
    let events = follower.events();
    assert_eq!(events.first(), Some(&json!({"type": "oom", "id": "c"})));
    assert!(
        events.iter().all(|event| event["type"] == "oom"),
        "{events:?}"
    );
    bundle.wait_stopped("c");
}

#[test]
fn an_end_is_no_lack_of_memory() {
    let bundle = Bundle::with_script("exit 0");
    bundle.runc(&["create", "c"]).ok();
    let mut follower = Follower::start(&bundle, "1h");
    bundle.runc(&["start", "c"]).ok();
    bundle.wait_stopped("c");
    bundle.runc(&["delete", "c"]).ok();
    assert!(wait(&mut follower.child).success());
    assert_eq!(follower.events(), [Value::Null; 0]);
    let mut rest = String::new();
    follower.output.rewind().unwrap();
    follower.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn events_of_what_does_not_run_are_refused() {
    let bundle = Bundle::with_script("exit 0");
    bundle.runc(&["events", "c"]).fails(1, "does not exist");
    bundle.start("c");
    bundle.wait_stopped("c");
    let not_running = "container with id c is not running";
    bundle.runc(&["events", "c"]).fails(1, not_running);
    bundle
        .runc(&["events", "--stats", "c"])
        .fails(1, not_running);
    let interval = "duration interval must be greater than 0";
    for bad in ["0", "0s", "-5s"] {
        bundle
            .runc(&["events", "--interval", bad, "c"])
            .fails(1, interval);
    }
    bundle
        .runc(&["events", "--interval", "5", "c"])
        .fails(1, "invalid duration");
}
