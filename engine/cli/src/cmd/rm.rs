//! `engine rm`.

use clap::Args;
use engine_api::client::Call;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;

/// Removes containers.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill a running container first
    #[arg(short, long)]
    force: bool,
    /// Remove its anonymous volumes
    #[arg(short, long)]
    volumes: bool,
    /// Remove the link of that name, not the container
    #[arg(short, long)]
    link: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = |name: &str| {
            Ok(
                Call::delete(&container_path(name.trim_start_matches('/'), ""))
                    .query_flag("force", self.force)
                    .query_flag("v", self.volumes)
                    .query_flag("link", self.link),
            )
        };
        context.for_all(&self.containers, call).await
    }
}
