//! `record docker-commands`: the commands of Docker's command line and their options, as
//! a list that a test compares ours with.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::commands::peers;
use crate::process::Cmd;
use crate::workspace::{self, read_text, write_file};

pub(super) const NAME: &str = "docker-commands";
const LIST: &str = "tests/conform/docker-commands.txt";
const DATA: &str = "conform-docker-commands";
const HELP_LIMIT: Duration = Duration::from_secs(10);
/// What is not this engine's: building, swarm, plugins and what plugins bring.
const APART: &[&str] = &[
    "bake",
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "compose",
    "config",
    "manifest",
    "node",
    "plugin",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
];

/// Asks the command line in the tree of peers for the help of every command and writes
/// the list.
///
/// # Errors
/// Fails when it cannot be run.
pub(crate) fn run() -> Result<()> {
    peers::ensure()?;
    let data = workspace::scratch(DATA)?;
    let command = ["/proc/self/exe", "conform-inside", NAME];
    let code = peers::entry(DATA, command.map(str::to_owned).to_vec())?.run()?;
    if code != 0 {
        bail!("recording ended with status {code}");
    }
    let versions = peers::versions()?;
    let version = versions.lines().find(|line| line.starts_with("docker.io"));
    let version = version.unwrap_or("docker");
    let head = format!(
        "# The commands of {version} and their long options, without {}; written by `cargo xtask record {NAME}`.\n",
        APART.join(", ")
    );
    let list = read_text(&data.join("list.txt"))?;
    write_file(&workspace::path(LIST), head + &list)?;
    std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))
}

/// The part that runs in the tree.
///
/// # Errors
/// Fails when the command line cannot be run.
pub(super) fn run_inside() -> Result<()> {
    let mut list = String::new();
    walk(&[], &mut list)?;
    write_file(Path::new("/data/list.txt"), list)
}

fn walk(words: &[String], list: &mut String) -> Result<()> {
    let help = Cmd::new("docker")
        .args(words)
        .arg("--help")
        .timeout(HELP_LIMIT)
        .read()?;
    let (options, commands) = read_help(&help);
    *list += &format!("{}: {}\n", words.join(" "), options.join(" "));
    for command in commands {
        let is_apart = APART.contains(&command.as_str());
        if is_apart || words.first() == Some(&command) {
            continue;
        }
        walk(&[words, &[command]].concat(), list)?;
    }
    Ok(())
}

/// Returns the long options and the commands that a help names.
fn read_help(help: &str) -> (Vec<String>, Vec<String>) {
    let (mut options, mut commands) = (Vec::new(), Vec::new());
    let mut is_command = false;
    for line in help.lines() {
        if !line.starts_with(' ') {
            is_command = line.trim_end().ends_with("Commands:");
            continue;
        }
        let first = line.split_whitespace().find(|word| !is_short(word));
        match first {
            Some(word) if is_command => commands.push(word.trim_end_matches('*').to_owned()),
            Some(word) => options.extend(word.strip_prefix("--").map(str::to_owned)),
            None => {}
        }
    }
    options.retain(|option| option != "help");
    options.sort();
    (options, commands)
}

/// Whether a word is an option of one letter, as in `-a, --all`.
fn is_short(word: &str) -> bool {
    word.len() == 3 && word.starts_with('-') && word.ends_with(',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_commands_are_read() {
        let help = "Usage:  docker x [OPTIONS]\n\nDoes -- things\n\nManagement Commands:\n  \
            network     Manage\n  buildx*     Build\n\nOptions:\n  -a, --all        All\n      \
            --format string   Format\n                   goes on --here\n      --help\n";
        let (options, commands) = read_help(help);
        assert_eq!(options, ["all", "format"]);
        assert_eq!(commands, ["network", "buildx"]);
    }
}
