//! Running the suite's files one after another, on a terminal each, and reading
//! what bats says of each test (TAP).

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::mode::Mode;
use crate::cgroups;
use crate::conform::results::{Ending, Results};
use crate::process::Cmd;
use crate::workspace::write_file;

/// What the tests of each file printed, below the data folder.
pub(super) const OUTPUT: &str = "output";
/// How each test ended, below the data folder.
pub(super) const RESULTS: &str = "results.json";
const FILE_LIMIT: Duration = Duration::from_secs(45 * 60);
const TEST_LIMIT: Duration = Duration::from_secs(90);
const STUBBORN_LIMIT: Duration = Duration::from_secs(15);
/// The terminal's input must not end: containers would be told so.
const ON_TERMINAL: &str = r#"mkfifo "$1.input" && exec script --quiet --flush --command \
    'exec bats --tap ${BATS_FILTER:+--filter "$BATS_FILTER"} "$BATS_FILE"' "$1" <>"$1.input""#;
const POLL: Duration = Duration::from_millis(100);

/// What is run, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) runtime: String,
    /// A regular expression for the tests' names; all where it is empty.
    pub(super) filter: String,
    /// All where none is named.
    pub(super) files: Vec<String>,
    pub(super) mode: Mode,
    /// How many times longer than on the host everything may take.
    pub(super) patience: u32,
}

/// Makes the runs and writes how the tests of each ended.
///
/// # Errors
/// Fails when bats does not say how a test ended.
pub(super) fn run_all(data: &Path, runs: &[Run]) -> Result<()> {
    let results: Result<Vec<_>> = runs.iter().map(|one| run(data, one)).collect();
    let text = serde_json::to_string(&results?).context("write the results as JSON")?;
    write_file(&data.join(RESULTS), text)
}

fn run(data: &Path, run: &Run) -> Result<Results> {
    let folder = data.join("suite/tests/integration");
    let output = data.join(OUTPUT).join(run.mode.name());
    std::fs::create_dir_all(&output).context("make the folder of outputs")?;
    let files = match &run.files[..] {
        [] => all_files(&folder)?,
        files => files.to_vec(),
    };
    run.mode.prepare(&output)?;
    let mut results = Results::new();
    for file in files {
        ensure!(folder.join(&file).is_file(), "the suite has no {file}");
        let printed = output.join(&file).with_extension("tap");
        run_file(run, &folder.join(&file), &printed)?;
        let text = std::fs::read(&printed).context("read what bats printed")?;
        let ended = parse(&String::from_utf8_lossy(&text)).with_context(|| file.clone())?;
        for (name, ending) in ended {
            if ending != Ending::Passed {
                println!("{ending:?}: {name}");
            }
            results.insert(format!("{file}: {name}"), ending);
        }
    }
    Ok(results)
}

/// Reads how the tests of each run ended.
///
/// # Errors
/// Fails when that is not what the text says.
pub(super) fn parse_results(text: &str) -> Result<Vec<Results>> {
    serde_json::from_str(text).context("parse the results")
}

/// Returns the suite's files.
///
/// # Errors
/// Fails when the folder cannot be read.
pub(super) fn all_files(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).context("read the suite's folder")?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".bats"))
        .collect();
    names.sort();
    Ok(names)
}

/// Runs one file on a terminal, which many tests want. Its exit code says only
/// that a test failed.
///
/// Of a test that hangs, the runtime's processes are ended, so that it fails as
/// it should; bats's own limit loses tests of this suite.
fn run_file(run: &Run, file: &Path, printed: &Path) -> Result<()> {
    println!("== {}", file.file_name().unwrap_or_default().display());
    let log = printed.with_extension("log");
    let variables = [
        ("RUNC", run.runtime.clone()),
        ("BATS_FILE", file.display().to_string()),
        ("BATS_FILTER", run.filter.clone()),
        ("PATH", path()),
        ("TERM", "dumb".to_owned()),
    ];
    let mut running = run
        .mode
        .command(&variables)
        .args(["sh", "-c", ON_TERMINAL, "sh"])
        .arg(printed)
        .background(&log)?;
    let limit = FILE_LIMIT * run.patience;
    let mut watched = Watched::new(printed, run);
    while !running.has_ended()? {
        std::thread::sleep(POLL);
        if watched.look()? == Verdict::Hopeless {
            running.stop()?;
            break;
        }
        ensure!(watched.begun.elapsed() < limit, "{limit:?} are over");
    }
    for copy in [log, printed.with_extension("tap.input")] {
        std::fs::remove_file(&copy).with_context(|| format!("remove {}", copy.display()))?;
    }
    Ok(())
}

