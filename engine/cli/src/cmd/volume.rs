//! `engine volume`.

use clap::{Args, Subcommand};
use engine_api::client::{Call, encode};
use engine_api::prune::VolumesPruneResponse;
use engine_api::volume::{Volume as ApiVolume, VolumeCreateBody, VolumeListResponse};
use serde_json::{Value, json};

use super::inspect::{Kind, Show, Wanted};
use super::prune::{PruneOptions, Pruned};
use crate::context::Context;
use crate::error::CliError;
use crate::listing::{Columns, Row, Style};
use crate::parse::filter::{self, Filter};
use crate::parse::label;

pub(super) const COLUMNS: Columns = Columns {
    headings: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Size", "SIZE"),
        ("Links", "LINKS"),
    ],
    id: "Name",
};

/// Manages volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Create a volume
    Create(Create),
    /// List volumes
    #[command(alias = "list")]
    Ls(Ls),
    /// Show all about volumes
    Inspect(Show),
    /// Remove volumes
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove volumes that nobody uses
    Prune(Prune),
}

impl Volume {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Create(command) => command.run(context).await,
            Self::Ls(command) => command.run(context).await,
            Self::Inspect(show) => {
                let kinds = &[Kind::Volume];
                show.run(context, kinds, Wanted::default()).await
            }
            Self::Rm(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
        }
    }
}

/// Creates a volume.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Driver
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// Set a label, key or key=value
    #[arg(long, value_name = "LABEL", value_parser = label::parse)]
    label: Vec<String>,
    /// Set an option of the driver
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    opt: Vec<String>,
    /// Its name; without one it gets a random one
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let body = VolumeCreateBody {
            name: self.name.unwrap_or_default(),
            driver: self.driver,
            driver_opts: label::to_map(&self.opt),
            labels: label::to_map(&self.label),
            cluster_volume_spec: None,
        };
        let call = Call::post("/volumes/create").json(&body)?;
        let volume: ApiVolume = context.connect().await?.json(call).await?;
        context.print_line(&volume.name)
    }
}

/// Lists volumes.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Show only what fits, key=value
    #[arg(short, long, value_name = "FILTER", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show only names
    #[arg(short, long)]
    quiet: bool,
}

impl Ls {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = Call::get("/volumes").query_some("filters", filter::query(&self.filter));
        let mut list: VolumeListResponse = context.connect().await?.json(call).await?;
        list.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        for warning in list.warnings.iter().flatten() {
            context.warn(&format!("WARNING: {warning}"));
        }
        let style = Style {
            format: self.format.as_deref(),
            quiet: self.quiet.into(),
            table: &["Driver", "Name"],
        };
        context.print(&COLUMNS.render(list.volumes.iter().map(row).collect(), style)?)
    }
}

pub(super) fn row(volume: &ApiVolume) -> Row {
    let labels = volume
        .labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    let row = json!({
        "Driver": volume.driver,
        "Name": volume.name,
        "Scope": volume.scope,
        "Mountpoint": volume.mountpoint,
        "Labels": labels.collect::<Vec<_>>().join(","),
        "Size": "N/A",
        "Links": "N/A",
    });
    match row {
        Value::Object(row) => row,
        _ => Row::new(),
    }
}

/// Removes volumes.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// A volume that is not there is no error
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

impl Rm {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = |name: &str| {
            let call = Call::delete(&format!("/volumes/{}", encode(name)));
            Ok(call.query_flag("force", self.force))
        };
        context.for_each(&self.names, call).await
    }
}

/// Removes volumes that nobody uses.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove named volumes too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    options: PruneOptions,
}

impl Prune {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let what = match self.all {
            true => "all local volumes not used by at least one container",
            false => "anonymous local volumes not used by at least one container",
        };
        if !self.options.confirm(context, what)? {
            return Ok(());
        }
        let pruned = prune(context, self.all, &self.options.filter).await?;
        pruned.print(context)
    }
}

/// Removes the unused volumes that fit: all of them, or those that were given no name.
pub(super) async fn prune(
    context: &Context,
    all: bool,
    filters: &[Filter],
) -> Result<Pruned, CliError> {
    let mut filters = filter::collect(filters);
    if all {
        filters.add("all", "true");
    }
    let filters = (!filters.is_empty()).then(|| filters.to_json());
    let call = Call::post("/volumes/prune").query_some("filters", filters);
    let pruned: VolumesPruneResponse = context.connect().await?.json(call).await?;
    Ok(Pruned::new(
        "Deleted Volumes",
        pruned.volumes_deleted,
        pruned.space_reclaimed,
    ))
}
