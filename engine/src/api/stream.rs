//! Hijacked connections: a client's on one side, a shim's on the other.
//!
//! A shim speaks Docker's frames already, so bytes are passed on unchanged.

use std::io::Cursor;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_api::detach_keys::{DetachKeys, Detector, Typed};
use engine_api::stdcopy::{self, MULTIPLEXED_STREAM, RAW_STREAM};
use engine_api::version::ApiVersion;
use hyper::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::peer::Caller;
use super::request::Request;
use super::response::{self, Body};
use crate::error::{OrFail as _, Result, invalid};
use crate::sys;

/// Bytes of output that are passed on in one go.
pub(super) const COPIED_BYTES: usize = 64 << 10;
/// Bytes of a terminal's input that are looked at in one go.
const TYPED_BYTES: usize = 8 << 10;
/// How often it is looked whether a client has read its answer.
const ANSWER_POLL: Duration = Duration::from_micros(100);
/// How long that is waited for.
const ANSWER_WAIT: Duration = Duration::from_millis(200);
/// How often it is looked whether a client whose input is over is still there.
const HANG_UP_POLL: Duration = Duration::from_secs(1);

/// Reads the keys that leave a process running; those of Docker where none are named.
///
/// # Errors
/// Invalid for what names no keys.
pub fn detach_keys(text: Option<&str>) -> Result<DetachKeys> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => text
            .parse()
            .map_err(|_| invalid(format!("Invalid detach keys ({text}) provided"))),
        None => Ok(DetachKeys::default()),
    }
}

/// Hands a blocking connection over to the async world.
///
/// # Errors
/// When the kernel refuses.
pub fn adopt(stream: StdStream) -> Result<UnixStream> {
    stream.set_nonblocking(true).or_internal()?;
    UnixStream::from_std(stream).or_internal()
}

/// Returns a connection on which `text` has been said as output, and nothing
/// follows.
///
/// # Errors
/// When the kernel refuses; the text is far smaller than its buffer.
pub fn said(text: &str, framing: Framing) -> Result<StdStream> {
    use std::io::Write as _;
    let (mut speaker, listener) = StdStream::pair().or_internal()?;
    speaker.set_nonblocking(true).or_internal()?;
    let mut bytes = Vec::new();
    match framing {
        Framing::Raw => bytes.extend_from_slice(text.as_bytes()),
        Framing::Multiplexed => {
            stdcopy::encode(stdcopy::Stream::Stdout, text.as_bytes(), &mut bytes)
        }
    }
    speaker.write_all(&bytes).or_internal()?;
    Ok(listener)
}

/// How bytes of the process arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A terminal's bytes.
    Raw,
    Multiplexed,
}

/// Checks, before anything is started, that the connection can be taken over.
///
/// # Errors
/// Invalid when the client did not ask for an upgrade.
pub fn check_upgrade(request: &Request) -> Result<()> {
    if request.headers.contains_key(UPGRADE) {
        return Ok(());
    }
    Err(invalid(
        "this request needs the headers \"Connection: Upgrade\" and \"Upgrade: tcp\"",
    ))
}

/// What a client is connected with.
#[derive(Debug)]
pub struct Source<P> {
    /// What is sent first.
    pub log: Option<mpsc::Receiver<Bytes>>,
    /// The connection to a process, once there is one; none if there is to be none.
    pub process: P,
}

/// Answers 101 and then connects the client with the source. When its output is over, `over` is waited for before the client is told: what it asks for next
/// must be known then.
///
/// # Errors
/// Never in practice.
pub fn hijack(
    request: Request,
    source: Source<impl Future<Output = Option<StdStream>> + Send + 'static>,
    (framing, keys): (Framing, DetachKeys),
    over: impl Future<Output = ()> + Send + 'static,
) -> Result<Response<Body>> {
    // Before 1.42 the type did not tell the framing.
    let content_type = match framing {
        Framing::Multiplexed if request.version >= ApiVersion::v1(42) => MULTIPLEXED_STREAM,
        _ => RAW_STREAM,
    };
    let mut answer = response::empty(StatusCode::SWITCHING_PROTOCOLS)?;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, "Upgrade".parse().or_internal()?);
    headers.insert(UPGRADE, "tcp".parse().or_internal()?);
    headers.insert(CONTENT_TYPE, content_type.parse().or_internal()?);
    let (upgrade, caller) = (hyper::upgrade::on(request.inner), request.caller);
    tokio::spawn(async move {
        let connected = async {
            let upgraded = upgrade.await.or_internal()?;
            join_upgraded(upgraded, source, (framing, keys), over).await?;
            Ok::<_, base::Failure>(())
        };
        if let Err(error) = connected.await {
            tracing::debug!(%error, "an attached client was lost");
        }
        // With it the client's place among the connections is free.
        drop(caller);
    });
    Ok(answer)
}

/// Returns the next piece of the log, if there is one.
pub async fn next_piece(log: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    log.as_mut()?.recv().await
}

