//! `engine stats`.

use std::collections::HashMap;
use std::time::Duration;

use base::size::ByteSize;
use clap::Args;
use engine_api::client::{Call, ClientError};
use engine_api::container::ContainerSummary;
use engine_api::inspect::ContainerInspect;
use engine_api::stats::{BlkioEntry, MemoryStats, StatsResponse};
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::container_path;
use crate::context::{CALLS_AT_ONCE, Context};
use crate::error::CliError;
use crate::human;
use crate::listing::{Columns, Quiet, Row, Style};
use crate::terminal;

const INTERVAL: Duration = Duration::from_secs(1);
/// Moves the cursor home, and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";
const NOTHING: &str = "--";

const COLUMNS: Columns = Columns {
    headings: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    id: "ID",
};

const TABLE: [&str; 8] = [
    "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
];

/// Shows what containers use, again every second.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    all: bool,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show it once
    #[arg(long)]
    no_stream: bool,
    /// Do not cut anything short
    #[arg(long)]
    no_trunc: bool,
    /// The containers; running ones where none is named
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// What was measured, by what the user called the container.
type Measured = Vec<(String, StatsResponse)>;

/// Measures a container once; a single measurement does not say whose it is.
async fn measure_one(context: &Context, called: &str) -> Result<StatsResponse, ClientError> {
    let call = Call::get(&container_path(called, "/stats"))
        .query("stream", "false")
        .query("one-shot", "true");
    let mut stats: StatsResponse = context.client.json(call).await?;
    if stats.id.is_empty() {
        let call = Call::get(&container_path(called, "/json"));
        let found: ContainerInspect = context.client.json(call).await?;
        (stats.id, stats.name) = (found.id, found.name);
    }
    Ok(stats)
}

impl Stats {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        context.connect().await?;
        let clears = !self.no_stream && terminal::is_terminal(&context.streams.stdout);
        let mut before = HashMap::new();
        let mut first = self.measure(context).await?;
        loop {
            if self.no_stream {
                // What a processor does shows in a difference.
                remember(&mut before, first);
                tokio::time::sleep(INTERVAL).await;
                first = self.measure(context).await?;
            }
            let text = self.render(&first, &before)?;
            context.print(&format!("{}{text}", if clears { CLEAR } else { "" }))?;
            if self.no_stream {
                return Ok(());
            }
            remember(&mut before, first);
            tokio::time::sleep(INTERVAL).await;
            first = self.measure(context).await?;
        }
    }

    /// Measures every container; one that has gone meanwhile is an error only if it
    /// was named.
    async fn measure(&self, context: &Context) -> Result<Measured, CliError> {
        let names = self.names(context).await?;
        let asked = stream::iter(names).map(|name| async move {
            let stats = measure_one(context, &name).await;
            (name, stats)
        });
        let mut asked = std::pin::pin!(asked.buffered(CALLS_AT_ONCE));
        let mut measured = Measured::new();
        while let Some((name, stats)) = asked.next().await {
            match stats {
                Err(ClientError::Refused { status: 404, .. }) if self.containers.is_empty() => {}
                stats => measured.push((name, stats?)),
            }
        }
        Ok(measured)
    }

    async fn names(&self, context: &Context) -> Result<Vec<String>, CliError> {
        if !self.containers.is_empty() {
            return Ok(self.containers.clone());
        }
        let call = Call::get("/containers/json").query_flag("all", self.all);
        let found: Vec<ContainerSummary> = context.client.json(call).await?;
        Ok(found.into_iter().map(|container| container.id).collect())
    }

    fn render(
        &self,
        measured: &Measured,
        before: &HashMap<String, StatsResponse>,
    ) -> Result<String, CliError> {
        let rows = measured
            .iter()
            .map(|(name, stats)| self.row(name, stats, before.get(&stats.id)))
            .collect();
        let style = Style {
            format: self.format.as_deref(),
            quiet: Quiet::No,
            table: &TABLE,
        };
        COLUMNS.render(rows, style)
    }

    fn row(&self, called: &str, stats: &StatsResponse, before: Option<&StatsResponse>) -> Row {
        let id = match self.no_trunc {
            true => stats.id.as_str(),
            false => human::short_id(&stats.id),
        };
        let memory = &stats.memory_stats;
        let is_running = memory.limit > 0;
        let shown = |text: String| match is_running {
            true => text,
            false => NOTHING.to_owned(),
        };
        let (read, written) = blocks(&stats.blkio_stats.io_service_bytes_recursive);
        let networks = stats.networks.values();
        let (received, sent) = networks.fold((0, 0), |(received, sent), one| {
            (received + one.rx_bytes, sent + one.tx_bytes)
        });
        let used = used(memory);
        let row = json!({
            "Container": called,
            "ID": id,
            "Name": stats.name.trim_start_matches('/'),
            "CPUPerc": shown(format!("{:.2}%", processors(stats, before))),
            "MemUsage": shown(format!(
                "{} / {}",
                human::binary_size(used),
                human::binary_size(memory.limit)
            )),
            "MemPerc": shown(format!("{:.2}%", percent(used, memory.limit))),
            "NetIO": shown(format!("{} / {}", ByteSize(received), ByteSize(sent))),
            "BlockIO": shown(format!("{} / {}", ByteSize(read), ByteSize(written))),
            "PIDs": shown(stats.pids_stats.current.to_string()),
        });
        match row {
            Value::Object(row) => row,
            _ => Row::new(),
        }
    }
}

