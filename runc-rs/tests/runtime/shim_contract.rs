//! What containerd's shim relies on: its command lines, the forms it decodes,
//! the texts it looks for, and that the ends of processes come to it, the
//! subreaper. Each test is a process of its own, and so one shim.

use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, set_child_subreaper, waitpid};
use serde_json::{Value, json};

use crate::bundle::{Bundle, LIMIT, Output, finish};

const ID: &str = "task-1";

/// A shim with one container.
struct Shim {
    bundle: Bundle,
}

impl Shim {
    fn new(script: &str) -> Self {
        set_child_subreaper(Some(getpid())).unwrap();
        let bundle = Bundle::with_script(script);
        Self { bundle }
    }

    fn log(&self) -> PathBuf {
        self.bundle.path().join("log.json")
    }

    /// Calls the runtime as the shim does, with `input` on its standard input.
    fn call(&self, arguments: &[&str], input: &str) -> Output {
        let log = self.log();
        let mut all = vec!["--log", log.to_str().unwrap(), "--log-format", "json"];
        all.extend(arguments);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        file.rewind().unwrap();
        let mut command = self.bundle.command(&all);
        command.stdin(Stdio::from(file));
        finish(command)
    }

    fn runtime(&self, arguments: &[&str]) -> Output {
        self.call(arguments, "")
    }

    /// Creates and starts the container and returns its first process.
    fn start(&self) -> Pid {
        let bundle = self.bundle.path().to_str().unwrap().to_owned();
        let pid_file = self.bundle.path().join("init.pid");
        let path = pid_file.to_str().unwrap();
        self.runtime(&["create", "--bundle", &bundle, "--pid-file", path, ID])
            .ok();
        assert_eq!(self.state()["status"], "created");
        self.runtime(&["start", ID]).ok();
        read_pid(&pid_file)
    }

    /// Starts a process of `script` as the shim does.
    fn exec(&self, script: &str) -> Pid {
        let process = json!({"cwd": "/", "args": ["sh", "-c", script], "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0}});
        let file = self.bundle.path().join("process.json");
        let mode = base::file::FileMode::Public;
        base::file::replace(&file, process.to_string().as_bytes(), mode).unwrap();
        let pid_file = self.bundle.path().join("exec.pid");
        let paths = [&file, &pid_file].map(|path| path.to_str().unwrap());
        let [process, pid] = paths;
        let arguments = [
            "exec",
            "--process",
            process,
            "--detach",
            "--pid-file",
            pid,
            ID,
        ];
        self.runtime(&arguments).ok();
        read_pid(&pid_file)
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.runtime(&["state", ID]).ok()).unwrap()
    }

    /// Returns what the shim reads of a failure: the last error of the log.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.runtime(arguments);
        assert_ne!(output.code, 0, "{output:?}");
        let log = std::fs::read_to_string(self.log()).unwrap();
        let mut lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let last = lines.rfind(|line| line["level"] == "error");
        let last = last.expect("the log has an error");
        let time = last["time"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        last["msg"].as_str().unwrap().to_owned()
    }
}

fn read_pid(path: &std::path::Path) -> Pid {
    let text = std::fs::read_to_string(path).unwrap();
    Pid::from_raw(text.parse().unwrap()).unwrap()
}

/// Waits, as the subreaper, for the end of a process.
#[track_caller]
fn reap(pid: Pid) -> WaitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG).unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "{pid:?} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_task_lives_and_its_ends_come_to_the_shim() {
    let shim = Shim::new("while :; do sleep 0.01; done");
    let init = shim.start();
    let state = shim.state();
    assert_eq!(state["id"], ID);
    assert_eq!(state["status"], "running");
    assert_eq!(state["pid"], init.as_raw_nonzero().get());
    assert_eq!(state["bundle"], shim.bundle.path().to_str().unwrap());
    let created = state["created"].as_str().unwrap();
    created.parse::<jiff::Timestamp>().unwrap();

    let sixth = shim.exec("exit 6");
    assert_eq!(reap(sixth).exit_status(), Some(6));
    let killed = shim.exec("exec sleep 1000");
    let pids: Vec<i32> =
        serde_json::from_str(&shim.runtime(&["ps", "--format", "json", ID]).ok()).unwrap();
    for pid in [init, killed] {
        assert!(pids.contains(&pid.as_raw_nonzero().get()), "{pids:?}");
    }
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    assert_eq!(reap(killed).terminating_signal(), Some(9));

    shim.runtime(&["kill", ID, "9"]).ok();
    assert_eq!(reap(init).terminating_signal(), Some(9));
    assert_eq!(shim.state()["status"], "stopped");
    shim.runtime(&["delete", ID]).ok();
    shim.bundle.assert_clean();
}

