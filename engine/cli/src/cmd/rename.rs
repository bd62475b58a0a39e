//! `engine rename`.

use clap::Args;
use engine_api::client::Call;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Renames a container.
#[derive(Debug, Args)]
pub(crate) struct Rename {
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

impl Rename {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = Call::post(&container_path(&self.container, "/rename"));
        context
            .connect()
            .await?
            .done(call.query("name", &self.name))
            .await?;
        Ok(())
    }
}
