//! `conform docker-smoke`, `docker-cli` and `docker-compose`: the stock docker client,
//! and its compose plugin. The first is the quick suite of rows, the second the
//! thorough one.

mod compose;
pub(super) mod suite;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::smoke::rows::{Rules, Table};
use super::smoke::{Client, Outcome, run_rows};
use crate::bench::{Who, daemons};
use crate::commands::{dist, peers};
use crate::enter::{Access, Bind};
use crate::workspace::{self, read_text, write_file};

/// Where the tree has the suite's table.
const TABLE: &str = "/data/table";

/// A suite, and what the reference passes of it.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(super) name: &'static str,
    /// A file, or a folder of files.
    table: &'static str,
    reference: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rows(Rules),
    Projects,
}

/// All of them.
pub(super) const SUITES: [&Suite; 3] = [&SMOKE, &CLI, &COMPOSE];

pub(crate) const SMOKE: Suite = Suite {
    name: "docker-smoke",
    table: "tests/conform/docker-smoke.toml",
    reference: "tests/conform/docker-smoke.reference.txt",
    kind: Kind::Rows(Rules { rows_at_least: 40 }),
};

pub(crate) const CLI: Suite = Suite {
    name: "docker-cli",
    table: "tests/conform/docker-cli",
    reference: "tests/conform/docker-cli.reference.txt",
    kind: Kind::Rows(Rules { rows_at_least: 150 }),
};

pub(crate) const COMPOSE: Suite = Suite {
    name: "docker-compose",
    table: "tests/conform/compose",
    reference: "tests/conform/docker-compose.reference.txt",
    kind: Kind::Projects,
};

/// Against whom, and which rows.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "ours")]
    against: Against,
    /// A folder of our programs to test, in place of a build of them
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// The OCI runtime that dockerd is to use, in place of its own
    #[arg(long, value_name = "PATH", conflicts_with = "record")]
    runtime: Option<PathBuf>,
    /// Runs only the rows whose name contains this, or one of several with `|` between
    #[arg(long, default_value = "")]
    filter: String,
    /// Writes the list of what the reference passes
    #[arg(long, requires = "against", conflicts_with = "filter")]
    record: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    Ours,
    Dockerd,
}

impl Against {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Dockerd => "dockerd",
        }
    }
}

impl Suite {
    /// Enters the tree of peers and runs the rows there.
    ///
    /// # Errors
    /// Fails when a row fails.
    pub(crate) fn run(&self, arguments: &Arguments) -> Result<()> {
        peers::ensure()?;
        let against = arguments.against.name();
        let name = format!("conform-{}-{against}", self.name);
        let data = workspace::scratch(&name)?;
        std::fs::remove_dir_all(&data)?;
        let data = workspace::scratch(&name)?;
        let command = [
            "/proc/self/exe",
            "conform-inside",
            self.name,
            against,
            &arguments.filter,
        ];
        let mut entry = peers::entry(&name, command.map(str::to_owned).to_vec())?;
        let table = workspace::path(self.table);
        let to = TABLE.trim_start_matches('/');
        entry = entry.bind(Bind::new(table, to, Access::ReadOnly));
        for bind in arguments.binds()? {
            entry = entry.bind(bind);
        }
        let code = entry.run()?;
        if arguments.record && arguments.against == Against::Dockerd {
            self.record(&data)?;
        }
        std::fs::remove_dir_all(&data)?;
        ensure!(code == 0, "the suite ended with status {code}");
        Ok(())
    }

    /// The part of the command that runs in the tree.
    ///
    /// # Errors
    /// Fails when the engine under test cannot be started, or a row fails.
    pub(crate) fn run_inside(&self, words: &[String]) -> Result<()> {
        let [against, filter] = words else {
            bail!("two words are needed, not {words:?}");
        };
        let who = match against.as_str() {
            "ours" => Who::Ours,
            _ => Who::Docker,
        };
        let outcome = suite::run(who, |docker, registry| self.judge(docker, registry, filter))?;
        write_file(
            Path::new("/data/passed.txt"),
            outcome.passed.join("\n") + "\n",
        )?;
        let (passed, failed) = (outcome.passed.len(), outcome.failed.len());
        println!("{passed} passed, {failed} failed, 0 skipped");
        ensure!(failed == 0, "{failed} rows failed");
        Ok(())
    }

