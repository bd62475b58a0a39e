//! Images as archives: load, save, import. The archive flows through a bounded
//! queue between the connection and a thread that may block.

use std::io::{Read, Write};
use std::sync::Arc;

use base::FailureKind;
use bytes::{Buf as _, Bytes};
use engine_api::container::CommitResponse;
use engine_api::progress::ProgressMessage;
use engine_image::{ImportRequest, Limits, Loaded, Platform, Reference};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use super::platform;
use crate::Engine;
use crate::api::request::{Request, repeated};
use crate::api::response::{self, Body, Feed};
use crate::container::commit::CommitOptions;
use crate::error::{OrFail as _, Result, invalid, not_found};
use crate::event::{IMAGE_IMPORTED, IMAGE_LOADED, IMAGE_SAVED, ImageNamed};
use crate::{container, image};

/// Pieces of a body that may wait for the thread that unpacks them.
const PIECES_AHEAD: usize = 16;
/// Bytes of an archive that are sent as one piece.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// The body of a request as a reader for a thread that may block.
pub(super) struct BodyReader {
    pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    piece: Bytes,
}

impl BodyReader {
    pub(super) fn new(mut body: Incoming) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame.map(|frame| frame.into_data()) {
                    Ok(Ok(data)) => Ok(data),
                    // Trailers say nothing of the archive.
                    Ok(Err(_)) => continue,
                    Err(error) => Err(std::io::Error::other(error)),
                };
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }

    /// Takes what is left of the body, as much as an archive may have. A client
    /// that is cut off while it sends would not look at the answer.
    pub(super) fn drain(mut self) {
        let mut left = Limits::default().archive_bytes;
        while let Some(Ok(piece)) = self.pieces.blocking_recv() {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                return;
            }
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// `POST /images/load`.
pub(in crate::api) async fn load(engine: &Arc<Engine>, request: Request) -> Result<Response<Body>> {
    let quiet = request.flag("quiet");
    let platform = platform::asked(&request)?;
    let mut reader = BodyReader::new(request.inner.into_body());
    let (feed, answer) = response::stream("application/json")?;
    let engine = engine.clone();
    tokio::task::spawn_blocking(move || {
        let lines = match engine
            .images
            .load(&mut reader, platform.as_ref())
            .or_invalid()
        {
            Ok(loaded) => loaded
                .iter()
                .flat_map(|one| loaded_lines(&engine, one, quiet))
                .collect(),
            Err(failure) => vec![ProgressMessage::error(failure.message)],
        };
        for line in lines {
            // A client that has gone does not want to know.
            feed.send_blocking(line.to_line()).unwrap_or_default();
        }
        reader.drain();
    });
    Ok(answer)
}

fn loaded_lines(engine: &Engine, loaded: &Loaded, quiet: bool) -> Vec<ProgressMessage> {
    let id = loaded.image.id.to_string();
    let name = loaded.names.first().unwrap_or(&id);
    let named = ImageNamed::new(name, &loaded.image);
    if let Err(error) = engine.bus.publish(IMAGE_LOADED, id.clone(), &named) {
        tracing::error!(%error, "cannot record a loaded image");
    }
    let line = |text: String| ProgressMessage {
        stream: text,
        ..ProgressMessage::default()
    };
    match (quiet, loaded.names.is_empty()) {
        (_, true) => vec![line(format!("Loaded image ID: {id}\n"))],
        (_, false) => loaded
            .names
            .iter()
            .map(|name| line(format!("Loaded image: {name}\n")))
            .collect(),
    }
}

/// Sends what is written to the client.
pub(super) struct FeedWriter(pub(super) Feed);

impl Write for FeedWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.0
            .send_blocking(Bytes::copy_from_slice(bytes))
            .map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Docker looks a name with a tag up among the names only, and says so.
fn missing(name: &str, failure: base::Failure) -> base::Failure {
    let has_tag = name.parse::<Reference>().is_ok_and(|it| it.tag().is_some());
    match failure.kind {
        FailureKind::NotFound if has_tag => not_found("reference does not exist"),
        _ => failure,
    }
}

/// `GET /images/get` and `GET /images/{name}/get`.
pub(in crate::api) fn save(
    engine: &Arc<Engine>,
    request: &Request,
    name: Option<String>,
) -> Result<Response<Body>> {
    let names = match name {
        Some(name) => vec![name],
        None => repeated(request.inner.uri(), "names")?,
    };
    if names.is_empty() {
        return Err(invalid("no image was named"));
    }
    // What is missing is told by the status, which a stream could not.
    let images = names
        .iter()
        .map(|name| image::resolve(engine, name).map_err(|failure| missing(name, failure)))
        .collect::<Result<Vec<_>>>()?;
    for name in &names {
        platform::check(engine, request, name)?;
    }
    let (feed, answer) = response::stream("application/x-tar")?;
    let engine = engine.clone();
    tokio::task::spawn_blocking(move || {
        let mut writer = std::io::BufWriter::with_capacity(PIECE_BYTES, FeedWriter(feed));
        let saved = engine
            .images
            .save(&names, &mut writer)
            .or_internal()
            .and_then(|()| writer.flush().or_internal());
        let published = saved.and_then(|()| {
            images.iter().zip(&names).try_for_each(|(image, name)| {
                let named = ImageNamed::new(name, image);
                engine
                    .bus
                    .publish(IMAGE_SAVED, image.id.to_string(), &named)
                    .map(drop)
            })
        });
        if let Err(error) = published {
            tracing::warn!(%error, "cannot save images");
        }
    });
    Ok(answer)
}

/// `POST /images/create?fromSrc=-`.
pub(in crate::api) async fn import(
    engine: &Arc<Engine>,
    request: Request,
) -> Result<Response<Body>> {
    match request.parameter("fromSrc") {
        None => return Err(invalid("either fromImage or fromSrc is needed")),
        Some("-") => {}
        Some(_) => {
            return Err(crate::error::unsupported(
                "importing from a URL is not supported; send the archive",
            ));
        }
    }
    let wanted = import_request(&request)?;
    let mut reader = BodyReader::new(request.inner.into_body());
    let (feed, answer) = response::stream("application/json")?;
    let engine = engine.clone();
    tokio::task::spawn_blocking(move || {
        let line = match engine.images.import(&mut reader, &wanted).or_invalid() {
            Ok(image) => {
                let id = image.id.to_string();
                let name = wanted
                    .reference
                    .as_ref()
                    .map_or_else(|| id.clone(), Reference::to_string);
                let named = ImageNamed::new(name, &image);
                match engine.bus.publish(IMAGE_IMPORTED, id.clone(), &named) {
                    Ok(_) => ProgressMessage::status(id),
                    Err(failure) => ProgressMessage::error(failure.message),
                }
            }
            Err(failure) => ProgressMessage::error(failure.message),
        };
        // A client that has gone does not want to know.
        feed.send_blocking(line.to_line()).unwrap_or_default();
        reader.drain();
    });
    Ok(answer)
}

/// `POST /commit`.
pub(in crate::api) async fn commit(
    engine: &Arc<Engine>,
    mut request: Request,
) -> Result<Response<Body>> {
    let id = request.parameter("container").unwrap_or_default();
    let container = engine.containers.find(id)?;
    let text = |name: &str| request.parameter(name).unwrap_or_default().to_owned();
    let mut options = CommitOptions {
        reference: reference(&request)?,
        author: text("author"),
        comment: text("comment"),
        changes: repeated(request.inner.uri(), "changes")?,
        config: None,
        pause: request.parameter("pause").is_none() || request.flag("pause"),
    };
    options.config = request.json_or_default().await?;
    let engine = engine.clone();
    let work = async move { container::commit::commit(&engine, &container, options).await };
    let image = crate::uninterrupted(work).await?;
    let answer = CommitResponse {
        id: image.id.to_string(),
    };
    response::json(StatusCode::CREATED, &answer)
}

/// Reads the parameters `repo` and `tag`.
fn reference(request: &Request) -> Result<Option<Reference>> {
    let text = match (request.parameter("repo"), request.parameter("tag")) {
        (None, _) => return Ok(None),
        (Some(name), None) => name.to_owned(),
        (Some(name), Some(tag)) => format!("{name}:{tag}"),
    };
    text.parse().or_invalid().map(Some)
}

fn import_request(request: &Request) -> Result<ImportRequest> {
    let platform = request
        .parameter("platform")
        .map(str::parse::<Platform>)
        .transpose()
        .or_invalid()?;
    Ok(ImportRequest {
        reference: reference(request)?,
        message: request.parameter("message").unwrap_or_default().to_owned(),
        changes: repeated(request.inner.uri(), "changes")?,
        platform,
    })
}
