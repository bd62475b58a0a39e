//! Which namespaces a container has: new ones and ones that are joined. Pure,
//! but for the last part, which opens and enters them.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use base::file::{PathContext as _, PathError};
use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use pathrs::flags::OpenFlags;
use pathrs::procfs::{ProcfsBase, ProcfsHandle};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::exec::inside::failed;
use crate::spec::SpecError;

/// A namespace that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub kind: LinuxNamespaceType,
    pub path: PathBuf,
}

/// The namespaces of a container; of a kind that is in neither list it has the
/// runtime's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespacePlan {
    pub new: Vec<LinuxNamespaceType>,
    pub joined: Vec<Joined>,
}

/// How init gets into its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// One clone makes the new ones; init joins the others by itself.
    Direct,
    /// A process before it joins, and makes init: some namespaces hold for
    /// children only, and a new user namespace has no right to join others.
    Staged,
}

/// Returns what `namespaces` ask for.
///
/// # Errors
/// When a kind is named twice.
pub(super) fn plan(namespaces: &[LinuxNamespace]) -> Result<NamespacePlan, SpecError> {
    let mut plan = NamespacePlan::default();
    for namespace in namespaces {
        let kind = namespace.typ();
        if plan.is_new(kind) || plan.is_joined(kind) {
            return Err(SpecError::Invalid("linux.namespaces names a kind twice"));
        }
        match namespace.path() {
            Some(path) if !path.as_os_str().is_empty() => plan.joined.push(Joined {
                kind,
                path: path.clone(),
            }),
            _ => plan.new.push(kind),
        }
    }
    Ok(plan)
}

impl NamespacePlan {
    /// Returns whether the container gets a namespace of this kind to itself.
    pub fn is_new(&self, kind: LinuxNamespaceType) -> bool {
        self.new.contains(&kind)
    }

    /// Returns whether it joins one.
    pub fn is_joined(&self, kind: LinuxNamespaceType) -> bool {
        self.joined.iter().any(|joined| joined.kind == kind)
    }

    /// Returns how init gets in.
    pub fn entry(&self) -> Entry {
        use LinuxNamespaceType as T;
        let for_children = self.is_joined(T::Pid) || self.is_joined(T::Time);
        let is_narrowed =
            self.is_joined(T::User) || self.is_new(T::User) && !self.joined.is_empty();
        match for_children || is_narrowed {
            true => Entry::Staged,
            false => Entry::Direct,
        }
    }

    /// Returns the flags of the clone that makes init. Its control group
    /// namespace comes later, once it is in its groups, and a time namespace from
    /// inside of the user namespace.
    pub fn clone_flags(&self) -> u64 {
        use LinuxNamespaceType as T;
        let flags = self.new.iter().map(|kind| match kind {
            T::Mount => libc::CLONE_NEWNS,
            T::Uts => libc::CLONE_NEWUTS,
            T::Ipc => libc::CLONE_NEWIPC,
            T::User => libc::CLONE_NEWUSER,
            T::Pid => libc::CLONE_NEWPID,
            T::Network => libc::CLONE_NEWNET,
            T::Cgroup | T::Time => 0,
        });
        flags.fold(0, |all, flag| all | flag as u64)
    }
}

/// An opened namespace.
#[derive(Debug)]
pub struct OpenNamespace {
    joined: Joined,
    handle: OwnedFd,
}

/// Opens the namespaces that are joined.
///
/// # Errors
/// When one is not there.
pub fn open(plan: &NamespacePlan) -> Result<Vec<OpenNamespace>, PathError> {
    let open = |joined: &Joined| {
        // What is no namespace, a FIFO say, must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&joined.path, flags, Mode::empty());
        Ok(OpenNamespace {
            handle: handle.at("open namespace", &joined.path)?,
            joined: joined.clone(),
        })
    };
    plan.joined.iter().map(open).collect()
}

