//! Runs a command in a root tree of its own, in namespaces made for it.
//!
//! Stages, all of them this program: the first joins a cgroup made for the purpose
//! and becomes `unshare`; the last, process 1 of the new namespaces, mounts what a
//! system needs, enters the tree by pivot_root (a chroot would make every later
//! pivot_root fail) and reaps until the command ends. Where v2 alone is seen there is
//! one between them, which makes that a cgroup namespace of its own. The end of
//! process 1 ends everything below it, so that no daemon outlives its bench.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{self, MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::cgroups::{self, Hierarchy};
use crate::process::{Cmd, exit_code};

const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// The stage argument of the hidden command.
const STAGE_JOIN: &str = "join";
const STAGE_INIT: &str = "init";
const STAGE_TOP: &str = "top";

/// A command, the tree it runs in and what it sees there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) tree: PathBuf,
    pub(crate) binds: Vec<Bind>,
    pub(crate) network: Network,
    pub(crate) layout: Layout,
    pub(crate) command: Vec<String>,
    /// The cgroup that holds everything, below the root of each hierarchy.
    cgroup: String,
    hierarchies: Vec<Hierarchy>,
}

/// A folder or file of the host that the tree sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bind {
    pub(crate) from: PathBuf,
    /// From the tree's root, without a leading slash.
    pub(crate) to: PathBuf,
    pub(crate) access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Network {
    /// A network namespace with nothing but a loopback interface.
    Private,
    /// The host's, to install packages.
    Host,
}

/// Which of the host's cgroup hierarchies the tree sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Layout {
    /// Not v2 where it is beside v1: crun refuses that.
    Pure,
    AsHost,
    /// v2 alone, with the controllers that v1 leaves it.
    Unified,
}

impl Bind {
    pub(crate) fn new(from: impl Into<PathBuf>, to: impl Into<PathBuf>, access: Access) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            access,
        }
    }
}

impl Entry {
    pub(crate) fn new(tree: impl Into<PathBuf>, network: Network, command: Vec<String>) -> Self {
        Self {
            tree: tree.into(),
            binds: Vec::new(),
            network,
            layout: Layout::Pure,
            command,
            cgroup: format!("xtask-{}", std::process::id()),
            hierarchies: Vec::new(),
        }
    }

    pub(crate) fn bind(mut self, bind: Bind) -> Self {
        self.binds.push(bind);
        self
    }

    /// Shows the tree v2 beside v1, where the host has both.
    pub(crate) fn with_hybrid_cgroups(mut self) -> Self {
        self.layout = Layout::AsHost;
        self
    }

    /// Shows the tree v2 alone.
    pub(crate) fn with_unified_cgroups(mut self) -> Self {
        self.layout = Layout::Unified;
        self
    }

    /// Runs the command to its end and removes the cgroups made for it.
    ///
    /// Returns its exit code.
    ///
    /// # Errors
    /// Fails when the namespaces cannot be made or the cgroups cannot be removed.
    pub(crate) fn run(mut self) -> Result<i32> {
        crate::host::ensure_root("entering a tree")?;
        self.hierarchies = cgroups::hierarchies()?;
        let spec = serde_json::to_string(&self).context("write the entry as JSON")?;
        let own = std::env::current_exe().context("find this program")?;
        let status = Cmd::new(own)
            .args(["inside", STAGE_JOIN])
            .arg(spec)
            .timeout(LIMIT)
            .status();
        cgroups::remove(&self.cgroup)?;
        Ok(exit_code(status?))
    }
}

/// Runs one of the stages; called by the hidden command `inside`.
///
/// # Errors
/// Fails when a step fails; the message names it.
pub(crate) fn run_stage(stage: &str, spec: &str) -> Result<ExitCode> {
    let entry: Entry = serde_json::from_str(spec).context("read the entry")?;
    match stage {
        STAGE_JOIN => Err(join(&entry, spec)?),
        STAGE_INIT if entry.layout == Layout::Unified => Err(become_top(&entry, spec)?),
        STAGE_INIT => init(&entry),
        STAGE_TOP => {
            cgroups::leave_top(&entry.cgroup, &entry.hierarchies)?;
            init(&entry)
        }
        _ => bail!("there is no stage {stage}"),
    }
}

/// Becomes `unshare`; returns only the error of that.
fn join(entry: &Entry, spec: &str) -> Result<anyhow::Error> {
    // `--kill-child` ends the rest when this process, as unshare, is ended.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("end with the parent")?;
    cgroups::join(&entry.cgroup, &entry.hierarchies)?;
    let own = std::env::current_exe().context("find this program")?;
    let mut unshare = Cmd::new("unshare").args([
        "--mount",
        "--pid",
        "--ipc",
        "--uts",
        "--cgroup",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
    ]);
    if entry.network == Network::Private {
        unshare = unshare.arg("--net");
    }
    Ok(unshare
        .arg("--")
        .arg(own)
        .args(["inside", STAGE_INIT])
        .arg(spec)
        .exec())
}

