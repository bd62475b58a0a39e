//! A picture of everything on the host that a container platform can leave behind.
//!
//! Reading and comparing only; nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::process::Cmd;
use crate::workspace::read_text;

/// The programs whose processes, and everything below them, are ours.
const OUR_PROGRAMS: &[&str] = &["engine", "engine-shim", "netd", "volumed", "runc-rs"];
/// Folders in which what we make begins with one of the prefixes.
const OUR_FOLDERS: &[&str] = &["var/lib", "run", "tmp", "var/tmp"];
const OUR_PREFIXES: &[&str] = &["engine", "runc-rs", "netd", "volumed", "xtask", ".tmp"];
/// Deeper cgroups are not looked at.
const CGROUP_DEPTH_LIMIT: usize = 10;

/// What is there, by kind; each item with how often.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot(BTreeMap<String, BTreeMap<String, usize>>);

impl Snapshot {
    /// Reads everything; `root` is `/` but for tests.
    ///
    /// # Errors
    /// Fails when a part of the kernel's state cannot be read.
    pub(crate) fn take(root: &Path) -> Result<Self> {
        let mut snapshot = Self::default();
        snapshot.add(
            "mount",
            mounts(&read_text(&root.join("proc/self/mountinfo"))?),
        );
        snapshot.add("link", names_in(&root.join("sys/class/net")));
        snapshot.add(
            "address",
            addresses(&Cmd::new("ip").args(["-o", "addr", "show"]).read()?),
        );
        snapshot.add(
            "route",
            lines(
                &Cmd::new("ip")
                    .args(["route", "show", "table", "all"])
                    .read()?,
            ),
        );
        snapshot.add(
            "rule",
            rules(&Cmd::new("nft").args(["-s", "list", "ruleset"]).read()?),
        );
        snapshot.add("netns", names_in(&root.join("run/netns")));
        snapshot.add("cgroup", cgroups(root)?);
        snapshot.add("process", processes(&root.join("proc")));
        snapshot.add("file", files(root));
        Ok(snapshot)
    }

    /// Returns one line for each thing that is new or gone in `after`.
    pub(crate) fn compare(&self, after: &Self) -> Vec<String> {
        let mut different = Vec::new();
        let none = BTreeMap::new();
        let kinds: BTreeSet<&String> = self.0.keys().chain(after.0.keys()).collect();
        for kind in kinds {
            let old = self.0.get(kind).unwrap_or(&none);
            let new = after.0.get(kind).unwrap_or(&none);
            let left = new
                .iter()
                .filter(|(item, count)| old.get(*item).unwrap_or(&0) < count);
            different.extend(left.map(|(item, _)| format!("left behind: {kind} {item}")));
            let gone = old
                .iter()
                .filter(|(item, count)| new.get(*item).unwrap_or(&0) < count);
            // A process or a temporary file of before may well have ended by now.
            let gone = gone.filter(|_| kind != "process" && kind != "file" && kind != "cgroup");
            different.extend(gone.map(|(item, _)| format!("gone: {kind} {item}")));
        }
        different
    }

