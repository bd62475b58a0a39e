//! `engine events`: reads the log's files, so that it works with the daemon down; of
//! another host's daemon, and by `--api`, what the API tells.

mod api;
mod select;

use std::time::Duration;

use base::Timestamp;
use clap::{Args, Subcommand};
use events::{Log, Position, Reader, Record};
use serde_json::{Value, json};

use self::select::Selection;
use crate::context::Context;
use crate::error::{CliError, EventsError};
use crate::parse::filter::{self, Filter};
use crate::parse::{ParseError, time};
use crate::template::Template;

/// How long a wait for news lasts before the end of time is looked at again.
const WAIT_LIMIT: Duration = Duration::from_secs(1);

/// Shows what happened.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Events {
    /// Show only what fits: type, event, container, network, volume, source, subject, request
    #[arg(short, long, value_name = "FILTER", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// Go on when the end is reached [default: without --until]
    #[arg(long, overrides_with = "no_follow")]
    follow: bool,
    /// Stop when the end is reached
    #[arg(long)]
    no_follow: bool,
    /// Show what the API tells, in Docker's words; so it is for a daemon elsewhere
    #[arg(long)]
    api: bool,
    /// json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Begin after the record EPOCH:SEQ; 0:0 is the beginning
    #[arg(long, value_name = "EPOCH:SEQ", conflicts_with = "since")]
    from: Option<Position>,
    /// Begin at a time: RFC 3339, seconds since 1970, or a duration before now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at a time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Copy around damage in the log, so that it can be read again
    Repair,
}

impl Events {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self.action {
            Some(Action::Repair) => repair(context),
            None if self.api || context.is_elsewhere() => self.show_of_api(context).await,
            None => self.show(context),
        }
    }

    fn show(&self, context: &Context) -> Result<(), CliError> {
        let selection = Selection::new(filter::collect(&self.filter));
        let mut selection = selection.map_err(|error| CliError::Usage(error.to_string()))?;
        let format = Format::parse(self.format.as_deref())?;
        let now = Timestamp::now();
        let moment = |text: &String| time::parse(text, now);
        let until = self.until.as_ref().map(moment).transpose()?;
        let since = self.since.as_ref().map(moment).transpose()?;
        let log = Log::open_read_only(&context.global.events()).map_err(EventsError::from)?;
        let start = self.start(&log, since)?;
        if selection.needs_names() {
            learn_names(&log, start, &mut selection)?;
        }
        let mut reader = log.read_after(start).map_err(EventsError::from)?;
        let follows = (self.follow || self.until.is_none()) && !self.no_follow;
        let is_future = until.is_some_and(|until| until > now);
        let range = Range {
            since,
            until,
            follows: follows || (is_future && !self.no_follow),
        };
        range.print(&mut reader, context, |record| {
            match selection.matches(record) {
                true => format.render(record).map(Some),
                false => Ok(None),
            }
        })
    }

    /// Returns where to begin: without a word about it, at what is new.
    fn start(&self, log: &Log, since: Option<Timestamp>) -> Result<Position, CliError> {
        let found = match (self.from, since) {
            (Some(position), _) => Ok(position),
            (None, Some(since)) => log.position_before(since),
            (None, None) if self.until.is_some() || self.no_follow => Ok(Position::default()),
            (None, None) => log.last(),
        };
        Ok(found.map_err(EventsError::from)?)
    }
}

/// Shows `selection` the records up to `end`.
fn learn_names(log: &Log, end: Position, selection: &mut Selection) -> Result<(), CliError> {
    let mut reader = log
        .read_after(Position::default())
        .map_err(EventsError::from)?;
    loop {
        let records = reader.read_batch().map_err(EventsError::from)?;
        let is_over = records.last().is_none_or(|record| record.position >= end);
        records.iter().for_each(|record| selection.learn(record));
        if is_over {
            return Ok(());
        }
    }
}

/// Which records are wanted by their time, and whether more are waited for.
struct Range {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    follows: bool,
}

impl Range {
    fn print(
        &self,
        reader: &mut Reader,
        context: &Context,
        mut render: impl FnMut(&Record) -> Result<Option<String>, CliError>,
    ) -> Result<(), CliError> {
        loop {
            let records = reader.read_batch().map_err(EventsError::from)?;
            let mut text = String::new();
            for record in &records {
                if self.since.is_some_and(|since| record.time < since) {
                    continue;
                }
                if self.until.is_some_and(|until| record.time > until) {
                    return context.print(&text);
                }
                if let Some(line) = render(record)? {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
            context.print(&text)?;
            if records.is_empty() && !self.wait(reader)? {
                return Ok(());
            }
        }
    }

    /// Waits for news; returns whether there is a reason to look again.
    fn wait(&self, reader: &mut Reader) -> Result<bool, CliError> {
        let left = match self.until {
            Some(until) => until.since(Timestamp::now()),
            None => WAIT_LIMIT,
        };
        if !self.follows || left.is_zero() {
            return Ok(false);
        }
        reader
            .wait(left.min(WAIT_LIMIT))
            .map_err(EventsError::from)?;
        Ok(true)
    }
}

/// How a record is printed.
enum Format {
    Human,
    Json,
    Template(Template),
}

impl Format {
    fn parse(text: Option<&str>) -> Result<Self, CliError> {
        Ok(match text {
            None => Self::Human,
            Some("json") => Self::Json,
            Some(template) => Self::Template(template.parse()?),
        })
    }

    fn render(&self, record: &Record) -> Result<String, CliError> {
        match self {
            Self::Human => Ok(human(record)),
            Self::Json => Ok(raw(record)),
            Self::Template(template) => {
                let value: Value = serde_json::from_str(&raw(record))
                    .map_err(|error| ParseError::new(format!("bad record: {error}")))?;
                Ok(template.render(&value)?)
            }
        }
    }
}

/// Returns `TIME TYPE SUBJECT {DATA}`.
fn human(record: &Record) -> String {
    let mut line = format!("{} {} {}", record.time, record.kind, record.subject);
    let data = record.data.get();
    if data != "{}" && data != "null" {
        line.push(' ');
        line.push_str(data);
    }
    line
}

/// Returns the record as it stands in the log, without its checksum.
fn raw(record: &Record) -> String {
    let Position { epoch, seq } = record.position;
    let text = |text: &str| json!(text).to_string();
    let request = match &record.request {
        Some(request) => format!("\"request\":{},", text(request.as_str())),
        None => String::new(),
    };
    format!(
        "{{\"epoch\":{epoch},\"seq\":{seq},\"time\":{},\"source\":{},\"type\":{},\"subject\":{},{request}\"data\":{}}}",
        text(&record.time.to_string()),
        text(&record.source),
        text(&record.kind),
        text(&record.subject),
        record.data.get(),
    )
}

fn repair(context: &Context) -> Result<(), CliError> {
    let log = Log::open(&context.global.events()).map_err(EventsError::from)?;
    let repairs = log.repair().map_err(EventsError::from)?;
    for repair in &repairs {
        context.print_line(&format!(
            "{}: {}; {} records kept, the damaged file is {}",
            repair.segment,
            repair.what,
            repair.kept_records,
            repair.original.display()
        ))?;
    }
    match repairs.is_empty() {
        true => context.print_line("nothing to repair"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
