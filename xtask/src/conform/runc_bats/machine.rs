//! The suite in an emulated machine: cgroup v2, systemd, an ordinary user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::bats::{self, Run};
use super::mode::Mode;
use super::prepare::Images;
use super::release::{self, Release};
use super::{NAME, judge, prepare};
use crate::conform::results::Results;
use crate::conform::tested;
use crate::vm::{Job, Machine};
use crate::workspace;

const DATA: &str = "conform-runc-bats-vm";
/// How much slower the machine is than its host, and some more.
pub(super) const PATIENCE: u32 = 10;
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
    let release = arguments.mode.release();
    let prepared = Prepared::new(release, Images::All)?;
    let runtime = match arguments.reference {
        true => release.reference().to_owned(),
        false => prepared.take(&tested(arguments.runtime.as_deref())?)?,
    };
    let run = Run {
        runtime,
        filter: arguments.filter.clone(),
        files: arguments.file.clone(),
        mode: arguments.mode,
        patience: PATIENCE,
    };
    let version = prepared.version.clone();
    let results = prepared.boot(&[run])?;
    let results = results.first().context("the run has no results")?;
    match arguments.record {
        true => judge::record(&version, arguments.mode, results),
        false => judge::judge(&version, arguments.mode, results, true),
    }
}

/// The machine, and a folder with what it gets.
#[derive(Debug)]
pub(super) struct Prepared {
    machine: Machine,
    data: PathBuf,
    /// Of the suite.
    pub(super) version: String,
}

impl Prepared {
    /// Puts the suite into a folder.
    ///
    /// # Errors
    /// Fails when a tree cannot be made or a helper not be built.
    pub(super) fn new(release: Release, images: Images) -> Result<Self> {
        let (name, parameters) = match release {
            Release::Newest => ("vm-runc-suite", ""),
            Release::Old => ("vm-runc-suite-old", "systemd.unified_cgroup_hierarchy=0"),
        };
        let machine = Machine {
            name,
            suite: release.suite().to_owned(),
            packages: [&release.packages()[..], PACKAGES].concat(),
            sources: release::SOURCES,
            parameters,
        };
        machine.ensure_tree()?;
        // More than one machine may run.
        let data = prepare::fresh_data(&format!("{DATA}-{}", std::process::id()))?;
        release::unpack_source(&machine.tree(), &data.join(prepare::SUITE))?;
        prepare::suite(&data, images)?;
        // The file of its name may have been built anew meanwhile.
        std::fs::copy("/proc/self/exe", data.join("xtask")).context("copy this program")?;
        Ok(Self {
            machine,
            version: prepare::version(&data)?,
            data,
        })
    }

    /// Puts the runtime beside it, and returns where the machine has it.
    ///
    /// # Errors
    /// Fails when it cannot be copied.
    pub(super) fn take(&self, runtime: &Path) -> Result<String> {
        std::fs::copy(runtime, self.data.join("runtime")).context("copy the runtime")?;
        Ok("/data/runtime".to_owned())
    }

    /// Boots the machine, makes the runs and returns how the tests of each ended.
    ///
    /// # Errors
    /// Fails when the machine does not get so far in time.
    pub(super) fn boot(self, runs: &[Run]) -> Result<Vec<Results>> {
        let runs = serde_json::to_string(runs).context("write the runs as JSON")?;
        workspace::write_file(&self.data.join("runs.json"), runs)?;
        let folder = self
            .data
            .file_name()
            .context("the data has a name")?
            .display();
        let job = Job {
            command: format!(
                "mkdir /data && mount --bind /xtask/{folder} /data && cd /data &&\n\
                 ./xtask conform-inside {NAME} \"$(cat runs.json)\"; code=$?\n\
                 grep -l '^not ok' {}/*/*.tap | xargs --no-run-if-empty cat\n\
                 echo '{MARK}'; cat {}; echo; exit $code\n",
                bats::OUTPUT,
                bats::RESULTS
            ),
            files: vec![self.data.clone()],
            limit: LIMIT,
            machine: self.machine,
        };
        let ended = job.run();
        std::fs::remove_dir_all(&self.data)
            .with_context(|| format!("remove {}", self.data.display()))?;
        let ended = ended?;
        ensure!(ended.status == 0, "the suite ended with {}", ended.status);
        let Some((_, results)) = ended.output.split_once(MARK) else {
            bail!("the machine printed no results");
        };
        bats::parse_results(results.trim())
    }
}
