//! `bench pull`: a cold pull of many small files, and the removal of the image.
//!
//! The image is made once per run from fresh bytes: five layers, 40,000 files,
//! about two fifths of it incompressible, served by Debian's registry on loopback.
//!
//! A removal is measured until the command ends, and once more until the space is
//! back: ours goes on behind its answer, and the next contender must not pay for
//! it. ext4 takes a minute to forget inodes that were deleted, and is slow until
//! then; a pull begins after that, since a cold one follows no mass removal.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::daemons::{self, Daemons, REGISTRY_PORT, command, folder};
use super::{Plan, Series, Who};
use crate::images;
use crate::process::Cmd;
use crate::workspace::write_file;

const LAYERS: usize = 5;
const FOLDERS_PER_LAYER: usize = 80;
const FILES_PER_FOLDER: usize = 100;
const LINES_PER_FILE: usize = 155;
const STEP_LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(2);
/// What ext4 calls recent of a deleted inode, and a little more.
const FORGET: Duration = Duration::from_secs(62);
/// Where our engine puts what it is going to delete.
const TRASH: &str = "/data/engine/images/trash";

/// Measures by the plan and returns both tables with their ratios.
///
/// # Errors
/// Fails when a pull or a removal does.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    let daemons = Daemons::start(plan)?;
    let image = make_image()?;
    let mut pulls = Series::new("pull", &plan.contenders);
    let mut removals = Series::new("pull-remove", &plan.contenders);
    let mut spaces = Series::new("pull-space", &plan.contenders);
    for round in 0..plan.rounds {
        for turn in 0..plan.contenders.len() {
            let who = plan.contenders[(turn + round) % plan.contenders.len()];
            settle()?;
            std::thread::sleep(FORGET);
            let started = Instant::now();
            daemons::pull(who, &image)?;
            pulls.add(who, started.elapsed().as_secs_f64());
            settle()?;
            let started = Instant::now();
            let removed = command(who)
                .args(["rmi", &image])
                .timeout(STEP_LIMIT)
                .output()?;
            ensure!(
                removed.status.success(),
                "rmi failed: {}",
                removed.stderr_text()
            );
            removals.add(who, removed.elapsed.as_secs_f64());
            if who == Who::Ours {
                wait_until_empty(Path::new(TRASH))?;
            }
            spaces.add(who, started.elapsed().as_secs_f64());
        }
    }
    daemons.stop()?;
    Ok(format!(
        "{}{}{}",
        pulls.report("s")?,
        removals.report("s")?,
        spaces.report("s")?
    ))
}

/// Waits until our engine has deleted what it has thrown away.
fn wait_until_empty(trash: &Path) -> Result<()> {
    let begun = Instant::now();
    let is_empty = || std::fs::read_dir(trash).is_ok_and(|mut entries| entries.next().is_none());
    while !is_empty() {
        ensure!(begun.elapsed() < STEP_LIMIT, "{trash:?} is not emptied");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Lets no contender pay for the dirty pages of the one before it.
fn settle() -> Result<()> {
    Cmd::new("sync").timeout(STEP_LIMIT).read().map(|_| ())
}

fn make_image() -> Result<String> {
    let work = folder("many")?;
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let layers: Vec<PathBuf> = (0..LAYERS)
        .map(|layer| work.join(format!("root-{layer}")))
        .collect();
    for (index, layer) in layers.iter().enumerate() {
        write_files(layer, index, &mut random)?;
    }
    images::write_layout(&work.join("layout"), "1", &layers, &["true"])?;
    let image = format!("localhost:{REGISTRY_PORT}/many:1");
    images::push(&work.join("layout"), "1", &image)?;
    for layer in &layers {
        std::fs::remove_dir_all(layer).with_context(|| format!("remove {}", layer.display()))?;
    }
    Ok(image)
}

fn write_files(layer: &Path, index: usize, random: &mut Xorshift) -> Result<()> {
    for folder in 0..FOLDERS_PER_LAYER {
        for file in 0..FILES_PER_FOLDER {
            let path = layer.join(format!("srv/{index}/{folder}/{file}.txt"));
            write_file(&path, text(random))?;
        }
    }
    Ok(())
}

/// Returns about 13 KiB of text that deflates to about two fifths of it.
fn text(random: &mut Xorshift) -> String {
    let line = |_| {
        let (a, b, c, d) = (random.next(), random.next(), random.next(), random.next());
        format!("{a:016x}{b:016x}{c:016x}{d:016x} and the same again\n")
    };
    (0..LINES_PER_FILE).map(line).collect()
}

/// Marsaglia's generator: the same bytes in every run, without a dependency.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_size_that_makes_the_image_of_the_issue() {
        let bytes = text(&mut Xorshift(1)).len();
        let total = bytes * LAYERS * FOLDERS_PER_LAYER * FILES_PER_FOLDER;
        assert!((500..600).contains(&(total / 1_000_000)), "{total}");
    }
}