#[test]
fn limits_come_on_standard_input_and_measures_as_one_line() {
    let shim = Shim::new("exec sleep 1000");
    let init = shim.start();
    let limits = json!({"pids": {"limit": 19}, "memory": {"limit": 64 << 20}});
    shim.call(&["update", "--resources", "-", ID], &limits.to_string())
        .ok();
    let text = shim.runtime(&["events", "--stats", ID]).ok();
    let event: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], ID);
    let data = &event["data"];
    assert_eq!(data["pids"]["limit"], 19);
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    shim.runtime(&["pause", ID]).ok();
    assert_eq!(shim.state()["status"], "paused");
    shim.runtime(&["resume", ID]).ok();
    assert_eq!(shim.state()["status"], "running");
    let list: Value = serde_json::from_str(&shim.runtime(&["list", "--format=json"]).ok()).unwrap();
    assert_eq!(list[0]["id"], ID);
    shim.runtime(&["kill", "--all", ID, "9"]).ok();
    reap(init);
    shim.runtime(&["delete", "--force", ID]).ok();
}

#[test]
fn refusals_have_the_texts_that_are_looked_for() {
    let shim = Shim::new("exec sleep 1000");
    let missing = "does not exist";
    for command in [vec!["state", ID], vec!["kill", ID, "9"], vec!["delete", ID]] {
        let message = shim.refused(&command);
        assert!(message.contains(missing), "{command:?}: {message}");
    }
    let init = shim.start();
    assert!(shim.refused(&["start", ID]).contains("cannot start"));
    let message = shim.refused(&["delete", ID]);
    assert!(message.contains("is not stopped"), "{message}");
    let bundle = shim.bundle.path().to_str().unwrap().to_owned();
    let message = shim.refused(&["create", "--bundle", &bundle, ID]);
    assert!(message.contains("already exists"), "{message}");
    shim.runtime(&["kill", ID, "9"]).ok();
    reap(init);
    // containerd takes each of them as "there is nothing to kill".
    let found = [
        "process already finished",
        "container not running",
        "no such process",
    ];
    for command in [vec!["kill", ID, "15"], vec!["kill", ID, "9"]] {
        let message = shim.refused(&command).to_lowercase();
        assert!(found.iter().any(|text| message.contains(text)), "{message}");
    }
    shim.runtime(&["delete", ID]).ok();
    shim.runtime(&["delete", "--force", ID]).ok();
}

/// What cannot be executed is an error of `create` or `start`, not an exit.
#[test]
fn a_program_that_is_missing_is_a_refusal() {
    let mut shim = Shim::new("");
    shim.bundle.config["process"]["args"] = json!(["no-such-program"]);
    let bundle = shim.bundle.path().to_str().unwrap().to_owned();
    let message = shim.refused(&["create", "--bundle", &bundle, ID]);
    assert!(message.contains("no-such-program"), "{message}");
    assert!(message.contains("executable file not found"), "{message}");
    shim.bundle.assert_clean();
}

#[test]
fn the_version_and_an_empty_list_are_decoded() {
    let shim = Shim::new("");
    let version = shim.runtime(&["--version"]).ok();
    let mut lines = version.lines();
    let words: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert_eq!(words[1], "version");
    for name in ["commit: ", "spec: "] {
        assert!(lines.next().unwrap().starts_with(name), "{version}");
    }
    let list = shim.runtime(&["list", "--format=json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap(), json!([]));
    serde_json::from_str::<Value>(&shim.runtime(&["features"]).ok()).unwrap();
    let log = std::fs::read_to_string(shim.log()).unwrap_or_default();
    assert_eq!(log, "", "nothing went wrong");
}
