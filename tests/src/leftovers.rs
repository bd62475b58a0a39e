//! What an installation has left on the host, read from the kernel and the
//! file system, never from the installation's own state.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::Instance;
use rustix::process::{Pid, Signal, kill_process};

/// How long the end of a failed test waits for its processes to end.
const CLEAR_LIMIT: Duration = Duration::from_secs(5);

/// Returns everything that is left: mounts, interfaces, rules, cgroups,
/// processes and files.
pub(crate) fn all(instance: &Instance) -> Vec<String> {
    let mut left = mounts(instance.run());
    left.extend(interfaces());
    left.extend(tables());
    left.extend(
        cgroups(instance)
            .iter()
            .map(|path| format!("cgroup {path:?}")),
    );
    left.extend(
        processes(instance.root(), instance.run())
            .iter()
            .map(|process| format!("process {process:?}")),
    );
    left.extend(files(instance));
    left
}

fn mounts(below: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("procfs is mounted");
    let below = below.display().to_string();
    table
        .lines()
        .filter(|line| line.contains(&below))
        .map(|line| format!("mount {line}"))
        .collect()
}

/// Unmounts everything at and below a directory, so that it can be removed.
pub(crate) fn unmount(below: &Path) {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| Path::new(point).starts_with(below));
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH).unwrap_or_default();
    }
}

fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").expect("procfs is mounted");
    let names = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next());
    names
        .map(str::trim)
        .filter(|name| *name != "lo")
        .map(|name| format!("interface {name}"))
        .collect()
}

fn tables() -> Vec<String> {
    let said = crate::run(std::process::Command::new("nft").args(["list", "tables"]));
    assert_eq!(said.code, 0, "{said:?}");
    said.stdout
        .lines()
        .map(|line| format!("nf_tables {line}"))
        .collect()
}

/// Returns the cgroups of an installation in every hierarchy, children first.
fn cgroups(instance: &Instance) -> Vec<PathBuf> {
    let name = instance.cgroup_parent();
    let mounts = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut found = Vec::new();
    for mount in mounts.chain(["/sys/fs/cgroup".into()]) {
        collect(&mount.join(name.trim_start_matches('/')), &mut found);
    }
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        collect(&entry.path(), found);
    }
    found.push(directory.to_owned());
}

/// Ends whatever is in an installation's cgroups, frozen or not, and removes them.
pub(crate) fn clear_cgroups(instance: &Instance) {
    let begun = Instant::now();
    let mut groups = cgroups(instance);
    while !groups.is_empty() && begun.elapsed() < CLEAR_LIMIT {
        for group in &groups {
            for pid in members(group) {
                kill_process(pid, Signal::KILL).unwrap_or_default();
            }
            thaw(group);
        }
        std::thread::sleep(crate::POLL);
        groups.retain(|group| fs::remove_dir(group).is_err());
    }
}

fn members(group: &Path) -> Vec<Pid> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let numbers = listed.lines().filter_map(|line| line.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// What is frozen does not die; groups without a freezer have neither file.
fn thaw(group: &Path) {
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let file = fs::OpenOptions::new().write(true).open(group.join(file));
        if let Ok(mut file) = file {
            file.write_all(word.as_bytes()).unwrap_or_default();
        }
    }
}

/// Returns process id and program of everything whose command line names one
/// of the installation's directories, and of what runs in its containers.
pub(crate) fn processes(root: &Path, run: &Path) -> Vec<(i32, String)> {
    let (root, run) = (root.display().to_string(), run.display().to_string());
    let own = std::process::id() as i32;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("procfs is mounted").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if pid == own || !(command.contains(&root) || command.contains(&run)) {
            continue;
        }
        let program = command.split('\0').next().unwrap_or_default();
        found.push((
            pid,
            program.rsplit('/').next().unwrap_or_default().to_owned(),
        ));
    }
    found
}

/// Returns the files of containers and runs.
pub(crate) fn files(instance: &Instance) -> Vec<String> {
    let directories = [
        instance.containers(),
        instance.shims(),
        instance.runtime_state(),
        instance.netd().join("leases"),
        instance.volumed().join("holders"),
        instance.run().join("netns"),
    ];
    let mut left = Vec::new();
    for directory in directories {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            // Filters the runtime has made: of no container, kept on purpose.
            if entry.file_name() != "@seccomp" {
                left.push(format!("file {:?}", entry.path()));
            }
        }
    }
    left
}
