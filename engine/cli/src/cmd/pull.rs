//! `engine pull`, and the pull that `create` and `run` do for a missing image.

use clap::Args;
use engine_api::client::Call;
use engine_api::registry::AUTH_HEADER;

use crate::context::Context;
use crate::credentials;
use crate::error::CliError;
use crate::parse::reference::{self, Reference};
use crate::progress::{self, Show};

/// Downloads an image.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Download all tags of the image
    #[arg(short, long)]
    all_tags: bool,
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
        let mut reference = reference::parse(&self.image)?;
        if self.all_tags && !reference.is_name_only() {
            return Err(CliError::Usage(reference::ALL_TAGS.to_owned()));
        }
        if !self.all_tags && reference.is_name_only() {
            reference.tag = Some("latest".to_owned());
            if !self.quiet {
                context.print_line("Using default tag: latest")?;
            }
        }
        let show = if self.quiet {
            Show::Nowhere
        } else {
            Show::Stdout
        };
        let tag = (!self.all_tags).then(|| reference.tag_or_digest().to_owned());
        let platform = self.platform.as_deref();
        send(context, &reference, (tag, platform), show).await?;
        context.print_line(&reference.normalized())
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
    let tag = reference.tag_or_digest().to_owned();
    send(context, &reference, (Some(tag), platform), show).await
}

async fn send(
    context: &Context,
    reference: &Reference,
    (tag, platform): (Option<String>, Option<&str>),
    show: Show,
) -> Result<(), CliError> {
    let mut call = Call::post("/images/create")
        .query("fromImage", &reference.repository)
        .query_some("tag", tag)
        .query_some("platform", platform);
    if let Some(header) = credentials::header(context, reference.domain()).await {
        call = call.header(AUTH_HEADER, header);
    }
    let stream = context.connect().await?.stream(call).await?;
    progress::show(stream, context, show).await
}