/// Sees only what is below a group of v2 from here on, and becomes the next stage;
/// returns only the error of that.
fn become_top(entry: &Entry, spec: &str) -> Result<anyhow::Error> {
    cgroups::enter_top(&entry.cgroup, &entry.hierarchies)?;
    let own = std::env::current_exe().context("find this program")?;
    let unshare = Cmd::new("unshare").args(["--cgroup", "--"]).arg(own);
    Ok(unshare.args(["inside", STAGE_TOP]).arg(spec).exec())
}

fn init(entry: &Entry) -> Result<ExitCode> {
    mount_tree(entry)?;
    pivot_into(&entry.tree)?;
    if entry.network == Network::Private {
        Cmd::new("ip").args(["link", "set", "lo", "up"]).read()?;
    }
    let (program, args) = entry
        .command
        .split_first()
        .context("the entry has no command")?;
    let command = Cmd::new(program)
        .args(args)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8");
    let code = command.spawn_as_init()?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn mount_tree(entry: &Entry) -> Result<()> {
    let tree = &entry.tree;
    bind(tree, tree, Access::ReadWrite)?;
    mount::mount_change(tree, MountPropagationFlags::PRIVATE).context("make the tree private")?;
    mount_new("proc", &tree.join("proc"), None)?;
    mount_new("sysfs", &tree.join("sys"), None)?;
    bind(Path::new("/dev"), &tree.join("dev"), Access::ReadWrite)?;
    mount_new("tmpfs", &tree.join("run"), Some("mode=0755"))?;
    mount_new("tmpfs", &tree.join("tmp"), Some("mode=1777"))?;
    mount_cgroups(entry)?;
    for wanted in &entry.binds {
        let target = tree.join(&wanted.to);
        prepare_target(&wanted.from, &target)?;
        bind(&wanted.from, &target, wanted.access)?;
    }
    Ok(())
}

/// Mounts each hierarchy as the cgroup namespace shows it.
fn mount_cgroups(entry: &Entry) -> Result<()> {
    let top = entry.tree.join("sys/fs/cgroup");
    let is_unified = entry.hierarchies[..] == [Hierarchy::Unified];
    if is_unified || entry.layout == Layout::Unified {
        return mount_new("cgroup2", &top, None);
    }
    mount_new("tmpfs", &top, Some("mode=0755"))?;
    for hierarchy in &entry.hierarchies {
        let (folder, kind, options) = match hierarchy {
            Hierarchy::Legacy { folder, options } => (folder.as_str(), "cgroup", Some(options)),
            Hierarchy::Hybrid if entry.layout == Layout::AsHost => {
                (cgroups::HYBRID_FOLDER, "cgroup2", None)
            }
            Hierarchy::Hybrid | Hierarchy::Unified => continue,
        };
        let target = top.join(folder);
        std::fs::create_dir(&target).with_context(|| format!("create {}", target.display()))?;
        mount_new(kind, &target, options.map(String::as_str))?;
    }
    Ok(())
}

fn prepare_target(from: &Path, target: &Path) -> Result<()> {
    let made = if from.is_dir() {
        std::fs::create_dir_all(target)
    } else {
        let parent = target.parent().unwrap_or(target);
        std::fs::create_dir_all(parent).and_then(|()| std::fs::File::create(target).map(|_| ()))
    };
    made.with_context(|| format!("make the mount point {}", target.display()))
}

fn mount_new(kind: &str, target: &Path, options: Option<&str>) -> Result<()> {
    let options = options.map(|text| CString::new(text).expect("options have no NUL"));
    mount::mount(kind, target, kind, MountFlags::empty(), options.as_deref())
        .with_context(|| format!("mount {kind} at {}", target.display()))
}

fn bind(from: &Path, to: &Path, access: Access) -> Result<()> {
    mount::mount_bind_recursive(from, to)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))?;
    if access == Access::ReadOnly {
        mount::mount_remount(to, MountFlags::BIND | MountFlags::RDONLY, c"")
            .with_context(|| format!("make {} read-only", to.display()))?;
    }
    Ok(())
}

fn pivot_into(tree: &Path) -> Result<()> {
    rustix::process::chdir(tree).context("enter the tree")?;
    rustix::process::pivot_root(".", ".").context("pivot into the tree")?;
    mount::unmount(".", UnmountFlags::DETACH).context("drop the old root")?;
    rustix::process::chdir("/").context("enter the new root")
}
