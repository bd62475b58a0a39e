//! The processes of a container, read from its cgroup and procfs; no `ps` runs.

use std::path::{Path, PathBuf};

use base::PathContext as _;
use engine_api::container::TopResponse;

use crate::Engine;
use crate::container::Container;
use crate::container::start::cgroup_of;
use crate::error::{OrFail as _, Result};

const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/// Processes shown.
const LIMIT: usize = 4096;
/// Clock ticks a second, fixed in the kernel's interface.
const TICKS: u64 = 100;

/// Returns the processes of a running container as `ps -ef` shows them.
///
/// # Errors
/// When the cgroup cannot be read.
pub(in crate::api) fn processes(engine: &Engine, container: &Container) -> Result<TopResponse> {
    let path = processes_file(&cgroup_of(&engine.instance, container));
    let text = std::fs::read_to_string(&path)
        .at("read", &path)
        .or_internal()?;
    let pids = text
        .lines()
        .filter_map(|line| line.parse().ok())
        .take(LIMIT);
    let rows = pids.filter_map(|pid: u32| row(&PathBuf::from(format!("/proc/{pid}")), pid));
    Ok(TopResponse {
        titles: TITLES.map(str::to_owned).into(),
        processes: rows.collect(),
    })
}

fn processes_file(cgroup: &str) -> PathBuf {
    let mount = Path::new("/sys/fs/cgroup");
    let hierarchy = if mount.join("cgroup.controllers").exists() {
        mount.to_owned()
    } else {
        mount.join("pids")
    };
    hierarchy
        .join(cgroup.trim_start_matches('/'))
        .join("cgroup.procs")
}

/// A process that has ended meanwhile has no row.
fn row(proc: &Path, pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let seconds = ticks / TICKS;
    let status = std::fs::read_to_string(proc.join("status")).ok()?;
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .next()?
        .to_owned();
    let command = std::fs::read(proc.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command)
        .trim_end_matches('\0')
        .replace('\0', " ");
    let name = head.split_once('(').map_or("", |(_, name)| name);
    let command = if command.is_empty() {
        format!("[{name}]")
    } else {
        command
    };
    Some(vec![
        uid,
        pid.to_string(),
        (*fields.get(1)?).to_owned(),
        "0".into(),
        start_time(fields.get(19)?.parse().ok()?),
        "?".into(),
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
        command,
    ])
}

/// The wall-clock time of a moment counted in ticks since boot.
fn start_time(ticks: u64) -> String {
    let boot = base::Timestamp::now().seconds()
        - (base::boot::BootInstant::now().0 / 1_000_000_000) as i64;
    let text = base::Timestamp::from_seconds(boot + (ticks / TICKS) as i64).to_string();
    text.get(11..16).unwrap_or_default().to_owned()
}