    fn judge(&self, docker: &dyn Client, registry: &str, filter: &str) -> Result<Outcome> {
        let table = Path::new(TABLE);
        match &self.kind {
            Kind::Rows(rules) => {
                let table = Table::parse(&read_table(table)?, registry, rules)?;
                Ok(run_rows(docker, table.row.iter(), filter))
            }
            Kind::Projects => compose::run(docker, table, registry, filter),
        }
    }

    fn record(&self, data: &Path) -> Result<()> {
        let versions = peers::versions()?;
        let is_used = |line: &&str| {
            let used = ["docker.io ", "docker-compose "];
            let count = if matches!(self.kind, Kind::Rows(_)) {
                1
            } else {
                2
            };
            used[..count].iter().any(|name| line.starts_with(name))
        };
        let version: Vec<&str> = versions.lines().filter(is_used).collect();
        let version = version.join(" with ");
        let passed = read_text(&data.join("passed.txt"))?;
        write_file(
            &workspace::path(self.reference),
            format!("# What {version} passes.\n{passed}"),
        )
    }
}

/// Returns all of a table; the files of a folder are read in order of name.
fn read_table(path: &Path) -> Result<String> {
    if path.is_file() {
        return read_text(path);
    }
    let files = compose::entries(path)?;
    files.iter().map(|file| read_text(file)).collect()
}

impl Arguments {
    /// What the tree is to see of ours.
    fn binds(&self) -> Result<Vec<Bind>> {
        let is_ours = self.against == Against::Ours;
        let mut binds = Vec::new();
        if is_ours {
            let to = daemons::OURS.trim_start_matches('/');
            binds.push(Bind::new(self.programs()?, to, Access::ReadOnly));
        }
        if let Some(runtime) = &self.runtime {
            ensure!(!is_ours, "--runtime goes with --against dockerd");
            let runtime = runtime.canonicalize().context("find the runtime")?;
            let to = suite::RUNTIME.trim_start_matches('/');
            binds.push(Bind::new(runtime, to, Access::ReadOnly));
        }
        Ok(binds)
    }

    fn programs(&self) -> Result<PathBuf> {
        match &self.programs {
            Some(folder) => folder.canonicalize().context("find the programs"),
            None => {
                dist::programs()?;
                Ok(dist::folder())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::conform::smoke::rows::{Table, words};

    fn table(suite: &Suite) -> Table {
        let Kind::Rows(rules) = &suite.kind else {
            panic!("{} has no rows", suite.name)
        };
        let text = read_table(&workspace::path(suite.table)).unwrap();
        Table::parse(&text, "localhost:5000", rules).unwrap()
    }

    #[test]
    fn the_committed_tables_keep_the_rules() {
        for suite in [&SMOKE, &CLI] {
            for row in &table(suite).row {
                words(&row.run).unwrap();
                assert!(row.after.iter().all(|look| {
                    let places = [&look.run, &look.get, &look.file];
                    places.iter().filter(|place| place.is_some()).count() == 1
                }));
            }
        }
    }

    #[test]
    fn no_command_line_is_in_both_tables() {
        let (smoke, cli) = (table(&SMOKE), table(&CLI));
        let lines: BTreeSet<&str> = smoke.row.iter().map(|row| row.run.as_str()).collect();
        let twice: Vec<&str> = cli
            .row
            .iter()
            .map(|row| row.run.as_str())
            .filter(|line| lines.contains(line))
            .collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn the_reference_passes_every_row() {
        for suite in [&SMOKE, &CLI] {
            let list = read_text(&workspace::path(suite.reference)).unwrap();
            let passed: Vec<&str> = list.lines().skip(1).collect();
            let table = table(suite);
            let names: Vec<&str> = table.row.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(passed, names, "{}", suite.name);
        }
    }
}
