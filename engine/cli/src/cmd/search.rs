//! `engine search`.

use clap::Args;
use engine_api::client::Call;
use engine_api::registry::{AUTH_HEADER, SearchResult};
use serde_json::{Value, json};

use crate::context::Context;
use crate::credentials;
use crate::error::CliError;
use crate::listing::{Columns, Quiet, Row, Style};
use crate::parse::filter::{self, Filter};
use crate::parse::reference;

/// Characters of a description that a table shows.
const DESCRIPTION_WIDTH: usize = 45;

const COLUMNS: Columns = Columns {
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
    id: "Name",
};

/// Searches a registry for images.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Show only what fits, key=value
    #[arg(short, long, value_name = "FILTER", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Results at most
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    limit: Option<i64>,
    /// Do not cut anything short
    #[arg(long)]
    no_trunc: bool,
    /// What to look for; a host before its first slash is the registry
    #[arg(value_name = "TERM")]
    term: String,
}

impl Search {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let filters = filter::collect(&self.filter);
        let mut call = Call::get("/images/search")
            .query("term", &self.term)
            .query_some("limit", self.limit.map(|limit| limit.to_string()))
            .query_some("filters", (!filters.is_empty()).then(|| filters.to_json()));
        let domain = reference::domain(&self.term);
        if let Some(header) = credentials::header(context, domain).await {
            call = call.header(AUTH_HEADER, header);
        }
        let found: Vec<SearchResult> = context.connect().await?.json(call).await?;
        context.print(&self.render(found)?)
    }

    fn render(&self, mut found: Vec<SearchResult>) -> Result<String, CliError> {
        found.sort_by_key(|result| std::cmp::Reverse(result.star_count));
        let is_json = self.format.as_deref() == Some("json");
        let yes_or_no = |is_so: bool| match (is_so, is_json) {
            (true, true) => "true",
            (true, false) => "[OK]",
            (false, true) => "false",
            (false, false) => "",
        };
        let rows = found.iter().map(|result| {
            let row = json!({
                "Name": result.name,
                "Description": self.description(&result.description),
                "StarCount": result.star_count.to_string(),
                "IsOfficial": yes_or_no(result.is_official),
                "IsAutomated": yes_or_no(result.is_automated),
            });
            match row {
                Value::Object(row) => row,
                _ => Row::new(),
            }
        });
        let style = Style {
            format: self.format.as_deref(),
            quiet: Quiet::No,
            table: &["Name", "Description", "StarCount", "IsOfficial"],
        };
        COLUMNS.render(rows.collect(), style)
    }

    fn description(&self, text: &str) -> String {
        let text = text.replace(['\n', '\r'], " ");
        if self.no_trunc || text.chars().count() <= DESCRIPTION_WIDTH {
            return text;
        }
        let kept: String = text.chars().take(DESCRIPTION_WIDTH - 1).collect();
        kept + "…"
    }
}
