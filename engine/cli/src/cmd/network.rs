//! `engine network`.

mod connect;
mod subnets;

use base::Timestamp;
use clap::{Args, Subcommand};
use engine_api::client::{Call, encode};
use engine_api::network::{
    ConfigReference, Ipam, Network as ApiNetwork, NetworkCreateBody, NetworkCreateResponse,
};
use engine_api::prune::NetworksPruneResponse;
use serde_json::{Value, json};

use subnets::Given;

use super::inspect::{Kind, Show, Wanted};
use super::prune::{PruneOptions, Pruned};
use crate::context::Context;
use crate::error::CliError;
use crate::human;
use crate::listing::{Columns, Row, Style};
use crate::parse::filter::{self, Filter};
use crate::parse::label;

const COLUMNS: Columns = Columns {
    headings: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    id: "ID",
};

/// Manages networks.
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Create a network
    Create(Create),
    /// Let a container join a network
    Connect(connect::Connect),
    /// Take a container out of a network
    Disconnect(connect::Disconnect),
    /// List networks
    #[command(alias = "list")]
    Ls(Ls),
    /// Show all about networks
    Inspect(Inspect),
    /// Remove networks
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove networks that nobody uses
    Prune(Prune),
}

impl Network {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Create(command) => command.run(context).await,
            Self::Connect(command) => command.run(context).await,
            Self::Disconnect(command) => command.run(context).await,
            Self::Ls(command) => command.run(context).await,
            Self::Inspect(command) => {
                let kinds = &[Kind::Network];
                command.show.run(context, kinds, Wanted::default()).await
            }
            Self::Rm(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
        }
    }
}

/// Shows all about networks.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Show what hosts of a swarm know besides: on one host there is nothing
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    show: Show,
}

/// Creates a network.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Allow containers to be attached by hand
    #[arg(long)]
    attachable: bool,
    /// Reserve an address, NAME=ADDRESS
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = label::parse_option)]
    aux_address: Vec<String>,
    /// Take the configuration of a network that was made for that
    #[arg(
        long,
        value_name = "NETWORK",
        default_value = "",
        hide_default_value = true
    )]
    config_from: String,
    /// Make a configuration that other networks can take
    #[arg(long)]
    config_only: bool,
    /// Driver
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// Gateway of the subnet
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Make the network through which a swarm is reached
    #[arg(long)]
    ingress: bool,
    /// No way out
    #[arg(long)]
    internal: bool,
    /// Give containers addresses of this range only
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Address management driver
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// Set an option of the address management
    #[arg(long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    ipam_opt: Vec<String>,
    /// Give IPv4 addresses, or not
    #[arg(long, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Give IPv6 addresses
    #[arg(long, value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Set a label, key or key=value
    #[arg(long, value_name = "LABEL", value_parser = label::parse)]
    label: Vec<String>,
    /// Set an option of the driver
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    opt: Vec<String>,
    /// On which hosts it is
    #[arg(
        long,
        value_name = "SCOPE",
        default_value = "",
        hide_default_value = true
    )]
    scope: String,
    /// Subnet
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    subnet: Vec<String>,
    #[arg(value_name = "NETWORK")]
    name: String,
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let body = self.body()?;
        let call = Call::post("/networks/create").json(&body)?;
        let network: NetworkCreateResponse = context.connect().await?.json(call).await?;
        if !network.warning.is_empty() {
            context.warn(&format!("WARNING: {}", network.warning));
        }
        context.print_line(&network.id)
    }

    fn body(&self) -> Result<NetworkCreateBody, CliError> {
        Ok(NetworkCreateBody {
            name: self.name.clone(),
            driver: self.driver.clone(),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Some(Ipam {
                driver: self.ipam_driver.clone(),
                options: Some(label::to_map(&self.ipam_opt)),
                config: subnets::pair(&Given {
                    subnets: &self.subnet,
                    ranges: &self.ip_range,
                    gateways: &self.gateway,
                    aux_addresses: &self.aux_address,
                })?,
            }),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            scope: self.scope.clone(),
            config_only: self.config_only,
            config_from: Some(ConfigReference {
                network: self.config_from.clone(),
            })
            .filter(|from| !from.network.is_empty()),
            options: label::to_map(&self.opt),
            labels: label::to_map(&self.label),
            ..NetworkCreateBody::default()
        })
    }
}

/// Lists networks.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Show only what fits, key=value
    #[arg(short, long, value_name = "FILTER", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut anything short
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
}

impl Ls {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let call = Call::get("/networks").query_some("filters", filter::query(&self.filter));
        let mut networks: Vec<ApiNetwork> = context.connect().await?.json(call).await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let style = Style {
            format: self.format.as_deref(),
            quiet: self.quiet.into(),
            table: &["ID", "Name", "Driver", "Scope"],
        };
        let rows = networks.iter().map(|network| self.row(network)).collect();
        context.print(&COLUMNS.render(rows, style)?)
    }

    fn row(&self, network: &ApiNetwork) -> Row {
        let id = match self.no_trunc {
            true => network.id.as_str(),
            false => human::short_id(&network.id),
        };
        let labels = network
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let created = network.created.parse::<Timestamp>().map(human::date);
        let row = json!({
            "ID": id,
            "Name": network.name,
            "Driver": network.driver,
            "Scope": network.scope,
            "IPv4": network.enable_ipv4.to_string(),
            "IPv6": network.enable_ipv6.to_string(),
            "Internal": network.internal.to_string(),
            "Labels": labels.collect::<Vec<_>>().join(","),
            "CreatedAt": created.unwrap_or_else(|_| network.created.clone()),
        });
        match row {
            Value::Object(row) => row,
            _ => Row::new(),
        }
    }
}

/// Removes networks.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// A network that is not there is no error
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

impl Rm {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.connect().await?;
        let mut outcome = Ok(());
        for name in &self.names {
            match client
                .done(Call::delete(&format!("/networks/{}", encode(name))))
                .await
            {
                Ok(_) => context.print_line(name)?,
                Err(error) if self.force && error.status() == Some(404) => {}
                Err(error) => {
                    context.warn(&CliError::from(error).message());
                    outcome = Err(CliError::Reported);
                }
            }
        }
        outcome
    }
}

/// Removes networks that nobody uses.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    options: PruneOptions,
}

impl Prune {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let what = "all custom networks not used by at least one container";
        if !self.options.confirm(context, what)? {
            return Ok(());
        }
        context.print(&prune(context, &self.options.filter).await?)
    }
}

/// Removes the unused networks that fit and returns the text about them.
pub(super) async fn prune(context: &Context, filters: &[Filter]) -> Result<String, CliError> {
    let call = Call::post("/networks/prune").query_some("filters", filter::query(filters));
    let pruned: NetworksPruneResponse = context.connect().await?.json(call).await?;
    Ok(Pruned::new("Deleted Networks", pruned.networks_deleted, 0).text)
}
