//! `GET /events`: Docker's view of the durable log. History comes from the
//! files, what follows from the engine's one reader; a client that falls
//! behind is sent back to the files, so that nothing is dropped.

use std::collections::HashSet;
use std::sync::Arc;

use base::Timestamp;
use engine_api::event::EventMessage;
use engine_api::event_format::EventFormat;
use engine_api::filters::Filters;
use events::{Position, Record};
use hyper::Response;
use hyper::header::ACCEPT;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;

use crate::Engine;
use crate::api::peer::Caller;
use crate::api::request::Request;
use crate::api::response::{self, Body, Feed};
use crate::api::view::docker_event::Projection;
use crate::error::{OrFail as _, Result, invalid};

const FILTERS: &[&str] = &[
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "volume",
];

/// How many clients read history at the same moment; the others wait their turn, so
/// that a hundred of them need no more memory than a few.
const READERS: usize = 4;
static READING: Semaphore = Semaphore::const_new(READERS);

struct Options {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filters: Filters,
}

/// `GET /events`.
pub(in crate::api) fn follow(engine: &Arc<Engine>, request: &Request) -> Result<Response<Body>> {
    let options = Options {
        since: time(request, "since")?,
        until: time(request, "until")?,
        filters: request.filters(FILTERS)?,
    };
    let (live, told) = engine.bus.subscribe();
    let start = match options.since {
        Some(_) => engine.bus.log().last().or_internal()?,
        None => told,
    };
    let format = format(request);
    let (feed, answer) = response::stream(format.content_type())?;
    let (engine, caller) = (engine.clone(), request.caller.clone());
    tokio::spawn(async move {
        let mut follower = Follower {
            audience: Audience::new(&engine, caller),
            projection: Projection::new(&engine),
            engine,
            options,
            feed,
            format,
            sent: start,
        };
        if let Err(error) = follower.run(live).await {
            tracing::warn!(%error, "cannot follow the event log for a client");
        }
    });
    Ok(answer)
}

fn format(request: &Request) -> EventFormat {
    let accepted = request.headers.get_all(ACCEPT).iter();
    let accepted: Vec<_> = accepted.filter_map(|value| value.to_str().ok()).collect();
    EventFormat::accepted(&accepted.join(","))
}

/// Seconds since 1970 with an optional fraction, or RFC 3339.
fn time(request: &Request, name: &str) -> Result<Option<Timestamp>> {
    let parse = |text: &str| {
        let bad = || invalid(format!("invalid value for {name}: {text:?}"));
        parse_seconds(text)
            .or_else(|| text.parse().ok())
            .ok_or_else(bad)
    };
    request.parameter(name).map(parse).transpose()
}

/// Reads `1700000000.123456789`.
pub(super) fn parse_seconds(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
    Some(Timestamp::from_nanoseconds(
        seconds
            .checked_mul(1_000_000_000)?
            .checked_add(nanoseconds)?,
    ))
}

/// Who the events are for: a client that may only have its own containers gets
/// theirs, and those of images.
struct Audience {
    engine: Arc<Engine>,
    caller: Arc<Caller>,
    /// Containers of the client's own that are not destroyed yet.
    own: HashSet<String>,
}

impl Audience {
    fn new(engine: &Arc<Engine>, caller: Arc<Caller>) -> Self {
        Self {
            engine: engine.clone(),
            caller,
            own: HashSet::new(),
        }
    }

    fn may_hear(&mut self, message: &EventMessage) -> bool {
        if self.caller.owner().is_none() || message.kind == "image" {
            return true;
        }
        let id = &message.actor.id;
        if message.kind != "container" {
            return false;
        }
        let found = id.parse().ok();
        let found = found.and_then(|id| self.engine.containers.by_id(&id));
        if found.is_some_and(|it| self.caller.sees(it.owner.as_deref())) {
            self.own.insert(id.clone());
        }
        match message.action.as_str() {
            "destroy" => self.own.remove(id),
            _ => self.own.contains(id),
        }
    }
}

struct Follower {
    engine: Arc<Engine>,
    audience: Audience,
    options: Options,
    feed: Feed,
    format: EventFormat,
    projection: Projection,
    /// The last record that was looked at.
    sent: Position,
}

/// Whether there is any use in going on.
#[derive(PartialEq)]
enum Next {
    Go,
    End,
}

impl Follower {
    async fn run(&mut self, mut live: tokio::sync::broadcast::Receiver<Arc<Record>>) -> Result<()> {
        if self.options.since.is_some() {
            let end = std::mem::take(&mut self.sent);
            if self.read_files(end).await? == Next::End {
                return Ok(());
            }
        }
        if self
            .options
            .until
            .is_some_and(|until| until <= Timestamp::now())
        {
            return Ok(());
        }
        loop {
            let received = tokio::select! {
                received = live.recv() => received,
                () = self.feed.closed() => return Ok(()),
                () = until(self.options.until) => return Ok(()),
            };
            let next = match received {
                Ok(record) => self.take(&record).await?,
                Err(RecvError::Lagged(_)) => {
                    let end = self.engine.bus.log().last().or_internal()?;
                    self.read_files(end).await?
                }
                Err(RecvError::Closed) => Next::End,
            };
            if next == Next::End {
                return Ok(());
            }
        }
    }

    /// Sends what the files hold after the last record sent, up to `end`.
    async fn read_files(&mut self, end: Position) -> Result<Next> {
        let log = self.engine.bus.log().clone();
        let from = self.sent;
        let mut reader = crate::blocking(move || log.read_after(from).or_internal()).await?;
        while self.sent < end {
            let place = READING.acquire().await.or_internal()?;
            let (back, batch) = crate::blocking(move || {
                let batch = reader.read_piece().or_internal()?;
                Ok((reader, batch))
            })
            .await?;
            drop(place);
            reader = back;
            if batch.is_empty() {
                break;
            }
            for record in &batch {
                if self.take(record).await? == Next::End {
                    return Ok(Next::End);
                }
            }
        }
        Ok(Next::Go)
    }

    async fn take(&mut self, record: &Record) -> Result<Next> {
        if record.position <= self.sent {
            return Ok(Next::Go);
        }
        self.sent = record.position;
        if self.options.until.is_some_and(|until| record.time > until) {
            return Ok(Next::End);
        }
        // The projection sees every record: it learns names from them.
        let messages = self.projection.project(record);
        if self.options.since.is_some_and(|since| record.time < since) {
            return Ok(Next::Go);
        }
        for message in messages {
            if self.audience.may_hear(&message)
                && self.projection.allows(&self.options.filters, &message)
            {
                let piece = self.format.encode(&message).or_internal()?;
                if self.feed.send(piece).await.is_err() {
                    return Ok(Next::End);
                }
            }
        }
        Ok(Next::Go)
    }
}

/// Returns at `time`, or never.
async fn until(time: Option<Timestamp>) {
    match time {
        Some(time) => tokio::time::sleep(time.since(Timestamp::now())).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_a_fraction_are_read() {
        assert_eq!(parse_seconds("12.5").unwrap().nanoseconds(), 12_500_000_000);
        assert_eq!(parse_seconds("0").unwrap().nanoseconds(), 0);
        for bad in ["", "x", "1.x", "1.1234567890", "99999999999999999999"] {
            assert!(parse_seconds(bad).is_none(), "{bad:?}");
        }
    }
}
