//! Restoring a container from what a dump wrote, as a new one of a bundle.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, make_directories, read_bounded};
use oci_spec::runtime::{Hook, Spec};
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};

use super::dump::config_file;
use super::external::{self, Namespace};
use super::prepare;
use super::rpc::{
    CgroupRoot, Criu, ExternalMount, InheritedDescriptor, Kind, Notified, Options, Surroundings,
};
use super::{CheckpointError, CriuOptions, DESCRIPTORS, open_folder};
use crate::cgroup::Directories;
use crate::create::{self, Begun, Console, CreateRequest};
use crate::handover;
use crate::hooks::{self, HookPoint};
use crate::log::Logger;
use crate::oci_state;
use crate::pid_file;
use crate::proc::ProcessIdentity;
use crate::resources::{self, rdt};
use crate::rootfs::RootfsError;
use crate::state::{ContainerDirectory, Record, Status, Store};
use crate::systemd;

const LOG: &str = "restore.log";
const DESCRIPTORS_LIMIT_BYTES: u64 = 1 << 20;

/// What is asked of a restore.
#[derive(Debug)]
pub struct RestoreRequest {
    pub options: CriuOptions,
    pub container: CreateRequest,
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

/// A container that runs again.
#[derive(Debug)]
pub struct Restored {
    pub directory: ContainerDirectory,
    pub record: Record,
    /// Its first process, a child of this one.
    pub pid: i32,
    /// The terminal, when it is this process that holds it.
    pub terminal: Option<OwnedFd>,
}

/// Restores a container. On failure nothing of it remains.
///
/// # Errors
/// The step that failed.
pub fn restore(
    store: &Store,
    log: &Logger,
    spec: Spec,
    request: &RestoreRequest,
) -> Result<Restored, CheckpointError> {
    // Before anything is changed on the host.
    open_folder(&request.options.image)?;
    request.options.make_work_folder()?;
    let begun = create::begin(store, log, spec, &request.container)?;
    let (directory, record) = (begun.directory.clone(), begun.record.clone());
    build(begun, request).inspect_err(|error| {
        let foreign = match error {
            CheckpointError::Cgroup(error) => error.is_foreign(),
            CheckpointError::Systemd(error) => error.is_foreign(),
            _ => false,
        };
        create::undo(log, &directory, (!foreign).then_some(&record));
    })
}

fn build(begun: Begun, request: &RestoreRequest) -> Result<Restored, CheckpointError> {
    let Begun {
        directory,
        record,
        planned,
        lock: _held,
    } = begun;
    let spec = planned.normalised;
    record.cgroup.ensure_unused()?;
    directory.save(&record)?;
    directory.save_spec(&spec)?;
    if record.cgroup.unit.is_none() {
        make_groups(&record, &spec)?;
    }
    prepare::mount_points(&planned.rootfs)?;
    let console = match &request.container.console {
        Console::Socket(path) => Some(handover::connect(path)?),
        Console::Inherited | Console::Own => None,
    };
    let mut container = Container {
        directory: &directory,
        record,
        spec: &spec,
        console,
        terminal: None,
        pid: 0,
    };
    run(request, &mut container)?;
    let Container {
        record,
        terminal,
        pid,
        ..
    } = container;
    if let Some(path) = &request.container.pid_file {
        pid_file::write(path, pid)?;
    }
    Ok(Restored {
        directory,
        record,
        pid,
        terminal,
    })
}

fn run(request: &RestoreRequest, container: &mut Container<'_>) -> Result<(), CheckpointError> {
    let image = open_folder(&request.options.image)?;
    let work = open_folder(request.options.work())?;
    let namespaces = external::namespaces(container.spec)?;
    let root = container.directory.restored_root();
    make_directories(&root, 0o700)?;
    let mut options = options(request, container, &namespaces)?;
    options.images_dir_fd = image.as_raw_fd();
    options.work_dir_fd = Some(work.as_raw_fd());
    options.root = Some(root.display().to_string());
    let kept: Vec<BorrowedFd<'_>> = namespaces.iter().map(|it| it.file.as_fd()).collect();
    bind_root(&container.record.rootfs, &root)?;
    let log = request.options.work().join(LOG);
    let restored = ask(options, &kept, log, container);
    container.directory.unmount_restored_root()?;
    restored
}

/// CRIU wants a root that is a mount, and is in no namespace of its own: its
/// folders are this process's. The mount shares nothing with those it is a copy
/// of, or its end would be theirs.
fn bind_root(rootfs: &Path, root: &Path) -> Result<(), CheckpointError> {
    use rustix::fs::{Mode, OFlags, fstat, open};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = open(rootfs, flags, Mode::empty()).at("open root filesystem", rootfs)?;
    let from = format!("/proc/self/fd/{}", source.as_raw_fd());
    mount_bind_recursive(&*from, root).at("bind the root at", root)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(root, private).at("make a mount of its own of", root)?;
    let bound = open(root, flags, Mode::empty()).at("open", root)?;
    let id = |descriptor: &OwnedFd| fstat(descriptor).map(|found| (found.st_dev, found.st_ino));
    let is_same = id(&source).and_then(|source| Ok(source == id(&bound)?));
    match is_same.map_err(|error| CheckpointError::Kernel("look at the root", error.into()))? {
        true => Ok(()),
        false => Err(RootfsError::RootChanged(rootfs.to_owned()).into()),
    }
}

fn ask(
    mut options: Options,
    kept: &[BorrowedFd<'_>],
    log: PathBuf,
    container: &mut Container<'_>,
) -> Result<(), CheckpointError> {
    let criu = Criu::start(Surroundings { kept, log })?;
    // What CRIU makes begins where CRIU is.
    let (record, spec) = (&container.record, container.spec);
    if let Some(unit) = &record.cgroup.unit {
        systemd::start(&record.cgroup, unit, spec, record.id.as_str(), criu.pid())?;
        make_groups(record, spec)?;
    }
    resources::join(&container.record.cgroup, criu.pid())?;
    if let Some(class) = &container.record.rdt {
        class.enter(Path::new(rdt::ROOT), criu.pid())?;
    }
    if let Directories::Split(_) = container.record.cgroup.directories {
        options.cg_root = cgroup_roots(criu.pid())?;
    }
    criu.ask(Kind::Restore, options, container)
}

fn make_groups(record: &Record, spec: &Spec) -> Result<(), CheckpointError> {
    resources::make(&record.cgroup)?;
    Ok(resources::apply(&record.cgroup, &create::resources(spec))?)
}

fn options(
    request: &RestoreRequest,
    container: &Container<'_>,
    namespaces: &[Namespace],
) -> Result<Options, CheckpointError> {
    let (plan, facts) = create::rootfs_again(container.spec, &container.record)?;
    let mut options = request.options.to_rpc(LOG);
    options.rst_sibling = Some(true);
    options.evasive_devices = Some(true);
    options.lsm_profile = request.lsm_profile.clone();
    options.lsm_mount_context = request.lsm_mount_context.clone();
    options.config_file = config_file(&container.record);
    options.ext_mnt = external::all_devices().collect();
    for (destination, source) in external::mounts(&plan, &facts)? {
        options.ext_mnt.push(ExternalMount {
            key: destination.display().to_string(),
            val: source.display().to_string(),
        });
    }
    options.inherit_fd = inherited(&request.options.image)?;
    for namespace in namespaces {
        options.inherit_fd.push(InheritedDescriptor {
            key: namespace.name.to_owned(),
            fd: namespace.file.as_raw_fd(),
        });
    }
    Ok(options)
}

/// Returns the streams that were pipes, which this process's take the place of.
fn inherited(image: &Path) -> Result<Vec<InheritedDescriptor>, CheckpointError> {
    let path = image.join(DESCRIPTORS);
    let text = read_bounded(&path, DESCRIPTORS_LIMIT_BYTES)?;
    let links: Vec<String> =
        serde_json::from_slice(&text).map_err(|_| CheckpointError::Descriptors(path))?;
    let pipes = (0..3).zip(links).filter(|(_, link)| link.contains("pipe:"));
    Ok(pipes
        .map(|(fd, key)| InheritedDescriptor { key, fd })
        .collect())
}

/// Returns where a process is in each hierarchy of v1.
fn cgroup_roots(pid: i32) -> Result<Vec<CgroupRoot>, CheckpointError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = read_bounded(&path, DESCRIPTORS_LIMIT_BYTES)?;
    let text = String::from_utf8_lossy(&text);
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            let root = |controller: &str| CgroupRoot {
                ctrl: Some(controller.to_owned()),
                path: path.to_owned(),
            };
            roots.extend(controllers.split(',').map(root));
        }
    }
    Ok(roots)
}

