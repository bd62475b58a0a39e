//! An image in a directory, and a root filesystem made of it as `perform` does.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};
use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::Spec;
use runc_rs::create::RootSwitch;
use runc_rs::rootfs::{
    self, CgroupMounts, RootfsFacts, RootfsFds, RootfsHooks, RootfsPlan, SourceRequest,
};
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::{Value, json};

use crate::child::{HOST_ID, in_child};

/// The directory `rootfs` of a bundle, and a place beside it that stands for
/// the host's files.
pub(crate) struct Image {
    directory: tempfile::TempDir,
}

impl Image {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = Self { directory };
        fs::set_permissions(image.bundle(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["dev", "proc", "sys", "etc", "tmp"] {
            fs::create_dir_all(image.path(name)).unwrap();
        }
        fs::create_dir(image.outside()).unwrap();
        image
    }

    /// A path in the image.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.bundle().join("rootfs").join(name)
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    /// A directory of the host that no container may change.
    pub(crate) fn outside(&self) -> PathBuf {
        self.bundle().join("outside")
    }

    /// A directory of the host with a file `file` in it.
    pub(crate) fn source(&self, name: &str) -> PathBuf {
        let path = self.bundle().join(name);
        fs::create_dir_all(&path).unwrap();
        put(&path.join("file"), name);
        path
    }

    pub(crate) fn link(&self, name: &str, target: impl AsRef<Path>) {
        let path = self.path(name);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            fs::remove_dir(&path).unwrap();
        }
        symlink(target, path).unwrap();
    }

    /// Gives the image to the root of the user namespaces of these tests.
    pub(crate) fn give(&self) {
        give(&self.path(""));
    }

    #[track_caller]
    pub(crate) fn assert_untouched_outside(&self) {
        let entries: Vec<_> = fs::read_dir(self.outside()).unwrap().collect();
        assert!(entries.is_empty(), "{entries:?}");
    }
}

pub(crate) fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(HOST_ID), Some(HOST_ID)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

pub(crate) fn put(path: &Path, text: &str) {
    base::file::replace(path, text.as_bytes(), base::file::FileMode::Public).unwrap();
}

pub(crate) fn owned(path: &Path, uid: u32, gid: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
}

/// How to build, and what to do on the way.
pub(crate) struct Build<'a> {
    pub(crate) image: &'a Image,
    pub(crate) mounts: Value,
    pub(crate) linux: Value,
    pub(crate) read_only: bool,
    pub(crate) root_switch: RootSwitch,
    pub(crate) cgroups: Option<CgroupMounts>,
    pub(crate) kernel: Kernel,
    pub(crate) id_maps: Vec<OwnedFd>,
    /// In the new mount namespace, before anything is built.
    pub(crate) prepare: Box<dyn FnMut() + 'a>,
    pub(crate) cgroup_ready: Box<dyn FnMut() + 'a>,
    /// Between the mounts and the new root, with the host still in sight.
    pub(crate) before_pivot: Box<dyn FnMut() + 'a>,
    pub(crate) source: Box<OpenSource<'a>>,
}

/// How the parent opens a source.
type OpenSource<'a> = dyn FnMut(&SourceRequest) -> Result<OwnedFd, String> + 'a;

/// Which mount calls the kernel is made to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    Todays,
    /// Mounts by descriptor, attributes only by `mount(2)`: 5.2 to 5.11.
    WithoutAttributes,
    /// `mount(2)` alone.
    Old,
}

pub(crate) const KERNELS: [Kernel; 3] = [Kernel::Todays, Kernel::WithoutAttributes, Kernel::Old];

impl<'a> Build<'a> {
    pub(crate) fn new(image: &'a Image, mounts: Value) -> Self {
        Self {
            image,
            mounts,
            linux: json!({}),
            read_only: false,
            root_switch: RootSwitch::PivotRoot,
            cgroups: None,
            kernel: Kernel::Todays,
            id_maps: Vec::new(),
            prepare: Box::new(|| ()),
            cgroup_ready: Box::new(|| ()),
            before_pivot: Box::new(|| ()),
            source: Box::new(|_| Err("not in this test".to_owned())),
        }
    }

