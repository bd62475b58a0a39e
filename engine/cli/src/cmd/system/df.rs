//! `engine system df`: what takes room on the disk.

use base::Timestamp;
use base::size::ByteSize;
use clap::Args;
use engine_api::client::Call;
use engine_api::container::ContainerSummary;
use engine_api::disk::DiskUsageResponse;
use engine_api::image::ImageSummary;
use engine_api::volume::{Volume, VolumeUsage};
use serde_json::{Value, json};

use crate::cmd::{images, ps, volume};
use crate::context::Context;
use crate::error::CliError;
use crate::listing::{Columns, Row, Style};
use crate::template::Template;

const COLUMNS: Columns = Columns {
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    id: "Type",
};
const TABLE: &[&str] = &["Type", "TotalCount", "Active", "Size", "Reclaimable"];

/// Shows what takes room on the disk.
#[derive(Debug, Args)]
pub(crate) struct Df {
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show each image, container and volume
    #[arg(short, long)]
    verbose: bool,
}

impl Df {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.connect().await?;
        let usage: DiskUsageResponse = client.json(Call::get("/system/df")).await?;
        let now = Timestamp::now();
        let text = match (self.verbose, self.format.as_deref()) {
            (false, format) => summary(&usage, format)?,
            (true, None | Some("table")) => details(&usage, now)?,
            (true, Some("json")) => format!("{}\n", everything(&usage, now)),
            (true, Some(format)) => {
                let template: Template = format.parse()?;
                template.render(&everything(&usage, now))? + "\n"
            }
        };
        context.print(&text)
    }
}

/// Objects of one kind.
#[derive(Debug, Default)]
struct Total {
    count: usize,
    active: usize,
    bytes: u64,
    reclaimable_bytes: u64,
}

impl Total {
    fn add(&mut self, bytes: u64, is_active: bool) {
        self.count += 1;
        self.bytes += bytes;
        match is_active {
            true => self.active += 1,
            false => self.reclaimable_bytes += bytes,
        }
    }

    fn row(&self, kind: &str) -> Row {
        let mut reclaimable = ByteSize(self.reclaimable_bytes).precise();
        if let Some(percent) = (self.reclaimable_bytes * 100).checked_div(self.bytes) {
            reclaimable += &format!(" ({percent}%)");
        }
        Row::from_iter([
            ("Type".to_owned(), json!(kind)),
            ("TotalCount".to_owned(), json!(self.count.to_string())),
            ("Active".to_owned(), json!(self.active.to_string())),
            ("Size".to_owned(), json!(ByteSize(self.bytes).precise())),
            ("Reclaimable".to_owned(), json!(reclaimable)),
        ])
    }
}

fn summary(usage: &DiskUsageResponse, format: Option<&str>) -> Result<String, CliError> {
    let rows = vec![
        images_total(usage).row("Images"),
        containers_total(usage, |container| container.size_rw).row("Containers"),
        containers_total(usage, |container| container.size_log).row("Container Logs"),
        volumes_total(usage).row("Local Volumes"),
        Total::default().row("Build Cache"),
    ];
    let style = Style {
        format,
        quiet: false.into(),
        table: TABLE,
    };
    COLUMNS.render(rows, style)
}

