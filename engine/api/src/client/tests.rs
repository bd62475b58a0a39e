//! The client against a scripted server on a real socket.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::socket::ShortPath;

/// A server that answers one connection with `answers`, one per request, and
/// returns the heads it was sent.
struct Script {
    client: Client,
    server: tokio::task::JoinHandle<Vec<String>>,
    _directory: tempfile::TempDir,
}

fn serve(answers: Vec<&'static str>) -> Script {
    serve_at(answers, "s")
}

fn serve_at(answers: Vec<&'static str>, name: &str) -> Script {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join(name);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(ShortPath::new(&socket).unwrap().path()).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heads = Vec::new();
        for answer in answers {
            heads.push(read_head(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    });
    Script {
        client: Client::new(socket),
        server,
        _directory: directory,
    }
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}";

#[tokio::test]
async fn requests_share_one_connection() {
    let script = serve(vec![HELLO, HELLO]);
    for _ in 0..2 {
        let call = Call::get("/x")
            .query("filters", "{\"a\":1}")
            .query_flag("all", true);
        assert_eq!(
            script.client.json::<Value>(call).await.unwrap(),
            json!({"a": 1})
        );
    }
    let heads = script.server.await.unwrap();
    assert!(heads[1].starts_with("GET /v1.51/x?filters=%7B%22a%22%3A1%7D&all=1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_socket_beyond_the_address_limit_is_reached() {
    let name: PathBuf = ["d".repeat(100), "e".repeat(100), "s".to_owned()]
        .iter()
        .collect();
    let script = serve_at(vec![HELLO], name.to_str().unwrap());
    assert!(script.client.endpoint().to_string().len() > 200);
    script.client.done(Call::get("/x")).await.unwrap();
}

#[tokio::test]
async fn a_refusal_carries_status_and_message() {
    let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 23\r\n\r\n{\"message\":\"no such x\"}";
    let script = serve(vec![refusal]);
    let error = script
        .client
        .json::<Value>(Call::get("/x"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.status(), error.to_string().as_str()),
        (Some(404), "no such x")
    );
    assert_eq!(error.kind(), base::FailureKind::NotFound);
}

#[tokio::test]
async fn nobody_listening_is_told_apart() {
    let client = Client::new("/nonexistent/engine.sock");
    let error = client.connect().await.unwrap_err();
    assert!(error.is_not_running(), "{error:?}");
    assert!(error.to_string().contains("/nonexistent/engine.sock"));
}

#[tokio::test]
async fn json_objects_are_read_from_pieces() {
    let stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\n{\"a\":\r\n9\r\n1}{\"a\":2}\r\n3\r\n\r\n \r\n0\r\n\r\n";
    let script = serve(vec![stream]);
    let mut messages = script
        .client
        .stream(Call::get("/x"))
        .await
        .unwrap()
        .json::<Value>();
    assert_eq!(messages.next().await.unwrap(), Some(json!({"a": 1})));
    assert_eq!(messages.next().await.unwrap(), Some(json!({"a": 2})));
    assert_eq!(messages.next().await.unwrap(), None);
}

#[tokio::test]
async fn half_an_object_at_the_end_is_an_error() {
    let script = serve(vec!["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\""]);
    let mut messages = script
        .client
        .stream(Call::get("/x"))
        .await
        .unwrap()
        .json::<Value>();
    assert!(matches!(messages.next().await, Err(ClientError::Decode(_))));
}

#[tokio::test]
async fn a_hijacked_connection_closes_one_side_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        let answer = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
            Content-Type: application/vnd.docker.multiplexed-stream\r\n\r\nearly";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut input = Vec::new();
        stream.read_to_end(&mut input).await.unwrap();
        stream.write_all(b" late").await.unwrap();
        (head, input)
    });
    let call = Call::post("/containers/x/attach").query_flag("stream", true);
    let mut hijacked = Client::new(&socket).hijack(call).await.unwrap();
    assert_eq!(hijacked.framing, Framing::Multiplexed);
    hijacked.stream.write_all(b"input").await.unwrap();
    hijacked.stream.shutdown().await.unwrap();
    let mut output = hijacked.early.to_vec();
    hijacked.stream.read_to_end(&mut output).await.unwrap();
    assert_eq!(output, b"early late");
    let (head, input) = server.await.unwrap();
    assert_eq!(input, b"input");
    assert!(head.to_lowercase().contains("upgrade: tcp"), "{head}");
}

#[tokio::test]
async fn a_connection_over_tcp_is_taken_over_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut input = Vec::new();
        stream.read_to_end(&mut input).await.unwrap();
        stream.write_all(b" late").await.unwrap();
        (String::from_utf8(head).unwrap(), input)
    });
    let client = Client::at(Endpoint::Tcp {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
    });
    let mut hijacked = client.hijack(Call::post("/x")).await.unwrap();
    hijacked.stream.write_all(b"input").await.unwrap();
    hijacked.stream.shutdown().await.unwrap();
    let mut output = hijacked.early.to_vec();
    hijacked.stream.read_to_end(&mut output).await.unwrap();
    assert_eq!(output, b"early late");
    let (head, input) = server.await.unwrap();
    assert_eq!(input, b"input");
    assert!(head.contains(&format!("host: 127.0.0.1:{port}")), "{head}");
}

#[tokio::test]
async fn an_answer_that_does_not_switch_is_an_error() {
    let script = serve(vec![HELLO]);
    let error = script.client.hijack(Call::post("/x")).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NoUpgrade { status: 200 }),
        "{error:?}"
    );
}
