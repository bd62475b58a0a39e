//! Docker's options of a daemon.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

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
    /// Where networks get subnets from, base=CIDR,size=N
    #[arg(long = "default-address-pool", value_name = "POOL")]
    pub default_address_pools: Vec<String>,
    /// The log driver of containers that name none
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// An option of it, KEY=VALUE
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub log_opts: Vec<String>,
    /// The storage driver; there is one
    #[arg(short, long, value_name = "DRIVER")]
    pub storage_driver: Option<String>,
    #[command(flatten)]
    pub ignored: Ignored,
}

/// Options that mean nothing here, and why is said in [`Ignored::named`].
#[derive(Debug, Default, clap::Args)]
pub(super) struct Ignored {
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

impl Ignored {
    /// Returns the options that were given, each with why it means nothing here.
    pub(super) fn named(&self) -> Vec<(&'static str, &'static str)> {
        let downloads = "transfers adapt by themselves";
        let rules = "the engine's rules are nftables', in a table of its own, and always there";
        let all = [
            (
                self.live_restore.is_some(),
                "live-restore",
                "containers always go on while the daemon is away",
            ),
            (
                self.userland_proxy.is_some(),
                "userland-proxy",
                "ports are published by the kernel alone",
            ),
            (
                self.userland_proxy_path.is_some(),
                "userland-proxy-path",
                "ports are published by the kernel alone",
            ),
            (
                self.containerd.is_some(),
                "containerd",
                "the engine needs none",
            ),
            (
                self.containerd_namespace.is_some(),
                "containerd-namespace",
                "the engine needs no containerd",
            ),
            (
                self.containerd_plugins_namespace.is_some(),
                "containerd-plugins-namespace",
                "the engine needs no containerd",
            ),
            (
                self.init_path.is_some(),
                "init-path",
                "the engine brings its own init",
            ),
            (
                self.experimental.is_some(),
                "experimental",
                "nothing is behind it",
            ),
            (self.iptables.is_some(), "iptables", rules),
            (self.ip6tables.is_some(), "ip6tables", rules),
            (
                self.ip_forward.is_some(),
                "ip-forward",
                "forwarding is on while there are bridges",
            ),
            (
                self.ip_masq.is_some(),
                "ip-masq",
                "a network's own option says it",
            ),
            (
                self.raw_logs.is_some(),
                "raw-logs",
                "logs have no colours where nobody sees them",
            ),
            (
                self.shutdown_timeout.is_some(),
                "shutdown-timeout",
                "containers go on when the daemon ends",
            ),
            (
                self.max_concurrent_downloads.is_some(),
                "max-concurrent-downloads",
                downloads,
            ),
            (
                self.max_concurrent_uploads.is_some(),
                "max-concurrent-uploads",
                downloads,
            ),
            (
                self.max_download_attempts.is_some(),
                "max-download-attempts",
                downloads,
            ),
            (
                self.metrics_addr.is_some(),
                "metrics-addr",
                "the API itself has them",
            ),
            (!self.feature.is_empty(), "feature", "nothing is behind it"),
            (!self.label.is_empty(), "label", "the daemon has no labels"),
            (
                !self.storage_opt.is_empty(),
                "storage-opt",
                "the storage driver has no options",
            ),
            (
                !self.exec_opt.is_empty(),
                "exec-opt",
                "control groups are made as the host has them",
            ),
            (
                self.allow_nondistributable_artifacts,
                "allow-nondistributable-artifacts",
                "all layers are pushed",
            ),
        ];
        let given = all.into_iter().filter(|(is_given, ..)| *is_given);
        given.map(|(_, name, why)| (name, why)).collect()
    }
}