/// What a file's tests have printed, and since when nothing came.
struct Watched<'a> {
    printed: &'a Path,
    runtime: &'a str,
    patience: u32,
    begun: Instant,
    changed: Instant,
    length: u64,
    /// How often something was ended, and the test goes on all the same.
    kills: usize,
}

/// What is done about a file of tests.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoesOn,
    /// Nothing of it ends by being killed.
    Hopeless,
}

impl<'a> Watched<'a> {
    fn new(printed: &'a Path, run: &'a Run) -> Self {
        let now = Instant::now();
        Self {
            printed,
            runtime: &run.runtime,
            patience: run.patience,
            begun: now,
            changed: now,
            length: 0,
            kills: 0,
        }
    }

    /// Ends what a test that takes too long waits for: the runtime, and then
    /// the test itself, which has no ending then.
    fn look(&mut self) -> Result<Verdict> {
        let length = std::fs::metadata(self.printed).map_or(0, |found| found.len());
        if length != self.length {
            (self.length, self.changed, self.kills) = (length, Instant::now(), 0);
        }
        let limit = if self.kills > 0 {
            STUBBORN_LIMIT
        } else {
            TEST_LIMIT
        } * self.patience;
        if self.changed.elapsed() < limit {
            return Ok(Verdict::GoesOn);
        }
        println!("ending a test that went on for {limit:?}");
        let name = Path::new(self.runtime).file_name().unwrap_or_default();
        let (how, what) = match self.kills {
            0 => ("--exact", name),
            1 => ("--full", "bats-exec-test".as_ref()),
            _ => return Ok(Verdict::Hopeless),
        };
        // That nobody was found is no error.
        let kill = |how: &str, what: &OsStr| {
            let kill = Cmd::new("pkill").args(["--signal", "KILL", how]).arg(what);
            kill.status().map(drop)
        };
        kill(how, what)?;
        if self.kills > 0 {
            // The next test finds nothing of this one.
            kill("--exact", "criu".as_ref())?;
            cgroups::kill_below(Path::new("/sys/fs/cgroup"))?;
        }
        (self.changed, self.kills) = (Instant::now(), self.kills + 1);
        Ok(Verdict::GoesOn)
    }
}

fn path() -> String {
    format!("/data/bin:{}", std::env::var("PATH").unwrap_or_default())
}

/// Returns how each test ended.
fn parse(text: &str) -> Result<Vec<(String, Ending)>> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let planned = lines.iter().find_map(|line| line.strip_prefix("1.."));
    let planned: usize = planned.context("bats began no test")?.parse()?;
    let ended: Vec<_> = lines.iter().filter_map(|line| parse_line(line)).collect();
    // A test that is missing counts as lost where the reference passes it.
    if ended.len() != planned {
        println!("{} of {planned} tests ended", ended.len());
    }
    Ok(ended)
}

fn parse_line(line: &str) -> Option<(String, Ending)> {
    let (rest, passed) = match line.strip_prefix("not ") {
        Some(rest) => (rest, false),
        None => (line, true),
    };
    let (number, name) = rest.strip_prefix("ok ")?.split_once(' ')?;
    number.parse::<usize>().ok()?;
    let (name, remark) = name.rsplit_once(" # ").unwrap_or((name, ""));
    let ending = match (passed, remark.strip_prefix("skip")) {
        (false, _) => Ending::Failed,
        (true, Some(reason)) => Ending::Skipped {
            reason: reason.trim().to_owned(),
        },
        (true, None) => Ending::Passed,
    };
    // Only bats's own remarks are none of the name.
    let is_remark = remark.starts_with("skip") || remark.starts_with("timeout");
    let name = match remark.is_empty() || is_remark {
        true => name.to_owned(),
        false => format!("{name} # {remark}"),
    };
    Some((name, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bats_prints_is_read() {
        let text = "1..4\r\nok 1 runc run [tty]\r\n# said\r\nok 2 criu # skip test requires criu\r\n\
            not ok 3 runc exec # timeout after 180s\r\n# ok 9 no test\r\nnot ok 4 issue # 5\r\n";
        let skipped = Ending::Skipped {
            reason: "test requires criu".to_owned(),
        };
        let expected = [
            ("runc run [tty]", Ending::Passed),
            ("criu", skipped),
            ("runc exec", Ending::Failed),
            ("issue # 5", Ending::Failed),
        ];
        assert_eq!(
            parse(text).unwrap(),
            expected.map(|(name, ending)| (name.to_owned(), ending))
        );
    }

    #[test]
    fn a_file_whose_tests_did_not_begin_is_an_error() {
        assert_eq!(parse("1..2\nok 1 a\n").unwrap().len(), 1);
        assert!(parse("bash: syntax error\n").is_err());
    }
}
