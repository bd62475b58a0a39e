//! `engine rmi`.

use clap::Args;
use engine_api::client::{Call, encode};
use engine_api::image::ImageDeleteResponse;

use crate::context::Context;
use crate::error::CliError;
use crate::parse::platform;

/// Removes images.
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Remove even what stopped containers use
    #[arg(short, long)]
    force: bool,
    /// Keep untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Remove only an image of this platform, os/architecture[/variant]; more than one fit
    #[arg(long, value_name = "PLATFORM", value_parser = platform::parse)]
    platform: Vec<String>,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.connect().await?;
        let mut outcome = Ok(());
        for name in &self.images {
            let mut call = Call::delete(&format!("/images/{}", encode(name)))
                .query_flag("force", self.force)
                .query_flag("noprune", self.no_prune);
            for platform in &self.platform {
                call = call.query("platforms", platform);
            }
            match client.json::<Vec<ImageDeleteResponse>>(call).await {
                Ok(steps) => context.print(&steps.iter().map(line).collect::<String>())?,
                Err(error) => {
                    context.warn(&CliError::from(error).message());
                    outcome = Err(CliError::Reported);
                }
            }
        }
        outcome
    }
}

/// Returns the line that one step of a removal prints.
pub(super) fn line(step: &ImageDeleteResponse) -> String {
    match step.deleted.is_empty() {
        true => format!("Untagged: {}\n", step.untagged),
        false => format!("Deleted: {}\n", step.deleted),
    }
}
