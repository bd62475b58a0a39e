//! Where the parts of the checkout are, and what cargo says about its packages.
//!
//! Reads the workspace only; builds nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::Cmd;

/// The target every shipped and tested binary is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Returns the folder of the root manifest.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// Returns a path below the root.
pub(crate) fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// Returns the folder for xtask's own scratch, created when missing.
///
/// # Errors
/// Fails when it cannot be created.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let directory = path("target/xtask").join(name);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

/// Returns a cargo command in the root folder, with the toolchain that runs us.
pub(crate) fn cargo(subcommand: &str) -> Cmd {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Cmd::new(cargo).arg(subcommand).directory(root())
}

/// Writes a generated file, replacing what was there.
///
/// # Errors
/// Fails when the file cannot be created or written.
pub(crate) fn write_file(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(bytes.as_ref()))
        .with_context(|| format!("write {}", path.display()))
}

/// Reads a text file, naming it when that fails.
///
/// # Errors
/// Fails when the file cannot be read or is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Returns the files git knows of, relative to the root, that are there.
///
/// # Errors
/// Fails when git fails.
pub(crate) fn tracked_files() -> Result<Vec<String>> {
    let listed = Cmd::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .directory(root())
        .read()?;
    let mut files: Vec<String> = listed
        .split('\0')
        .filter(|name| !name.is_empty() && path(name).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// What `cargo metadata` says, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Resolve,
}

/// A package of the dependency graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as the manifest names it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) path: Option<PathBuf>,
}

/// The resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

/// One package of the resolved graph with the packages it uses.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<NodeDep>,
}

/// An edge of the resolved graph.
#[derive(Debug, Deserialize)]
pub(crate) struct NodeDep {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<DepKind>,
}

/// What an edge is for: `None` is a normal dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct DepKind {
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Returns the graph of the Linux target, exactly as Cargo.lock has it.
    ///
    /// # Errors
    /// Fails when cargo fails, for instance because Cargo.lock is out of date.
    pub(crate) fn load() -> Result<Self> {
        let text = cargo("metadata")
            .args([
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                TARGET,
            ])
            .read()?;
        serde_json::from_str(&text).context("read the output of cargo metadata")
    }

    /// Returns the packages of the workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Returns the packages of others that were resolved.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| !self.workspace_members.contains(&package.id))
    }

    /// Returns what ships in the named packages: their normal dependencies, all the way down.
    pub(crate) fn shipped_with(&self, names: &[&str]) -> Vec<&Package> {
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let mut wanted: Vec<&str> = self
            .members()
            .filter(|package| names.contains(&package.name.as_str()))
            .map(|package| package.id.as_str())
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(id) = wanted.pop() {
            if !seen.insert(id) {
                continue;
            }
            let normal = |dep: &&NodeDep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none());
            let deps = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            wanted.extend(deps.filter(normal).map(|dep| dep.pkg.as_str()));
        }
        self.foreign()
            .filter(|package| seen.contains(package.id.as_str()))
            .collect()
    }
}
