//! A container's files: `archive` and `export`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base::{Failure, FailureKind, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_api::archive::{FilesystemChange, PATH_STAT_HEADER, PathStat, go_mode};
use engine_archive::ArchiveError;
use engine_archive::changes::{Change, ChangeKind};
use engine_archive::pack::Packer;
use engine_archive::root::{Found, Root};
use engine_archive::unpack::{UnpackOptions, unpack};
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use tokio::sync::oneshot;

use super::archives::{BodyReader, FeedWriter, PIECE_BYTES};
use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body, Feed};
use crate::container::archive::{Volumes, with_files};
use crate::container::{Container, lock, user};
use crate::error::{OrFail as _, Result, internal, invalid, not_found};
use crate::event::{CONTAINER_ARCHIVED, CONTAINER_EXPORTED, CONTAINER_EXTRACTED};

type Writer = std::io::BufWriter<FeedWriter>;

/// `HEAD /containers/{id}/archive`.
pub(in crate::api) async fn head(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let path = path(request)?;
    let missing = missing(id, &path);
    let engine = engine.clone();
    let stat = crate::uninterrupted(async move {
        with_files(&engine, &container, Volumes::Mounted, move |root| {
            Ok(stat_of(&root.find(&path)?))
        })
        .await
    })
    .await
    .map_err(missing)?;
    with_stat(response::empty(StatusCode::OK)?, &stat)
}

/// `GET /containers/{id}/archive`.
pub(in crate::api) async fn get(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let path = path(request)?;
    let missing = missing(id, &path);
    let (answer, stat) = streamed(
        engine,
        container,
        Volumes::Mounted,
        move |root, tell, out| {
            let found = root.find(&path)?;
            tell(stat_of(&found));
            let mut packer = Packer::new(out).seen_from(root.mappings());
            packer.add(&found, &found.name)?;
            packer.finish()
        },
    )
    .await
    .map_err(missing)?;
    with_stat(answer, &stat)
}

/// Says of a path that is not there what was asked for, as the client named both.
fn missing(id: &str, path: &Path) -> impl FnOnce(Failure) -> Failure + use<> {
    let message = format!(
        "Could not find the file {} in container {id}",
        path.display()
    );
    move |failure| match failure.kind {
        FailureKind::NotFound => not_found(message),
        _ => failure,
    }
}

/// `GET /containers/{id}/export`.
pub(in crate::api) async fn export(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let told = container.clone();
    let (answer, _) = streamed(engine, container, Volumes::Absent, |root, tell, out| {
        let found = root.find("/".as_ref())?;
        tell(stat_of(&found));
        let mut packer = Packer::new(out).seen_from(root.mappings());
        packer.add(&found, "".as_ref())?;
        packer.finish()
    })
    .await?;
    publish(engine, CONTAINER_EXPORTED, &told)?;
    Ok(answer)
}

/// `GET /containers/{id}/changes`.
pub(in crate::api) async fn changes(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let engine = engine.clone();
    let found = crate::blocking(move || crate::container::archive::changes(&engine, &container));
    let found: Vec<FilesystemChange> = found.await?.iter().map(shown).collect();
    // Go has no empty list here.
    response::json(StatusCode::OK, &(!found.is_empty()).then_some(found))
}

fn shown(change: &Change) -> FilesystemChange {
    FilesystemChange {
        path: change.path.display().to_string(),
        kind: match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        },
    }
}

