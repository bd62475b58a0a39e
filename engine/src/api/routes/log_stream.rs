//! `GET /containers/{id}/logs`.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use engine_api::stdcopy::{self, MULTIPLEXED_STREAM, RAW_STREAM};
use engine_model::container::LogDriver;
use engine_shim_api::log_reader::{LogContent, LogEntry, LogReader, LogStart, LogStream};
use hyper::Response;

use crate::api::request::{ApiVersion, Request};
use crate::api::response::{self, Body, Feed};
use crate::container::{Container, logs};
use crate::error::{OrFail as _, Result, invalid, unsupported};

/// How long a follower sleeps at most before it looks whether the run is over.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);
/// Bytes collected before they are handed to the client.
const BATCH_BYTES: usize = 32 << 10;

struct Options {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    follow: bool,
    until: Option<Timestamp>,
    start: LogStart,
    /// Whether entries are framed; a terminal's are not.
    framed: bool,
}

/// Answers with the log, following it while the container runs if asked.
pub(super) fn logs(request: &Request, container: Arc<Container>) -> Result<Response<Body>> {
    if container.config().log == LogDriver::None {
        return Err(unsupported(
            "configured logging driver does not support reading",
        ));
    }
    let options = options(request, &container)?;
    let content_type = match options.framed {
        true if request.version >= ApiVersion(42) => MULTIPLEXED_STREAM,
        _ => RAW_STREAM,
    };
    let (feed, answer) = response::stream(content_type)?;
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&container, &options, &feed) {
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
    let Some(text) = request.parameter(name) else {
        return Ok(None);
    };
    let parsed = super::events::parse_seconds(text).ok_or_else(|| {
        invalid(format!(
            "invalid value for {name}: {text:?}: expected seconds since 1970"
        ))
    })?;
    Ok(Some(parsed).filter(|time| time.nanoseconds() != 0))
}

/// A number of lines; anything else means all, as with Docker.
fn tail(request: &Request) -> Result<Option<u64>> {
    Ok(request
        .parameter("tail")
        .filter(|text| *text != "all")
        .and_then(|text| text.parse().ok()))
}

fn send(container: &Container, options: &Options, feed: &Feed) -> Result<()> {
    let mut reader = LogReader::open(&logs::directory(container), &options.start).or_internal()?;
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

fn append(entry: &LogEntry, options: &Options, batch: &mut Vec<u8>) {
    let lost;
    let (stream, bytes) = match &entry.content {
        LogContent::Output {
            stream: LogStream::Stdout,
            bytes,
        } => (stdcopy::Stream::Stdout, bytes.as_slice()),
        LogContent::Output {
            stream: LogStream::Stderr,
            bytes,
        } => (stdcopy::Stream::Stderr, bytes.as_slice()),
        LogContent::Dropped { records } => {
            lost = format!("[{records} log records were lost: the disk was full]\n");
            (stdcopy::Stream::Stderr, lost.as_bytes())
        }
        LogContent::Missed { files } => {
            lost = format!("[{files} log files were rotated out before they were read]\n");
            (stdcopy::Stream::Stderr, lost.as_bytes())
        }
    };
    let wanted = if stream == stdcopy::Stream::Stdout {
        options.stdout
    } else {
        options.stderr
    };
    if !wanted {
        return;
    }
    let stamped;
    let bytes = match options.timestamps {
        false => bytes,
        true => {
            stamped = [entry.time.to_string().as_bytes(), b" ", bytes].concat();
            &stamped
        }
    };
    match options.framed {
        true => stdcopy::encode(stream, bytes, batch),
        false => batch.extend_from_slice(bytes),
    }
}
