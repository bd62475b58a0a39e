//! `conform runc-bats`: runc's own integration suite, unmodified, against any
//! OCI runtime.
//!
//! The suite is that of a Debian source package and runs in a tree of the same
//! Debian suite, so that the runc of the same version is there to be the
//! reference. Only what the source package comes without is put beside it: its
//! helper programs and two images.

mod bats;
mod chosen;
mod judge;
mod machine;
mod mode;
mod prepare;
mod release;
mod rootless;

pub(crate) use chosen::{ChosenArguments, run_chosen};
pub(crate) use machine::{MachineArguments, run_in_machine};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::bats::Run;
use self::mode::Mode;
use self::prepare::Images;
use self::release::Release;
use super::tested;
use crate::enter::{Access, Bind, Entry, Network};
use crate::workspace::{self, read_text};

pub(super) const NAME: &str = "runc-bats";
const DATA: &str = "conform-runc-bats";
/// Where the tree has the runtime under test.
const RUNTIME: &str = "ours/runtime";

/// Which tests, and of what.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The suite of the newest Debian, of Debian 12, or an unpacked source of runc
    #[arg(long, value_name = "newest|old|DIR", default_value = "newest")]
    suite: String,
    /// The runtime under test; the one of this checkout where none is given
    #[arg(long, value_name = "PATH", conflicts_with = "reference")]
    runtime: Option<PathBuf>,
    /// Tests the runc of the suite's own version
    #[arg(long)]
    reference: bool,
    /// Writes the list of what the reference passes
    #[arg(long, requires = "reference", conflicts_with_all = ["file", "filter"])]
    record: bool,
    /// Runs only this file, `exec.bats` say; may be repeated
    #[arg(long)]
    file: Vec<String>,
    /// Runs only tests whose name this regular expression matches
    #[arg(long, default_value = "")]
    filter: String,
}

/// Runs the suite in its tree and judges what came of it.
///
/// # Errors
/// Fails when a test fails that the reference passes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (release, source) = Release::of_argument(&arguments.suite)?;
    release.ensure_tree()?;
    let data = prepare::fresh_data(DATA)?;
    let suite = data.join(prepare::SUITE);
    match source {
        Some(source) => prepare::copy(&source, &suite)?,
        None => release::unpack_source(&release.tree(), &suite)?,
    }
    let version = prepare::version(&data)?;
    prepare::suite(&data, Images::All)?;
    let code = entry(arguments, release, &data)?.run()?;
    let results = bats::parse_results(&read_text(&data.join(bats::RESULTS))?)?;
    let results = results.first().context("the run has no results")?;
    keep_output(&data)?;
    if code != 0 {
        bail!("the suite ended with status {code}");
    }
    if arguments.record {
        return judge::record(&version, Mode::Root, results);
    }
    let partial = !(arguments.file.is_empty() && arguments.filter.is_empty());
    judge::judge(&version, Mode::Root, results, partial)
}

fn entry(arguments: &Arguments, release: Release, data: &Path) -> Result<Entry> {
    let runtime = match arguments.reference {
        true => None,
        false => Some(tested(arguments.runtime.as_deref())?),
    };
    let path = match &runtime {
        Some(_) => format!("/{RUNTIME}"),
        None => release.reference().to_owned(),
    };
    let run = Run {
        runtime: path,
        filter: arguments.filter.clone(),
        files: arguments.file.clone(),
        mode: Mode::Root,
        patience: 1,
    };
    let command = vec![
        "/proc/self/exe".to_owned(),
        "conform-inside".to_owned(),
        NAME.to_owned(),
        serde_json::to_string(&[run]).context("write the run as JSON")?,
    ];
    let entry = Entry::new(release.tree(), Network::Private, command);
    let entry = entry
        .with_hybrid_cgroups()
        .bind(Bind::new(data, "data", Access::ReadWrite));
    Ok(match runtime {
        Some(runtime) => entry.bind(Bind::new(runtime, RUNTIME, Access::ReadOnly)),
        None => entry,
    })
}

/// Keeps what the tests printed, to be looked at.
fn keep_output(data: &Path) -> Result<()> {
    let kept = workspace::path("target/conform").join(NAME);
    if kept.exists() {
        std::fs::remove_dir_all(&kept).with_context(|| format!("remove {}", kept.display()))?;
    }
    std::fs::create_dir_all(workspace::path("target/conform")).context("make target/conform")?;
    std::fs::rename(data.join(bats::OUTPUT), &kept).context("keep the tests' output")?;
    println!("what the tests printed is in {}", kept.display());
    std::fs::remove_dir_all(data).with_context(|| format!("remove {}", data.display()))
}

/// The part of the command that runs in the tree.
///
/// # Errors
/// Fails when the suite cannot be run; failing tests are no error here.
pub(crate) fn run_inside(words: &[String]) -> Result<()> {
    let [runs] = words else {
        bail!("one word is needed, not {words:?}");
    };
    let runs: Vec<Run> = serde_json::from_str(runs).context("read the runs")?;
    bats::run_all(Path::new("/data"), &runs)
}
