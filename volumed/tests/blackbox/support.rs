//! A host for one test: a mount namespace, directories, a running `volumed`, and
//! the requester's side of the event log.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use base::user_namespace::IdRange;
use base::{ContainerId, Digest, Failure, IdMappings, Instance, RunId, RunNumber};
use events::{CallError, Draft, Log, Reader, RequestBody, Requester};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use volumed_api::{
    BindUse, FilesRemoved, ImageUse, MissingSource, MountRootfs, RemoveFiles, RootfsMounted, Upper,
    VolumeUse,
};

/// No answer takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// How `/` of the test's namespace propagates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Private,
    Shared,
}

/// Gives this thread, and what it starts, a mount namespace of its own.
pub(crate) fn enter_namespace(propagation: Propagation) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let flags = match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Shared => MountPropagationFlags::SHARED,
    };
    // First private, so that nothing reaches the machine's own namespace.
    let all = MountPropagationFlags::REC;
    mount_change("/", MountPropagationFlags::PRIVATE | all).unwrap();
    mount_change("/", flags | all).unwrap();
}

/// Returns the mount table of this thread's namespace.
pub(crate) fn mount_table() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

pub(crate) struct Host {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) instance: Instance,
    log: Log,
    requester: Requester,
    reader: Reader,
    volumed: Option<Child>,
    pub(crate) after_death: Vec<String>,
}

impl Host {
    /// Returns a host under a private `/` with a running volumed.
    pub(crate) fn new() -> Self {
        Self::with(Propagation::Private, None, &[])
    }

