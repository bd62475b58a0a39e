//! What starting a container costs, in things that can be counted: programs
//! executed, syncs, writes to cgroups. The numbers in `hot-path.toml` are only
//! ever lowered.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tests::{Installation, wait_until};

const COMMITTED: &str = include_str!("../hot-path.toml");
const RUN: &[&str] = &["run", "--rm", "busybox:1", "true"];
const CALLS: &str = "trace=execve,execveat,fsync,fdatasync,syncfs,sync,sync_file_range,msync,\
    write,pwrite64,writev,pwritev,pwritev2";
const SYNCS: &[&str] = &[
    "fsync",
    "fdatasync",
    "syncfs",
    "sync",
    "sync_file_range",
    "msync",
];
const WARM_UPS: usize = 2;

/// A line of strace: who, which call, and the whole of it.
#[derive(Debug)]
struct Line<'a> {
    pid: &'a str,
    call: &'a str,
    text: &'a str,
}

fn lines(trace: &str) -> impl Iterator<Item = Line<'_>> {
    trace.lines().filter_map(|text| {
        let (pid, rest) = text.split_once(' ')?;
        // A call that another line interrupted goes on as `<... call resumed>`.
        let rest = rest.trim_start().trim_start_matches("<... ");
        let call = rest.split(['(', ' ']).next()?;
        Some(Line { pid, call, text })
    })
}

fn executed(trace: &str) -> Vec<Line<'_>> {
    let is_exec = |line: &Line<'_>| matches!(line.call, "execve" | "execveat");
    let lines = lines(trace).filter(is_exec);
    lines.filter(|line| line.text.ends_with("= 0")).collect()
}

fn begun<'a>(trace: &'a str, calls: &[&str]) -> Vec<&'a str> {
    let lines = lines(trace).filter(|line| calls.contains(&line.call));
    let texts = lines.map(|line| line.text);
    texts.filter(|text| !text.contains(" resumed>")).collect()
}

fn cgroup_writes(trace: &str) -> Vec<&str> {
    let writes = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];
    let mut found = begun(trace, &writes);
    // The path of the descriptor comes before the first comma.
    found.retain(|text| {
        let target = text.split(',').next().unwrap_or_default();
        // One or two moves of the engine to where it is save a wait of ten milliseconds.
        target.contains("</sys/fs/cgroup/") && !target.contains("/shims/cgroup.procs>")
    });
    found
}

/// Returns whether whatever was executed has ended.
fn all_ended(trace: &str) -> bool {
    let ended = |pid: &str| {
        let exit = format!("{pid} ");
        let mut of_it = trace.lines().filter(|line| line.starts_with(&exit));
        of_it.next_back().is_some_and(|line| line.contains("+++ "))
    };
    let started: BTreeSet<&str> = executed(trace).iter().map(|line| line.pid).collect();
    !started.is_empty() && started.into_iter().all(ended)
}

/// Runs the command under strace, which follows the daemons too.
fn traced(host: &Installation, output: &Path) -> Child {
    let mut strace = Command::new("strace");
    // Interruptible, every process, paths of descriptors, ends but not beginnings.
    strace
        .args(["-I2", "-f", "-y", "-q", "-e", CALLS, "-o"])
        .arg(output);
    for program in ["engine", "netd", "volumed"] {
        let pid = host.pid_of(program).expect("the daemons run");
        strace.arg("-p").arg(pid.to_string());
    }
    let command = host.command(RUN);
    strace.arg(command.get_program()).args(command.get_args());
    let variables = command.get_envs();
    strace
        .env_clear()
        .envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let child = strace.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.expect("strace is needed: apt-get install strace")
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

/// Returns whether the helpers have let go of everything too.
fn is_cleaned(host: &Installation) -> bool {
    let instance = &host.instance;
    let holders = instance.volumed().join("holders");
    let spaces = instance.run().join("netns");
    let directories = [instance.containers(), instance.shims(), holders, spaces];
    directories.iter().all(|directory| is_empty(directory))
}

fn committed(name: &str) -> usize {
    let prefix = format!("{name} = ");
    let line = COMMITTED
        .lines()
        .find_map(|line| line.strip_prefix(&prefix));
    line.and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("hot-path.toml has no {name}"))
}

fn hierarchies() -> usize {
    let own = fs::read_to_string("/proc/self/cgroup").expect("procfs is mounted");
    let controllers = own.lines().filter_map(|line| line.split(':').nth(1));
    controllers
        .filter(|names| !names.is_empty() && !names.contains('='))
        .count()
}

fn compare(name: &str, found: &[&str]) {
    let (limit, count) = (committed(name), found.len());
    let found = found.join("\n");
    assert!(
        count <= limit,
        "{name}: {count}, no more than {limit} are allowed:\n{found}"
    );
    assert!(
        count == limit,
        "{name}: only {count} instead of {limit}, well done: lower it in tests/hot-path.toml:\n{found}"
    );
}

#[test]
fn a_warm_run_costs_what_is_committed() {
    let host = Installation::new();
    for _ in 0..WARM_UPS {
        host.ok(RUN);
        wait_until("the warm-up is cleaned up", || is_cleaned(&host));
    }
    let output = host.scratch().join("trace");
    let read = || fs::read_to_string(&output).unwrap_or_default();
    let mut strace = traced(&host, &output);
    wait_until("everything has ended and is cleaned up", || {
        all_ended(&read()) && is_cleaned(&host)
    });
    kill_process(Pid::from_child(&strace), Signal::TERM).expect("it runs");
    strace.wait().expect("it ends");
    let trace = read();
    let executed: Vec<&str> = executed(&trace).iter().map(|line| line.text).collect();
    compare("processes", &executed);
    compare("syncs", &begun(&trace, SYNCS));
    if hierarchies() == committed("hierarchies") {
        compare("cgroup_writes", &cgroup_writes(&trace));
    }
    host.finish();
}

#[test]
fn a_trace_is_read_rightly() {
    let trace = "7 execve(\"/a\", [\"a\"], 0x1 /* 2 vars */) = 0\n\
        8  execve(\"/b\", [\"b\"], 0x1 /* 2 vars */ <unfinished ...>\n\
        7 write(3</sys/fs/cgroup/pids/x/cgroup.procs>, \"1\", 1) = 1\n\
        7 write(3</sys/fs/cgroup/pids/engine/shims/cgroup.procs>, \"1\", 1) = 1\n\
        7 write(3</tmp/x>, \"</sys/fs/cgroup/\", 1) = 1\n\
        8 <... execve resumed>)             = 0\n\
        9 execve(\"/c\", [\"c\"], 0x1) = -1 ENOENT (No such file or directory)\n\
        7 fsync(4</x> <unfinished ...>\n\
        7 <... fsync resumed>) = 0\n\
        7 +++ exited with 0 +++\n";
    assert_eq!(executed(trace).len(), 2);
    assert_eq!(begun(trace, SYNCS).len(), 1);
    assert_eq!(cgroup_writes(trace).len(), 1);
    assert!(!all_ended(trace));
    assert!(all_ended(&format!("{trace}8 +++ killed by SIGKILL +++\n")));
}
