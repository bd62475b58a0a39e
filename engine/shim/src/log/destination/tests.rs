//! Tests of what is sent, as dockerd 28.5.2 was seen to send it, and of what
//! becomes of lines while nobody takes them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use engine_shim_api::{SyslogAddress, SyslogConfig, SyslogFormat};

use super::super::Partial;
use super::*;
use crate::poll::{PollSet, Token};
use crate::stdio::Stream;
use crate::sys::LocalTime;

const LIMIT: Duration = Duration::from_secs(10);

fn line(content: &[u8]) -> Line<'_> {
    Line {
        stream: Stream::Stdout,
        content,
        time: Timestamp::from_nanoseconds(1_795_762_195_810_502_000),
        partial: Partial::default(),
    }
}

fn syslog(address: SyslogAddress, format: SyslogFormat) -> SyslogConfig {
    SyslogConfig {
        address,
        facility: 19,
        format,
        tag: "d06062951331".to_owned(),
    }
}

fn to(peer: LogPeer, buffer_bytes: Option<u64>) -> LogDestination {
    LogDestination { peer, buffer_bytes }
}

fn to_tcp(address: SocketAddr, buffer_bytes: Option<u64>) -> LogDestination {
    let config = syslog(SyslogAddress::Tcp(address), SyslogFormat::Unix);
    to(LogPeer::Syslog(config), buffer_bytes)
}

/// Serves the destination as the loop of a shim does, until `done`.
fn serve_until(destination: &mut Destination, mut done: impl FnMut(&Destination) -> bool) {
    let begin = Instant::now();
    while !done(destination) {
        assert!(begin.elapsed() < LIMIT, "{destination:?}");
        destination.advance(Instant::now());
        let mut set = PollSet::default();
        if let Some((descriptor, events)) = destination.watched() {
            set.add(Token::Log, descriptor, events);
        }
        let soon = Instant::now() + Duration::from_millis(20);
        let due = destination.deadline().map_or(soon, |due| due.min(soon));
        for (_, events) in set.wait(Some(due)) {
            destination.serve(events);
        }
    }
}

#[test]
fn messages_of_syslog_are_those_of_docker() {
    let time = LocalTime {
        year: 2026,
        month: 11,
        day: 7,
        hour: 6,
        minute: 49,
        second: 56,
        offset_seconds: 0,
    };
    let cases = [
        (
            SyslogFormat::Unix,
            "<155>Nov  7 06:49:56 d06062951331[27]: err\n",
        ),
        (
            SyslogFormat::Rfc3164,
            "<155>Nov  7 06:49:56 vm d06062951331[27]: err\n",
        ),
        (
            SyslogFormat::Rfc5424,
            "<155>1 2026-11-07T06:49:56Z vm d06062951331 27 d06062951331 - err\n",
        ),
        (
            SyslogFormat::Rfc5424Micro,
            "<155>1 2026-11-07T06:49:56.810502Z vm d06062951331 27 d06062951331 - err\n",
        ),
    ];
    for (format, expected) in cases {
        let syslog = Syslog::fixed(&syslog(SyslogAddress::Local, format), "vm", 27);
        let mut message = Vec::new();
        let line = Line {
            stream: Stream::Stderr,
            ..line(b"err\n")
        };
        syslog.encode_at(&mut message, &line, &time, 810_502);
        assert_eq!(String::from_utf8(message).unwrap(), expected);
    }
    let east = LocalTime {
        offset_seconds: -(3 * 3600 + 1800),
        ..time
    };
    let config = syslog(SyslogAddress::Local, SyslogFormat::Rfc5424);
    let mut message = Vec::new();
    Syslog::fixed(&config, "vm", 27).encode_at(&mut message, &line(b"part"), &east, 0);
    let expected = "<158>1 2026-11-07T06:49:56-03:30 vm d06062951331 27 d06062951331 - part\n";
    assert_eq!(String::from_utf8(message).unwrap(), expected);
}

fn entry_of(journal: &mut Journal, content: &[u8], ordinal: u32, is_last: bool) -> Vec<u8> {
    let mut entry = Vec::new();
    let line = Line {
        partial: Partial { ordinal, is_last },
        ..line(content)
    };
    journal.encode(&mut entry, &line);
    entry
}

