//! `engine pull`, and the pull that `create` and `run` do for a missing image.

use clap::Args;
use engine_api::client::Call;

use crate::context::Context;
use crate::error::CliError;
use crate::parse::reference;
use crate::progress::{self, Show};

/// Downloads an image.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Platform of the image, os/arch[/variant]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
}

impl Pull {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let reference = reference::parse(&self.image)?;
        if reference.tag.is_none() && reference.digest.is_none() && !self.quiet {
            context.print_line("Using default tag: latest")?;
        }
        let show = if self.quiet {
            Show::Nowhere
        } else {
            Show::Stdout
        };
        pull(context, &self.image, self.platform.as_deref(), show).await?;
        context.print_line(&reference.full())
    }
}

/// Downloads `image` and shows how far it is.
pub(super) async fn pull(
    context: &Context,
    image: &str,
    platform: Option<&str>,
    show: Show,
) -> Result<(), CliError> {
    let reference = reference::parse(image)?;
    let call = Call::post("/images/create")
        .query("fromImage", &reference.repository)
        .query("tag", reference.tag_or_digest())
        .query_some("platform", platform);
    let stream = context.connect().await?.stream(call).await?;
    progress::show(stream, context, show).await
}