    pub(crate) fn plan(&self) -> RootfsPlan {
        let spec = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": self.read_only},
            "mounts": self.mounts,
            "linux": self.linux,
        });
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let unified = CgroupMounts::Unified {
            root: PathBuf::from("/sys/fs/cgroup"),
            group: PathBuf::from("/sys/fs/cgroup"),
        };
        let facts = RootfsFacts {
            rootfs: self.image.path("").canonicalize().unwrap(),
            bundle: self.image.bundle(),
            root_switch: self.root_switch,
            in_user_namespace: false,
            has_kcore: true,
            cgroups: self.cgroups.clone().unwrap_or(unified),
        };
        rootfs::plan(&spec, &facts).unwrap()
    }

    /// Builds in a process of its own and lets `look` look around in there.
    #[track_caller]
    pub(crate) fn see(self, look: impl FnOnce() -> String) -> String {
        in_child(|| match self.build() {
            Ok(()) => look(),
            Err(error) => panic!("{error}"),
        })
    }

    /// Builds in a process of its own, which must fail.
    #[track_caller]
    pub(crate) fn fails(self, text: &str) {
        let said = in_child(|| {
            self.build()
                .map_or_else(|error| error, |()| "success".to_owned())
        });
        assert!(said.contains(text), "{said:?} lacks {text:?}");
    }

    /// Builds in this process, in a new mount namespace.
    pub(crate) fn build(mut self) -> Result<(), String> {
        let plan = self.plan();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        separate();
        (self.prepare)();
        filter(self.kernel);
        let resources = RootfsFds {
            id_maps: std::mem::take(&mut self.id_maps),
        };
        let performed = rootfs::perform(&plan, resources, &mut self);
        performed.map_err(|error| base::failure::chain(&error))
    }
}

/// Keeps this namespace's mounts from the machine's.
pub(crate) fn separate() {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", flags).unwrap();
}

impl RootfsHooks for Build<'_> {
    fn cgroup_ready(&mut self) -> Result<(), String> {
        (self.cgroup_ready)();
        Ok(())
    }

    fn before_pivot(&mut self) -> Result<(), String> {
        (self.before_pivot)();
        Ok(())
    }

    fn mount_source(&mut self, request: &SourceRequest) -> Result<OwnedFd, String> {
        (self.source)(request)
    }
}

/// Takes calls away from this thread, as an older kernel or a filter of an
/// outer container does.
fn filter(kernel: Kernel) {
    let new = [
        "open_tree",
        "move_mount",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
    ];
    let gone: Vec<&str> = match kernel {
        Kernel::Todays => return,
        Kernel::WithoutAttributes => vec!["mount_setattr"],
        Kernel::Old => new.into_iter().chain(["mount_setattr"]).collect(),
    };
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
    for name in gone {
        let call = ScmpSyscall::from_name(name).unwrap();
        filter
            .add_rule(ScmpAction::Errno(nix::libc::ENOSYS), call)
            .unwrap();
    }
    filter.load().unwrap();
}

/// Mounts a tmpfs in the test's namespace.
pub(crate) fn tmpfs(path: &Path, flags: MountFlags) {
    fs::create_dir_all(path).unwrap();
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, c"mode=755").unwrap();
}

/// Returns the lines of the mount table whose mount point is `point`, as seen
/// from this process: `<options> <propagation> - <type> <source> <options>`.
pub(crate) fn mounted(point: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let on_point = |line: &&str| line.split(' ').nth(4) == Some(point);
    let rest = |line: &str| line.split(' ').skip(5).collect::<Vec<_>>().join(" ");
    table.lines().filter(on_point).map(rest).collect()
}

/// Returns the options of the one mount on `point`.
#[track_caller]
pub(crate) fn options(point: &str) -> String {
    let lines = mounted(point);
    assert_eq!(lines.len(), 1, "{point}: {lines:?}");
    lines[0].split(' ').next().unwrap().to_owned()
}

/// A procfs, which [`mounted`] reads.
pub(crate) fn proc() -> Value {
    json!({"destination": "/proc", "type": "proc", "source": "proc"})
}

/// Returns `file`'s text, or how reading it failed.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

/// Returns how an attempt to make a file ended.
pub(crate) fn write(path: &str) -> String {
    match fs::File::options().create(true).append(true).open(path) {
        Ok(_) => "written".to_owned(),
        Err(error) => error.to_string(),
    }
}
