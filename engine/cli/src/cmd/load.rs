//! `engine load`, and the sending of archives that `import` shares with it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base::file::PathContext as _;
use bytes::Bytes;
use clap::Args;
use engine_api::client::{Body, Call, channel_body};

use crate::context::Context;
use crate::error::CliError;
use crate::parse::platform;
use crate::progress::{self, Show};
use crate::terminal;

/// Bytes of an archive sent at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Loads images.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Read from a file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only what is of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM", value_parser = platform::parse)]
    platform: Option<String>,
    /// Suppress the progress
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let body = archive(context, self.input.as_deref())?;
        let call = Call::post("/images/load")
            .query_flag("quiet", self.quiet)
            .query_some("platform", self.platform)
            .archive(body);
        let stream = context.connect().await?.stream(call).await?;
        progress::show(stream, context, Show::Stdout).await
    }
}

/// Returns the archive in `path`, or in stdin, as a body that is read as it is sent.
pub(super) fn archive(context: &Context, path: Option<&Path>) -> Result<Body, CliError> {
    let (mut file, path) = match path {
        Some(path) => (File::open(path).at("open", path)?, path.to_owned()),
        None if terminal::is_terminal(&context.streams.stdin) => {
            return Err(CliError::Usage(
                "requested load from stdin, but stdin is a terminal".into(),
            ));
        }
        None => {
            let stdin = context
                .streams
                .stdin
                .try_clone()
                .map_err(CliError::Streams)?;
            (stdin, PathBuf::from("stdin"))
        }
    };
    let (sender, body) = channel_body();
    let stderr = context
        .streams
        .stderr
        .try_clone()
        .map_err(CliError::Streams)?;
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = match file.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    use std::io::Write as _;
                    // The daemon refuses the cut archive; this says why.
                    drop(writeln!(&stderr, "cannot read {}: {error}", path.display()));
                    return;
                }
            };
            if sender
                .blocking_send(Bytes::copy_from_slice(&piece[..length]))
                .is_err()
            {
                return;
            }
        }
    });
    Ok(body)
}
