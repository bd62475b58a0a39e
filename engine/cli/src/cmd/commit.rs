//! `engine commit`.

use clap::Args;
use engine_api::client::Call;
use engine_api::container::CommitResponse;

use crate::context::Context;
use crate::error::CliError;
use crate::parse::reference;

/// Makes an image of a container.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Who made it
    #[arg(short, long, value_name = "AUTHOR")]
    author: Option<String>,
    /// Dockerfile instruction to apply
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What it is
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Let the container stand still meanwhile
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pause: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

impl Commit {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let name = self.name.as_deref().map(reference::parse).transpose()?;
        let tag = name.as_ref().map(|name| name.tag_or_digest().to_owned());
        let mut call = Call::post("/commit")
            .query("container", &self.container)
            .query_some("repo", name.map(|name| name.repository))
            .query_some("tag", tag)
            .query_some("author", self.author.as_deref())
            .query_some("comment", self.message.as_deref())
            .query("pause", if self.pause { "1" } else { "0" });
        for change in &self.change {
            call = call.query("changes", change);
        }
        let made: CommitResponse = context.connect().await?.json(call).await?;
        context.print_line(&made.id)
    }
}
