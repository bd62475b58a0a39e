//! `engine stop`.

use clap::Args;
use engine_api::client::Call;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Stops containers.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short = 't', long = "timeout", alias = "time", value_name = "SECONDS")]
    #[arg(allow_negative_numbers = true)]
    timeout_s: Option<i64>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = |name: &str| {
            Ok(Call::post(&container_path(name, "/stop"))
                .query_some("signal", self.signal.as_deref())
                .query_some("t", self.timeout_s.map(|seconds| seconds.to_string())))
        };
        context.for_all(&self.containers, call).await
    }
}
