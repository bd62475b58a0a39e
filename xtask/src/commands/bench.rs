//! `cargo xtask bench NAME`: ours beside the peers, interleaved in one run.
//!
//! Builds what ships, enters the tree of peers with it in namespaces made for
//! the run, and prints medians with their spread and then ratio lines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::bench::api::Part;
use crate::bench::{self, Name, Plan, Who, daemons};
use crate::commands::{dist, peers};
use crate::enter::{Access, Bind, Entry};
use crate::process::Cmd;
use crate::workspace::{self, cargo, read_text, write_file};

const RECORD_FILE: &str = "docs/BENCHMARKS.md";
const DATA: &str = "bench-data";
const RESULT_FILE: &str = "result.md";

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    name: Name,
    /// Interleaved rounds; by default 30, for pull and api 5
    #[arg(long)]
    rounds: Option<usize>,
    /// Who takes part; by default everybody who can
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Who>,
    /// How many containers of ours are up while starts are measured
    #[arg(long, default_value_t = 0)]
    up: usize,
    /// On cgroup v2 alone, with the controllers that v1 leaves it; for runtime
    #[arg(long)]
    unified: bool,
    /// What of api to measure, by its ratio's name; by default everything
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Measure the programs in dist/ as they are, without building
    #[arg(long)]
    as_built: bool,
    /// Appends the tables to docs/BENCHMARKS.md
    #[arg(long)]
    record: bool,
}

/// Prepares, enters the tree, and prints or records what was measured.
///
/// # Errors
/// Fails when a contender is missing or fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let plan = plan(arguments)?;
    peers::ensure()?;
    clear_data()?;
    let spec = serde_json::to_string(&plan).context("write the plan as JSON")?;
    let command = ["/proc/self/exe", "bench-inside", &spec]
        .map(str::to_owned)
        .to_vec();
    let mut entry = peers::entry(DATA, command)?;
    if plan.has(Who::Ours) {
        if !arguments.as_built {
            dist::programs()?;
        }
        let to = daemons::OURS.trim_start_matches('/');
        entry = entry.bind(Bind::new(dist::folder(), to, Access::ReadOnly));
    }
    if plan.has(Who::Floor) {
        let to = daemons::FLOOR.trim_start_matches('/');
        entry = entry.bind(Bind::new(build_floor()?, to, Access::ReadOnly));
    }
    if plan.has(Who::CrunOld) || plan.has(Who::RuncOld) {
        entry = with_old_peers(entry)?;
    }
    if plan.unified {
        entry = entry.with_unified_cgroups();
    }
    let code = entry.run()?;
    if code != 0 {
        bail!("the bench ended with status {code}");
    }
    finish(&plan, arguments.record)
}

/// The part of the command that runs in the tree.
///
/// # Errors
/// Fails when a contender fails.
pub(crate) fn run_inside(spec: &str) -> Result<ExitCode> {
    let plan: Plan = serde_json::from_str(spec).context("read the plan")?;
    let result = bench::run(&plan)?;
    write_file(&Path::new("/data").join(RESULT_FILE), result)?;
    Ok(ExitCode::SUCCESS)
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let possible: &[Who] = match arguments.name {
        Name::Start => &[
            Who::Ours,
            Who::Docker,
            Who::Podman,
            Who::Crun,
            Who::Runc,
            Who::Floor,
        ],
        Name::Pull | Name::Memory => &[Who::Ours, Who::Docker, Who::Podman],
        Name::Events | Name::Api => &[Who::Ours, Who::Docker],
        // Debian 12's crun wants more locked memory there than is allowed here.
        Name::Runtime if arguments.unified => {
            &[Who::Ours, Who::Crun, Who::Runc, Who::RuncOld, Who::Floor]
        }
        Name::Runtime => &[
            Who::Ours,
            Who::Crun,
            Who::Runc,
            Who::CrunOld,
            Who::RuncOld,
            Who::Floor,
        ],
    };
    let contenders = contenders(arguments, possible)?;
    refuse_options_of_others(arguments)?;
    let default_rounds = match arguments.name {
        Name::Pull | Name::Api => 5,
        _ => 30,
    };
    let rounds = arguments.rounds.unwrap_or(default_rounds).max(1);
    Ok(Plan {
        name: arguments.name,
        rounds,
        contenders,
        up: arguments.up,
        unified: arguments.unified,
        parts: arguments.parts.clone(),
    })
}

