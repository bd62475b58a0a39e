//! `engine cp`.

mod place;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes};
use clap::Args;
use engine_api::archive::{PATH_STAT_HEADER, PathStat};
use engine_api::client::{Body, BodyStream, Call, ClientError, channel_body};
use engine_archive::ArchiveError;
use engine_archive::pack::Packer;
use engine_archive::root::Root;
use engine_archive::unpack::{UnpackOptions, unpack};
use tokio::sync::mpsc;

use self::place::{Place, Target, target};
use super::load;
use crate::context::Context;
use crate::error::CliError;
use crate::terminal;

/// Bytes of an archive sent at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces of an archive that may wait to be unpacked.
const PIECES_AHEAD: usize = 16;
/// Links that are followed one after another.
const LINK_LIMIT: usize = 40;

/// Copies files between a container and the host.
#[derive(Debug, Args)]
#[command(
    override_usage = "engine cp [OPTIONS] CONTAINER:SOURCE DESTINATION|-\n       \
    engine cp [OPTIONS] SOURCE|- CONTAINER:DESTINATION"
)]
pub(crate) struct Cp {
    /// Keep user and group
    #[arg(short, long)]
    archive: bool,
    /// Follow a link at the source
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// What is copied; - is an archive on stdin
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it goes; - is an archive on stdout
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

impl Cp {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (from, to) = (Place::parse(&self.source), Place::parse(&self.destination));
        let shown = match (from, to) {
            (Place::Container { name, path }, Place::Host(destination)) => {
                self.copy_out(context, (name, &path), &destination).await?;
                destination.display().to_string()
            }
            (Place::Host(source), Place::Container { name, path }) => {
                self.copy_in(context, &source, (name, &path)).await?;
                format!("{name}:{}", path.display())
            }
            (Place::Container { .. }, Place::Container { .. }) => {
                let message = "copying between containers is not supported";
                return Err(CliError::Usage(message.to_owned()));
            }
            (Place::Host(_), Place::Host(_)) => {
                let message = "must specify at least one container source";
                return Err(CliError::Usage(message.to_owned()));
            }
        };
        if !self.quiet && self.destination != "-" && terminal::is_terminal(&context.streams.stderr)
        {
            context.warn(&format!("Copied to {shown}"));
        }
        Ok(())
    }

