//! A person at a terminal: what `-t` and `-it` promise.

use tests::{Installation, Terminal, wait_until};

const DETACH: &str = "\x10\x11";
const INTERRUPT: &str = "\x03";

fn open(host: &Installation, arguments: &[&str]) -> Terminal {
    Terminal::run(&host.command(arguments))
}

fn status(host: &Installation, name: &str) -> String {
    let said = host.ok(&["inspect", "-f", "{{.State.Status}}", name]);
    said.trim().to_owned()
}

/// What to type to a shell so that it waits until its terminal has this size.
fn until_size(size: &str) -> String {
    format!("until [ \"$(stty size)\" = '{size}' ]; do sleep 0.01; done\r")
}

/// Detaches from what is only watched, which as with Docker ends with 1.
fn leave(mut terminal: Terminal, keys: &str) {
    terminal.type_keys(keys);
    terminal.wait_for("read escape sequence\r\n");
    assert_eq!(terminal.exit_code(), 1);
}

#[test]
fn a_shell_has_a_terminal_of_the_right_size_and_can_be_interrupted() {
    let host = Installation::new();
    let mut shell = open(&host, &["run", "--rm", "-it", "busybox:1", "sh"]);
    shell.wait_for("/ # ");
    assert!(!shell.is_cooked(), "every key goes to the container");
    // What is typed is shown once, by the terminal inside; a result is not typed.
    shell.type_keys("echo seven$((6 * 7)) $TERM; tty; stty size\r");
    shell.wait_for("seven42 xterm\r\n/dev/pts/0\r\n24 80\r\n");
    assert_eq!(shell.screen().matches("echo seven").count(), 1);
    shell.type_keys("trap 'stty size' WINCH; echo ready$((1))\r");
    shell.wait_for("ready1\r\n");
    shell.resize(40, 100);
    // The shell runs its trap when something ends.
    shell.type_keys(&until_size("40 100"));
    shell.type_keys("echo is$((2))\r");
    shell.wait_for("is2\r\n");
    // What is interrupted is never the shell that is about to start it.
    shell.type_keys("sh -c 'echo asleep$((3)); exec sleep 1000'\r");
    shell.wait_for("asleep3\r\n");
    shell.type_keys(INTERRUPT);
    shell.type_keys("echo awake$?\r");
    shell.wait_for("awake130\r\n");
    shell.type_keys("exit 5\r");
    assert_eq!(shell.exit_code(), 5);
    host.finish();
}

#[test]
fn detached_containers_go_on_and_are_attached_to_again() {
    let host = Installation::new();
    let mut first = open(&host, &["run", "-it", "--name", "box", "busybox:1", "sh"]);
    first.wait_for("/ # ");
    first.type_keys("kept=here$((1))\r");
    first.wait_for("here$((1))\r\n");
    first.type_keys(DETACH);
    assert_eq!(first.exit_code(), 0);
    assert_eq!(status(&host, "box"), "running");
    let mut second = open(&host, &["attach", "box"]);
    // An attachment makes the size another for a moment, so that programs draw anew.
    second.type_keys("\r");
    second.type_keys(&until_size("24 80"));
    second.type_keys("echo $kept; stty size\r");
    second.wait_for("here1\r\n24 80\r\n");
    leave(second, DETACH);
    let mut third = open(&host, &["attach", "--detach-keys", "ctrl-x,x", "box"]);
    // The beginning of the keys, and then others, are passed on.
    third.type_keys("\recho \x10again$((1))\r");
    third.wait_for("again1");
    leave(third, "\x18x");
    assert_eq!(status(&host, "box"), "running");
    let mut last = open(&host, &["attach", "box"]);
    last.type_keys("\rexit 3\r");
    assert_eq!(last.exit_code(), 3);
    wait_until("it has ended", || status(&host, "box") == "exited");
    assert!(host.ok(&["logs", "box"]).contains("here1"));
    host.finish();
}

#[test]
fn a_started_container_is_attached_to_with_its_terminal() {
    let host = Installation::new();
    host.ok(&["create", "-it", "--name", "box", "busybox:1", "sh"]);
    let mut shell = open(&host, &["start", "-ai", "box"]);
    shell.wait_for("/ # ");
    shell.type_keys("stty size; exit 4\r");
    shell.wait_for("24 80\r\n");
    assert_eq!(shell.exit_code(), 4);
    host.finish();
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let host = Installation::new();
    host.ok(&["run", "-d", "--name", "box", "busybox:1", "sleep", "1000"]);
    let mut shell = open(&host, &["exec", "-it", "-u", "web", "box", "sh"]);
    shell.wait_for("$ ");
    shell.type_keys("id -un; stty size; test -t 0 -a -t 1 -a -t 2 && echo all$((3))\r");
    shell.wait_for("web\r\n24 80\r\nall3\r\n");
    shell.resize(50, 120);
    shell.type_keys(&until_size("50 120"));
    shell.type_keys("echo is$((2))\r");
    shell.wait_for("is2\r\n");
    shell.type_keys("sleep 1000\r");
    shell.wait_for("sleep 1000\r\n");
    wait_until("it sleeps", || {
        host.ok(&["exec", "box", "ps"])
            .matches("sleep 1000")
            .count()
            == 2
    });
    shell.type_keys(INTERRUPT);
    shell.type_keys("exit 6\r");
    assert_eq!(shell.exit_code(), 6);
    let left = open(&host, &["exec", "-it", "box", "sh"]);
    left.wait_for("# ");
    leave(left, DETACH);
    assert!(
        host.ok(&["exec", "box", "ps"]).contains("1000"),
        "it goes on"
    );
    // Without a terminal on our side there is one inside all the same.
    assert_eq!(
        host.ok(&["exec", "-t", "box", "sh", "-c", "test -t 1 && echo yes"]),
        "yes\r\n"
    );
    host.finish();
}

/// Nothing is typed, and a program that asks at once gets the size all the same.
#[test]
fn a_program_begins_with_the_size_of_its_terminal() {
    let host = Installation::new();
    let asked = ["busybox:1", "stty", "size"];
    let run = open(&host, &[&["run", "--rm", "-it"], &asked[..]].concat());
    run.wait_for("24 80\r\n");
    assert_eq!(run.exit_code(), 0);
    host.ok(&["run", "-d", "--name", "box", "busybox:1", "sleep", "1000"]);
    for _ in 0..5 {
        let exec = open(&host, &["exec", "-it", "box", "stty", "size"]);
        exec.wait_for("24 80\r\n");
        assert_eq!(exec.exit_code(), 0);
    }
    host.finish();
}

#[test]
fn keys_cannot_come_from_what_is_no_terminal() {
    let host = Installation::new();
    let text = "the input device is not a TTY";
    host.fails(1, text, &["run", "--rm", "-it", "busybox:1", "sh"]);
    host.ok(&["run", "-d", "--name", "box", "busybox:1", "sleep", "1000"]);
    host.fails(1, text, &["exec", "-it", "box", "sh"]);
    host.finish();
}

#[test]
fn without_a_terminal_inside_an_interrupt_is_passed_on() {
    let host = Installation::new();
    let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.01; done";
    let mut shell = open(&host, &["run", "--rm", "busybox:1", "sh", "-c", script]);
    shell.wait_for("ready\r\n");
    assert!(
        shell.is_cooked(),
        "the terminal is the command's, not the container's"
    );
    shell.type_keys(INTERRUPT);
    shell.wait_for("caught\r\n");
    assert_eq!(shell.exit_code(), 9);
    host.finish();
}
