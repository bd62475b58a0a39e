//! The suite in an emulated machine: cgroup v2, systemd, an ordinary user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::bats::{self, Results, Run};
use super::mode::Mode;
use super::release::Release;
use super::{NAME, judge, prepare, tested};
use crate::vm::{Job, Machine};
use crate::workspace;

const DATA: &str = "conform-runc-bats-vm";
/// How much slower the machine is than its host, and some more.
const PATIENCE: u32 = 10;
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// What the modes need beside what the suite needs.
const PACKAGES: &[&str] = &["dbus-user-session", "libpam-systemd"];
/// The line before the results.
const MARK: &str = "== results";

/// Which tests, how, and of what.
#[derive(Debug, clap::Args)]
pub(crate) struct MachineArguments {
    /// How the tests are run
    #[arg(long, value_enum)]
    mode: Mode,
    /// The runtime under test; the one of this checkout where none is given
    #[arg(long, value_name = "PATH", conflicts_with = "reference")]
    runtime: Option<PathBuf>,
    /// Tests the runc of the suite's own version
    #[arg(long)]
    reference: bool,
    /// Adds to the list of what the reference passes
    #[arg(long, requires = "reference")]
    record: bool,
    /// Runs only this file, `exec.bats` say; may be repeated
    #[arg(long)]
    file: Vec<String>,
    /// Runs only tests whose name this regular expression matches
    #[arg(long, default_value = "")]
    filter: String,
}

/// Runs the suite in a machine of its own and judges what came of it.
///
/// # Errors
/// Fails when a test fails that the reference passes.
pub(crate) fn run_in_machine(arguments: &MachineArguments) -> Result<()> {
    let release = Release::Newest;
    release.ensure_tree()?;
    let source = release.source()?;
    let version = prepare::version(&source)?;
    let data = prepare::fresh_data(DATA)?;
    prepare::suite(&source, &data)?;
    let runtime = match arguments.reference {
        true => release.reference().to_owned(),
        false => {
            let runtime = data.join("runtime");
            std::fs::copy(tested(arguments.runtime.as_deref())?, &runtime)
                .context("copy the runtime")?;
            "/data/runtime".to_owned()
        }
    };
    let run = Run {
        runtime,
        filter: arguments.filter.clone(),
        files: arguments.file.clone(),
        mode: arguments.mode,
        patience: PATIENCE,
    };
    let results = boot(&data, release, &run)?;
    std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
    match arguments.record {
        true => judge::record(&version, arguments.mode, &results),
        false => judge::judge(&version, arguments.mode, &results, true),
    }
}

fn boot(data: &Path, release: Release, run: &Run) -> Result<Results> {
    let own = std::env::current_exe().context("find this program")?;
    std::fs::copy(own, data.join("xtask")).context("copy this program")?;
    workspace::write_file(
        &data.join("run.json"),
        serde_json::to_string(run).context("write the run as JSON")?,
    )?;
    let folder = data.file_name().context("the data has a name")?.display();
    let job = Job {
        machine: Machine {
            name: "vm-runc-suite",
            suite: release.suite().to_owned(),
            packages: [&release.packages()[..], PACKAGES].concat(),
            parameters: "",
        },
        command: format!(
            "mkdir /data && mount --bind /xtask/{folder} /data && cd /data &&\n\
             ./xtask conform-inside {NAME} \"$(cat run.json)\"; code=$?\n\
             grep -l '^not ok' output/*.tap | xargs --no-run-if-empty cat\n\
             echo '{MARK}'; cat {}; echo; exit $code\n",
            bats::RESULTS
        ),
        files: vec![data.to_owned()],
        limit: LIMIT,
    };
    let ended = job.run()?;
    ensure!(ended.status == 0, "the suite ended with {}", ended.status);
    let Some((_, results)) = ended.output.split_once(MARK) else {
        bail!("the machine printed no results");
    };
    serde_json::from_str(results.trim()).context("parse the results")
}
