//! Docker's options of a daemon.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgAction, Command, FromArgMatches as _, Parser};

/// Runs containers, as Docker's daemon is called.
#[derive(Debug, Default, Parser)]
#[command(name = "dockerd", version, about = "Runs containers")]
pub(super) struct Options {
    /// Docker's configuration file [default: /etc/docker/daemon.json]
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Look at the configuration and exit
    #[arg(long)]
    pub validate: bool,
    /// Where to listen: unix://PATH
    #[arg(short = 'H', long = "host", value_name = "URL")]
    pub hosts: Vec<String>,
    /// Where everything that survives a reboot is kept
    #[arg(short = 'g', long, alias = "graph", value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Where everything that does not is kept
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<PathBuf>,
    /// The file of the daemon's process id
    #[arg(short, long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Log more
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// How much is logged: debug, info, warn, error or fatal
    #[arg(short, long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// The runtime of containers that name none
    #[arg(long, value_name = "NAME")]
    pub default_runtime: Option<String>,
    /// An OCI runtime, NAME=PATH
    #[arg(long, value_name = "NAME=PATH")]
    pub add_runtime: Vec<String>,
    /// A registry that may be spoken to without TLS
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    pub insecure_registries: Vec<String>,
    /// A mirror of Docker's registry
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub registry_mirrors: Vec<String>,
    /// Address of the default bridge, with its prefix
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub bip: Option<String>,
    /// Where the default bridge's containers get IPv4 addresses from
    #[arg(long, value_name = "CIDR")]
    pub fixed_cidr: Option<String>,
    /// Give the default bridge IPv6
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ipv6: Option<bool>,
    /// IPv6 address of the default bridge, with its prefix
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub bip6: Option<String>,
    /// Where the default bridge's containers get IPv6 addresses from
    #[arg(long, value_name = "CIDR")]
    pub fixed_cidr_v6: Option<String>,
    /// Where networks get subnets from, base=CIDR,size=N
    #[arg(long = "default-address-pool", value_name = "POOL")]
    pub default_address_pools: Vec<String>,
    /// The log driver of containers that name none
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// An option of it, KEY=VALUE
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub log_opts: Vec<String>,
    /// Whose subordinate ids containers have: default, USER[:GROUP] or UID[:GID]
    #[arg(long, value_name = "USER[:GROUP]")]
    pub userns_remap: Option<String>,
    /// The storage driver; there is one
    #[arg(short, long, value_name = "DRIVER")]
    pub storage_driver: Option<String>,
    #[command(flatten)]
    ignored: Ignored,
    /// The options of [`Ignored`] that were given, each with why it means nothing.
    #[arg(skip)]
    pub given_in_vain: Vec<(String, &'static str)>,
}

/// Options that are taken and mean nothing here; why, [`IGNORED`] says.
#[derive(Debug, Default, clap::Args)]
struct Ignored {
    /// Containers always go on while the daemon is away
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    live_restore: Option<bool>,
    /// Ports are published by the kernel alone
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    userland_proxy: Option<bool>,
    #[arg(long, value_name = "PATH", hide = true)]
    userland_proxy_path: Option<String>,
    /// No containerd is needed
    #[arg(long, value_name = "PATH")]
    containerd: Option<String>,
    #[arg(long, value_name = "NAME", hide = true)]
    containerd_namespace: Option<String>,
    #[arg(long, value_name = "NAME", hide = true)]
    containerd_plugins_namespace: Option<String>,
    #[arg(long, value_name = "PATH", hide = true)]
    init_path: Option<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    experimental: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    iptables: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    ip6tables: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    ip_forward: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    ip_masq: Option<bool>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    raw_logs: Option<bool>,
    #[arg(long, value_name = "SECONDS", hide = true)]
    shutdown_timeout: Option<String>,
    #[arg(long, value_name = "NUMBER", hide = true)]
    max_concurrent_downloads: Option<String>,
    #[arg(long, value_name = "NUMBER", hide = true)]
    max_concurrent_uploads: Option<String>,
    #[arg(long, value_name = "NUMBER", hide = true)]
    max_download_attempts: Option<String>,
    #[arg(long, value_name = "ADDRESS", hide = true)]
    metrics_addr: Option<String>,
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    feature: Vec<String>,
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    label: Vec<String>,
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    storage_opt: Vec<String>,
    #[arg(long, value_name = "OPTION", hide = true)]
    exec_opt: Vec<String>,
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    allow_nondistributable_artifacts: bool,
}

const DOWNLOADS: &str = "transfers adapt by themselves";
const KERNEL: &str = "ports are published by the kernel alone";
const NO_CONTAINERD: &str = "the engine needs no containerd";
const RULES: &str = "the rules are nftables', in a table of their own, and always there";

/// The arguments that mean nothing here, and why.
const IGNORED: [(&str, &str); 23] = [
    (
        "live_restore",
        "containers always go on while the daemon is away",
    ),
    ("userland_proxy", KERNEL),
    ("userland_proxy_path", KERNEL),
    ("containerd", NO_CONTAINERD),
    ("containerd_namespace", NO_CONTAINERD),
    ("containerd_plugins_namespace", NO_CONTAINERD),
    ("init_path", "the engine brings its own init"),
    ("experimental", "nothing is behind it"),
    ("iptables", RULES),
    ("ip6tables", RULES),
    ("ip_forward", "forwarding is on while there are bridges"),
    ("ip_masq", "a network's own option says it"),
    ("raw_logs", "logs have no colours where nobody sees them"),
    ("shutdown_timeout", "containers go on when the daemon ends"),
    ("max_concurrent_downloads", DOWNLOADS),
    ("max_concurrent_uploads", DOWNLOADS),
    ("max_download_attempts", DOWNLOADS),
    ("metrics_addr", "the API itself has them"),
    ("feature", "nothing is behind it"),
    ("label", "the daemon has no labels"),
    ("storage_opt", "the storage driver has no options"),
    ("exec_opt", "control groups are made as the host has them"),
    ("allow_nondistributable_artifacts", "all layers are pushed"),
];

impl Options {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// When an option is not Docker's, or the help was asked for.
    pub(super) fn read(
        words: impl Iterator<Item = OsString>,
        command: &mut Command,
    ) -> Result<Self, clap::Error> {
        let matches = command.try_get_matches_from_mut(words)?;
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let ignored = IGNORED.into_iter().filter(|(id, _)| given(id));
        let ignored = ignored.map(|(id, why)| (id.replace('_', "-"), why));
        Ok(Self {
            given_in_vain: ignored.collect(),
            ..Self::from_arg_matches(&matches)?
        })
    }
}