    /// Returns a host; `root_size` puts `<root>` on a tmpfs of that size.
    pub(crate) fn with(
        propagation: Propagation,
        root_size: Option<&str>,
        arguments: &[&str],
    ) -> Self {
        enter_namespace(propagation);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let (root, run) = (path.join("root"), path.join("run"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&run).unwrap();
        let tmpfs = |target: &Path, size: &str| {
            let options = std::ffi::CString::new(format!("size={size}")).unwrap();
            let flags = MountFlags::empty();
            mount("tmpfs", target, "tmpfs", flags, options.as_c_str()).unwrap();
        };
        tmpfs(&run, "64m");
        if let Some(size) = root_size {
            tmpfs(&root, size);
        }
        let instance = Instance::open(&root, &run, None).unwrap();
        let log = Log::open(&instance.events()).unwrap();
        let mut host = Self {
            reader: log.read_after(log.last().unwrap()).unwrap(),
            requester: Requester::new(log.clone(), "engine"),
            log,
            instance,
            directory,
            volumed: None,
            after_death: Vec::new(),
        };
        host.start(arguments);
        host
    }

    /// Starts volumed with more arguments.
    pub(crate) fn start(&mut self, arguments: &[&str]) {
        let child = self.command().args(arguments).spawn().unwrap();
        self.volumed = Some(child);
    }

    /// Returns a command that starts volumed for this host.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volumed"));
        command.arg("--root").arg(self.instance.root());
        command.arg("--run-dir").arg(self.instance.run());
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.volumed.as_ref().unwrap())
    }

    /// Kills volumed with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.volumed.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Returns the exit code of a volumed that was told to stop.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        let status = self.volumed.take().unwrap().wait().unwrap();
        status.code()
    }

    /// Starts volumed again if it has died, with what `after_death` says, once;
    /// returns whether it had.
    pub(crate) fn revive(&mut self) -> bool {
        let child = self.volumed.as_mut().unwrap();
        if child.try_wait().unwrap().is_none() {
            return false;
        }
        let arguments = std::mem::take(&mut self.after_death);
        self.start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        true
    }

    pub(crate) fn ask<B: RequestBody>(
        &mut self,
        subject: &str,
        body: &B,
    ) -> Result<B::Reply, Failure> {
        self.ask_through_crashes(subject, body).0
    }

    /// Asks, starts volumed again when it dies, and tells whether it did.
    pub(crate) fn ask_through_crashes<B: RequestBody>(
        &mut self,
        subject: &str,
        body: &B,
    ) -> (Result<B::Reply, Failure>, bool) {
        let receiver = self.send(subject, body);
        let mut died = false;
        loop {
            for record in self.reader.read_batch().unwrap() {
                self.requester.observe(&record);
            }
            self.requester.expire().unwrap();
            if let Ok(reply) = receiver.try_recv() {
                return (reply.map_err(refusal), died);
            }
            died |= self.revive();
            self.reader.wait(Duration::from_millis(20)).unwrap();
        }
    }

    /// Asks without waiting for the answer.
    pub(crate) fn send<B: RequestBody>(
        &self,
        subject: &str,
        body: &B,
    ) -> Receiver<Result<B::Reply, CallError>> {
        let (sender, receiver) = sync_channel(1);
        let send = move |reply| drop(sender.send(reply));
        self.requester.send(subject, body, LIMIT, send).unwrap();
        receiver
    }

    /// Appends a fact of a shim.
    pub(crate) fn tell(&self, kind: &'static str, run: &RunId) {
        let data = serde_json::json!({});
        let draft = Draft::new("shim", kind, run.to_string(), &data).unwrap();
        self.log.append(&[draft]).unwrap();
    }

    /// Waits until `condition` holds, through deaths of volumed; returns whether
    /// it died.
    pub(crate) fn wait_for(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> bool {
        let started = Instant::now();
        let mut died = false;
        while !condition(self) {
            assert!(
                started.elapsed() < LIMIT,
                "{what}: not within {LIMIT:?}\n{}",
                self.describe()
            );
            died |= self.revive();
            self.reader.wait(Duration::from_millis(5)).unwrap();
        }
        died
    }

    fn describe(&self) -> String {
        let find = Command::new("find")
            .arg(self.directory.path())
            .output()
            .unwrap();
        format!(
            "{}\n{}",
            String::from_utf8_lossy(&find.stdout),
            mount_table()
        )
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    /// Makes a layer of files, `(path, content)`; a path that ends in a slash is
    /// a directory.
    pub(crate) fn layer(&self, files: &[(&str, &str)]) -> Digest {
        let digest = Digest::of(format!("{files:?}").as_bytes());
        let directory = self.instance.layer(&digest);
        fs::create_dir_all(&directory).unwrap();
        for (path, content) in files {
            let path = directory.join(path);
            match path.to_str().unwrap().ends_with('/') {
                true => fs::create_dir_all(&path).unwrap(),
                false => put(&path, content),
            }
        }
        digest
    }

    /// Asks for the root filesystem of a run.
    pub(crate) fn mount(&mut self, request: &MountRootfs) -> Result<RootfsMounted, Failure> {
        self.ask(&request.run.to_string(), request)
    }

    /// Tells that a run is over and waits until nothing holds it.
    pub(crate) fn release(&mut self, run: &RunId) -> bool {
        self.tell("container.exited", run);
        self.tell("container.cleaned", run);
        let holder = self.holder(run);
        let rootfs = self.instance.rootfs(run);
        self.wait_for("release", |_| !holder.exists() && !rootfs.exists())
    }

    pub(crate) fn remove_files(
        &mut self,
        container: &ContainerId,
    ) -> Result<FilesRemoved, Failure> {
        let body = RemoveFiles {
            container: container.clone(),
        };
        self.ask(container.as_str(), &body)
    }

    pub(crate) fn holder(&self, run: &RunId) -> PathBuf {
        let holders = self.instance.volumed().join("holders");
        holders.join(format!("{run}.json"))
    }

    /// Asserts that nothing of any container or volume is left.
    pub(crate) fn assert_clean(&mut self) {
        let clean = |host: &Self| host.leftovers().is_empty();
        let started = Instant::now();
        while !clean(self) {
            let late = started.elapsed() > LIMIT;
            assert!(!late, "left: {:?}\n{}", self.leftovers(), self.describe());
            self.reader.wait(Duration::from_millis(5)).unwrap();
        }
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        let instance = &self.instance;
        let mounts = instance.mounts();
        let table = mount_table();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let mut left: Vec<PathBuf> = points
            .map(PathBuf::from)
            .filter(|point| point.starts_with(&mounts) && *point != mounts)
            .collect();
        for directory in [
            mounts.join("volumes"),
            mounts.join("parts"),
            instance.volumed().join("holders"),
            instance.containers(),
            instance.volumes().join(".trash"),
        ] {
            left.extend(list(&directory));
        }
        left.extend(
            list(&mounts)
                .into_iter()
                .filter(|p| !p.ends_with("volumes") && !p.ends_with("parts")),
        );
        let hidden = |path: &PathBuf| path.ends_with(".trash") || path.ends_with(".removing");
        left.extend(list(&instance.volumes()).into_iter().filter(|p| !hidden(p)));
        left
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        // The namespace ends with the thread; until then its mounts would keep
        // the directory. One that is not mounted is none to be unmounted.
        let instance = &self.instance;
        for point in [&instance.mounts(), instance.run(), instance.root()] {
            let unmounted = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
            assert!(matches!(unmounted, Ok(()) | Err(rustix::io::Errno::INVAL)));
        }
    }
}

fn refusal(error: CallError) -> Failure {
    match error {
        CallError::Refused(failure) => failure,
        other => panic!("{}", base::failure::chain(&other)),
    }
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Writes a file and its directories.
pub(crate) fn put(path: &Path, content: &str) {
    let parent = path.parent().unwrap();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .unwrap();
    base::file::replace(path, content.as_bytes(), base::file::FileMode::Public).unwrap();
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

pub(crate) fn run(number: u64) -> RunId {
    RunId::new(ContainerId::random(), RunNumber(number))
}

pub(crate) fn request(run: &RunId, layers: &[Digest]) -> MountRootfs {
    MountRootfs {
        user_namespace: None,
        run: run.clone(),
        layers: layers.to_vec(),
        upper: Upper::Persistent,
        volumes: Vec::new(),
        binds: Vec::new(),
        images: Vec::new(),
        shared_memory_bytes: None,
    }
}

pub(crate) fn volume(name: &str, destination: &str) -> VolumeUse {
    VolumeUse {
        name: name.parse().unwrap(),
        destination: destination.into(),
        copy_up: true,
        labels: Default::default(),
        subpath: None,
    }
}

/// The ids of a user namespace, by where those of root are on the host.
pub(crate) fn id_mappings(user: u32, group: u32) -> IdMappings {
    let from = |outside| IdRange {
        inside: 0,
        outside,
        size: 65_536,
    };
    IdMappings {
        uids: vec![from(user)],
        gids: vec![from(group)],
    }
}

pub(crate) fn image(layers: &[Digest], subpath: Option<&str>) -> ImageUse {
    ImageUse {
        layers: layers.to_vec(),
        subpath: subpath.map(str::to_owned),
    }
}

pub(crate) fn bind(source: PathBuf) -> BindUse {
    BindUse {
        source,
        missing: MissingSource::Create,
    }
}
