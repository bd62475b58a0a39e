//! `engine export`.

use std::path::PathBuf;

use clap::Args;
use engine_api::client::Call;

use super::{container_path, save};
use crate::context::Context;
use crate::error::CliError;

/// Writes a container's files as an archive, without its volumes.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = Call::get(&container_path(&self.container, "/export"));
        save::write(context, call, self.output.as_deref()).await
    }
}
