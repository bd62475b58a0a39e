//! `conform docker-compose`: projects that the stock compose plugin brings up, each
//! in tests/conform/compose/NAME: what compose reads, and `steps.toml`, which says
//! what is done to it in order and what must come of each step.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::conform::smoke::rows::{After, FOLDER, fill};
use crate::conform::smoke::{Client, Outcome, clear_folder, look, wanted};
use crate::workspace::{read_text, write_file};

const STEPS: &str = "steps.toml";

/// What is done to a project.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    step: Vec<After>,
}

/// Brings up every project of a folder whose name has the filter in it.
///
/// # Errors
/// Fails when the folder cannot be read.
pub(super) fn run(
    client: &dyn Client,
    folder: &Path,
    registry: &str,
    filter: &str,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for project in entries(folder)? {
        let name = project.file_name().unwrap_or_default().to_string_lossy();
        if wanted(&name, filter) {
            let judged = judge(client, &project, registry);
            outcome.add(&name, judged.and(client.clean_up().context("clean up")));
        }
    }
    Ok(outcome)
}

fn judge(client: &dyn Client, project: &Path, registry: &str) -> Result<()> {
    clear_folder()?;
    copy_filled(project, Path::new(FOLDER), registry)?;
    let steps = read_steps(&Path::new(FOLDER).join(STEPS))?;
    for (number, step) in (1..).zip(&steps.step) {
        look(client, step).with_context(|| format!("step {number}"))?;
    }
    Ok(())
}

fn read_steps(file: &Path) -> Result<Steps> {
    let steps: Steps =
        toml::from_str(&read_text(file)?).with_context(|| format!("parse {}", file.display()))?;
    ensure!(!steps.step.is_empty(), "{} has no step", file.display());
    Ok(steps)
}

/// Copies text files, with their placeholders filled in.
fn copy_filled(from: &Path, to: &Path, registry: &str) -> Result<()> {
    for entry in entries(from)? {
        let target = to.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() {
            copy_filled(&entry, &target, registry)?;
        } else {
            write_file(&target, fill(&read_text(&entry)?, registry))?;
        }
    }
    Ok(())
}

/// Returns what is in a folder, in order of name.
///
/// # Errors
/// Fails when it cannot be read.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::smoke::rows::words;
    use crate::workspace;

    #[test]
    fn every_project_has_steps_and_the_reference_passes_it() {
        let projects = entries(&workspace::path("tests/conform/compose")).unwrap();
        assert!(projects.len() >= 12, "{projects:?}");
        for project in &projects {
            assert!(project.join("compose.yaml").is_file(), "{project:?}");
            for step in read_steps(&project.join(STEPS)).unwrap().step {
                let places = [&step.run, &step.get, &step.file];
                assert_eq!(places.iter().filter(|place| place.is_some()).count(), 1);
                words(&step.run.unwrap_or_default()).unwrap();
            }
        }
        let list = read_text(&workspace::path(
            "tests/conform/docker-compose.reference.txt",
        ))
        .unwrap();
        let passed: Vec<&str> = list.lines().skip(1).collect();
        let names = projects.iter().map(|project| project.file_name().unwrap());
        assert_eq!(passed, names.collect::<Vec<_>>());
    }
}
