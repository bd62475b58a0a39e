//! `engine kill`.

use clap::Args;
use engine_api::client::Call;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Sends a signal to containers.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal to send [default: KILL]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Kill {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = |name: &str| {
            let call = Call::post(&container_path(name, "/kill"));
            Ok(call.query_some("signal", self.signal.as_deref()))
        };
        context.for_all(&self.containers, call).await
    }
}