#[test]
fn entries_of_the_journal_are_those_of_docker() {
    let fields = [("CONTAINER_ID", "7e6870341c98"), ("L1", "two\nlines")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut journal = Journal::new(&BTreeMap::from(fields));
    let whole = entry_of(&mut journal, b"a\xff\tb\r\n", 0, false);
    let beginning = b"PRIORITY=6\nMESSAGE=a\xff\tb\r\nCONTAINER_ID=7e6870341c98\n\
        L1\n\x09\0\0\0\0\0\0\0two\nlines\nCONTAINER_LOG_EPOCH=";
    assert!(whole.starts_with(beginning), "{whole:?}");
    let end = "\nSYSLOG_TIMESTAMP=2026-11-27T06:49:55.810502Z\nCONTAINER_LOG_ORDINAL=1\n";
    assert!(whole.ends_with(end.as_bytes()), "{whole:?}");
}

#[test]
fn parts_of_a_line_are_told_together_in_the_journal() {
    let mut journal = Journal::new(&BTreeMap::new());
    let text = |entry: Vec<u8>| String::from_utf8(entry).unwrap();
    let id = |entry: &str| {
        let (_, rest) = entry.split_once("CONTAINER_PARTIAL_ID=").unwrap();
        rest[..64].to_owned()
    };
    let first = text(entry_of(&mut journal, b"one", 1, false));
    let last = text(entry_of(&mut journal, b"two\n", 2, true));
    assert_eq!(id(&first), id(&last));
    let parts = |entry: &str, expected: &[&str]| {
        for part in expected {
            assert!(entry.contains(part), "{entry:?}: {part}");
        }
    };
    parts(
        &first,
        &[
            "\nMESSAGE=one\n",
            "\nCONTAINER_PARTIAL_MESSAGE=true\n",
            "\nCONTAINER_PARTIAL_ORDINAL=1\n",
            "\nCONTAINER_PARTIAL_LAST=false\n",
        ],
    );
    parts(
        &last,
        &[
            "\nMESSAGE=two\n",
            "\nCONTAINER_PARTIAL_ORDINAL=2\n",
            "\nCONTAINER_PARTIAL_LAST=true\n",
            "\nCONTAINER_LOG_ORDINAL=2\n",
        ],
    );
    assert!(!last.contains("CONTAINER_PARTIAL_MESSAGE"));
}

#[test]
fn a_line_is_numbered_in_its_parts() {
    let mut partial = Partial::default();
    let mut next = |ends_line| {
        partial = partial.next(ends_line);
        (partial.ordinal, partial.is_last)
    };
    assert_eq!(next(true), (0, false));
    assert_eq!(next(false), (1, false));
    assert_eq!(next(false), (2, false));
    assert_eq!(next(true), (3, true));
    assert_eq!(next(true), (0, false));
    assert_eq!(next(false), (1, false));
}

#[test]
fn the_queue_gives_back_what_it_took_and_has_a_bound() {
    let mut queue = Queue::new(1000);
    let mut taken = 0;
    for number in 0..500_u32 {
        let content = format!("line {number}\n");
        let pushed = Line {
            stream: match number % 2 {
                0 => Stream::Stdout,
                _ => Stream::Stderr,
            },
            partial: Partial {
                ordinal: number,
                is_last: number % 3 == 0,
            },
            time: Timestamp::from_seconds(number.into()),
            content: content.as_bytes(),
        };
        assert!(queue.push(&pushed));
        if queue.bytes() > 900 {
            while let Some(line) = queue.pop() {
                assert_eq!(line.text(), format!("line {taken}").as_bytes());
                assert_eq!(line.partial.ordinal, taken);
                assert_eq!(line.partial.is_last, taken % 3 == 0);
                assert_eq!(line.time, Timestamp::from_seconds(taken.into()));
                taken += 1;
            }
        }
    }
    assert!(taken > 400);
    while queue.push(&line(b"x\n")) {}
    assert!(queue.bytes() <= 1000);
    while queue.pop().is_some() {}
    assert!(queue.push(&line(&[b'x'; 5000])), "alone it is taken");
}

#[test]
fn datagrams_arrive_one_a_line_and_nobody_misses_them() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let address = server.local_addr().unwrap();
    let config = syslog(SyslogAddress::Udp(address), SyslogFormat::Unix);
    let mut destination = Destination::open(&to(LogPeer::Syslog(config), None)).unwrap();
    for content in [&b"one\n"[..], b"\n", b"two\n"] {
        destination.put(&line(content));
    }
    destination.flush();
    let mut buffer = [0; 1000];
    for expected in ["one\n", "two\n"] {
        let length = server.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(
            text.starts_with("<158>") && text.ends_with(&format!("]: {expected}")),
            "{text:?}"
        );
    }
    drop(server);
    for _ in 0..100 {
        destination.put(&line(b"gone\n"));
        destination.flush();
    }
    assert!(destination.has_room() && destination.is_idle());
}

