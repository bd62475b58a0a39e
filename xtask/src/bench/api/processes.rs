//! What the processes of a contender take: time of processors, and memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::super::memory;
use super::{Bench, Who};
use crate::workspace::read_text;

const TARGET_MIB: f64 = 48.0;

/// Time that each thread has run, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Spent(BTreeMap<PathBuf, u64>);

impl Spent {
    /// Reads it of every process of a contender, those of its containers left out.
    ///
    /// # Errors
    /// Fails when there is none.
    pub(super) fn by(who: Who) -> Result<Self> {
        let mut spent = BTreeMap::new();
        for process in memory::processes(memory::programs(who))? {
            let threads = std::fs::read_dir(process.join("task"));
            // What ended in between runs no more.
            for thread in threads.into_iter().flatten().flatten() {
                let file = thread.path().join("schedstat");
                let text = std::fs::read_to_string(file).unwrap_or_default();
                let time = text.split(' ').next().and_then(|word| word.parse().ok());
                spent.insert(thread.path(), time.unwrap_or(0));
            }
        }
        ensure!(!spent.is_empty(), "{} has no process", who.name());
        Ok(Self(spent))
    }

    /// Returns the microseconds from `before` until this was read; those of threads that
    /// ended meanwhile are not known.
    pub(super) fn since(&self, before: &Self) -> f64 {
        let spent = self.0.iter().map(|(thread, time)| {
            let before = before.0.get(thread).unwrap_or(&0);
            time.saturating_sub(*before)
        });
        spent.sum::<u64>() as f64 / 1e3
    }
}

/// `memory`: proportional set size with 1,000 stopped and 100 running containers, of
/// our engine's process beside dockerd's and containerd's.
pub(super) fn memory(bench: &Bench<'_>) -> Result<String> {
    memory::settle();
    let mut text = String::new();
    if let Some(engine) = &bench.daemons.engine {
        let size = proportional(Path::new(&format!("/proc/{}", engine.pid())))?;
        text += &format!(
            "memory engine {size:.1} MiB with 1000 stopped and 100 running containers \
             (target {TARGET_MIB} MiB)\n"
        );
        for program in ["netd", "volumed"] {
            text += &format!("memory {program} {:.1} MiB\n", of_program(program)?);
        }
    }
    if bench.daemons.docker.is_some() {
        let (dockerd, containerd) = (of_program("dockerd")?, of_program("containerd")?);
        text += &format!(
            "memory dockerd {dockerd:.1} MiB and containerd {containerd:.1} MiB, together {:.1}\n",
            dockerd + containerd
        );
    }
    Ok(text + "\n")
}

/// Returns the MiB of the processes that run exactly this program.
fn of_program(program: &str) -> Result<f64> {
    let mut sum = 0.0;
    for process in memory::processes(&[program])? {
        let exe = std::fs::read_link(process.join("exe")).unwrap_or_default();
        if exe.file_name().is_some_and(|name| name == program) {
            sum += proportional(&process)?;
        }
    }
    ensure!(sum > 0.0, "no process runs {program}");
    Ok(sum)
}

fn proportional(process: &Path) -> Result<f64> {
    let text = read_text(&process.join("smaps_rollup")).context("read a process's memory")?;
    Ok(memory::field(&text, "Pss:") / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(threads: &[(&str, u64)]) -> Spent {
        let threads = threads
            .iter()
            .map(|(path, time)| (PathBuf::from(path), *time));
        Spent(threads.collect())
    }

    #[test]
    fn threads_that_began_or_ended_in_between_are_no_trouble() {
        let before = spent(&[("a", 1000), ("ended", 9000)]);
        let after = spent(&[("a", 4000), ("new", 2000)]);
        assert!((after.since(&before) - 5.0).abs() < 1e-9);
    }
}