/// The container as it comes back.
struct Container<'a> {
    directory: &'a ContainerDirectory,
    record: Record,
    spec: &'a Spec,
    console: Option<UnixStream>,
    terminal: Option<OwnedFd>,
    pid: i32,
}

impl Notified for Container<'_> {
    fn notified(
        &mut self,
        script: &str,
        pid: i32,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), CheckpointError> {
        match script {
            "setup-namespaces" => self.run_hooks(pid),
            "post-restore" => {
                self.pid = pid;
                self.record.init = Some(ProcessIdentity::of(pid)?);
                Ok(self.directory.save(&self.record)?)
            }
            "orphan-pts-master" => self.take_terminal(descriptor),
            _ => Ok(()),
        }
    }
}

impl Container<'_> {
    fn run_hooks(&self, pid: i32) -> Result<(), CheckpointError> {
        let Some(hooks) = self.spec.hooks() else {
            return Ok(());
        };
        let state = oci_state::of_creation(&self.record, Status::Creating, pid);
        let run = |hooks: &Option<Vec<Hook>>, point| {
            hooks::run_all(hooks.as_deref(), point, &state, &self.record.bundle)
        };
        run(hooks.prestart(), HookPoint::Prestart)?;
        Ok(run(hooks.create_runtime(), HookPoint::CreateRuntime)?)
    }

    fn take_terminal(&mut self, master: Option<OwnedFd>) -> Result<(), CheckpointError> {
        match (master, &self.console) {
            (Some(master), Some(console)) => Ok(handover::send(
                console.as_fd(),
                "/dev/ptmx",
                master.as_fd(),
            )?),
            (master, None) => {
                self.terminal = master;
                Ok(())
            }
            (None, Some(_)) => Err(crate::handover::HandoverError::NothingReceived.into()),
        }
    }
}
