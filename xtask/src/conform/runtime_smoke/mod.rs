//! `conform runtime-smoke`: podman and containerd's `ctr` with an OCI runtime in
//! place of their own. What Docker does with it, `conform docker-smoke --against
//! dockerd --runtime PATH` shows.

mod ctr;
mod machine;
mod podman;

pub(crate) use machine::{MachineArguments, run_in_machine};

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::docker::suite::start_registry;
use super::smoke::rows::Table;
use super::smoke::{Client, Outcome, run_rows};
use super::tested;
use crate::bench::daemons::REGISTRY_PORT;
use crate::commands::peers;
use crate::enter::{Access, Bind};
use crate::workspace::{self, read_text, write_file};

pub(super) const NAME: &str = "runtime-smoke";
const DATA: &str = "conform-runtime";
const TABLES: [&str; 2] = ["podman-smoke.toml", "ctr-smoke.toml"];
const RUNTIME: &str = "/tested/runc-rs";
/// The runtime of the tree, to try a row on.
const REFERENCE: &str = "/usr/sbin/runc";

/// Which runtime, and which rows.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The runtime under test; the one of this checkout where none is given
    #[arg(long, value_name = "PATH", conflicts_with = "reference")]
    runtime: Option<PathBuf>,
    /// Tests the tree's own runc
    #[arg(long)]
    reference: bool,
    /// Runs only the rows whose name contains this
    #[arg(long, default_value = "")]
    filter: String,
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
    for table in TABLES {
        let text = read_text(&workspace::path("tests/conform").join(table))?;
        write_file(&data.join(table), text)?;
    }
    let runtime = match arguments.reference {
        true => None,
        false => Some(tested(arguments.runtime.as_deref())?),
    };
    let path = if runtime.is_some() {
        RUNTIME
    } else {
        REFERENCE
    };
    let command = [
        "/proc/self/exe",
        "conform-inside",
        NAME,
        path,
        &arguments.filter,
    ];
    let mut entry = peers::entry(DATA, command.map(str::to_owned).to_vec())?;
    if let Some(runtime) = runtime {
        let to = RUNTIME.trim_start_matches('/');
        entry = entry.bind(Bind::new(runtime, to, Access::ReadOnly));
    }
    let code = entry.run()?;
    std::fs::remove_dir_all(&data)?;
    ensure!(code == 0, "the suite ended with status {code}");
    Ok(())
}

/// The part of the command that runs in the tree.
///
/// # Errors
/// Fails when an engine cannot be started, or a row fails.
pub(crate) fn run_inside(words: &[String]) -> Result<()> {
    let [runtime, filter] = words else {
        bail!("two words are needed, not {words:?}");
    };
    let registry = start_registry()?;
    let podman = podman::Podman::new(runtime)?;
    let ctr = ctr::Ctr::start(runtime)?;
    let mut all = Outcome::default();
    let clients: [&dyn Client; 2] = [&podman, &ctr];
    for (table, client) in TABLES.iter().zip(clients) {
        println!("== {table} on {runtime}");
        let text = read_text(&Path::new("/data").join(table))?;
        let table = Table::parse_any(&text, &format!("localhost:{REGISTRY_PORT}"))?;
        let outcome = run_rows(client, table.row.iter(), filter);
        all.passed.extend(outcome.passed);
        all.failed.extend(outcome.failed);
    }
    ctr.stop()?;
    registry.stop()?;
    let (passed, failed) = (all.passed.len(), all.failed.len());
    println!("{passed} passed, {failed} failed, 0 skipped");
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} rows failed"),
    }
}
