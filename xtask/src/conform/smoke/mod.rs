//! Rows of command lines of a client, judged one by one.
//!
//! Each row begins clean: what the row before left is removed by the same
//! command line, and a row that cannot be cleaned up after fails.

pub(crate) mod rows;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::rows::{After, FOLDER, Row, words};
use crate::process::Cmd;
use crate::workspace::{read_text, write_file};

const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const EVENTUALLY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// How the rows ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
}

impl Outcome {
    /// Notes and tells how a row ended.
    pub(crate) fn add(&mut self, name: &str, judged: Result<()>) {
        match judged {
            Ok(()) => {
                println!("ok    {name}");
                self.passed.push(name.to_owned());
            }
            Err(error) => {
                println!("FAIL  {name}: {error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }
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
    /// Fails when a quote is not closed, or there can be no folder to run it in.
    fn command(&self, line: &str) -> Result<Cmd> {
        std::fs::create_dir_all(FOLDER).with_context(|| format!("create {FOLDER}"))?;
        let program = self.program().directory(FOLDER).timeout(COMMAND_LIMIT);
        Ok(program.args(words(line)?))
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

/// Runs every row whose name has the filter in it, or one of several with `|` between.
pub(crate) fn run_rows<'a>(
    client: &dyn Client,
    rows: impl Iterator<Item = &'a Row>,
    filter: &str,
) -> Outcome {
    let mut outcome = Outcome::default();
    for row in rows.filter(|row| wanted(&row.name, filter)) {
        let judged = judge_row(client, row);
        let cleaned = client.clean_up().context("clean up");
        outcome.add(&row.name, judged.and(cleaned));
    }
    outcome
}

/// Whether a name has the filter in it, or one of several with `|` between.
pub(crate) fn wanted(name: &str, filter: &str) -> bool {
    filter.split('|').any(|part| name.contains(part))
}

fn judge_row(client: &dyn Client, row: &Row) -> Result<()> {
    prepare_folder(row)?;
    for line in &row.setup {
        client.read(line).context("set up")?;
    }
    let stdin = match &row.stdin_from {
        Some(file) => std::fs::read(Path::new(FOLDER).join(file)).context("read the input")?,
        None => row.stdin.clone().into_bytes(),
    };
    let done = client.command(&row.run)?.stdin(stdin).output()?;
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

/// Makes the folder anew, with the row's files only.
fn prepare_folder(row: &Row) -> Result<()> {
    clear_folder()?;
    let folder = Path::new(FOLDER);
    row.files
        .iter()
        .try_for_each(|(name, text)| write_file(&folder.join(name), text))
}

/// Removes what the row before left in the folder.
///
/// # Errors
/// Fails when something stays.
pub(crate) fn clear_folder() -> Result<()> {
    if Path::new(FOLDER).exists() {
        std::fs::remove_dir_all(FOLDER).with_context(|| format!("remove {FOLDER}"))?;
    }
    Ok(())
}

/// Looks at the state, until it is as it must be where that may take a moment.
///
/// # Errors
/// Fails when it is not.
pub(crate) fn look(client: &dyn Client, after: &After) -> Result<()> {
    let deadline = Instant::now() + EVENTUALLY;
    loop {
        let judged = look_once(client, after);
        if judged.is_ok() || !after.eventually || Instant::now() > deadline {
            return judged;
        }
        std::thread::sleep(POLL);
    }
}

fn look_once(client: &dyn Client, after: &After) -> Result<()> {
    let command = match (&after.run, &after.get, &after.file) {
        (Some(line), ..) => client.command(line)?,
        (_, Some(address), _) => {
            Cmd::new("curl").args(["--silent", "--show-error", "--fail", address])
        }
        (.., Some(file)) => {
            let text = read_text(&Path::new(FOLDER).join(file))?;
            return after.expected.judge(&text, "");
        }
        (None, None, None) => return Ok(()),
    };
    let done = command.output()?;
    let (stdout, stderr) = (done.stdout_text(), done.stderr_text());
    ensure!(
        done.code() == after.code,
        "the code of `{command}` is {}; {}",
        done.code(),
        stderr.trim()
    );
    after.expected.judge(&stdout, &stderr)
}
