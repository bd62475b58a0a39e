//! `cargo xtask layers`: the rules about packages.
//!
//! Which package may use which is the table in docs/ARCHITECTURE.md; which
//! versions may be double and which licences may be linked are lists in xtask/.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::licence;
use crate::workspace::{self, Metadata, read_text};

const TABLE_FILE: &str = "docs/ARCHITECTURE.md";
const TABLE_HEAD: &str = "| package | may depend on |";
const DUPLICATES_FILE: &str = "xtask/known-duplicates.toml";
const LICENCES_FILE: &str = "xtask/licences.toml";

/// What a package may depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Anything,
    Only(BTreeSet<String>),
}

type Table = BTreeMap<String, Allowed>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DuplicatesFile {
    /// Packages in Cargo.lock, at most.
    lock_ceiling: usize,
    /// Name to the reason why more than one version is in the graph.
    known: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LicencesFile {
    allowed: BTreeSet<String>,
    /// Packages whose manifest says something else, with what was found.
    #[serde(default)]
    exceptions: BTreeMap<String, String>,
}

/// Checks edges, duplicate versions and licences.
///
/// # Errors
/// Fails when a rule is broken, after printing every place.
pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    let table = parse_table(&read_text(&workspace::path(TABLE_FILE))?)?;
    let duplicates: DuplicatesFile = parse_list(DUPLICATES_FILE)?;
    let licences: LicencesFile = parse_list(LICENCES_FILE)?;
    let mut wrong = check_edges(&edges(&metadata), &table);
    wrong.extend(check_duplicates(&versions(&metadata), &duplicates.known));
    wrong.extend(check_ceiling(duplicates.lock_ceiling)?);
    wrong.extend(check_licences(&metadata, &licences));
    for line in &wrong {
        eprintln!("{line}");
    }
    if !wrong.is_empty() {
        bail!("{} rules about packages are broken", wrong.len());
    }
    Ok(())
}

fn parse_list<T: for<'de> Deserialize<'de>>(file: &str) -> Result<T> {
    toml::from_str(&read_text(&workspace::path(file))?).with_context(|| format!("parse {file}"))
}

fn parse_table(text: &str) -> Result<Table> {
    let mut lines = text.lines().skip_while(|line| line.trim() != TABLE_HEAD);
    if lines.next().is_none() {
        bail!("{TABLE_FILE} has no table that begins with `{TABLE_HEAD}`");
    }
    let mut table = Table::new();
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [packages, allowed] = cells[..] else {
            bail!("{TABLE_FILE}: `{line}` has not two cells");
        };
        for package in names(packages) {
            let previous = table.insert(package.clone(), parse_allowed(allowed));
            anyhow::ensure!(previous.is_none(), "{TABLE_FILE}: `{package}` has two rows");
        }
    }
    Ok(table)
}

fn parse_allowed(cell: &str) -> Allowed {
    match cell.trim() {
        "anything" | "any of ours" => Allowed::Anything,
        "nothing" | "nothing of ours" | "" => Allowed::Only(BTreeSet::new()),
        list => Allowed::Only(names(list).collect()),
    }
}

fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split(',')
        .map(|name| name.trim().trim_matches('`').to_owned())
        .filter(|n| !n.is_empty())
}

/// Returns every package of ours with those of ours it names, for whatever kind of use.
fn edges(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let uses = |package: &workspace::Package| {
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some());
        ours.map(|dependency| dependency.name.clone()).collect()
    };
    metadata
        .members()
        .map(|package| (package.name.clone(), uses(package)))
        .collect()
}

fn check_edges(edges: &BTreeMap<String, BTreeSet<String>>, table: &Table) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, uses) in edges {
        match table.get(package) {
            None => wrong.push(format!("{package} is not in the table of {TABLE_FILE}")),
            Some(Allowed::Anything) => {}
            Some(Allowed::Only(allowed)) => {
                let extra = uses
                    .iter()
                    .filter(|used| !allowed.contains(*used) && *used != package);
                wrong.extend(extra.map(|used| format!("{package} may not depend on {used}")));
            }
        }
    }
    let gone = table.keys().filter(|package| !edges.contains_key(*package));
    wrong.extend(gone.map(|package| format!("{TABLE_FILE} names {package}, which is no package")));
    wrong
}

