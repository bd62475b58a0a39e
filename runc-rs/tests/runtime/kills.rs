//! The runtime killed at every step: what is left is a container that commands
//! deal with, and `delete --force` cleans everything.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use serde_json::json;

use crate::bundle::{Bundle, wait_until};

/// More steps than any command has.
const STEPS: u32 = 60;
const KILL: i32 = 9;

/// Runs a command that kills itself at a step; returns whether it did, and was
/// not over before.
fn is_killed(bundle: &Bundle, step: u32, arguments: &[&str]) -> bool {
    let step = step.to_string();
    let fatal = [&["--die-at-step", &step], arguments].concat();
    let mut command = bundle.command(&fatal);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let ended = command.stderr(Stdio::null()).status().unwrap();
    ended.signal() == Some(KILL)
}

/// A bundle whose creation has as many steps as can be.
fn bundle() -> Bundle {
    let mut bundle = Bundle::idle();
    let hook = json!([{"path": "/bin/true"}]);
    bundle.config["hooks"] = json!({"prestart": hook, "createRuntime": hook, "poststart": hook,
        "poststop": hook});
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 50});
    bundle
}

/// Counts the processes that a command of this bundle has left: those that have
/// not become the container's program still have its words.
fn processes(bundle: &Bundle) -> usize {
    let root = bundle.root().display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let words = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    words
        .filter(|words| String::from_utf8_lossy(words).contains(&root))
        .count()
}

/// Kills a command at each of its steps, looks, and cleans up. Returns how many
/// steps it has.
fn kill_at_every_step(
    prepare: impl Fn(&Bundle),
    arguments: &[&str],
    look: impl Fn(&Bundle),
) -> u32 {
    for step in 1..=STEPS {
        let bundle = bundle();
        prepare(&bundle);
        let killed = is_killed(&bundle, step, arguments);
        if killed {
            bundle.runc(&["list"]).ok();
            look(&bundle);
        }
        bundle.runc(&["delete", "--force", "c"]).ok();
        bundle.assert_clean();
        wait_until("no process of it is left", || processes(&bundle) == 0);
        if !killed {
            return step - 1;
        }
    }
    panic!("{arguments:?} has more than {STEPS} steps");
}

#[test]
fn a_creation_killed_at_any_step_can_be_deleted() {
    let steps = kill_at_every_step(
        |_| {},
        &["create", "c"],
        |bundle| {
            // The id is taken, or nothing at all is left.
            let again = bundle.runc(&["create", "c"]);
            assert!(again.code == 0 || again.err.contains("exist"), "{again:?}");
        },
    );
    assert!(steps >= 9, "{steps}");
}

#[test]
fn a_run_killed_at_any_step_can_be_deleted() {
    let steps = kill_at_every_step(|_| {}, &["run", "-d", "c"], |_| {});
    assert!(steps >= 12, "{steps}");
}

#[test]
fn a_start_killed_at_any_step_has_started_or_can_be_repeated() {
    let create = |bundle: &Bundle| drop(bundle.runc(&["create", "c"]).ok());
    let steps = kill_at_every_step(create, &["start", "c"], |bundle| {
        if bundle.status("c") == "created" {
            // Its program may be on the way already.
            bundle.runc(&["start", "c"]);
        }
        wait_until("it runs", || bundle.status("c") == "running");
    });
    assert!(steps >= 3, "{steps}");
}

#[test]
fn an_exec_killed_at_any_step_leaves_the_container_as_it_is() {
    let start = |bundle: &Bundle| bundle.start("c");
    let steps = kill_at_every_step(start, &["exec", "c", "sleep", "0.1"], |bundle| {
        assert_eq!(bundle.status("c"), "running");
        assert_eq!(bundle.exec("c", "echo well"), "well\n");
    });
    assert!(steps >= 2, "{steps}");
}

#[test]
fn a_deletion_killed_at_any_step_can_be_repeated() {
    let start = |bundle: &Bundle| bundle.start("c");
    let steps = kill_at_every_step(start, &["delete", "--force", "c"], |_| {});
    assert!(steps >= 4, "{steps}");
}
