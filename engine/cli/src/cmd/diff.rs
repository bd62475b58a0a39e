//! `engine diff`.

use clap::Args;
use engine_api::archive::FilesystemChange;
use engine_api::client::Call;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Shows what a container has changed: A is added, C changed, D deleted.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Diff {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = Call::get(&container_path(&self.container, "/changes"));
        let changes: Option<Vec<FilesystemChange>> = context.connect().await?.json(call).await?;
        for change in changes.unwrap_or_default() {
            let letter = match change.kind {
                0 => 'C',
                1 => 'A',
                _ => 'D',
            };
            context.print_line(&format!("{letter} {}", change.path))?;
        }
        Ok(())
    }
}