    async fn copy_out(
        &self,
        context: &Context,
        (name, path): (&str, &Path),
        destination: &Path,
    ) -> Result<(), CliError> {
        context.connect().await?;
        let path = match self.follow_link {
            true => followed(context, name, path).await?,
            false => path.to_owned(),
        };
        let call = Call::get(&super::container_path(name, "/archive"));
        let call = call.query("path", path.to_string_lossy());
        let mut stream = context.client.stream(call).await?;
        if destination == Path::new("-") {
            return super::save::copy(stream, &context.streams.stdout, Path::new("stdout")).await;
        }
        let stat = stat_of(&stream)?;
        let there = place::on_host(destination);
        let Target { directory, rename } = target(&stat, &path, destination, there)?;
        let owner = (!self.archive).then(own_ids);
        let options = UnpackOptions {
            keep_kinds: true,
            owner,
            rename,
        };
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let unpacked = tokio::task::spawn_blocking(move || {
            let root = Root::open(&directory)?;
            unpack(&root, Path::new("/"), PieceReader::new(receiver), options)
        });
        while let Some(piece) = stream.next().await? {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        drop(sender);
        joined(unpacked.await)
    }

    async fn copy_in(
        &self,
        context: &Context,
        source: &Path,
        (name, path): (&str, &Path),
    ) -> Result<(), CliError> {
        context.connect().await?;
        let put = |directory: &Path| {
            Call::put(&super::container_path(name, "/archive"))
                .query("path", directory.to_string_lossy())
                .query("noOverwriteDirNonDir", "true")
                .query_some("copyUIDGID", self.archive.then_some("true"))
        };
        if source == Path::new("-") {
            let body = load::archive(context, None)?;
            context.client.done(put(path).archive(body)).await?;
            return Ok(());
        }
        let source = match self.follow_link {
            true => std::fs::canonicalize(source).map_err(|error| unreadable(source, &error))?,
            false => source.to_owned(),
        };
        let own = place::stat_on_host(&source).map_err(|error| unreadable(&source, &error))?;
        let there = remote(context, name, path).await?;
        let Target { directory, rename } = target(&own, &source, path, there)?;
        let (packed, body) = pack(source, own.name, rename);
        let done = context.client.done(put(&directory).archive(body)).await;
        joined(packed.await)?;
        done?;
        Ok(())
    }
}

/// Returns what is at a path of a container, with what a link leads to.
async fn remote(context: &Context, name: &str, path: &Path) -> Result<Option<PathStat>, CliError> {
    let mut path = path.to_owned();
    for _ in 0..LINK_LIMIT {
        let call = Call::head(&super::container_path(name, "/archive"));
        let call = call.query("path", path.to_string_lossy());
        let stat = match context.client.stream(call).await {
            Ok(answer) => stat_of(&answer)?,
            // A HEAD has no words: of a container that is not there the next call says it.
            Err(ClientError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if stat.link_target.is_empty() {
            return Ok(Some(stat));
        }
        path = PathBuf::from(stat.link_target);
    }
    Err(CliError::Usage(
        "too many links at the destination".to_owned(),
    ))
}

async fn followed(context: &Context, name: &str, path: &Path) -> Result<PathBuf, CliError> {
    let call = Call::head(&super::container_path(name, "/archive"));
    let call = call.query("path", path.to_string_lossy());
    let stat = match context.client.stream(call).await {
        Ok(answer) => stat_of(&answer)?,
        // What is not there is told by the call to come, with words.
        Err(ClientError::Refused { .. }) => return Ok(path.to_owned()),
        Err(error) => return Err(error.into()),
    };
    Ok(match stat.link_target.is_empty() {
        true => path.to_owned(),
        false => PathBuf::from(stat.link_target),
    })
}

fn stat_of(answer: &BodyStream) -> Result<PathStat, CliError> {
    let missing = || CliError::Usage("the engine does not say what is at the path".to_owned());
    let text = answer.header(PATH_STAT_HEADER).ok_or_else(missing)?;
    let text = STANDARD.decode(text).map_err(|_| missing())?;
    serde_json::from_slice(&text).map_err(|_| missing())
}

fn own_ids() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Usage(format!("cannot read {}: {error}", path.display()))
}

fn joined(done: Result<Result<(), ArchiveError>, tokio::task::JoinError>) -> Result<(), CliError> {
    let done = done.map_err(|error| CliError::Usage(format!("copying failed: {error}")))?;
    match done {
        // The engine has gone, or has refused the rest, and says why.
        Err(ArchiveError::Write(_)) => Ok(()),
        done => done.map_err(|error| CliError::Usage(base::failure::chain(&error))),
    }
}

/// Packs what is on the host, as it is sent.
fn pack(
    source: PathBuf,
    name: String,
    rename: Option<std::ffi::OsString>,
) -> (tokio::task::JoinHandle<Result<(), ArchiveError>>, Body) {
    let (sender, body) = channel_body();
    let work = move || {
        let root = Root::open(Path::new("/"))?;
        let source = place::absolute(&source).map_err(ArchiveError::Read)?;
        let found = root.find(&source)?;
        let out = std::io::BufWriter::with_capacity(PIECE_BYTES, Pieces(sender));
        let mut packer = Packer::new(out);
        let name = rename.unwrap_or_else(|| name.into());
        let name = if name.is_empty() { ".".into() } else { name };
        packer.add(&found, &name)?;
        packer.finish()?.flush().map_err(ArchiveError::Write)
    };
    (tokio::task::spawn_blocking(work), body)
}

/// Sends what is written.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(gone).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads what is received.
struct PieceReader {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl PieceReader {
    fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
