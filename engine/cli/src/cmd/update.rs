//! `engine update`.

use clap::Args;
use engine_api::client::Call;
use engine_api::host_config::{HostConfig, RestartPolicy};

use super::container_path;
use crate::container_options::LimitOptions;
use crate::container_plan::apply_limits;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::restart;

/// Changes limits and restart policy.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    limits: LimitOptions,
    /// When to restart: no, always, unless-stopped or on-failure[:MAXIMUM]
    #[arg(long, value_name = "POLICY", value_parser = restart::parse)]
    restart: Option<RestartPolicy>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Update {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let body = self.body();
        if body == HostConfig::default() {
            return Err(CliError::Usage(
                "you must provide one or more flags when using this command".to_owned(),
            ));
        }
        let call = |name: &str| Call::post(&container_path(name, "/update")).json(&body);
        context.for_each(&self.containers, call).await
    }

    fn body(&self) -> HostConfig {
        let mut host = HostConfig::default();
        apply_limits(&mut host, &self.limits);
        host.restart_policy = self.restart.clone().unwrap_or_default();
        host
    }
}