    fn add(&mut self, kind: &str, items: Vec<String>) {
        let counts = self.0.entry(kind.to_owned()).or_default();
        for item in items {
            *counts.entry(item).or_default() += 1;
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new(); // The folder exists only when somebody made an entry.
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Returns "type at point" for each mount.
fn mounts(mountinfo: &str) -> Vec<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        Some(format!(
            "{} at {}",
            after.split(' ').next()?,
            before.split(' ').nth(4)?
        ))
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Returns "link family address", without lifetimes, which count down.
fn addresses(text: &str) -> Vec<String> {
    let address = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(format!(
            "{} {} {}",
            words.get(1)?,
            words.get(2)?,
            words.get(3)?
        ))
    };
    text.lines().filter_map(address).collect()
}

/// Returns each line of the rule set with the table and chain it stands in.
fn rules(text: &str) -> Vec<String> {
    let mut context: Vec<&str> = Vec::new();
    let mut rules = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line == "}" {
            context.pop();
            continue;
        }
        let opened = line.strip_suffix(" {");
        let shown = opened.unwrap_or(line);
        rules.push(if context.is_empty() {
            shown.into()
        } else {
            format!("{}: {shown}", context.join(" "))
        });
        context.extend(opened);
    }
    rules
}

/// Returns the cgroups of every hierarchy but those of our caller's siblings.
fn cgroups(root: &Path) -> Result<Vec<String>> {
    let mount = root.join("sys/fs/cgroup");
    let siblings = sibling_folders(&read_text(&root.join("proc/self/cgroup"))?);
    let mut found = Vec::new();
    let mut folders = vec![(mount.clone(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue; // Removed since its parent was read.
        };
        for entry in entries
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            let path = entry.path();
            let shown = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            if siblings
                .iter()
                .any(|sibling| shown.contains(sibling.as_str()))
            {
                continue;
            }
            found.push(shown);
            if depth < CGROUP_DEPTH_LIMIT {
                folders.push((path, depth + 1));
            }
        }
    }
    Ok(found)
}

/// Returns the folders in which whoever started us keeps one cgroup per command.
fn sibling_folders(own: &str) -> Vec<String> {
    let parent = |line: &str| {
        let (parent, _) = line.splitn(3, ':').nth(2)?.rsplit_once('/')?;
        (!parent.is_empty()).then(|| format!("{parent}/"))
    };
    own.lines().filter_map(parent).collect()
}

/// Returns the processes that run one of our programs or descend from one.
fn processes(proc: &Path) -> Vec<String> {
    let pids: Vec<u32> = names_in(proc)
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    let parents: BTreeMap<u32, u32> = pids
        .iter()
        .filter_map(|pid| Some((*pid, parent_of(proc, *pid)?)))
        .collect();
    let ours: BTreeSet<u32> = pids
        .iter()
        .copied()
        .filter(|pid| is_ours(proc, *pid))
        .collect();
    let below = |pid: &u32| {
        std::iter::successors(Some(*pid), |pid| parents.get(pid).copied())
            .take(pids.len())
            .any(|pid| ours.contains(&pid))
    };
    pids.iter()
        .filter(|pid| below(pid))
        .map(|pid| format!("{pid} {}", command_of(proc, *pid)))
        .collect()
}

fn parent_of(proc: &Path, pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn is_ours(proc: &Path, pid: u32) -> bool {
    let exe = fs::read_link(proc.join(format!("{pid}/exe")));
    let name = exe
        .ok()
        .and_then(|exe| Some(exe.file_name()?.to_string_lossy().into_owned()));
    name.is_some_and(|name| OUR_PROGRAMS.contains(&name.trim_end_matches(" (deleted)")))
}

fn command_of(proc: &Path, pid: u32) -> String {
    let bytes = fs::read(proc.join(format!("{pid}/cmdline"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

fn files(root: &Path) -> Vec<String> {
    let ours = |folder: &&str| {
        let names = names_in(&root.join(folder));
        let ours = names
            .into_iter()
            .filter(|name| OUR_PREFIXES.iter().any(|p| name.starts_with(p)));
        ours.map(|name| format!("/{folder}/{name}"))
            .collect::<Vec<_>>()
    };
    OUR_FOLDERS.iter().flat_map(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, items: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.add(kind, items.iter().map(|item| (*item).to_owned()).collect());
        snapshot
    }

    #[test]
    fn what_is_new_or_gone_is_named() {
        let different = of("link", &["lo", "eth0"]).compare(&of("link", &["lo", "veth1"]));
        assert_eq!(different, ["left behind: link veth1", "gone: link eth0"]);
    }

    #[test]
    fn the_same_thing_once_more_is_new() {
        let before = of("mount", &["tmpfs at /x"]);
        assert_eq!(before.compare(&of("mount", &["tmpfs at /x"; 2])).len(), 1);
    }

    #[test]
    fn processes_may_end() {
        assert_eq!(
            of("process", &["1 engine"]).compare(&of("process", &[])),
            [""; 0]
        );
    }

    #[test]
    fn rules_carry_their_table_and_chain() {
        let text = "table ip nat {\n\tchain post {\n\t\ttype nat\n\t\tmasquerade\n\t}\n}\n";
        assert_eq!(
            rules(text),
            [
                "table ip nat",
                "table ip nat: chain post",
                "table ip nat chain post: type nat",
                "table ip nat chain post: masquerade"
            ]
        );
    }

    #[test]
    fn a_mount_is_its_type_and_point() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext4 /dev/root rw\n";
        assert_eq!(mounts(line), ["ext4 at /mnt2"]);
    }

    #[test]
    fn cgroups_of_our_callers_siblings_are_left_out() {
        assert_eq!(sibling_folders("4:memory:/jobs/a1\n1:cpu:/\n"), ["/jobs/"]);
    }

    #[test]
    fn a_snapshot_taken_twice_is_the_same() {
        let before = Snapshot::take(Path::new("/")).unwrap();
        assert!(
            before.0["mount"]
                .keys()
                .any(|mount| mount.ends_with(" at /"))
        );
        assert!(before.0["link"].contains_key("lo"));
    }
}
