//! `engine tag`.

use clap::Args;
use engine_api::client::{Call, encode};

use crate::context::Context;
use crate::error::CliError;
use crate::parse::reference;

/// Gives an image another name.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    #[arg(value_name = "SOURCE")]
    source: String,
    #[arg(value_name = "TARGET")]
    target: String,
}

impl Tag {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let target = reference::parse(&self.target)?;
        if target.digest.is_some() {
            return Err(CliError::Usage(
                "refusing to create a tag with a digest reference".into(),
            ));
        }
        let call = Call::post(&format!("/images/{}/tag", encode(&self.source)))
            .query("repo", &target.repository)
            .query("tag", target.tag_or_digest());
        context.connect().await?.done(call).await?;
        Ok(())
    }
}
