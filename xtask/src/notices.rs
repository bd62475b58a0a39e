//! Collects the licence texts of everything that is linked into what ships.
//!
//! Texts come from the sources cargo has unpacked and, for the C libraries that
//! are linked statically, from Debian's copyright files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace::{Metadata, Package, read_text};

const LICENCE_FILES: &[&str] = &[
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];
/// Debian packages of what the static programs contain.
const C_LIBRARIES: &[&str] = &["libc6", "libseccomp-dev"];

/// Returns the notices for the named packages, each text once.
///
/// # Errors
/// Fails when a text cannot be read or a crate's licence cannot be named.
pub(crate) fn collect(packages: &[&str]) -> Result<String> {
    let metadata = Metadata::load()?;
    let mut notices = "This software contains the following works of others.\n".to_owned();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata.shipped_with(packages) {
        let licence = package.license.as_deref().unwrap_or("see its text below");
        notices += &format!("{} {}: {licence}\n", package.name, package.version);
        for text in texts_of(package)? {
            let who = format!("{} {}", package.name, package.version);
            texts.entry(text).or_default().insert(who);
        }
    }
    for library in C_LIBRARIES {
        let text = read_text(Path::new(&format!("/usr/share/doc/{library}/copyright")))?;
        texts.entry(text).or_default().insert((*library).to_owned());
    }
    for (text, users) in texts {
        let users: Vec<String> = users.into_iter().collect();
        notices += &format!(
            "\n{}\n{}\n\n{}\n",
            "=".repeat(72),
            users.join(", "),
            text.trim()
        );
    }
    Ok(notices)
}

fn texts_of(package: &Package) -> Result<Vec<String>> {
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest has a folder")?;
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if LICENCE_FILES.iter().any(|known| name.starts_with(known)) && entry.path().is_file() {
            texts.push(String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned());
        }
    }
    Ok(texts)
}