fn versions(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let resolved: BTreeSet<&str> = metadata
        .resolve
        .nodes
        .iter()
        .map(|n| n.id.as_str())
        .collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata
        .foreign()
        .filter(|package| resolved.contains(package.id.as_str()))
    {
        versions
            .entry(package.name.clone())
            .or_default()
            .insert(package.version.clone());
    }
    versions
}

fn check_duplicates(
    versions: &BTreeMap<String, BTreeSet<String>>,
    known: &BTreeMap<String, String>,
) -> Vec<String> {
    let double = |name: &str| {
        versions
            .get(name)
            .is_some_and(|versions| versions.len() > 1)
    };
    let new = versions
        .iter()
        .filter(|(name, _)| double(name) && !known.contains_key(*name));
    let mut wrong: Vec<String> = new
        .map(|(name, versions)| format!("{name} is there in versions {versions:?}"))
        .collect();
    let stale = known.keys().filter(|name| !double(name));
    wrong.extend(stale.map(|name| format!("{DUPLICATES_FILE}: {name} is no duplicate any more")));
    wrong
}

fn check_ceiling(ceiling: usize) -> Result<Option<String>> {
    let lock = read_text(&workspace::path("Cargo.lock"))?;
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    let over = packages > ceiling;
    Ok(over.then(|| {
        format!("Cargo.lock has {packages} packages, {ceiling} is the ceiling in {DUPLICATES_FILE}")
    }))
}

fn check_licences(metadata: &Metadata, file: &LicencesFile) -> Vec<String> {
    let refused = |package: &&workspace::Package| {
        let fits = package
            .license
            .as_deref()
            .is_some_and(|e| licence::fits(e, &file.allowed));
        !fits && !file.exceptions.contains_key(&package.name)
    };
    let describe = |package: &workspace::Package| {
        let licence = package
            .license
            .as_deref()
            .unwrap_or("no licence expression");
        format!(
            "{} {}: {licence} is not in {LICENCES_FILE}",
            package.name, package.version
        )
    };
    metadata.foreign().filter(refused).map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# x\n\n| package | may depend on |\n|---|---|\n| `base` | nothing |\n\
        | `netd`, `netd-api` | `base`, `events` |\n| tests | anything |\n\nmore | text |\n";

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_table_is_read_to_its_end() {
        let table = parse_table(TABLE).unwrap();
        assert_eq!(table.len(), 4);
        assert_eq!(table["base"], Allowed::Only(BTreeSet::new()));
        assert_eq!(table["netd-api"], Allowed::Only(set(&["base", "events"])));
        assert_eq!(table["tests"], Allowed::Anything);
    }

    #[test]
    fn a_missing_table_and_a_double_row_are_refused() {
        assert!(parse_table("# no table").is_err());
        assert!(parse_table(&TABLE.replace("netd-api", "base")).is_err());
    }

    #[test]
    fn any_other_edge_and_any_forgotten_package_is_named() {
        let table = parse_table(TABLE).unwrap();
        let edges = BTreeMap::from([
            ("base".to_owned(), set(&["events"])),
            ("events".to_owned(), set(&[])),
            ("netd".to_owned(), set(&["base"])),
            ("tests".to_owned(), set(&["netd"])),
        ]);
        let wrong = check_edges(&edges, &table);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert_eq!(wrong[0], "base may not depend on events");
        assert!(wrong[1].starts_with("events is not in the table"));
        assert!(wrong[2].contains("names netd-api, which is no package"));
    }

    #[test]
    fn duplicates_must_be_known_and_known_ones_must_exist() {
        let versions = BTreeMap::from([
            ("nix".to_owned(), set(&["0.29", "0.30"])),
            ("syn".to_owned(), set(&["2", "3"])),
        ]);
        let known = BTreeMap::from([
            ("syn".to_owned(), "why".to_owned()),
            ("rand".to_owned(), "why".to_owned()),
        ]);
        let wrong = check_duplicates(&versions, &known);
        assert!(
            wrong[0].starts_with("nix is there") && wrong[1].contains("rand"),
            "{wrong:?}"
        );
    }
}