#[test]
fn the_journal_is_waited_for_while_it_is_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let journal = |path: &Path| {
        let socket = path.to_owned();
        to(
            LogPeer::Journald {
                socket,
                fields: BTreeMap::new(),
            },
            None,
        )
    };
    let refused = Destination::open(&journal(&path)).unwrap_err();
    assert_eq!(refused.to_string(), "journald is not enabled on this host");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let mut destination = Destination::open(&journal(&path)).unwrap();
    let mut put = 0;
    while destination.has_room() {
        destination.put(&line(
            format!("line {put} {}\n", "x".repeat(1000)).as_bytes(),
        ));
        destination.flush();
        put += 1;
        assert!(put < 10_000);
    }
    assert!(!destination.is_idle());
    let mut buffer = [0; 4000];
    for number in 0..put {
        serve_until(&mut destination, |_| true);
        destination.serve(PollFlags::OUT);
        let length = server.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(
            text.contains(&format!("\nMESSAGE=line {number} x")),
            "{text}"
        );
    }
    serve_until(&mut destination, Destination::is_idle);
    assert!(destination.has_room() && destination.take_report().is_none());
}

#[test]
fn nobody_at_the_port_is_said_as_docker_says_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let refused = Destination::open(&to_tcp(address, None)).unwrap_err();
    let expected = format!("dial tcp {address}: connect: connection refused");
    assert_eq!(refused.to_string(), expected);
}

fn read_lines(stream: &TcpStream, count: usize) -> Vec<String> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let lines = BufReader::new(stream).lines().take(count);
    let message = |line: String| line.split_once(": ").unwrap().1.to_owned();
    lines.map(|line| message(line.unwrap())).collect()
}

#[test]
fn a_server_that_dies_and_returns_gets_what_had_room() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut destination = Destination::open(&to_tcp(address, None)).unwrap();
    let (stream, _) = listener.accept().unwrap();
    destination.put(&line(b"one\n"));
    destination.flush();
    assert_eq!(read_lines(&stream, 1), ["one"]);
    drop((stream, listener));
    serve_until(&mut destination, |it| it.link.is_away());
    assert!(destination.take_report().unwrap().contains("is away"));
    // However much there is: the container is not held back, nor does it grow.
    let mut put = 0;
    while destination.dropped < 10 {
        destination.put(&line(format!("{put} {}\n", "x".repeat(1000)).as_bytes()));
        destination.flush();
        put += 1;
        assert!(destination.has_room() && destination.queue.bytes() <= BLOCKING_LIMIT_BYTES);
    }
    let listener = TcpListener::bind(address).unwrap();
    serve_until(&mut destination, |it| it.link.is_connected());
    let (stream, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || read_lines(&stream, put - 10));
    serve_until(&mut destination, Destination::is_idle);
    let lines = reader.join().unwrap();
    assert!(lines[0].starts_with("0 x") && lines[put - 11].starts_with(&format!("{} x", put - 11)));
    let report = destination.take_report().unwrap();
    assert!(report.starts_with("10 lines were not sent"), "{report}");
}

#[test]
fn a_server_that_reads_nothing_holds_back_or_loses_lines_as_asked() {
    for buffer in [None, Some(100_000)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut destination = Destination::open(&to_tcp(address, buffer)).unwrap();
        let mut put: u64 = 0;
        while destination.has_room() && destination.dropped == 0 {
            destination.put(&line(&[b'x'; 16_000]));
            destination.flush();
            put += 1;
            assert!(put < 100_000);
        }
        assert_eq!(destination.has_room(), buffer.is_some());
        assert_eq!(destination.dropped > 0, buffer.is_some());
        assert!(
            destination.queue.bytes() <= 100_000,
            "{}",
            destination.queue.bytes()
        );
    }
}
