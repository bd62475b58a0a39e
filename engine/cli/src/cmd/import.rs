//! `engine import`.

use std::path::Path;

use clap::Args;
use engine_api::client::Call;

use super::load::archive;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::reference;
use crate::progress::{self, Show};

/// Makes an image of an archive.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Apply a Dockerfile instruction
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set the commit message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image, os/arch[/variant]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The archive, - for stdin
    #[arg(value_name = "FILE|-")]
    file: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let path = (self.file != "-").then(|| Path::new(&self.file));
        let mut call = Call::post("/images/create")
            .query("fromSrc", "-")
            .query_some("message", self.message.as_deref())
            .query_some("platform", self.platform.as_deref());
        if let Some(name) = &self.name {
            let name = reference::parse(name)?;
            call = call
                .query("repo", &name.repository)
                .query("tag", name.tag_or_digest());
        }
        for change in &self.change {
            call = call.query("changes", change);
        }
        let call = call.archive(archive(context, path)?);
        let stream = context.connect().await?.stream(call).await?;
        progress::show(stream, context, Show::Stdout).await
    }
}
