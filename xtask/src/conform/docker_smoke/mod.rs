//! `conform docker-smoke`: rows of command lines of the stock docker client.

pub(super) mod suite;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::bench::{Who, daemons};
use crate::commands::{dist, peers};
use crate::enter::{Access, Bind};
use crate::workspace::{self, read_text, write_file};

const TABLE: &str = "tests/conform/docker-smoke.toml";
const REFERENCE: &str = "tests/conform/docker-smoke.reference.txt";
const DATA: &str = "conform-data";
pub(super) const NAME: &str = "docker-smoke";

/// Against whom, and which rows.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "ours")]
    against: Against,
    /// The OCI runtime that dockerd is to use, in place of its own
    #[arg(long, value_name = "PATH", conflicts_with = "record")]
    runtime: Option<PathBuf>,
    /// Runs only the rows whose name contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// Writes the list of what the reference passes
    #[arg(long, requires = "against")]
    record: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    Ours,
    Dockerd,
}

/// Enters the tree of peers and runs the rows there.
///
/// # Errors
/// Fails when a row fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    peers::ensure()?;
    let data = workspace::scratch(DATA)?;
    std::fs::remove_dir_all(&data)?;
    let data = workspace::scratch(DATA)?;
    write_file(
        &data.join("table.toml"),
        read_text(&workspace::path(TABLE))?,
    )?;
    let against = if arguments.against == Against::Ours {
        "ours"
    } else {
        "dockerd"
    };
    let command = [
        "/proc/self/exe",
        "conform-inside",
        NAME,
        against,
        &arguments.filter,
    ];
    let mut entry = peers::entry(DATA, command.map(str::to_owned).to_vec())?;
    if arguments.against == Against::Ours {
        dist::programs()?;
        let to = daemons::OURS.trim_start_matches('/');
        entry = entry.bind(Bind::new(dist::folder(), to, Access::ReadOnly));
    }
    if let Some(runtime) = &arguments.runtime {
        ensure!(
            arguments.against == Against::Dockerd,
            "--runtime goes with --against dockerd"
        );
        let runtime = runtime.canonicalize().context("find the runtime")?;
        let to = suite::RUNTIME.trim_start_matches('/');
        entry = entry.bind(Bind::new(runtime, to, Access::ReadOnly));
    }
    let code = entry.run()?;
    if arguments.record && arguments.against == Against::Dockerd {
        record(&data)?;
    }
    std::fs::remove_dir_all(&data)?;
    if code != 0 {
        bail!("the suite ended with status {code}");
    }
    Ok(())
}

/// The part of the command that runs in the tree.
///
/// # Errors
/// Fails when the engine under test cannot be started, or a row fails.
pub(crate) fn run_inside(words: &[String]) -> Result<()> {
    let [against, filter] = words else {
        bail!("two words are needed, not {words:?}");
    };
    let who = if against == "ours" {
        Who::Ours
    } else {
        Who::Docker
    };
    let table = read_text(Path::new("/data/table.toml"))?;
    let outcome = suite::run(who, &table, filter)?;
    write_file(
        Path::new("/data/passed.txt"),
        outcome.passed.join("\n") + "\n",
    )?;
    let (passed, failed) = (outcome.passed.len(), outcome.failed.len());
    println!("{passed} passed, {failed} failed, 0 skipped");
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} rows failed"),
    }
}

fn record(data: &Path) -> Result<()> {
    let versions = peers::versions()?;
    let version = versions
        .lines()
        .find(|line| line.starts_with("docker.io"))
        .unwrap_or_default();
    let passed = read_text(&data.join("passed.txt"))?;
    write_file(
        &workspace::path(REFERENCE),
        format!("# Rows that {version} passes.\n{passed}"),
    )
}
