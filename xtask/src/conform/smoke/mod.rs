//! Rows of command lines of a client, judged one by one.
//!
//! Each row begins clean: what the row before left is removed by the same
//! command line, and a row that cannot be cleaned up after fails.

pub(crate) mod rows;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::rows::{After, Expected, Row, words};
use crate::process::Cmd;

const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const EVENTUALLY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// How the rows ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
}

/// Who speaks to an engine.
pub(crate) trait Client {
    /// Returns the program with what goes before every command line.
    fn program(&self) -> Cmd;

    /// Removes what a row has left.
    ///
    /// # Errors
    /// Fails when something stays.
    fn clean_up(&self) -> Result<()>;

    /// Runs a command line that must succeed and returns what it prints.
    ///
    /// # Errors
    /// Fails when it does not.
    fn read(&self, line: &str) -> Result<String> {
        self.command(line)?.read()
    }

    /// Returns a command line.
    ///
    /// # Errors
    /// Fails when a quote is not closed.
    fn command(&self, line: &str) -> Result<Cmd> {
        Ok(self.program().args(words(line)?).timeout(COMMAND_LIMIT))
    }

    /// Removes all that one command line lists by another.
    ///
    /// # Errors
    /// Fails when one of them does.
    fn remove_all(&self, list: &str, remove: &str) -> Result<()> {
        let names = self.read(list)?;
        if names.trim().is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = names.lines().collect();
        self.read(&format!("{remove} {}", names.join(" ")))
            .map(drop)
    }
}

/// Runs every row whose name has the filter in it.
pub(crate) fn run_rows<'a>(
    client: &dyn Client,
    rows: impl Iterator<Item = &'a Row>,
    filter: &str,
) -> Outcome {
    let mut outcome = Outcome::default();
    for row in rows.filter(|row| row.name.contains(filter)) {
        let judged = judge_row(client, row);
        let cleaned = client.clean_up().context("clean up");
        match judged.and(cleaned) {
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
    outcome
}

fn judge_row(client: &dyn Client, row: &Row) -> Result<()> {
    for line in &row.setup {
        client.read(line).context("set up")?;
    }
    let done = client
        .command(&row.run)?
        .stdin(row.stdin.as_str())
        .output()?;
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
        .try_for_each(|after| look(client, after).context("afterwards"))
}

fn look(client: &dyn Client, after: &After) -> Result<()> {
    let deadline = Instant::now() + EVENTUALLY;
    loop {
        let (run, get) = (after.run.as_deref(), after.get.as_deref());
        let judged = look_once(client, run, get, &after.expected);
        if judged.is_ok() || !after.eventually || Instant::now() > deadline {
            return judged;
        }
        std::thread::sleep(POLL);
    }
}

fn look_once(
    client: &dyn Client,
    run: Option<&str>,
    get: Option<&str>,
    expected: &Expected,
) -> Result<()> {
    let printed = match (run, get) {
        (Some(line), _) => client.read(line)?,
        (None, Some(address)) => Cmd::new("curl")
            .args(["--silent", "--show-error", "--fail", address])
            .read()?,
        (None, None) => return Ok(()),
    };
    expected.judge(&printed, "")
}
