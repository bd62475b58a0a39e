//! A container's streams over a websocket: output and input in messages, without the
//! frames that tell standard output from standard error, as Docker has it.
//!
//! Nothing is kept for a client that does not read but one message: the next is made once
//! the last is on its way.

use std::os::unix::net::UnixStream as StdStream;

use bytes::Bytes;
use engine_api::detach_keys::{DetachKeys, Detector, Typed};
use engine_api::stdcopy::Decoder;
use engine_api::version::ApiVersion;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::header::{CONNECTION, HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use hyper::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::request::Request;
use super::response::{self, Body};
use super::stream::{Framing, Source, adopt, next_piece};
use crate::error::{OrFail as _, Result, invalid};

/// Bytes of a message of output.
const OUTPUT_BYTES: usize = 16 << 10;
/// Bytes of a message of input; a longer one ends the connection.
const INPUT_LIMIT_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 8 << 10;
/// One message of output and the answer to a ping.
const WRITE_LIMIT_BYTES: usize = 4 * OUTPUT_BYTES;
/// The version of the protocol that there is.
const PROTOCOL: &str = "13";

/// Returns what shows the client that its handshake was understood.
///
/// # Errors
/// Invalid for what is no handshake.
pub(super) fn accept(headers: &HeaderMap) -> Result<String> {
    let says = |name, word: &str| {
        let values = headers.get_all(name).iter();
        let mut words = values.filter_map(|value| value.to_str().ok());
        words.any(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    };
    let key = headers.get(SEC_WEBSOCKET_KEY);
    match key {
        Some(key)
            if says(UPGRADE, "websocket")
                && says(CONNECTION, "upgrade")
                && says(SEC_WEBSOCKET_VERSION, PROTOCOL) =>
        {
            Ok(derive_accept_key(key.as_bytes()))
        }
        _ => Err(invalid("this request needs the handshake of a websocket")),
    }
}

/// Answers 101 and then connects the client with the source.
///
/// # Errors
/// Never in practice.
pub(super) fn connect(
    request: Request,
    accept: &str,
    source: Source<impl Future<Output = Option<StdStream>> + Send + 'static>,
    (framing, keys): (Framing, DetachKeys),
) -> Result<Response<Body>> {
    let mut answer = response::empty(StatusCode::SWITCHING_PROTOCOLS)?;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, "Upgrade".parse().or_internal()?);
    headers.insert(UPGRADE, "websocket".parse().or_internal()?);
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.parse().or_internal()?);
    let kind = match request.version < ApiVersion::v1(28) {
        true => Data::Text,
        false => Data::Binary,
    };
    let (upgrade, caller) = (hyper::upgrade::on(request.inner), request.caller);
    tokio::spawn(async move {
        let connected = async {
            let io = TokioIo::new(upgrade.await.or_internal()?);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
            let detector = (framing == Framing::Raw).then(|| Detector::new(keys));
            let output = Output {
                kind,
                decoder: (framing == Framing::Multiplexed).then(Decoder::new),
            };
            serve(socket, source, output, detector).await
        };
        if let Err(error) = connected.await {
            tracing::debug!(%error, "a client on a websocket was lost");
        }
        // With it the client's place among the connections is free.
        drop(caller);
    });
    Ok(answer)
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_LIMIT_BYTES)
        .max_message_size(Some(INPUT_LIMIT_BYTES))
        .max_frame_size(Some(INPUT_LIMIT_BYTES))
}

/// Makes messages of output.
struct Output {
    kind: Data,
    /// Takes the frames off, where there are some.
    decoder: Option<Decoder>,
}

impl Output {
    async fn send(
        &mut self,
        bytes: &[u8],
        sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    ) -> Result<()> {
        let payload: Bytes = match &mut self.decoder {
            None => Bytes::copy_from_slice(bytes),
            Some(decoder) => {
                let pieces = decoder.feed(bytes).or_internal()?;
                let pieces: Vec<&[u8]> = pieces.iter().map(|(_, piece)| *piece).collect();
                pieces.concat().into()
            }
        };
        for begin in (0..payload.len()).step_by(OUTPUT_BYTES) {
            let piece = payload.slice(begin..payload.len().min(begin + OUTPUT_BYTES));
            // Text is sent as it is too: a process does not cut between characters.
            let frame = Frame::message(piece, OpCode::Data(self.kind), true);
            sink.send(Message::Frame(frame)).await.or_internal()?;
        }
        Ok(())
    }
}

async fn serve<S>(
    socket: S,
    source: Source<impl Future<Output = Option<StdStream>>>,
    mut output: Output,
    detector: Option<Detector>,
) -> Result<()>
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error>,
{
    let (mut sink, mut messages) = socket.split();
    let Source { mut log, process } = source;
    while let Some(piece) = next_piece(&mut log).await {
        output.send(&piece, &mut sink).await?;
    }
    let mut early = None;
    let process = tokio::select! {
        process = process => process,
        // Whoever goes before the start does not wait for it.
        () = gone(&mut messages, &mut early) => None,
    };
    let messages = futures_util::stream::iter(early.map(Ok)).chain(messages);
    if let Some(process) = process {
        let (from_process, to_process) = adopt(process)?.into_split();
        tokio::select! {
            sent = pass_output(from_process, &mut output, &mut sink) => sent?,
            taken = pass_input(messages, to_process, detector) => taken?,
        }
    }
    // A client that has gone needs no farewell.
    sink.close().await.or_internal()
}

/// Returns once the client says farewell. Input waits in `early`, and what follows it in
/// the socket.
async fn gone(
    messages: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    early: &mut Option<Message>,
) {
    while let Some(Ok(message)) = messages.next().await {
        if message.is_close() {
            return;
        }
        if message.is_text() || message.is_binary() {
            *early = Some(message);
            std::future::pending::<()>().await;
        }
    }
}

async fn pass_output(
    mut process: tokio::net::unix::OwnedReadHalf,
    output: &mut Output,
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
) -> Result<()> {
    let mut buffer = vec![0; OUTPUT_BYTES];
    loop {
        let count = process.read(&mut buffer).await.or_internal()?;
        if count == 0 {
            return Ok(());
        }
        output.send(&buffer[..count], sink).await?;
    }
}

/// Returns when the client has gone or typed the keys that leave.
async fn pass_input(
    mut messages: impl Stream<Item = Result<Message, Error>> + Unpin,
    mut process: tokio::net::unix::OwnedWriteHalf,
    mut detector: Option<Detector>,
) -> Result<()> {
    while let Some(message) = messages.next().await {
        let bytes = match message.or_internal()? {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return Ok(()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        match detector.as_mut().map(|detector| detector.feed(&bytes)) {
            None => process.write_all(&bytes).await.or_internal()?,
            Some(Typed::Input(bytes)) => process.write_all(&bytes).await.or_internal()?,
            Some(Typed::Detach(bytes)) => return process.write_all(&bytes).await.or_internal(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_answered_as_in_its_specification() {
        let mut headers = HeaderMap::new();
        let mut set = |name, value: &str| drop(headers.insert(name, value.parse().unwrap()));
        set(UPGRADE, "websocket");
        set(CONNECTION, "keep-alive, Upgrade");
        set(SEC_WEBSOCKET_VERSION, "13");
        set(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.remove(SEC_WEBSOCKET_VERSION);
        assert!(accept(&headers).is_err());
    }
}
