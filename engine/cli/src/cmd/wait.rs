//! `engine wait`.

use clap::Args;
use engine_api::client::Call;
use engine_api::container::WaitResponse;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Waits for containers.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.connect().await?;
        let mut outcome = Ok(());
        for name in &self.containers {
            let call = Call::post(&container_path(name, "/wait"));
            match client.json::<WaitResponse>(call).await {
                Ok(exit) => context.print_line(&exit.status_code.to_string())?,
                Err(error) => {
                    context.warn(&CliError::from(error).message());
                    outcome = Err(CliError::Reported);
                }
            }
        }
        outcome
    }
}
