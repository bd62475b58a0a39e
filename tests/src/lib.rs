//! What the black-box suites share: an installation of its own for each test,
//! in mount and network namespaces of its own, and a look at what it left.
//!
//! Everything is done through the built programs; nothing here links a daemon.
#![forbid(unsafe_code)]

pub mod api;
mod doomed;
pub mod flight;
mod host;
mod image;
mod keeper;
pub mod layout;
mod leftovers;
mod random;
pub mod registry;
mod served;
mod slow;
mod static_shim;
mod terminal;

pub use doomed::{Doomed, Victim};
pub use keeper::{KEEPER, Keeper};

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base::Instance;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

pub use random::Random;
pub use registry::Registry;
pub use served::{ROOT, Served};
pub use slow::PART_BYTES;
pub use terminal::Terminal;

/// No command takes longer.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// No condition takes longer to come true.
const WAIT_LIMIT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// An installation of the engine that one test has for itself. The calling
/// thread, and whatever it starts, moves to namespaces of its own.
#[derive(Debug)]
pub struct Installation {
    directory: tempfile::TempDir,
    pub instance: Instance,
    programs: PathBuf,
    /// Removed with the installation.
    _static_shim: Option<tempfile::TempDir>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Installation {
    /// Returns a fresh installation with the image `busybox:1`.
    pub fn new() -> Self {
        Self::of(programs(), None, place())
    }

    /// The same with everything that lasts on a file system of so many MiB.
    pub fn on_small_disk(mebibytes: u64) -> Self {
        let directory = place();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).expect("a directory can be made");
        let size = CString::new(format!("size={mebibytes}m")).expect("no zero byte");
        mount("tmpfs", &root, "tmpfs", MountFlags::empty(), &*size).expect("tests run as root");
        Self::of(programs(), None, directory)
    }

    /// The same with a static shim, which can be the init of a container.
    pub fn with_static_shim() -> Self {
        let directory = static_shim::beside(&programs());
        Self::of(directory.path().to_owned(), Some(directory), place())
    }

    fn of(
        programs: PathBuf,
        static_shim: Option<tempfile::TempDir>,
        directory: tempfile::TempDir,
    ) -> Self {
        let path = directory
            .path()
            .canonicalize()
            .expect("a temporary directory is there");
        let instance = Instance::open(&path.join("root"), &path.join("run"), None)
            .expect("directories can be made");
        let installation = Self {
            directory,
            instance,
            programs,
            _static_shim: static_shim,
        };
        let archive = image::busybox(installation.directory.path());
        installation.ok(&["import", &archive.display().to_string(), "busybox:1"]);
        installation
    }

    /// Gives the host Docker's default user of user namespaces, with 65,536 ids; only
    /// this thread's mount namespace, and what it starts, sees them.
    pub fn have_subordinate_ids(&self) {
        let files = [
            ("passwd", "dockremap:x:64997:64997::/:/bin/false\n"),
            ("group", "dockremap:x:64997:\n"),
            ("subuid", "dockremap:100000:65536\n"),
            ("subgid", "dockremap:200000:65536\n"),
        ];
        for (name, line) in files {
            let of_host = format!("/etc/{name}");
            let before = std::fs::read_to_string(&of_host).expect("the host has users and ranges");
            let copy = self.scratch().join(name);
            let text = format!("{line}{before}");
            base::file::replace(&copy, text.as_bytes(), base::file::FileMode::Private)
                .expect("a file can be written");
            rustix::mount::mount_bind(&copy, of_host).expect("tests run as root");
        }
    }

    /// Returns a directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the command `engine …` for this installation.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("engine"));
        command
            .arg("--root")
            .arg(self.instance.root())
            .arg("--run-dir")
            .arg(self.instance.run());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs `engine …` to its end.
    pub fn engine(&self, arguments: &[&str]) -> Said {
        run(self.command(arguments).stdin(Stdio::null()))
    }

