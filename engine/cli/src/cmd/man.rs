//! `engine man`: one page for each command, `engine-run.1` and so on.

use std::path::{Path, PathBuf};

use base::file::{FileMode, PathContext as _, make_directories, replace};
use clap::{Args, Command};

use crate::error::CliError;
use crate::examples;

/// Writes the manual pages.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where they are written
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<(), CliError> {
        make_directories(&self.directory, 0o755)?;
        let command = examples::command();
        write(&command, "engine", &self.directory)
    }
}

/// Writes the page of `command` and those of its subcommands.
fn write(command: &Command, name: &str, directory: &Path) -> Result<(), CliError> {
    let path = directory.join(format!("{name}.1"));
    let page = command.clone().name(name.to_owned());
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .at("render", &path)?;
    replace(&path, &text, FileMode::Public)?;
    for subcommand in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        write(
            subcommand,
            &format!("{name}-{}", subcommand.get_name()),
            directory,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let man = Man {
            directory: directory.path().join("man1"),
        };
        man.run().unwrap();
        let page = |name: &str| std::fs::read_to_string(directory.path().join("man1").join(name));
        assert!(page("engine.1").unwrap().contains("engine"));
        assert!(page("engine-run.1").unwrap().contains("publish"));
        assert!(page("engine-volume-prune.1").unwrap().contains("filter"));
        assert!(page("engine-man.1").is_err());
    }
}