fn bytes(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

/// A layer of several images counts once; what a used image has alone is not reclaimable.
fn images_total(usage: &DiskUsageResponse) -> Total {
    let all = usage.images.as_deref().unwrap_or_default();
    let used = all.iter().filter(|image| image.containers > 0);
    let kept: u64 = used.clone().map(unique_bytes).sum();
    let bytes = bytes(usage.layers_size);
    Total {
        count: all.len(),
        active: used.count(),
        bytes,
        reclaimable_bytes: bytes.saturating_sub(kept),
    }
}

fn unique_bytes(image: &ImageSummary) -> u64 {
    bytes(image.size).saturating_sub(bytes(image.shared_size))
}

fn containers_total(
    usage: &DiskUsageResponse,
    size: impl Fn(&ContainerSummary) -> Option<i64>,
) -> Total {
    let mut total = Total::default();
    for container in usage.containers.iter().flatten() {
        let is_active = matches!(
            container.state.as_str(),
            "running" | "paused" | "restarting"
        );
        total.add(bytes(size(container).unwrap_or(0)), is_active);
    }
    total
}

fn volumes_total(usage: &DiskUsageResponse) -> Total {
    let mut total = Total::default();
    for volume in usage.volumes.iter().flatten() {
        let (size, users) = used(volume);
        total.add(bytes(size), users > 0);
    }
    total
}

/// Returns a volume's bytes and how many containers use it, `-1` where that is not counted.
fn used(volume: &Volume) -> (i64, i64) {
    let uncounted = VolumeUsage {
        size: -1,
        ref_count: -1,
    };
    let usage = volume.usage_data.as_ref().unwrap_or(&uncounted);
    (usage.size, usage.ref_count)
}

fn image_rows(usage: &DiskUsageResponse, now: Timestamp) -> Vec<Row> {
    let mut rows = Vec::new();
    for image in usage.images.iter().flatten() {
        for mut row in images::rows(image, now) {
            let shared = ByteSize(bytes(image.shared_size)).precise();
            row.insert("SharedSize".to_owned(), json!(shared));
            let unique = ByteSize(unique_bytes(image)).precise();
            row.insert("UniqueSize".to_owned(), json!(unique));
            rows.push(row);
        }
    }
    rows
}

fn container_rows(usage: &DiskUsageResponse, now: Timestamp) -> Vec<Row> {
    let all = usage.containers.iter().flatten();
    all.map(|container| {
        let mut row = ps::row(container, false, now);
        // As Docker: a container alone, without its image.
        let size = ByteSize(bytes(container.size_rw.unwrap_or(0))).precise();
        row.insert("Size".to_owned(), json!(size));
        let log = ByteSize(bytes(container.size_log.unwrap_or(0))).precise();
        row.insert("LogSize".to_owned(), json!(log));
        row
    })
    .collect()
}

fn volume_rows(usage: &DiskUsageResponse) -> Vec<Row> {
    let all = usage.volumes.iter().flatten();
    all.map(|one| {
        let mut row = volume::row(one);
        let (size, users) = used(one);
        row.insert("Size".to_owned(), json!(ByteSize(bytes(size)).precise()));
        row.insert("Links".to_owned(), json!(users.to_string()));
        row
    })
    .collect()
}

/// Returns the tables of every kind.
fn details(usage: &DiskUsageResponse, now: Timestamp) -> Result<String, CliError> {
    let table = |columns: &Columns, rows, fields: &[&str]| {
        let style = Style {
            format: None,
            quiet: false.into(),
            table: fields,
        };
        columns.render(rows, style)
    };
    Ok([
        "Images space usage:\n\n".to_owned(),
        table(&images::COLUMNS, image_rows(usage, now), IMAGE_FIELDS)?,
        "\nContainers space usage:\n\n".to_owned(),
        table(&ps::COLUMNS, container_rows(usage, now), CONTAINER_FIELDS)?,
        "\nLocal Volumes space usage:\n\n".to_owned(),
        table(&volume::COLUMNS, volume_rows(usage), VOLUME_FIELDS)?,
    ]
    .concat())
}

const IMAGE_FIELDS: &[&str] = &[
    "Repository",
    "Tag",
    "ID",
    "CreatedSince",
    "Size",
    "SharedSize",
    "UniqueSize",
    "Containers",
];
const CONTAINER_FIELDS: &[&str] = &[
    "ID",
    "Image",
    "Command",
    "LocalVolumes",
    "Size",
    "LogSize",
    "RunningFor",
    "Status",
    "Names",
];
const VOLUME_FIELDS: &[&str] = &["Name", "Links", "Size"];

fn everything(usage: &DiskUsageResponse, now: Timestamp) -> Value {
    json!({
        "Images": image_rows(usage, now),
        "Containers": container_rows(usage, now),
        "Volumes": volume_rows(usage),
        "BuildCache": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> DiskUsageResponse {
        let image = |size, shared_size, containers| ImageSummary {
            id: "sha256:0123456789abcdef".to_owned(),
            repo_tags: vec!["web:1".to_owned()],
            size,
            shared_size,
            containers,
            ..ImageSummary::default()
        };
        let container = |state: &str, size, log| ContainerSummary {
            id: "fedcba9876543210".to_owned(),
            names: vec!["/w".to_owned()],
            image: "web:1".to_owned(),
            command: "true".to_owned(),
            status: "Up".to_owned(),
            state: state.to_owned(),
            size_rw: Some(size),
            size_root_fs: Some(3_000_000),
            size_log: Some(log),
            ..ContainerSummary::default()
        };
        let volume = |size, ref_count| Volume {
            name: "data".to_owned(),
            usage_data: Some(VolumeUsage { size, ref_count }),
            ..Volume::default()
        };
        DiskUsageResponse {
            layers_size: 4_000_000,
            images: Some(vec![
                image(3_000_000, 2_000_000, 1),
                image(3_000_000, 2_000_000, 0),
            ]),
            containers: Some(vec![
                container("running", 100, 10),
                container("exited", 300, 30),
            ]),
            volumes: Some(vec![volume(500, 0), volume(1500, 2)]),
            ..DiskUsageResponse::default()
        }
    }

    #[test]
    fn what_is_in_use_is_not_reclaimable() {
        let expected = "\
TYPE             TOTAL     ACTIVE    SIZE      RECLAIMABLE
Images           2         1         4MB       3MB (75%)
Containers       2         1         400B      300B (75%)
Container Logs   2         1         40B       30B (75%)
Local Volumes    2         1         2kB       500B (25%)
Build Cache      0         0         0B        0B
";
        assert_eq!(summary(&usage(), None).unwrap(), expected);
        let line = summary(&usage(), Some("{{.Type}}={{.Reclaimable}}")).unwrap();
        assert!(line.starts_with("Images=3MB (75%)\nContainers=300B (75%)\n"));
    }

    #[test]
    fn each_object_has_a_row() {
        let text = details(&usage(), Timestamp::from_seconds(7200)).unwrap();
        let expected = "\
Images space usage:

REPOSITORY   TAG       IMAGE ID       CREATED       SIZE      SHARED SIZE   UNIQUE SIZE   CONTAINERS
web          1         0123456789ab   2 hours ago   3MB       2MB           1MB           1
web          1         0123456789ab   2 hours ago   3MB       2MB           1MB           0

Containers space usage:

CONTAINER ID   IMAGE     COMMAND   LOCAL VOLUMES   SIZE      LOG SIZE   CREATED       STATUS    NAMES
fedcba987654   web:1     \"true\"    0               100B      10B        2 hours ago   Up        w
fedcba987654   web:1     \"true\"    0               300B      30B        2 hours ago   Up        w

Local Volumes space usage:

VOLUME NAME   LINKS     SIZE
data          0         500B
data          2         1.5kB
";
        assert_eq!(text, expected);
    }
}
