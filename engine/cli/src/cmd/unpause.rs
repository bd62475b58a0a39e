//! `engine unpause`.

use clap::Args;
use engine_api::client::Call;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Unpauses containers.
#[derive(Debug, Args)]
pub(crate) struct Unpause {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Unpause {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = |name: &str| Ok(Call::post(&container_path(name, "/unpause")));
        context.for_all(&self.containers, call).await
    }
}
