//! The stock docker command line against a socket, row by row.
//!
//! Each row begins clean: containers, volumes and networks of the row before are
//! removed by the same command line, and a row that cannot be cleaned up after
//! fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::rows::{After, Expected, Row, Table, words};
use crate::bench::Who;
use crate::bench::daemons::{self, REGISTRY_PORT};
use crate::images;
use crate::process::{Background, Cmd};

const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const EVENTUALLY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// How the rows ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
}

/// Starts the engine under test and runs every row whose name has the filter in it.
///
/// # Errors
/// Fails when the engine or the registry cannot be started.
pub(crate) fn run(against: Who, table: &str, filter: &str) -> Result<Outcome> {
    let registry = start_registry()?;
    let engine = match against {
        Who::Ours => daemons::start_engine()?,
        _ => daemons::start_docker()?,
    };
    let table = Table::parse(table, &format!("localhost:{REGISTRY_PORT}"))?;
    let suite = Suite {
        socket: daemons::socket(against),
    };
    suite.docker(&format!("pull --quiet localhost:{REGISTRY_PORT}/smoke:1"))?;
    let mut outcome = Outcome::default();
    for row in table.row.iter().filter(|row| row.name.contains(filter)) {
        match suite.run_row(row) {
            Ok(()) => {
                println!("ok    {}", row.name);
                outcome.passed.push(row.name.clone());
            }
            Err(error) => {
                println!("FAIL  {}: {error:#}", row.name);
                outcome.failed.push(row.name.clone());
            }
        }
    }
    if against == Who::Ours {
        daemons::command(Who::Ours)
            .args(["daemon", "stop", "--containers"])
            .read()?;
    }
    engine.stop()?;
    registry.stop()?;
    Ok(outcome)
}

fn start_registry() -> Result<Background> {
    let work = daemons::folder("image")?;
    images::busybox_root(&work.join("root"))?;
    images::write_layout(&work.join("layout"), "1", &[work.join("root")], &["sh"])?;
    let registry = images::start_registry(REGISTRY_PORT, &daemons::folder("registry")?)?;
    images::push(
        &work.join("layout"),
        "1",
        &format!("localhost:{REGISTRY_PORT}/smoke:1"),
    )?;
    Ok(registry)
}

struct Suite {
    socket: &'static str,
}

impl Suite {
    fn run_row(&self, row: &Row) -> Result<()> {
        let judged = self.judge_row(row);
        let cleaned = self.clean_up().context("clean up");
        judged.and(cleaned)
    }

    fn judge_row(&self, row: &Row) -> Result<()> {
        for line in &row.setup {
            self.docker(line).context("set up")?;
        }
        let done = self.command(&row.run)?.stdin(row.stdin.as_str()).output()?;
        let (stdout, stderr) = (done.stdout_text(), done.stderr_text());
        ensure!(
            done.code() == row.code,
            "the code is {}; {}",
            done.code(),
            stderr.trim()
        );
        row.expected.judge(&stdout, &stderr)?;
        row.after
            .iter()
            .try_for_each(|after| self.look(after).context("afterwards"))
    }

    fn look(&self, after: &After) -> Result<()> {
        let deadline = Instant::now() + EVENTUALLY;
        loop {
            let judged =
                self.look_once(after.run.as_deref(), after.get.as_deref(), &after.expected);
            if judged.is_ok() || !after.eventually || Instant::now() > deadline {
                return judged;
            }
            std::thread::sleep(POLL);
        }
    }

    fn look_once(&self, run: Option<&str>, get: Option<&str>, expected: &Expected) -> Result<()> {
        let printed = match (run, get) {
            (Some(line), _) => self.docker(line)?,
            (None, Some(address)) => Cmd::new("curl")
                .args(["--silent", "--show-error", "--fail", address])
                .read()?,
            (None, None) => return Ok(()),
        };
        expected.judge(&printed, "")
    }

    /// Runs a command line that must succeed and returns what it prints.
    fn docker(&self, line: &str) -> Result<String> {
        self.command(line)?.read()
    }

    fn command(&self, line: &str) -> Result<Cmd> {
        let host = format!("--host=unix://{}", self.socket);
        Ok(Cmd::new("/usr/bin/docker")
            .arg(host)
            .args(words(line)?)
            .timeout(COMMAND_LIMIT))
    }

    fn clean_up(&self) -> Result<()> {
        self.remove_all("ps --all --quiet --no-trunc", "rm --force --volumes")?;
        self.remove_all("volume ls --quiet", "volume rm --force")?;
        self.remove_all("network ls --quiet --filter type=custom", "network rm")
    }

    fn remove_all(&self, list: &str, remove: &str) -> Result<()> {
        let names = self.docker(list)?;
        if names.trim().is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = names.lines().collect();
        self.docker(&format!("{remove} {}", names.join(" ")))
            .map(|_| ())
    }
}
