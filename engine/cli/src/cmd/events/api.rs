//! Events as the API tells them, in Docker's words: of a daemon elsewhere, and of our own
//! where that is asked for.

use base::Timestamp;
use engine_api::client::Call;
use engine_api::event::EventMessage;
use serde_json::Value;

use super::Events;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::{ParseError, filter, time};
use crate::template::Template;

/// Bytes of a line at most; attributes are labels, which may be long.
const LINE_LIMIT_BYTES: usize = 16 << 20;

impl Events {
    /// Prints what the daemon tells until it ends, or the connection does.
    pub(super) async fn show_of_api(&self, context: &Context) -> Result<(), CliError> {
        if self.from.is_some() {
            return Err(CliError::Usage(
                "--from is a place in the log of this host; the API knows only times".to_owned(),
            ));
        }
        let template: Option<Template> = match self.format.as_deref() {
            None | Some("json") => None,
            Some(format) => Some(format.parse()?),
        };
        let mut stream = context.connect().await?.stream(self.call()?).await?;
        let mut rest = Vec::new();
        while let Some(piece) = stream.next().await? {
            rest.extend_from_slice(&piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                context.print_line(&self.render(&line, template.as_ref())?)?;
            }
            if rest.len() > LINE_LIMIT_BYTES {
                return Err(ParseError::new("the daemon sends an event without an end").into());
            }
        }
        Ok(())
    }

    fn call(&self) -> Result<Call, CliError> {
        let now = Timestamp::now();
        let moment = |text: &Option<String>| -> Result<Option<String>, CliError> {
            let read = text.as_deref().map(|text| time::parse(text, now));
            Ok(read.transpose()?.map(time::to_query))
        };
        let until = match (moment(&self.until)?, self.no_follow) {
            (None, true) => Some(time::to_query(now)),
            (until, _) => until,
        };
        let since = match moment(&self.since)? {
            // As of a log: what is there already is meant where nothing is waited for.
            None if until.is_some() => Some("0".to_owned()),
            since => since,
        };
        Ok(Call::get("/events")
            .query_some("since", since)
            .query_some("until", until)
            .query_some("filters", filter::query(&self.filter)))
    }

    fn render(&self, line: &[u8], template: Option<&Template>) -> Result<String, CliError> {
        let bad = |error: serde_json::Error| ParseError::new(format!("bad event: {error}"));
        if let Some(template) = template {
            let value: Value = serde_json::from_slice(line).map_err(bad)?;
            return Ok(template.render(&value)?);
        }
        if self.format.is_some() {
            return Ok(String::from_utf8_lossy(line).trim_end().to_owned());
        }
        let event: EventMessage = serde_json::from_slice(line).map_err(bad)?;
        Ok(human(&event))
    }
}

/// Returns `TIME TYPE ACTION ID (KEY=VALUE, …)`.
fn human(event: &EventMessage) -> String {
    let moment = Timestamp::from_nanoseconds(event.time_nano);
    let EventMessage { kind, action, .. } = event;
    let mut line = format!("{moment} {kind} {action} {}", event.actor.id);
    let attributes = event.actor.attributes.iter();
    let pairs: Vec<String> = attributes
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !pairs.is_empty() {
        line += &format!(" ({})", pairs.join(", "));
    }
    line
}
