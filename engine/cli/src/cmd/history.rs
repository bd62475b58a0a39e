//! `engine history`.

use base::Timestamp;
use base::size::ByteSize;
use clap::{ArgAction, Args};
use engine_api::client::{Call, encode};
use engine_api::image::ImageHistory;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::CliError;
use crate::human;
use crate::listing::{Columns, Row, Style};
use crate::parse::platform;

/// Characters of a step's command that a table shows.
const COMMAND_WIDTH: usize = 45;

const COLUMNS: Columns = Columns {
    headings: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    id: "ID",
};

/// Shows how an image was made.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and times for people, or exactly
    #[arg(long, value_name = "BOOL", default_value_t = true)]
    #[arg(action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    human: bool,
    /// Do not cut anything short
    #[arg(long)]
    no_trunc: bool,
    /// Fail unless the image is of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM", value_parser = platform::parse)]
    platform: Option<String>,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl History {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = Call::get(&format!("/images/{}/history", encode(&self.image)))
            .query_some("platform", self.platform.clone());
        let steps: Vec<ImageHistory> = context.connect().await?.json(call).await?;
        let created = if self.human {
            "CreatedSince"
        } else {
            "CreatedAt"
        };
        let style = Style {
            format: self.format.as_deref(),
            quiet: self.quiet.into(),
            table: &["ID", created, "CreatedBy", "Size", "Comment"],
        };
        let now = Timestamp::now();
        let rows = steps.iter().map(|step| self.row(step, now)).collect();
        context.print(&COLUMNS.render(rows, style)?)
    }

    fn row(&self, step: &ImageHistory, now: Timestamp) -> Row {
        let created = Timestamp::from_seconds(step.created);
        let command = step.created_by.replace('\t', " ");
        let (id, command) = match self.no_trunc {
            true => (step.id.as_str(), command),
            false => (
                human::short_id(&step.id),
                human::ellipsis(&command, COMMAND_WIDTH),
            ),
        };
        let bytes = u64::try_from(step.size).unwrap_or(0);
        let (since, size) = match self.human {
            true => (human::ago(created, now), ByteSize(bytes).to_string()),
            false => (human::rfc3339(created), bytes.to_string()),
        };
        let row = json!({
            "ID": id,
            "CreatedSince": since,
            "CreatedAt": human::rfc3339(created),
            "CreatedBy": command,
            "Size": size,
            "Comment": step.comment,
        });
        match row {
            Value::Object(row) => row,
            _ => Row::new(),
        }
    }
}
