//! `engine logs`.

use std::io::Write as _;

use base::Timestamp;
use clap::Args;
use engine_api::client::{Call, Framing};
use engine_api::stdcopy::{Decoder, Stream};

use super::container_path;
use crate::attach::AttachError;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::time;

/// Fetches logs.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Show extra attributes
    #[arg(long)]
    details: bool,
    /// Follow what comes
    #[arg(short, long)]
    follow: bool,
    /// Show only what is newer: a time, or a duration such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show only what is older
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Number of lines from the end, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Logs {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let now = Timestamp::now();
        let moment = |text: &Option<String>| -> Result<Option<String>, CliError> {
            let read = text
                .as_deref()
                .map(|text| time::parse(text, now))
                .transpose()?;
            Ok(read.map(time::to_query))
        };
        let call = Call::get(&container_path(&self.container, "/logs"))
            .query("stdout", "1")
            .query("stderr", "1")
            .query("tail", &self.tail)
            .query_flag("follow", self.follow)
            .query_flag("timestamps", self.timestamps)
            .query_flag("details", self.details)
            .query_some("since", moment(&self.since)?)
            .query_some("until", moment(&self.until)?);
        let mut stream = context.connect().await?.stream(call).await?;
        let framing = stream.framing();
        let mut decoder = Decoder::new();
        while let Some(piece) = stream.next().await? {
            write(context, framing, &mut decoder, &piece)?;
        }
        Ok(decoder.finish().map_err(AttachError::from)?)
    }
}

fn write(
    context: &Context,
    framing: Framing,
    decoder: &mut Decoder,
    bytes: &[u8],
) -> Result<(), CliError> {
    let streams = &context.streams;
    if framing == Framing::Raw {
        return (&streams.stdout).write_all(bytes).map_err(CliError::Output);
    }
    for (stream, piece) in decoder.feed(bytes).map_err(AttachError::from)? {
        let mut file = match stream {
            Stream::Stderr => &streams.stderr,
            Stream::Stdin | Stream::Stdout => &streams.stdout,
        };
        file.write_all(piece).map_err(CliError::Output)?;
    }
    Ok(())
}
