//! `conform sdk`: clients from the registries of packages, each with a scenario of
//! ours below `tests/conform/sdk`, whose answers are compared call by call.
//!
//! A scenario prints a line for each call: its name, a space, and the answer as JSON.
//! What dockerd answers is committed, normalised; ours must be the same but for the
//! rows of one table, each with its reason.

mod answers;
mod differences;
mod normal;
mod prepare;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::answers::Answers;
use self::differences::Table;
use super::clients;
use super::mirror::Stand;
use crate::bench::Who;
use crate::commands::peers;
use crate::enter::Access;
use crate::workspace::{self, read_text, write_file};

pub(super) const NAME: &str = "sdk";
/// Where the scenarios, the table and dockerd's answers are.
const FOLDER: &str = "tests/conform/sdk";
/// What a scenario printed, and what it said beside that, below the data folder.
const OUTPUT: &str = "output.txt";
const ERRORS: &str = "errors.txt";
const SCENARIO_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A client, and how its scenario is started in the clients' tree.
#[derive(Debug)]
struct Sdk {
    name: &'static str,
    program: &'static [&'static str],
}

const SDKS: [Sdk; 4] = [
    Sdk {
        name: "docker",
        program: &["python3", "/sdk/docker/scenario.py"],
    },
    Sdk {
        name: "dockerode",
        program: &["node", "/sdk/dockerode/scenario.js"],
    },
    Sdk {
        name: "bollard",
        program: &["/rust/sdk-bollard"],
    },
    Sdk {
        name: "testcontainers",
        program: &["/rust/sdk-testcontainers"],
    },
];

/// Against whom, and which of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Asks dockerd again, and compares that with what is committed of it
    #[arg(long)]
    reference: bool,
    /// Writes what dockerd answers
    #[arg(long, requires = "reference")]
    record: bool,
    /// A folder of our programs to test, in place of a build of them
    #[arg(long, value_name = "FOLDER", conflicts_with = "reference")]
    programs: Option<PathBuf>,
    /// Runs the scenario of this one only
    #[arg(long, value_name = "NAME", value_parser = SDKS.map(|sdk| sdk.name))]
    filter: Option<String>,
}

impl Arguments {
    fn who(&self) -> Who {
        match self.reference {
            true => Who::Docker,
            false => Who::Ours,
        }
    }

    fn sdks(&self) -> impl Iterator<Item = &'static Sdk> {
        let is_wanted = |sdk: &&Sdk| self.filter.as_deref().is_none_or(|name| name == sdk.name);
        SDKS.iter().filter(is_wanted)
    }
}

/// Runs each scenario in the peers' tree and judges the answers.
///
/// # Errors
/// Fails when a scenario does, or an answer differs without a row that says why.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    peers::ensure()?;
    prepare::everything()?;
    let mut table = Table::read(&workspace::path(FOLDER).join("differences.toml"))?;
    let (mut same, mut different) = (0, 0);
    for sdk in arguments.sdks() {
        let answers = sdk.ask(arguments)?;
        if arguments.record {
            sdk.record(&answers)?;
            continue;
        }
        let expected = sdk.recorded()?;
        let mut excuse =
            |difference: &_| arguments.who() == Who::Ours && table.excuses(sdk.name, difference);
        let lost = expected.compare(&answers, &mut excuse);
        for line in &lost.lines {
            println!("{}: {line}", sdk.name);
        }
        println!("{}: {} calls, {} differ", sdk.name, lost.calls, lost.differ);
        same += lost.calls - lost.differ;
        different += lost.differ;
    }
    println!("{same} passed, {different} failed, 0 skipped");
    ensure!(different == 0, "{different} calls differ from dockerd's");
    if arguments.who() == Who::Ours && arguments.filter.is_none() {
        table.ensure_all_used()?;
    }
    Ok(())
}

impl Sdk {
    /// Runs the scenario; each on an engine that has nothing yet.
    fn ask(&self, arguments: &Arguments) -> Result<Answers> {
        let name = format!("conform-{NAME}-{}", self.name);
        let data = workspace::scratch(&name)?;
        std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        let word = match arguments.reference {
            true => "dockerd",
            false => "ours",
        };
        let command = ["/proc/self/exe", "conform-inside", NAME, word, self.name];
        let command = command.map(str::to_owned).to_vec();
        let mut entry = clients::entry(prepare::tree(), &name, command)?;
        if !arguments.reference {
            entry = clients::with_ours(entry, arguments.programs.as_deref())?;
        }
        for (from, to) in prepare::shown() {
            entry = clients::bind(entry, from, to, Access::ReadOnly);
        }
        let code = entry.run()?;
        let kept = keep_output(&data, &format!("{}-{word}", self.name))?;
        ensure!(
            code == 0,
            "the scenario of {} failed; what it said is in {}",
            self.name,
            kept.display()
        );
        let printed = read_text(&kept.join(OUTPUT))?;
        Answers::parse(&printed).with_context(|| format!("the answers to {}", self.name))
    }

    fn record(&self, answers: &Answers) -> Result<()> {
        let versions = peers::versions()?;
        let version = versions
            .lines()
            .find(|line| line.starts_with("docker.io"))
            .context("the tree of peers has no docker.io")?;
        let head = format!(
            "# What {version} answers; written by `cargo xtask conform {NAME} --reference --record`.\n"
        );
        write_file(&self.file(), head + &answers.to_string())
    }

    fn recorded(&self) -> Result<Answers> {
        let text = read_text(&self.file())?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        Answers::parse(&lines).with_context(|| format!("read {}", self.file().display()))
    }

    fn file(&self) -> PathBuf {
        workspace::path(FOLDER).join(format!("{}.dockerd.txt", self.name))
    }
}

/// Keeps what was printed, to be looked at, and removes the rest.
fn keep_output(data: &Path, name: &str) -> Result<PathBuf> {
    let kept = workspace::path("target/conform").join(NAME).join(name);
    std::fs::create_dir_all(&kept).with_context(|| format!("make {}", kept.display()))?;
    for name in [OUTPUT, ERRORS, "dockerd.log", "engine.log"] {
        if data.join(name).exists() {
            std::fs::rename(data.join(name), kept.join(name)).context("keep what was printed")?;
        }
    }
    std::fs::remove_dir_all(data).with_context(|| format!("remove {}", data.display()))?;
    Ok(kept)
}

/// The part of the command that runs in the tree.
///
/// # Errors
/// Fails when the engine cannot be started, or the scenario fails.
pub(crate) fn run_inside(words: &[String]) -> Result<()> {
    let [who, name] = words else {
        bail!("two words are needed, not {words:?}");
    };
    let who = match who.as_str() {
        "ours" => Who::Ours,
        _ => Who::Docker,
    };
    let sdk = SDKS.iter().find(|sdk| sdk.name == name);
    let sdk = sdk.with_context(|| format!("there is no SDK {name:?}"))?;
    let stand = Stand::start(who)?;
    clients::share()?;
    let done = clients::command(who)
        .args(sdk.program)
        .env("PYTHONPATH", "/site")
        .timeout(SCENARIO_LIMIT)
        .output()?;
    let data = Path::new("/data");
    write_file(&data.join(OUTPUT), done.stdout_text())?;
    write_file(&data.join(ERRORS), done.stderr_text())?;
    stand.stop()?;
    let (code, errors) = (done.code(), done.stderr_text());
    ensure!(code == 0, "{name} ended with {code}: {}", errors.trim());
    Ok(())
}