/// Answers with what `work` writes. It first tells what is there: until then a
/// failure is the answer.
async fn streamed(
    engine: &Arc<Engine>,
    container: Arc<Container>,
    volumes: Volumes,
    work: impl FnOnce(&Root, &dyn Fn(PathStat), Writer) -> Result<Writer, ArchiveError> + Send + 'static,
) -> Result<(Response<Body>, PathStat)> {
    let (feed, answer) = response::stream("application/x-tar")?;
    let (told, tell) = oneshot::channel();
    let told = Arc::new(Mutex::new(Some(told)));
    let engine = engine.clone();
    tokio::spawn(async move {
        let teller = told.clone();
        let work = move |root: &Root| {
            let tell = |stat| {
                if let Some(told) = lock(&teller).take() {
                    // A client that has gone does not want to know.
                    drop(told.send(Ok(stat)));
                }
            };
            let written = work(root, &tell, writer(feed))?.flush();
            written.map_err(ArchiveError::Write)
        };
        if let Err(failure) = with_files(&engine, &container, volumes, work).await {
            match lock(&told).take() {
                Some(told) => drop(told.send(Err(failure))),
                None => {
                    tracing::warn!(container = %container.id, %failure, "an archive was broken off");
                }
            }
            return;
        }
        if volumes == Volumes::Mounted
            && let Err(failure) = publish(&engine, CONTAINER_ARCHIVED, &container)
        {
            tracing::error!(%failure, "cannot record an archive");
        }
    });
    let ended = |_| internal("the archive ended before it began");
    Ok((answer, tell.await.map_err(ended)??))
}

fn writer(feed: Feed) -> Writer {
    std::io::BufWriter::with_capacity(PIECE_BYTES, FeedWriter(feed))
}

/// `PUT /containers/{id}/archive`.
pub(in crate::api) async fn put(
    engine: &Arc<Engine>,
    request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let path = path(&request)?;
    let missing = missing(id, &path);
    let keep_kinds = request.flag("noOverwriteDirNonDir");
    let wants_owner = request.flag("copyUIDGID");
    let config = container.config();
    let body = BodyReader::new(request.inner.into_body());
    let (engine, told) = (engine.clone(), container.clone());
    let body = Arc::new(Mutex::new(Some(body)));
    let to_drain = body.clone();
    let work = move |root: &Root| {
        let owner = match wants_owner {
            true => Some(user::ids_in(root, &config.process.user).map_err(ArchiveError::Owner)?),
            false => None,
        };
        let options = UnpackOptions {
            keep_kinds,
            owner,
            rename: None,
        };
        match lock(&body).as_mut() {
            Some(body) => unpack(root, &path, body, options),
            None => Ok(()),
        }
    };
    let unpacked = crate::uninterrupted({
        let engine = engine.clone();
        async move { with_files(&engine, &container, Volumes::Mounted, work).await }
    })
    .await;
    // A client that is cut off while it sends would not look at the answer.
    let body = lock(&to_drain).take();
    crate::blocking(move || {
        if let Some(body) = body {
            body.drain();
        }
        Ok(())
    })
    .await?;
    unpacked.map_err(missing)?;
    publish(&engine, CONTAINER_EXTRACTED, &told)?;
    response::empty(StatusCode::OK)
}

fn publish(engine: &Engine, kind: &'static str, container: &Container) -> Result<()> {
    let nothing = serde_json::json!({});
    let id = container.id.to_string();
    engine.bus.publish(kind, id, &nothing).map(drop)
}

/// Reads the parameter `path`, which is meant from the root on.
fn path(request: &Request) -> Result<PathBuf> {
    let path = request
        .parameter("path")
        .ok_or_else(|| invalid("bad parameter: path is required"))?;
    if path.contains('\0') {
        return Err(invalid("bad parameter: path has a NUL byte"));
    }
    // Not by joining, which would take a slash at the end away.
    Ok(match path.starts_with('/') {
        true => PathBuf::from(path),
        false => PathBuf::from(format!("/{path}")),
    })
}

fn stat_of(found: &Found) -> PathStat {
    let stat = &found.stat;
    let link = found.link.as_ref();
    PathStat {
        name: found.name.to_string_lossy().into_owned(),
        size: stat.st_size,
        mode: go_mode(stat.st_mode),
        mtime: Timestamp::from_seconds(stat.st_mtime).to_string(),
        link_target: link.map_or_else(String::new, |link| link.display().to_string()),
    }
}

fn with_stat(mut answer: Response<Body>, stat: &PathStat) -> Result<Response<Body>> {
    let text = serde_json::to_vec(stat).or_internal()?;
    let value = HeaderValue::from_str(&STANDARD.encode(text)).or_internal()?;
    answer.headers_mut().insert(PATH_STAT_HEADER, value);
    let tar = HeaderValue::from_static("application/x-tar");
    answer
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, tar);
    Ok(answer)
}
