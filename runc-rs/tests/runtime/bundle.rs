//! A bundle with busybox in it, and calls of the binary with limits on time.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// No single call of the binary takes longer in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Where the runtime keeps filters it has made, below its state root.
pub(crate) const SECCOMP_CACHE: &str = "@seccomp";
const APPLETS: [&str; 20] = [
    "sh", "cat", "chmod", "echo", "env", "false", "grep", "id", "kill", "ls", "mkdir", "ping",
    "ps", "pwd", "sleep", "stty", "touch", "true", "tty", "umask",
];
pub(crate) const CAPABILITIES: [&str; 4] = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"];

/// What a call of the binary came to.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Output {
    /// Asserts success and returns what was printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Asserts failure with this exit code and text.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(text), "{self:?} lacks {text:?}");
    }
}

/// A bundle and a state root, removed with every container when dropped.
pub(crate) struct Bundle {
    directory: tempfile::TempDir,
    pub(crate) cgroup: String,
    pub(crate) config: Value,
}

impl Bundle {
    /// Makes a bundle whose container runs a shell script.
    pub(crate) fn with_script(script: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let cgroup = format!("/runc-rs-test-{}-{number}", std::process::id());
        let config = config(script, &cgroup);
        let bundle = Self {
            directory,
            cgroup,
            config,
        };
        make_rootfs(&bundle.rootfs());
        bundle
    }

    /// Makes a bundle whose container does nothing for long.
    pub(crate) fn idle() -> Self {
        Self::with_script("exec sleep 1000")
    }

    /// Gives the container a user namespace whose root is 100000 here.
    pub(crate) fn use_user_namespace(&mut self) {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        const ROOT: u32 = 100_000;
        let map = json!([{"containerID": 0, "hostID": ROOT, "size": 65536}]);
        let linux = &mut self.config["linux"];
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
        for entry in ["", "bin", "tmp", "root"] {
            chown(self.rootfs().join(entry), Some(ROOT), Some(ROOT)).unwrap();
        }
        // The mapped root has to reach the root filesystem.
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Returns a call of the binary, with the configuration as it is now.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let text = serde_json::to_vec(&self.config).unwrap();
        base::file::replace(
            &self.path().join("config.json"),
            &text,
            base::file::FileMode::Public,
        )
        .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runc-rs"));
        command.current_dir(self.path());
        command.arg("--root").arg(self.root()).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Calls the binary and waits for it.
    pub(crate) fn runc(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments))
    }

    /// Runs the container in the background.
    pub(crate) fn start(&self, id: &str) {
        self.runc(&["run", "--detach", id]).ok();
    }

    /// Returns the state as the binary prints it.
    pub(crate) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.runc(&["state", id]).ok()).unwrap()
    }

    pub(crate) fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self, id: &str) -> i32 {
        i32::try_from(self.state(id)["pid"].as_i64().unwrap()).unwrap()
    }

    /// Waits until the container has ended.
    pub(crate) fn wait_stopped(&self, id: &str) {
        wait_until("the container stops", || self.status(id) == "stopped");
    }

    /// Runs a script in the container and returns what it printed.
    pub(crate) fn exec(&self, id: &str, script: &str) -> String {
        self.runc(&["exec", id, "sh", "-c", script]).ok()
    }

    /// Returns the control group directories of the container that exist.
    pub(crate) fn cgroup_directories(&self) -> Vec<PathBuf> {
        let name = self.cgroup.trim_start_matches('/');
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap();
        let paths = hierarchies.map(|entry| entry.unwrap().path().join(name));
        let mut paths: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        paths.extend(Some(Path::new("/sys/fs/cgroup").join(name)).filter(|path| path.is_dir()));
        paths
    }

    /// Returns the directories of containers; the filters beside them stay.
    fn containers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root()).into_iter().flatten().flatten();
        let containers = entries.filter(|entry| entry.file_name() != SECCOMP_CACHE);
        containers.map(|entry| entry.path()).collect()
    }

    /// Asserts that no record and no control group is left.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.containers(), Vec::<PathBuf>::new());
        assert_eq!(self.cgroup_directories(), Vec::<PathBuf>::new());
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for directory in self.containers() {
            let mut command = self.command(&["delete", "--force"]);
            command.args(directory.file_name());
            let output = finish(command);
            if !std::thread::panicking() {
                assert_eq!(output.code, 0, "{output:?}");
            }
        }
    }
}

/// Waits for a condition, with a limit.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for a child, with a limit after which it is killed.
#[track_caller]
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{child:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a command to its end. Output goes through files: a detached container
/// keeps its standard streams open, so a pipe would never end.
#[track_caller]
pub(crate) fn finish(mut command: Command) -> Output {
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command
        .stdout(out.try_clone().unwrap())
        .stderr(err.try_clone().unwrap());
    let status = wait(&mut command.spawn().unwrap());
    Output {
        code: status.code().unwrap_or(-1),
        out: read_again(&mut out),
        err: read_again(&mut err),
    }
}

/// Reads a file that others write to through the same offset.
pub(crate) fn read_again(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn make_rootfs(rootfs: &Path) {
    for directory in ["bin", "dev", "proc", "sys", "tmp", "etc", "root"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy("/usr/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    let files = [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n",
        ),
        ("etc/group", "root:x:0:\nweb:x:34:\nwheel:x:10:web\n"),
    ];
    for (path, text) in files {
        let mode = base::file::FileMode::Public;
        base::file::replace(&rootfs.join(path), text.as_bytes(), mode).unwrap();
    }
}

fn config(script: &str, cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.1.0",
        "root": {"path": "rootfs"},
        "hostname": "box",
        "process": {
            "cwd": "/",
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "TERM=xterm"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network"}, {"type": "cgroup"},
            ],
        },
    })
}
