//! The runtime's log: errors and, with `--debug`, steps, as text on standard
//! error and in the file of `--log`.
//!
//! The JSON form is the one containerd decodes: an object per line with
//! `level`, `msg` and an RFC 3339 `time`. The file is opened for appending, so
//! that several runtime processes may share it.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base::file::{PathContext as _, PathError};
use base::time::Timestamp;
use serde::Serialize;

/// How lines in the log file look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`.
    Json,
}

/// Whether steps are logged besides errors and warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    Normal,
    Debug,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Debug,
    Warning,
    Error,
}

/// Where messages go.
#[derive(Debug)]
pub struct Logger {
    file: Option<File>,
    format: LogFormat,
    verbosity: Verbosity,
    /// After as many steps the program kills itself, for tests.
    steps_left: Cell<Option<u32>>,
}

#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    msg: &'a str,
    time: &'a str,
}

impl Logger {
    /// Returns a logger that appends to `path`, or only writes to standard
    /// error without one.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(
        path: Option<&Path>,
        format: LogFormat,
        verbosity: Verbosity,
    ) -> Result<Self, PathError> {
        let file = path.map(open_for_append).transpose()?;
        Ok(Self {
            file,
            format,
            verbosity,
            steps_left: Cell::new(None),
        })
    }

    /// Makes the program kill itself at its step number `fatal`, from one on.
    pub fn die_at(&self, fatal: u32) {
        self.steps_left.set(Some(fatal));
    }

    /// Logs what made the command fail; always shown on standard error too.
    pub fn error(&self, message: &str) {
        self.append(Level::Error, message);
        eprintln!("runc-rs: {message}");
    }

    /// Logs why a program did not run, and shows it as that program's own words.
    pub fn error_of_program(&self, message: &str) {
        self.append(Level::Error, message);
        eprintln!("{message}");
    }

    /// Logs what made the command fail and has been shown already.
    pub fn error_shown(&self, message: &str) {
        self.append(Level::Error, message);
    }

    /// Logs what went wrong without making the command fail.
    pub fn warn(&self, message: &str) {
        self.append(Level::Warning, message);
        if self.file.is_none() {
            eprintln!("runc-rs: warning: {message}");
        }
    }

    /// Logs a step, with `--debug` only.
    pub fn debug(&self, message: &str) {
        if self.verbosity == Verbosity::Normal {
            return;
        }
        self.append(Level::Debug, message);
        if self.file.is_none() {
            eprintln!("runc-rs: debug: {message}");
        }
    }

    /// Tells of a step that has been done, as `debug`: if the program were killed
    /// now, what is on the host would be another thing than before.
    pub fn step(&self, message: &str) {
        self.debug(message);
        match self.steps_left.get() {
            Some(1) => {
                let own = rustix::process::getpid();
                // Nothing can be done about a failure, and none can happen.
                rustix::process::kill_process(own, rustix::process::Signal::KILL).ok();
            }
            left => self.steps_left.set(left.map(|left| left.saturating_sub(1))),
        }
    }

    fn append(&self, level: Level, message: &str) {
        let Some(mut file) = self.file.as_ref() else {
            return;
        };
        let line = line(self.format, level, message, &Timestamp::now().to_string());
        if let Err(error) = file.write_all(line.as_bytes()) {
            eprintln!("runc-rs: cannot write to the log file: {error}");
        }
    }
}

fn open_for_append(path: &Path) -> Result<File, PathError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
        .at("open log file", path)
}

fn line(format: LogFormat, level: Level, msg: &str, time: &str) -> String {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    match format {
        LogFormat::Json => {
            let line = Line { level, msg, time };
            serde_json::to_string(&line).expect("strings always serialize") + "\n"
        }
        LogFormat::Text => {
            let level = format!("{level:?}").to_lowercase();
            format!("time=\"{time}\" level={level} msg={}\n", quote(msg))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_have_the_keys_containerd_decodes() {
        let text = line(LogFormat::Json, Level::Error, "a \"b\"\nc", "T");
        assert_eq!(
            text,
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"T\"}\n"
        );
    }

    #[test]
    fn text_lines_are_one_line() {
        let text = line(LogFormat::Text, Level::Warning, "a\nb", "T");
        assert_eq!(text, "time=\"T\" level=warning msg=\"a\\nb\"\n");
    }
}
