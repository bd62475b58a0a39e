//! `engine push`.

use clap::Args;
use engine_api::client::{Call, encode};
use engine_api::registry::AUTH_HEADER;

use crate::context::Context;
use crate::credentials;
use crate::error::CliError;
use crate::parse::{platform, reference};
use crate::progress::{self, Show};

/// Uploads an image to a registry.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Push all tags of the image
    #[arg(short, long)]
    all_tags: bool,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Fail unless the image is of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM", value_parser = platform::parse)]
    platform: Option<String>,
    #[arg(value_name = "NAME[:TAG]")]
    image: String,
}

impl Push {
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
        let tag = (!self.all_tags).then(|| reference.tag_or_digest());
        let mut call = Call::post(&format!("/images/{}/push", encode(&reference.repository)))
            .query_some("tag", tag)
            .query_some("platform", self.platform);
        // Docker's daemons want the header even where it says nothing.
        let header = credentials::header(context, reference.domain()).await;
        call = call.header(AUTH_HEADER, header.unwrap_or_else(|| "e30=".to_owned()));
        let show = if self.quiet {
            Show::Nowhere
        } else {
            Show::Stdout
        };
        let stream = context.connect().await?.stream(call).await?;
        progress::show(stream, context, show).await?;
        match self.quiet {
            true => context.print_line(&reference.normalized()),
            false => Ok(()),
        }
    }
}