/// Joins all of `namespaces`: first what the caller's own privilege allows,
/// then the user namespace, then what needs the privilege in there. The mount
/// namespace comes last of its group, since it changes what paths mean.
///
/// # Errors
/// A message that names the namespace.
pub(super) fn join(namespaces: &[OpenNamespace]) -> Result<(), String> {
    use LinuxNamespaceType as T;
    let mut rest: Vec<_> = namespaces
        .iter()
        .filter(|n| n.joined.kind != T::User)
        .collect();
    rest.sort_by_key(|namespace| namespace.joined.kind == T::Mount);
    let user = namespaces.iter().find(|n| n.joined.kind == T::User);
    let Some(user) = user else {
        return rest
            .into_iter()
            .try_for_each(|one| enter(one).map_err(|e| refused(one, e)));
    };
    let mut refused_yet = Vec::new();
    for namespace in rest {
        match enter(namespace) {
            Err(Errno::PERM) => refused_yet.push(namespace),
            entered => entered.map_err(|error| refused(namespace, error))?,
        }
    }
    enter(user).map_err(|error| refused(user, error))?;
    super::identity::become_root()?;
    refused_yet
        .into_iter()
        .try_for_each(|one| enter(one).map_err(|error| refused(one, error)))
}

fn enter(namespace: &OpenNamespace) -> Result<(), Errno> {
    let kind = match namespace.joined.kind {
        LinuxNamespaceType::Mount => LinkNameSpaceType::Mount,
        LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::User => LinkNameSpaceType::User,
        LinuxNamespaceType::Pid => LinkNameSpaceType::ProcessID,
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Time => LinkNameSpaceType::Time,
    };
    move_into_link_name_space(namespace.handle.as_fd(), Some(kind))
}

fn refused(namespace: &OpenNamespace, error: Errno) -> String {
    let Joined { kind, path } = &namespace.joined;
    format!("cannot join the {kind} namespace {path:?}: {error}")
}

/// Makes a time namespace with these offsets, and moves this process there:
/// `unshare` alone makes it for children.
///
/// # Errors
/// A message that names the step.
pub(super) fn enter_new_time(offsets: Option<&str>) -> Result<(), String> {
    let flags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
    unshare(flags).map_err(failed("make a time namespace"))?;
    // A joined mount namespace may have another procfs.
    let procfs = ProcfsHandle::new().map_err(failed("open procfs"))?;
    if let Some(offsets) = offsets {
        let file = procfs.open(ProcfsBase::ProcSelf, "timens_offsets", OpenFlags::O_WRONLY);
        let mut file = file.map_err(failed("open timens_offsets"))?;
        file.write_all(offsets.as_bytes())
            .map_err(failed("set the offsets of the time namespace"))?;
    }
    let path = "ns/time_for_children";
    let made = procfs
        .open_follow(ProcfsBase::ProcSelf, path, OpenFlags::O_RDONLY)
        .map_err(failed("open the time namespace"))?;
    move_into_link_name_space(made.as_fd(), Some(LinkNameSpaceType::Time))
        .map_err(failed("enter the time namespace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Vec<LinuxNamespace> {
        serde_json::from_str(text).unwrap()
    }

    fn entry(text: &str) -> Entry {
        plan(&spec(text)).unwrap().entry()
    }

    #[test]
    fn new_and_joined_ones_are_told_apart() {
        let text =
            r#"[{"type":"pid"},{"type":"network","path":"/run/n"},{"type":"mount","path":""}]"#;
        let plan = plan(&spec(text)).unwrap();
        assert_eq!(
            plan.new,
            [LinuxNamespaceType::Pid, LinuxNamespaceType::Mount]
        );
        let network = Joined {
            kind: LinuxNamespaceType::Network,
            path: "/run/n".into(),
        };
        assert_eq!(plan.joined, [network]);
        let flags = (libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64;
        assert_eq!(plan.clone_flags(), flags);
    }

    #[test]
    fn a_kind_named_twice_is_refused() {
        let text = r#"[{"type":"pid"},{"type":"pid","path":"/run/n"}]"#;
        assert!(plan(&spec(text)).is_err());
    }

    #[test]
    fn only_what_one_clone_cannot_do_is_staged() {
        assert_eq!(
            entry(r#"[{"type":"pid"},{"type":"mount"},{"type":"user"}]"#),
            Entry::Direct
        );
        assert_eq!(
            entry(r#"[{"type":"mount"},{"type":"time"},{"type":"network","path":"/n"}]"#),
            Entry::Direct
        );
        for staged in [
            r#"[{"type":"pid","path":"/n"}]"#,
            r#"[{"type":"user","path":"/n"}]"#,
            r#"[{"type":"user"},{"type":"network","path":"/n"}]"#,
            r#"[{"type":"time","path":"/n"}]"#,
        ] {
            assert_eq!(entry(staged), Entry::Staged, "{staged}");
        }
    }
}
