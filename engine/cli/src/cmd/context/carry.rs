//! `engine context export` and `import`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use base::file::PathContext as _;
use clap::Args;

use super::{existing, usage};
use crate::context::Context;
use crate::error::CliError;
use crate::stored_contexts::{Store, archive};
use crate::terminal;

/// Stands for a standard stream where a file is named.
const STREAM: &str = "-";

/// Writes a context to a file.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[arg(value_name = "CONTEXT")]
    name: String,
    /// A file that is not there yet, or - for stdout [default: <CONTEXT>.dockercontext]
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

impl Export {
    pub(super) fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        let packed = archive::pack(&self.name, &existing(&self.name, context, store)?)?;
        let file = self
            .file
            .unwrap_or_else(|| format!("{}.dockercontext", self.name));
        if file == STREAM {
            if terminal::is_terminal(&context.streams.stdout) {
                return Err(usage(
                    "cowardly refusing to export to a terminal, specify a file path",
                ));
            }
            let written = (&context.streams.stdout).write_all(&packed);
            return written.map_err(CliError::Output);
        }
        let path = context.environment.directory.join(&file);
        // It may hold a private key.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .at("create", &path)?
            .write_all(&packed)
            .at("write", &path)?;
        context.warn(&format!("Written file {file:?}"));
        Ok(())
    }
}

/// Makes a context of a file.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[arg(value_name = "CONTEXT")]
    name: String,
    /// What `context export` wrote, or - for stdin
    #[arg(value_name = "FILE")]
    file: String,
}

impl Import {
    pub(super) fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        let mut bytes = Vec::new();
        let limit = archive::LIMIT_BYTES + 1;
        if self.file == STREAM {
            let stdin = &mut (&context.streams.stdin).take(limit);
            stdin.read_to_end(&mut bytes).map_err(CliError::Streams)?;
        } else {
            let path = context.environment.directory.join(&self.file);
            let file = File::open(&path).at("open", &path)?;
            file.take(limit).read_to_end(&mut bytes).at("read", &path)?;
        }
        if bytes.len() as u64 == limit {
            return Err(usage("this file is too large to be a context"));
        }
        store.create(&self.name, archive::unpack(&bytes)?)?;
        context.print_line(&self.name)?;
        context.warn(&format!("Successfully imported context \"{}\"", self.name));
        Ok(())
    }
}