fn remember(before: &mut HashMap<String, StatsResponse>, measured: Measured) {
    *before = measured
        .into_iter()
        .map(|(_, stats)| (stats.id.clone(), stats))
        .collect();
}

/// Returns how much of one processor was used since before, in percent.
fn processors(stats: &StatsResponse, before: Option<&StatsResponse>) -> f64 {
    let Some(before) = before else {
        return 0.0;
    };
    let (now, then) = (&stats.cpu_stats, &before.cpu_stats);
    let used = now
        .cpu_usage
        .total_usage
        .saturating_sub(then.cpu_usage.total_usage);
    let all = now.system_cpu_usage.saturating_sub(then.system_cpu_usage);
    percent(used, all) * f64::from(now.online_cpus)
}

fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64 * 100.0,
    }
}

/// Returns the memory that is used without what is only cached of files, which the
/// kernel can give away at once; on v1 the sum of all groups below counts.
fn used(memory: &MemoryStats) -> u64 {
    let cached = ["total_inactive_file", "inactive_file"]
        .iter()
        .find_map(|name| memory.stats.get(*name));
    let cached = cached.copied().unwrap_or(0);
    match cached < memory.usage {
        true => memory.usage - cached,
        false => memory.usage,
    }
}

/// Returns the bytes read and written.
fn blocks(entries: &Option<Vec<BlkioEntry>>) -> (u64, u64) {
    let sum = |op: &str| {
        let entries = entries.iter().flatten();
        let wanted = entries.filter(|entry| entry.op.eq_ignore_ascii_case(op));
        wanted.map(|entry| entry.value).sum()
    };
    (sum("read"), sum("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(json: &str) -> StatsResponse {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_row_is_what_docker_shows() {
        let now = stats(
            r#"{"id":"0123456789abcdef","name":"/web","pids_stats":{"current":3},
            "cpu_stats":{"cpu_usage":{"total_usage":500},"system_cpu_usage":2000,"online_cpus":2},
            "memory_stats":{"usage":3145728,"limit":104857600,"stats":{"inactive_file":1048576}},
            "blkio_stats":{"io_service_bytes_recursive":[
                {"major":8,"op":"read","value":1500},{"major":8,"op":"Write","value":0}]},
            "networks":{"eth0":{"rx_bytes":1000,"tx_bytes":20},"eth1":{"rx_bytes":1}}}"#,
        );
        let before =
            stats(r#"{"cpu_stats":{"cpu_usage":{"total_usage":400},"system_cpu_usage":1000}}"#);
        let command = Stats {
            all: false,
            format: None,
            no_stream: true,
            no_trunc: false,
            containers: Vec::new(),
        };
        let row = command.row("web", &now, Some(&before));
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        assert_eq!(text("ID"), "0123456789ab");
        assert_eq!(text("Name"), "web");
        assert_eq!(text("CPUPerc"), "20.00%");
        assert_eq!(text("MemUsage"), "2MiB / 100MiB");
        assert_eq!(text("MemPerc"), "2.00%");
        assert_eq!(text("NetIO"), "1kB / 20B");
        assert_eq!(text("BlockIO"), "1.5kB / 0B");
        assert_eq!(text("PIDs"), "3");
    }

    #[test]
    fn one_that_does_not_run_has_nothing_to_show() {
        let command = Stats {
            all: true,
            format: Some("{{.Name}} {{.CPUPerc}} {{.PIDs}}".to_owned()),
            no_stream: true,
            no_trunc: false,
            containers: Vec::new(),
        };
        let measured = vec![("x".to_owned(), stats(r#"{"id":"a","name":"/x"}"#))];
        let text = command.render(&measured, &HashMap::new()).unwrap();
        assert_eq!(text, "x -- --\n");
    }
}