/// Answers a client that did not ask for an upgrade: output alone, as the answer's body.
/// As with [`hijack`], `over` is waited for before the client is told of its end.
///
/// # Errors
/// Never in practice.
pub fn output_only(
    caller: Arc<Caller>,
    source: Source<impl Future<Output = Option<StdStream>> + Send + 'static>,
    over: impl Future<Output = ()> + Send + 'static,
) -> Result<Response<Body>> {
    let (feed, answer) = response::stream(RAW_STREAM)?;
    tokio::spawn(async move {
        let Source { mut log, process } = source;
        let copied = async {
            while let Some(piece) = next_piece(&mut log).await {
                feed.send(piece).await.or_internal()?;
            }
            let Some(process) = process.await else {
                return Ok(());
            };
            let mut process = adopt(process)?;
            let mut buffer = vec![0; COPIED_BYTES];
            loop {
                let count = process.read(&mut buffer).await.or_internal()?;
                if count == 0 {
                    over.await;
                    return Ok(());
                }
                feed.send(Bytes::copy_from_slice(&buffer[..count]))
                    .await
                    .or_internal()?;
            }
        };
        let ended: Result<()> = tokio::select! {
            ended = copied => ended,
            () = feed.closed() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an attached client was lost");
        }
        drop(caller);
    });
    Ok(answer)
}

/// Connects a client, whatever it is connected by, with a source.
async fn join_upgraded(
    upgraded: Upgraded,
    source: Source<impl Future<Output = Option<StdStream>>>,
    keyed: (Framing, DetachKeys),
    over: impl Future<Output = ()>,
) -> Result<()> {
    match upgraded.downcast::<TokioIo<UnixStream>>() {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            answer_is_read(&stream).await;
            let gone = hung_up(stream.as_fd().try_clone_to_owned().or_internal()?);
            let (reader, writer) = stream.into_split();
            let reader = Cursor::new(parts.read_buf).chain(reader);
            let client = tokio::io::join(reader, writer);
            supply((client, gone), source, keyed, over).await
        }
        Err(upgraded) => {
            let client = (TokioIo::new(upgraded), std::future::pending());
            supply(client, source, keyed, over).await
        }
    }
}

/// Waits until the client has read the answer. What it gets in one piece with that some
/// clients lose: they read the answer by way of a buffer, and the rest without it.
async fn answer_is_read(stream: &UnixStream) {
    let read = async {
        while sys::unread(stream.as_fd()).is_ok_and(|bytes| bytes > 0) {
            tokio::time::sleep(ANSWER_POLL).await;
        }
    };
    // A client that does not read at all may still be there to write.
    tokio::time::timeout(ANSWER_WAIT, read)
        .await
        .unwrap_or_default();
}

/// Sends the log, and joins the client and the process then.
async fn supply(
    (mut client, gone): (
        impl AsyncRead + AsyncWrite + Unpin,
        impl Future<Output = ()>,
    ),
    source: Source<impl Future<Output = Option<StdStream>>>,
    (framing, keys): (Framing, DetachKeys),
    over: impl Future<Output = ()>,
) -> Result<()> {
    let Source { mut log, process } = source;
    while let Some(piece) = next_piece(&mut log).await {
        client.write_all(&piece).await.or_internal()?;
    }
    let Some(process) = process.await else {
        return Ok(());
    };
    // Only what is typed at a terminal means to leave.
    let detector = (framing == Framing::Raw).then(|| Detector::new(keys));
    join((client, gone), adopt(process)?, detector, over).await;
    Ok(())
}

/// Returns once the other end of a unix socket is closed altogether. One that has
/// only ended its input looks the same to a reader; nothing tells either of TCP
/// before the next output.
pub(super) async fn hung_up(socket: OwnedFd) {
    let is_open = || {
        let mut polled = [PollFd::new(&socket, PollFlags::empty())];
        let answered = poll(&mut polled, Some(&Timespec::default()));
        answered.is_ok() && !polled[0].revents().contains(PollFlags::HUP)
    };
    while is_open() {
        tokio::time::sleep(HANG_UP_POLL).await;
    }
}

/// Moves bytes both ways until the process has no more output or the client is
/// gone. The end of the client's input is passed on; output goes on then.
async fn join(
    (client, gone): (impl AsyncRead + AsyncWrite, impl Future<Output = ()>),
    process: UnixStream,
    detector: Option<Detector>,
    over: impl Future<Output = ()>,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_process, mut to_process) = process.into_split();
    let input = async {
        let copied = match detector {
            None => tokio::io::copy(&mut from_client, &mut to_process)
                .await
                .map(|_| Typing::Over),
            Some(detector) => copy_typed(&mut from_client, &mut to_process, detector).await,
        };
        if matches!(copied, Ok(Typing::Detached)) {
            return;
        }
        let ended = to_process.shutdown().await;
        if let Err(error) = copied.map(drop).and(ended) {
            tracing::debug!(%error, "input ended badly");
        }
        gone.await;
    };
    let output = async {
        let copied = copy_output(&mut from_process, &mut to_client).await;
        over.await;
        let ended = to_client.shutdown().await;
        if let Err(error) = copied.and(ended) {
            tracing::debug!(%error, "output ended badly");
        }
    };
    tokio::select! {
        () = input => {}
        () = output => {}
    }
}

/// Passes output on in pieces as large as a pipe holds; tokio's `copy` takes an eighth
/// of that at a time.
async fn copy_output(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut buffer = vec![0; COPIED_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
    }
}

/// How a client's input ended.
enum Typing {
    Over,
    /// By the keys that leave the process running.
    Detached,
}

async fn copy_typed(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut detector: Detector,
) -> std::io::Result<Typing> {
    let mut buffer = vec![0; TYPED_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(Typing::Over);
        }
        match detector.feed(&buffer[..count]) {
            Typed::Input(bytes) => to.write_all(&bytes).await?,
            Typed::Detach(bytes) => {
                to.write_all(&bytes).await?;
                return Ok(Typing::Detached);
            }
        }
    }
}
