//! `cargo xtask tidy`: the rules about files that no compiler knows.
//!
//! Gathers the files, lets `crate::tidy` judge them, and takes the exceptions off.

use anyhow::{Result, bail};

use crate::tidy::{Violation, exceptions::Exceptions, links, machine, rust};
use crate::workspace::{self, read_text};

/// Checks every file git knows of.
///
/// # Errors
/// Fails when a rule is broken, after printing every place.
pub(crate) fn run() -> Result<()> {
    let exceptions = Exceptions::load()?;
    let mut found = exceptions.check_growth()?;
    let files = workspace::tracked_files()?;
    for name in &files {
        let Ok(text) = read_text(&workspace::path(name)) else {
            continue; // Not text: none of the rules apply.
        };
        found.extend(machine::check(name, &text, workspace::root()));
        if name.ends_with(".rs") {
            found.extend(rust::check(name, &text));
        }
        if name.ends_with(".md") {
            found.extend(links::check(name, &text, |target| {
                workspace::path(target).exists()
            }));
        }
    }
    report(exceptions.remaining(found), files.len())
}

fn report(violations: Vec<Violation>, files: usize) -> Result<()> {
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        bail!(
            "{} places in {files} files break a rule of docs/CONTRIBUTING.md",
            violations.len()
        );
    }
    Ok(())
}
