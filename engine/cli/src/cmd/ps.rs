//! `engine ps`.

use base::Timestamp;
use clap::Args;
use engine_api::client::Call;
use engine_api::container::{ContainerSummary, Port};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::CliError;
use crate::human;
use crate::listing::{Columns, Row, Style};
use crate::parse::filter::{self, Filter};

/// Characters of a command that a table shows.
const COMMAND_WIDTH: usize = 20;

pub(super) const COLUMNS: Columns = Columns {
    headings: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("Networks", "NETWORKS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("LogSize", "LOG SIZE"),
    ],
    id: "ID",
};

const TABLE: [&str; 7] = [
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Ports",
    "Names",
];

/// Lists containers.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    all: bool,
    /// Show only what fits, key=value
    #[arg(short, long, value_name = "FILTER", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the last created containers
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<u32>,
    /// Show the last created container
    #[arg(short, long)]
    latest: bool,
    /// Do not cut anything short
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
}

impl Ps {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let last = if self.latest { Some(1) } else { self.last };
        let wants_size = self.size || self.format.as_deref().is_some_and(|f| f.contains(".Size"));
        let call = Call::get("/containers/json")
            .query_flag("all", self.all)
            .query_flag("size", wants_size)
            .query_some("limit", last.map(|number| number.to_string()))
            .query_some("filters", filter::query(&self.filter));
        let containers: Vec<ContainerSummary> = context.connect().await?.json(call).await?;
        let text = self.render(&containers, Timestamp::now())?;
        context.print(&text)
    }

    fn render(&self, containers: &[ContainerSummary], now: Timestamp) -> Result<String, CliError> {
        let rows = containers
            .iter()
            .map(|container| row(container, self.no_trunc, now))
            .collect();
        let mut table = TABLE.to_vec();
        if self.size {
            table.push("Size");
        }
        let style = Style {
            format: self.format.as_deref(),
            quiet: self.quiet.into(),
            table: &table,
        };
        COLUMNS.render(rows, style)
    }
}

