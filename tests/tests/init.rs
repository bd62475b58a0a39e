//! `--init`: a small init is process 1, passes signals on, reaps orphans, and
//! exits as the container's process does.

use tests::{Installation, wait_until};

fn state(host: &Installation, name: &str) -> String {
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    host.ok(&["inspect", "-f", format, name]).trim().to_owned()
}

fn zombies(host: &Installation, name: &str) -> String {
    let count = ["exec", name, "sh", "-c", "ps -o stat | grep -c Z"];
    host.engine(&count).stdout.trim().to_owned()
}

#[test]
fn the_init_is_process_one_and_reaps_orphans() {
    let host = Installation::with_static_shim();
    let sleep = ["busybox:1", "sleep", "1000"];
    host.ok(&[&["run", "-d", "--name", "with", "--init"], &sleep[..]].concat());
    host.ok(&[&["run", "-d", "--name", "without"], &sleep[..]].concat());
    let first = |name| host.ok(&["exec", name, "cat", "/proc/1/comm"]);
    assert_eq!(first("with"), "docker-init\n");
    assert_eq!(first("without"), "sleep\n");
    let listed = host.ok(&["exec", "with", "ps", "-o", "pid,args"]);
    let is_init =
        |line: &str| line.trim().starts_with("1 ") && line.ends_with("docker-init -- sleep 1000");
    assert!(listed.lines().any(is_init), "{listed}");
    for name in ["with", "without"] {
        let orphans = "for i in 1 2 3; do (true &); done";
        host.ok(&["exec", name, "sh", "-c", orphans]);
    }
    wait_until("sleep reaps no orphans", || {
        zombies(&host, "without") == "3"
    });
    wait_until("the init does", || zombies(&host, "with") == "0");
    host.ok(&["kill", "with", "without"]);
    host.finish();
}

#[test]
fn the_init_passes_exit_codes_and_signals() {
    let host = Installation::with_static_shim();
    let code = |command: &[&str]| {
        let run = ["run", "--rm", "--init", "busybox:1"];
        host.engine(&[&run[..], command].concat()).code
    };
    assert_eq!(code(&["true"]), 0);
    assert_eq!(code(&["sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(code(&["no-such-program"]), 127);
    let trap = "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.02; done";
    let run = ["run", "-d", "--init", "--name"];
    host.ok(&[&run[..], &["trap", "busybox:1", "sh", "-c", trap]].concat());
    wait_until("the trap is set", || host.ok(&["logs", "trap"]) == "up\n");
    host.ok(&["stop", "trap"]);
    assert_eq!(state(&host, "trap"), "exited 9");
    assert_eq!(host.ok(&["logs", "trap"]), "up\ngot\n");
    // As process 1 it would not even see the signal.
    host.ok(&[&run[..], &["plain", "busybox:1", "sleep", "1000"]].concat());
    let find = "ps -o args | grep -qx 'sleep 1000'";
    let found = || host.engine(&["exec", "plain", "sh", "-c", find]).code == 0;
    wait_until("the init is ready", found);
    host.ok(&["stop", "plain"]);
    assert_eq!(state(&host, "plain"), "exited 143");
    host.finish();
}

#[test]
fn the_process_below_the_init_has_the_terminal() {
    let host = Installation::with_static_shim();
    // Whoever is not in the foreground is stopped when it sets the terminal.
    let script = "stty -echo && ps -o pid,pgid,args | grep -c 'docker-init' && echo done";
    let said = host.engine(&[
        "run",
        "--rm",
        "-t",
        "--init",
        "busybox:1",
        "sh",
        "-c",
        script,
    ]);
    assert!(
        said.code == 0 && said.stdout.ends_with("done\r\n"),
        "{said:?}"
    );
    host.finish();
}
