//! `bench memory`: what idle daemons hold, and what each container adds.
//!
//! Counts resident and private bytes of every process of a contender, found by
//! the names of its programs; what runs inside the containers is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::daemons::{self, Daemons, command};
use super::{Plan, Who, bundle};
use crate::stats::Sample;

const MANY: usize = 50;
const MIB: f64 = 1024.0;
const SETTLE: Duration = Duration::from_secs(3);

/// Resident and private KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Memory {
    resident_kib: f64,
    private_kib: f64,
}

/// Measures by the plan and returns a table with the ratios of private bytes.
///
/// # Errors
/// Fails when a container cannot be started or a process cannot be read.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    let daemons = Daemons::start(plan)?;
    let image = bundle::make_image()?;
    let mut measured = BTreeMap::new();
    for who in &plan.contenders {
        daemons::pull(*who, &image)?;
        measured.insert(*who, measure(*who, &image)?);
    }
    daemons.stop()?;
    report(&measured)
}

/// Returns the processes' memory when idle, with one container and with many.
fn measure(who: Who, image: &str) -> Result<[Memory; 3]> {
    let mut names = Vec::new();
    let mut points = [Memory::default(); 3];
    for (point, containers) in points.iter_mut().zip([0, 1, MANY]) {
        while names.len() < containers {
            let name = format!("memory-{}", names.len());
            let run = ["run", "--detach", "--name", &name, image, "sleep", "3600"];
            command(who).args(run).read()?;
            names.push(name);
        }
        settle();
        *point = total(programs(who))?;
    }
    for name in &names {
        // Podman alone waits ten seconds for a `sleep` to heed SIGTERM.
        let at_once = (who == Who::Podman).then_some("--time=0");
        command(who)
            .args(["rm", "--force"])
            .args(at_once)
            .arg(name)
            .read()?;
    }
    Ok(points)
}

/// Daemons give memory back, or grow, for a moment after a start.
pub(super) fn settle() {
    std::thread::sleep(SETTLE);
}

/// Returns the programs that a contender's processes run.
pub(super) fn programs(who: Who) -> &'static [&'static str] {
    match who {
        Who::Ours => &["engine", "netd", "volumed", "engine-shim"],
        Who::Docker => &["dockerd", "containerd", "containerd-shim", "docker-proxy"],
        Who::Podman => &["conmon", "netavark", "aardvark-dns"],
        Who::Crun | Who::Runc | Who::CrunOld | Who::RuncOld | Who::Floor => &[],
    }
}

fn total(programs: &[&str]) -> Result<Memory> {
    let mut sum = Memory::default();
    for folder in processes(programs)? {
        // A process that ended in between holds nothing.
        let text = std::fs::read_to_string(folder.join("smaps_rollup")).unwrap_or_default();
        sum.resident_kib += field(&text, "Rss:");
        sum.private_kib += field(&text, "Private_Clean:") + field(&text, "Private_Dirty:");
    }
    Ok(sum)
}

/// Returns the folders in `/proc` of the processes that run one of the programs, or
/// a shim of one.
///
/// # Errors
/// Fails when `/proc` cannot be read.
pub(super) fn processes(programs: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("read /proc")? {
        let folder = entry.context("read /proc")?.path();
        if runs_one_of(&folder, programs) {
            found.push(folder);
        }
    }
    Ok(found)
}

fn runs_one_of(folder: &Path, programs: &[&str]) -> bool {
    let exe = std::fs::read_link(folder.join("exe")).unwrap_or_default();
    let name = exe
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    programs
        .iter()
        .any(|program| name == *program || name.starts_with(&format!("{program}-shim")))
}

/// Returns the number of a line of `smaps_rollup`, in KiB; 0 without that line.
pub(super) fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}

fn report(measured: &BTreeMap<Who, [Memory; 3]>) -> Result<String> {
    let mut text = "| what | idle resident MiB | idle private MiB | per container (1) resident \
        | (1) private | (50) resident | (50) private |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (who, [idle, one, many]) in measured {
        let each = |after: &Memory, count: f64| {
            let resident = (after.resident_kib - idle.resident_kib) / count / MIB;
            let private = (after.private_kib - idle.private_kib) / count / MIB;
            format!("{resident:.2} | {private:.2}")
        };
        let (first, later) = (each(one, 1.0), each(many, MANY as f64));
        let (resident, private) = (idle.resident_kib / MIB, idle.private_kib / MIB);
        text += &format!(
            "| {} | {resident:.1} | {private:.1} | {first} | {later} |\n",
            who.name()
        );
    }
    text.push('\n');
    let Some(ours) = measured.get(&Who::Ours) else {
        return Ok(text);
    };
    for (who, theirs) in measured.iter().filter(|(who, _)| **who != Who::Ours) {
        let per_container = |points: &[Memory; 3]| points[2].resident_kib - points[0].resident_kib;
        text += &ratio(
            "memory-idle",
            *who,
            ours[0].resident_kib,
            theirs[0].resident_kib,
        )?;
        text += &ratio(
            "memory-container",
            *who,
            per_container(ours),
            per_container(theirs),
        )?;
    }
    Ok(text)
}

/// Returns the ratio line, or nothing for a peer without that process.
fn ratio(what: &str, who: Who, ours: f64, theirs: f64) -> Result<String> {
    if theirs <= 0.0 {
        return Ok(String::new());
    }
    let sample = |value| Sample::new(vec![value]).context("one value is a sample");
    Ok(crate::stats::ratio(
        what,
        who.name(),
        &sample(ours)?,
        &sample(theirs)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_kibibytes_by_name() {
        let text = "Rss:                1234 kB\nPrivate_Clean:         8 kB\n";
        assert_eq!(
            (field(text, "Rss:"), field(text, "Private_Dirty:")),
            (1234.0, 0.0)
        );
    }

    #[test]
    fn a_peer_without_an_idle_daemon_has_no_ratio() {
        assert_eq!(ratio("memory-idle", Who::Podman, 1.0, 0.0).unwrap(), "");
    }
}