/// Returns the row of a container.
pub(super) fn row(container: &ContainerSummary, no_trunc: bool, now: Timestamp) -> Row {
    let created = Timestamp::from_seconds(container.created);
    let (id, command) = match no_trunc {
        true => (container.id.as_str(), container.command.clone()),
        false => {
            let command = human::ellipsis(&container.command, COMMAND_WIDTH);
            (human::short_id(&container.id), command)
        }
    };
    let volumes = container
        .mounts
        .iter()
        .filter(|mount| mount.driver == "local")
        .count();
    let networks = container
        .network_settings
        .networks
        .keys()
        .map(String::as_str);
    let row = json!({
        "ID": id,
        "Image": if container.image.is_empty() { "<no image>" } else { &container.image },
        "Command": format!("{command:?}"),
        "CreatedAt": human::date(created),
        "RunningFor": human::ago(created, now),
        "State": container.state,
        "Status": container.status,
        "Ports": ports(&container.ports),
        "Names": names(container),
        "Labels": labels(container),
        "Mounts": mounts(container),
        "Networks": networks.collect::<Vec<_>>().join(","),
        "LocalVolumes": volumes.to_string(),
        "Size": size(container),
    });
    match row {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

fn names(container: &ContainerSummary) -> String {
    let names = container
        .names
        .iter()
        .map(|name| name.trim_start_matches('/'));
    names.collect::<Vec<_>>().join(",")
}

fn labels(container: &ContainerSummary) -> String {
    let labels = container
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

fn mounts(container: &ContainerSummary) -> String {
    let mounts = container
        .mounts
        .iter()
        .map(|mount| match mount.name.is_empty() {
            true => mount.source.as_str(),
            false => mount.name.as_str(),
        });
    mounts.collect::<Vec<_>>().join(",")
}

fn size(container: &ContainerSummary) -> String {
    let bytes =
        |size: Option<i64>| base::size::ByteSize(u64::try_from(size.unwrap_or(0)).unwrap_or(0));
    match container.size_root_fs {
        None => bytes(container.size_rw).to_string(),
        total => format!("{} (virtual {})", bytes(container.size_rw), bytes(total)),
    }
}

/// Returns ports as a table shows them, neighbours of one address as a range.
fn ports(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|port| (&port.ip, &port.r#type, port.private_port, port.public_port));
    sorted.dedup();
    let mut ranges: Vec<(&Port, u16)> = Vec::new();
    for port in sorted {
        match ranges.last_mut() {
            Some((first, length)) if continues(first, *length, port) => *length += 1,
            _ => ranges.push((port, 1)),
        }
    }
    let texts = ranges
        .iter()
        .map(|(port, length)| port_range(port, *length));
    texts.collect::<Vec<_>>().join(", ")
}

fn continues(first: &Port, length: u16, port: &Port) -> bool {
    let is_next = |from: u16, to: u16| from.checked_add(length) == Some(to);
    let public = match first.public_port {
        0 => port.public_port == 0,
        from => is_next(from, port.public_port),
    };
    (&first.ip, &first.r#type) == (&port.ip, &port.r#type)
        && is_next(first.private_port, port.private_port)
        && public
}

fn port_range(port: &Port, length: u16) -> String {
    let range = |first: u16| match length {
        1 => first.to_string(),
        _ => format!("{first}-{}", u32::from(first) + u32::from(length) - 1),
    };
    let private = format!("{}/{}", range(port.private_port), port.r#type);
    if port.public_port == 0 {
        return private;
    }
    let ip = match port.ip.contains(':') {
        true => format!("[{}]", port.ip),
        false => port.ip.clone(),
    };
    format!("{ip}:{}->{private}", range(port.public_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> Port {
        Port {
            ip: ip.to_owned(),
            private_port,
            public_port,
            r#type: "tcp".to_owned(),
        }
    }

    #[test]
    fn neighbouring_ports_are_one_range() {
        let list = [
            port("0.0.0.0", 81, 8081),
            port("0.0.0.0", 80, 8080),
            port("::", 80, 8080),
            port("", 90, 0),
            port("", 91, 0),
            port("0.0.0.0", 443, 8443),
        ];
        assert_eq!(
            ports(&list),
            "90-91/tcp, 0.0.0.0:8080-8081->80-81/tcp, 0.0.0.0:8443->443/tcp, [::]:8080->80/tcp"
        );
    }

    #[test]
    fn the_table_is_dockers() {
        let container = ContainerSummary {
            id: "0123456789abcdef".to_owned(),
            names: vec!["/web".to_owned()],
            image: "busybox".to_owned(),
            command: "sh -c 'echo a long command'".to_owned(),
            created: 1_000,
            status: "Up 2 minutes".to_owned(),
            ports: vec![port("0.0.0.0", 80, 8080)],
            ..ContainerSummary::default()
        };
        let ps = |words: &[&str]| {
            use clap::Parser as _;
            #[derive(clap::Parser)]
            struct Words {
                #[command(flatten)]
                ps: Ps,
            }
            Words::parse_from([&["ps"], words].concat()).ps
        };
        let now = Timestamp::from_seconds(1_180);
        let render = |words: &[&str]| {
            ps(words)
                .render(std::slice::from_ref(&container), now)
                .unwrap()
        };
        assert_eq!(
            render(&[]),
            "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS                  NAMES\n\
             0123456789ab   busybox   \"sh -c 'echo a long …\"   3 minutes ago   Up 2 minutes   0.0.0.0:8080->80/tcp   web\n"
        );
        assert_eq!(render(&["-q", "--no-trunc"]), "0123456789abcdef\n");
        assert_eq!(
            render(&["--format", "{{.Names}} {{.CreatedAt}}"]),
            "web 1970-01-01 00:16:40 +0000 UTC\n"
        );
    }
}