fn contenders(arguments: &Arguments, possible: &[Who]) -> Result<Vec<Who>> {
    let mut contenders = arguments.contenders.clone();
    if contenders.is_empty() {
        contenders = possible.to_vec();
    }
    contenders.sort();
    contenders.dedup();
    if let Some(who) = contenders.iter().find(|who| !possible.contains(who)) {
        bail!("{} takes no part in this bench", who.name());
    }
    if arguments.up > 0 && !contenders.contains(&Who::Ours) {
        bail!("--up needs ours among the contenders");
    }
    Ok(contenders)
}

fn refuse_options_of_others(arguments: &Arguments) -> Result<()> {
    if arguments.unified && arguments.name != Name::Runtime {
        bail!("--unified is for the bench of the runtime");
    }
    if !arguments.parts.is_empty() && arguments.name != Name::Api {
        bail!("--parts is for the bench of the API");
    }
    Ok(())
}

/// Shows the programs of Debian 12's tree beside the newest, and the libraries
/// that only they want.
fn with_old_peers(entry: Entry) -> Result<Entry> {
    let tree = peers::ensure_old()?;
    let below = |path: &'static str| path.trim_start_matches('/');
    let mut entry = entry.bind(Bind::new(&tree, below(daemons::OLD), Access::ReadOnly));
    for library in peers::OLD_LIBRARIES {
        let name = Path::new(library)
            .file_name()
            .context("a library has a name")?;
        let to = Path::new(below(daemons::OLD_LIBRARIES)).join(name);
        let from = tree.join(library);
        let from = from
            .canonicalize()
            .with_context(|| format!("find {}", from.display()))?;
        entry = entry.bind(Bind::new(from, to, Access::ReadOnly));
    }
    Ok(entry)
}

fn build_floor() -> Result<PathBuf> {
    cargo("build")
        .args(["--release", "--locked", "--package=xtask", "--bin=floor"])
        .run()?;
    Ok(workspace::path("target/release/floor"))
}

/// Every run begins with empty data folders.
fn clear_data() -> Result<()> {
    let data = workspace::scratch(DATA)?;
    std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))
}

fn finish(plan: &Plan, record: bool) -> Result<()> {
    let data = workspace::scratch(DATA)?;
    let result = read_text(&data.join(RESULT_FILE))?;
    clear_data()?;
    println!("{result}");
    if record {
        let file = workspace::path(RECORD_FILE);
        let before = std::fs::read_to_string(&file).unwrap_or_else(|_| HEAD.to_owned());
        write_file(&file, format!("{before}\n{}", section(plan, &result)?))?;
    }
    Ok(())
}

const HEAD: &str = "# Benchmarks\n\nAppended by `cargo xtask bench NAME --record`; every table \
    is one interleaved run\non one machine, so only numbers of the same table compare.\n";

fn section(plan: &Plan, result: &str) -> Result<String> {
    let date = Cmd::new("date").args(["--utc", "--iso-8601"]).read()?;
    let commit = Cmd::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .directory(workspace::root())
        .read()?;
    let kernel = Cmd::new("uname").arg("--kernel-release").read()?;
    let mut versions = peers::versions()?;
    if plan.has(Who::CrunOld) || plan.has(Who::RuncOld) {
        versions += &format!("\n{}", peers::old_versions()?);
    }
    let versions = versions.replace('\n', ", ");
    let mut name = format!("{:?}", plan.name).to_lowercase();
    if plan.unified {
        name += " on cgroup v2";
    }
    if plan.up > 0 {
        name += &format!(" with {} containers up", plan.up);
    }
    Ok(format!(
        "## {name}, {date}, commit {commit}\n\nLinux {kernel}; {versions}.\n\n{}\n",
        result.trim_end()
    ))
}
