//! `engine pause`.

use clap::Args;
use engine_api::client::Call;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Pauses containers.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Pause {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = |name: &str| Ok(Call::post(&container_path(name, "/pause")));
        context.for_all(&self.containers, call).await
    }
}
