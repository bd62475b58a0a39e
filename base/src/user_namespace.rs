//! User namespaces that no process lives in: their id mappings, and how one is
//! made by a program that has threads.
//!
//! The kernel lets only a process of one thread make one, so the program runs
//! itself once more, as [`HOLDER`], for the blink in which the maps are written
//! and the namespaces are opened or bound. `main` has to ask [`hold_if_asked`]
//! before anything else.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::{PathContext as _, PathError};

/// The first argument of the program when it only holds namespaces.
pub const HOLDER: &str = "hold-namespaces";
/// The second, when there is a network namespace too.
const WITH_NETWORK: &str = "network";
/// The binary that runs, also after another was put in its place.
const OWN_BINARY: &str = "/proc/self/exe";
/// What the holder says once it is in its namespaces.
const READY: u8 = b'+';

/// A range of ids inside and outside of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub size: u32,
}

/// How the ids of a user namespace are those of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMappings {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// The kernel's id for what is nobody inside or outside.
const OVERFLOW_ID: u32 = 65_534;

impl IdMappings {
    /// Returns the host's user and group that are root inside; where nobody is, the
    /// kernel's nobody, and never the host's root.
    pub fn root(&self) -> (u32, u32) {
        (
            to_host(&self.uids, 0).unwrap_or(OVERFLOW_ID),
            to_host(&self.gids, 0).unwrap_or(OVERFLOW_ID),
        )
    }
}

/// Returns what `id` inside is on the host, if it is anything.
pub fn to_host(ranges: &[IdRange], id: u32) -> Option<u32> {
    let mut offsets = ranges.iter().map(|r| (r, id.checked_sub(r.inside)));
    offsets.find_map(|(range, offset)| {
        let offset = offset.filter(|offset| *offset < range.size)?;
        range.outside.checked_add(offset)
    })
}

/// Returns what `id` of the host is inside, if it is anything.
pub fn from_host(ranges: &[IdRange], id: u32) -> Option<u32> {
    let mut offsets = ranges.iter().map(|r| (r, id.checked_sub(r.outside)));
    offsets.find_map(|(range, offset)| {
        let offset = offset.filter(|offset| *offset < range.size)?;
        range.inside.checked_add(offset)
    })
}

/// Makes the calling thread own the files it makes as the root of `mappings`,
/// with all the rights it has: on a mount with mapped ids, the host's own root
/// is nobody. The thread is to end soon.
///
/// # Errors
/// When the kernel refuses.
pub fn own_files_as_root_of(mappings: &IdMappings) -> io::Result<()> {
    let (uid, gid) = mappings.root();
    let before = rustix::thread::capabilities(None)?;
    nix::unistd::setfsgid(gid.into());
    nix::unistd::setfsuid(uid.into());
    // The call says nothing of a failure; and it takes rights over files away.
    let is_set = nix::unistd::setfsuid(u32::MAX.into()).as_raw() == uid
        && nix::unistd::setfsgid(u32::MAX.into()).as_raw() == gid;
    if !is_set {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(rustix::thread::set_capabilities(None, before)?)
}

/// Why no namespace can be made.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    #[error("cannot start a process for a user namespace")]
    Start(#[source] io::Error),
    #[error("the kernel makes no user namespace: {0}")]
    Refused(String),
    #[error(transparent)]
    File(#[from] PathError),
}

/// Which namespaces are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    User,
    /// And a network namespace that belongs to it.
    UserAndNetwork,
}

/// Namespaces that are there as long as this value, and longer where they are
/// opened or bound meanwhile.
#[derive(Debug)]
pub struct Held {
    child: Child,
}

impl Held {
    /// Makes the namespaces.
    ///
    /// # Errors
    /// When the kernel refuses them or their maps.
    pub fn new(kinds: Kinds, mappings: &IdMappings) -> Result<Self, UserNamespaceError> {
        let mut command = Command::new(OWN_BINARY);
        command.arg(HOLDER).env_clear();
        if kinds == Kinds::UserAndNetwork {
            command.arg(WITH_NETWORK);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.stderr(Stdio::piped()).spawn();
        let mut held = Self {
            child: child.map_err(UserNamespaceError::Start)?,
        };
        held.wait_ready()?;
        for (name, ranges) in [("uid_map", &mappings.uids), ("gid_map", &mappings.gids)] {
            let path = format!("/proc/{}/{name}", held.child.id());
            let mut file = File::options().write(true).open(&path).at("open", &path)?;
            // The kernel takes a map in one write only.
            file.write_all(lines(ranges).as_bytes())
                .at("write", &path)?;
        }
        Ok(held)
    }

    /// Returns the path of a namespace, `user` or `net`.
    pub fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.child.id())
    }

    fn wait_ready(&mut self) -> Result<(), UserNamespaceError> {
        let mut said = [0];
        let output = self.child.stdout.as_mut();
        let read = output.map_or(Ok(0), |output| output.read(&mut said));
        if matches!(read, Ok(1)) && said == [READY] {
            return Ok(());
        }
        let mut why = String::new();
        if let Some(errors) = self.child.stderr.as_mut() {
            errors
                .take(4096)
                .read_to_string(&mut why)
                .map_err(UserNamespaceError::Start)?;
        }
        Err(UserNamespaceError::Refused(why.trim().to_owned()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Its input ends with this value; it would end by itself.
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            tracing::error!(%error, "cannot wait for the holder of a user namespace");
        }
    }
}

fn lines(ranges: &[IdRange]) -> String {
    let line = |r: &IdRange| format!("{} {} {}\n", r.inside, r.outside, r.size);
    ranges.iter().map(line).collect()
}

/// Is the holder, if the command line says so, until its input ends.
pub fn hold_if_asked(mut arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    if arguments.nth(1)? != HOLDER {
        return None;
    }
    let mut flags = CloneFlags::CLONE_NEWUSER;
    if arguments.next().is_some_and(|word| word == WITH_NETWORK) {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    Some(match hold(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn hold(flags: CloneFlags) -> io::Result<()> {
    unshare(flags)?;
    let mut output = io::stdout();
    output.write_all(&[READY])?;
    output.flush()?;
    io::stdin().read_exact(&mut [0]).or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_both_ways_and_others_are_nothing() {
        let range = |inside, outside, size| IdRange {
            inside,
            outside,
            size,
        };
        let ranges = [range(0, 100_000, 10), range(10, 200_000, u32::MAX)];
        assert_eq!(to_host(&ranges, 0), Some(100_000));
        assert_eq!(to_host(&ranges, 10), Some(200_000));
        assert_eq!(to_host(&ranges, u32::MAX), None);
        assert_eq!(from_host(&ranges, 100_009), Some(9));
        assert_eq!(from_host(&ranges, 100_010), None);
        assert_eq!(from_host(&ranges, 200_001), Some(11));
        assert_eq!(lines(&ranges[..1]), "0 100000 10\n");
        let mappings = |from: usize| IdMappings {
            uids: ranges[from..].to_vec(),
            gids: Vec::new(),
        };
        assert_eq!(mappings(0).root(), (100_000, OVERFLOW_ID));
        assert_eq!(mappings(1).root(), (OVERFLOW_ID, OVERFLOW_ID));
    }
}
