//! `engine top`.

use clap::Args;
use engine_api::client::Call;
use engine_api::container::TopResponse;

use super::container_path;
use crate::context::Context;
use crate::error::CliError;
use crate::table;

/// Shows processes.
#[derive(Debug, Args)]
#[command(override_usage = "engine top CONTAINER [PS OPTIONS]")]
pub(crate) struct Top {
    /// The container, then options of ps
    #[arg(required = true, trailing_var_arg = true, value_names = ["CONTAINER", "PS OPTIONS"])]
    #[arg(num_args = 1..)]
    container_and_options: Vec<String>,
}

impl Top {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let Some((container, options)) = self.container_and_options.split_first() else {
            return Err(CliError::Usage("a container is needed".to_owned()));
        };
        let options = (!options.is_empty()).then(|| options.join(" "));
        let call = Call::get(&container_path(container, "/top")).query_some("ps_args", options);
        let top: TopResponse = context.connect().await?.json(call).await?;
        let rows: Vec<Vec<String>> = std::iter::once(top.titles).chain(top.processes).collect();
        context.print(&table::render(&rows))
    }
}
