//! The control socket against clients that misbehave.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use engine_shim_api::control::{ControlReply, ControlRequest, Message, PACKET_LIMIT_BYTES};
use engine_shim_api::{CallError, ControlClient};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::support::host::runc;
use crate::support::{Fixture, LIMIT, eventually};

fn connect(fixture: &Fixture) -> OwnedFd {
    let directory = std::fs::File::open(fixture.directory()).unwrap();
    let path = format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd());
    let flags = SocketFlags::CLOEXEC;
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

fn send(socket: &OwnedFd, bytes: &[u8]) {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL).unwrap();
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; PACKET_LIMIT_BYTES];
    let (length, _) = rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()).unwrap();
    bytes.truncate(length);
    bytes
}

fn is_served(fixture: &Fixture) -> bool {
    matches!(
        fixture.ask(ControlRequest::Status),
        ControlReply::Status { pid: None, .. }
    )
}

#[test]
fn a_bad_packet_is_answered_and_the_connection_goes_on() {
    let mut fixture = Fixture::shell(&runc(), "true");
    fixture.start_shim();
    let socket = connect(&fixture);
    send(&socket, b"no json");
    let answer = String::from_utf8(receive(&socket)).unwrap();
    assert!(
        answer.contains(r#""id":0"#) && answer.contains("invalid"),
        "{answer}"
    );
    send(
        &socket,
        br#"{"protocol":1,"id":3,"request":{"do":"status"}}"#,
    );
    let answer: Message = serde_json::from_slice(&receive(&socket)).unwrap();
    assert!(matches!(
        answer,
        Message::Reply {
            id: 3,
            result: Ok(ControlReply::Status { .. })
        }
    ));
    fixture.ask(ControlRequest::Shutdown);
}

#[test]
fn a_packet_over_the_limit_ends_the_connection_only() {
    let mut fixture = Fixture::shell(&runc(), "true");
    fixture.start_shim();
    let socket = connect(&fixture);
    send(&socket, &vec![b' '; PACKET_LIMIT_BYTES + 1]);
    assert_eq!(receive(&socket), b"");
    assert!(is_served(&fixture));
    fixture.ask(ControlRequest::Shutdown);
}

#[test]
fn a_client_that_never_reads_is_cut_off_and_delays_nobody() {
    let mut fixture = Fixture::shell(&runc(), "true");
    fixture.start_shim();
    let silent = connect(&fixture);
    let request = br#"{"protocol":1,"id":1,"request":{"do":"status"}}"#;
    eventually("the client is cut off", || {
        rustix::net::send(
            silent.as_fd(),
            request,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )
        .is_err_and(|errno| errno == rustix::io::Errno::PIPE)
    });
    assert!(is_served(&fixture));
    fixture.ask(ControlRequest::Shutdown);
}

#[test]
fn connections_over_the_limit_wait_for_their_turn() {
    let mut fixture = Fixture::shell(&runc(), "true");
    fixture.start_shim();
    let mut held: Vec<ControlClient> = (0..16).map(|_| fixture.control()).collect();
    for client in &mut held {
        client.call(ControlRequest::Status, LIMIT).unwrap();
    }
    let mut late = fixture.control();
    let early = late.call(ControlRequest::Status, Duration::from_millis(100));
    assert!(matches!(early, Err(CallError::TimedOut)), "{early:?}");
    held.pop();
    // The answer to the call that was given up comes first and is passed over.
    late.call(ControlRequest::Status, LIMIT).unwrap();
    held.clear();
    fixture.ask(ControlRequest::Shutdown);
}
