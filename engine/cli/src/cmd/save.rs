//! `engine save`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base::file::PathContext as _;
use clap::Args;
use engine_api::client::{BodyStream, Call};

use crate::context::Context;
use crate::error::CliError;
use crate::parse::platform;
use crate::terminal;

/// Saves images.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail unless the images are of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM", value_parser = platform::parse)]
    platform: Option<String>,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Save {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut call = Call::get("/images/get");
        for image in &self.images {
            call = call.query("names", image);
        }
        call = call.query_some("platform", self.platform);
        write(context, call, self.output.as_deref()).await
    }
}

/// Writes the archive that a call is answered with, to stdout where no file is named.
///
/// # Errors
/// When stdout is a terminal; else when the call fails, or the file cannot be written.
pub(super) async fn write(
    context: &Context,
    call: Call,
    output: Option<&Path>,
) -> Result<(), CliError> {
    if output.is_none() && terminal::is_terminal(&context.streams.stdout) {
        let message = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
        return Err(CliError::Usage(message.to_owned()));
    }
    let stream = context.connect().await?.stream(call).await?;
    match output {
        None => copy(stream, &context.streams.stdout, Path::new("stdout")).await,
        Some(path) => save(stream, path).await,
    }
}

/// Writes beside `path` first, so that half an archive never has its name.
async fn save(stream: BodyStream, path: &Path) -> Result<(), CliError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file = File::create(&partial).at("create", &partial)?;
    let saved = match copy(stream, &file, &partial).await {
        Ok(()) => Ok(std::fs::rename(&partial, path).at("rename to", path)?),
        Err(error) => Err(error),
    };
    if saved.is_err() {
        // The first error is the one to report.
        drop(std::fs::remove_file(&partial));
    }
    saved
}

/// Writes what comes to a file.
///
/// # Errors
/// When the connection breaks, or the file cannot be written.
pub(super) async fn copy(
    mut stream: BodyStream,
    mut file: &File,
    path: &Path,
) -> Result<(), CliError> {
    while let Some(piece) = stream.next().await? {
        file.write_all(&piece).at("write", path)?;
    }
    Ok(())
}