    /// Runs `engine …`, which must succeed, and returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.engine(arguments);
        assert_eq!(
            said.code,
            0,
            "engine {arguments:?} failed: {said:?}\n{}",
            self.log()
        );
        said.stdout
    }

    /// Runs `engine …`, which must fail with `code` and say `text`.
    pub fn fails(&self, code: i32, text: &str, arguments: &[&str]) {
        let said = self.engine(arguments);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(
            said.code == code && all.contains(text),
            "expected {code} and {text:?} of {arguments:?}: {said:?}"
        );
    }

    /// Returns what the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.instance.run().join("engine.log")).unwrap_or_default()
    }

    /// Returns the process id of a daemon: `engine`, `netd`, `volumed`, or a shim.
    pub fn pid_of(&self, program: &str) -> Option<i32> {
        self.processes()
            .into_iter()
            .find(|(_, name)| name == program)
            .map(|(pid, _)| pid)
    }

    /// Returns every process of this installation's programs.
    pub fn processes(&self) -> Vec<(i32, String)> {
        leftovers::processes(self.instance.root(), self.instance.run())
    }

    /// Kills a program of this installation with SIGKILL and returns once it is gone.
    pub fn kill_9(&self, program: &str) {
        let pid = self
            .pid_of(program)
            .unwrap_or_else(|| panic!("{program} does not run: {:?}", self.processes()));
        let pid_t = rustix::process::Pid::from_raw(pid).expect("a process id is not zero");
        rustix::process::kill_process(pid_t, rustix::process::Signal::KILL)
            .expect("it can be killed");
        wait_until(&format!("{program} is gone"), || {
            !self.processes().iter().any(|(other, _)| *other == pid)
        });
    }

    /// Kills a daemon with SIGKILL if it runs, and returns once it is gone.
    pub fn kill_daemon(&self, victim: Victim) {
        let lock = self.instance.daemon_lock(victim.program());
        let holder = || base::lock::holder(&lock).ok().flatten();
        let Some(pid) = holder() else {
            return;
        };
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // It may end by itself in this moment.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
        }
        wait_until("a killed daemon is gone", || holder() != Some(pid));
    }

    /// Stops everything and fails if anything is left on the host.
    pub fn finish(self) {
        for id in self.ok(&["ps", "-aq"]).split_whitespace() {
            self.ok(&["rm", "-f", id]);
        }
        wait_until("all runs are cleaned up", || {
            leftovers::files(&self.instance).is_empty()
        });
        self.ok(&["daemon", "stop", "--containers"]);
        let left = leftovers::all(&self.instance);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Default for Installation {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Installation {
    /// A test that failed ends its processes too.
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                    .unwrap_or_default();
            }
        }
        leftovers::clear_cgroups(&self.instance);
        leftovers::unmount(self.instance.run());
        leftovers::unmount(self.instance.root());
    }
}

/// Returns a directory for an installation, in namespaces of its own.
fn place() -> tempfile::TempDir {
    enter_namespaces();
    tempfile::Builder::new()
        .prefix("engine-test-")
        .tempdir()
        .expect("a temporary directory")
}

/// Moves the thread to mount and network namespaces of its own, loopback up.
fn enter_namespaces() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("tests run as root");
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .expect("tests run as root");
    let said = run(Command::new("ip").args(["link", "set", "lo", "up"]));
    assert_eq!(said.code, 0, "{said:?}");
}

/// The built programs lie beside the directory of the test's own program.
fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows where it is");
    let directory = own
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>")
        .to_owned();
    for program in ["engine", "netd", "volumed", "engine-shim", "runc-rs"] {
        assert!(
            directory.join(program).is_file(),
            "{program} is not built: run `cargo build --workspace`"
        );
    }
    directory
}

/// Runs a command to its end; one that takes too long is killed and fails the test.
pub fn run(command: &mut Command) -> Said {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    finish(child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")))
}

/// Waits for a child that was started with pipes.
pub fn finish(child: Child) -> Said {
    let pid = rustix::process::Pid::from_child(&child);
    let (sender, receiver) = std::sync::mpsc::sync_channel::<std::io::Result<Output>>(1);
    let waiter = std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = match receiver.recv_timeout(COMMAND_LIMIT) {
        Ok(output) => output.expect("a child can be waited for"),
        Err(_) => {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
            panic!("a command took more than {COMMAND_LIMIT:?}");
        }
    };
    drop(waiter);
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Splits a command line at its spaces; nothing is quoted.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Splits a command line at its spaces and adds one argument as it is.
pub fn words_and<'a>(line: &'a str, last: &'a str) -> Vec<&'a str> {
    line.split_whitespace().chain([last]).collect()
}

/// Waits until a condition holds, or fails the test.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < WAIT_LIMIT,
            "{what}: not within {WAIT_LIMIT:?}"
        );
        std::thread::sleep(POLL);
    }
}
