//! `GET /containers/{id}/logs`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::{IntErrorKind, ParseIntError};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use engine_api::stdcopy::{self, MULTIPLEXED_STREAM, RAW_STREAM};
use engine_api::version::ApiVersion;
use engine_shim_api::LogPlace;
use engine_shim_api::log_reader::{LogContent, LogEntry, LogReader, LogStart, LogStream};
use hyper::Response;

use crate::api::request::Request;
use crate::api::response::{self, Body, Feed};
use crate::container::{Container, logs};
use crate::error::{OrFail as _, Result, internal, invalid, unsupported};

/// How long a follower sleeps at most before it looks whether the run is over.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);
/// Bytes collected before they are handed to the client.
const BATCH_BYTES: usize = 32 << 10;

struct Options {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    details: bool,
    follow: bool,
    until: Option<Timestamp>,
    start: LogStart,
    /// Whether entries are framed; a terminal's are not.
    framed: bool,
}

/// Answers with the log, following it while the container runs if asked.
pub(super) fn logs(request: &Request, container: Arc<Container>) -> Result<Response<Body>> {
    let Some(place) = logs::place(&container) else {
        return Err(unsupported(
            "configured logging driver does not support reading",
        ));
    };
    let options = options(request, &container)?;
    let content_type = match options.framed {
        true if request.version >= ApiVersion::v1(42) => MULTIPLEXED_STREAM,
        _ => RAW_STREAM,
    };
    let (feed, answer) = response::stream(content_type)?;
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&container, &place, &options, &feed) {
            tracing::warn!(container = %container.id, %error, "cannot read the container's log");
        }
    });
    Ok(answer)
}

fn options(request: &Request, container: &Container) -> Result<Options> {
    let options = Options {
        stdout: request.flag("stdout"),
        stderr: request.flag("stderr"),
        timestamps: request.flag("timestamps"),
        details: request.flag("details"),
        follow: request.flag("follow"),
        until: time(request, "until")?,
        start: LogStart {
            since: time(request, "since")?,
            tail: tail(request)?,
        },
        framed: !container.config().process.terminal,
    };
    if !options.stdout && !options.stderr {
        return Err(invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    Ok(options)
}

/// Seconds since 1970 with an optional fraction; zero means none.
fn time(request: &Request, name: &str) -> Result<Option<Timestamp>> {
    let Some(text) = request.parameter(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let parsed = seconds(text)?;
    Ok(Some(parsed).filter(|time| time.nanoseconds() != 0))
}

/// Reads a time as dockerd does, with its words and its kind of error.
fn seconds(text: &str) -> Result<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let bad = |part: &str, error: ParseIntError| {
        let reason = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        internal(format!("strconv.ParseInt: parsing {part:?}: {reason}"))
    };
    let seconds: i64 = seconds.parse().map_err(|error| bad(seconds, error))?;
    let digits: i64 = fraction.parse().map_err(|error| bad(fraction, error))?;
    let places = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let nanoseconds = (digits as f64 * 10_f64.powi(9 - places)) as i64;
    Ok(Timestamp::from_nanoseconds(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(nanoseconds),
    ))
}

/// A number of lines; anything else means all, as with Docker.
fn tail(request: &Request) -> Result<Option<u64>> {
    Ok(request
        .parameter("tail")
        .filter(|text| *text != "all")
        .and_then(|text| text.parse().ok()))
}

fn send(container: &Container, place: &LogPlace, options: &Options, feed: &Feed) -> Result<()> {
    let mut reader = LogReader::open(place, &options.start).or_internal()?;
    let mut batch = Vec::new();
    loop {
        // Looked at before reading: what was written before the end is read.
        let over = !options.follow || !container.state().is_live();
        while let Some(entry) = reader.next_entry().or_internal()? {
            if options.until.is_some_and(|until| entry.time > until) {
                // A client that has gone does not want the rest.
                flush(&mut batch, feed);
                return Ok(());
            }
            append(&entry, options, &mut batch);
            if batch.len() >= BATCH_BYTES && flush(&mut batch, feed).is_none() {
                return Ok(());
            }
        }
        if flush(&mut batch, feed).is_none() || over {
            return Ok(());
        }
        reader.wait(FOLLOW_PAUSE);
    }
}

/// Hands over what was collected; `None` once the client has gone.
fn flush(batch: &mut Vec<u8>, feed: &Feed) -> Option<()> {
    if batch.is_empty() {
        return (!feed.is_closed()).then_some(());
    }
    feed.send_blocking(std::mem::take(batch)).ok()
}

/// Appends what the client gets of an entry. Each part of a line bears its time
/// and details, as with Docker.
fn append(entry: &LogEntry, options: &Options, batch: &mut Vec<u8>) {
    let (stream, bytes) = content(entry);
    let wanted = match stream {
        LogStream::Stdout => options.stdout,
        LogStream::Stderr => options.stderr,
    };
    if !wanted {
        return;
    }
    let mut line = Vec::new();
    if options.timestamps {
        line.extend(entry.time.to_string().bytes());
        line.push(b' ');
    }
    if options.details {
        line.extend(details(&entry.attributes).bytes());
        line.push(b' ');
    }
    let bytes = match line.is_empty() {
        true => bytes,
        false => {
            line.extend(&*bytes);
            line.into()
        }
    };
    match options.framed {
        true => stdcopy::encode(wire(stream), &bytes, batch),
        false => batch.extend(&*bytes),
    }
}

fn wire(stream: LogStream) -> stdcopy::Stream {
    match stream {
        LogStream::Stdout => stdcopy::Stream::Stdout,
        LogStream::Stderr => stdcopy::Stream::Stderr,
    }
}

fn content(entry: &LogEntry) -> (LogStream, Cow<'_, [u8]>) {
    let notice = match &entry.content {
        LogContent::Output { stream, bytes } => return (*stream, bytes.into()),
        LogContent::Dropped { records } => {
            format!("[{records} log records were lost: the disk was full]\n")
        }
        LogContent::Missed { files } => {
            format!("[{files} log files were rotated out before they were read]\n")
        }
        LogContent::Damaged => "[a log file is damaged: its rest was skipped]\n".to_owned(),
    };
    (LogStream::Stderr, notice.into_bytes().into())
}

/// Returns `name=value,name=value`, each as in a query.
fn details(attributes: &BTreeMap<String, String>) -> String {
    let escape = |text: &String| escape(text.as_bytes());
    let pairs = attributes.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join(",")
}

fn escape(bytes: &[u8]) -> String {
    let words = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(*byte).to_string()
        }
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    bytes.iter().map(words).collect()
}
