//! From Docker's options to ours. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use base::instance::{DEFAULT_ROOT, DEFAULT_RUN};
use toml::{Table, Value};

use super::file::DaemonJson;
use super::options::Options;

/// Where Docker's clients look for a daemon.
const SOCKET: &str = "unix:///var/run/docker.sock";
const PID_FILE: &str = "/var/run/docker.pid";
/// The registry whose mirrors Docker's option names.
const DOCKER_REGISTRY: &str = "docker.io";

/// Why an option cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OptionError {
    #[error(
        "the following directives are specified both as a flag and in the configuration file: {0}"
    )]
    Twice(String),
    #[error("invalid runtime {0:?}: expected NAME=PATH")]
    Runtime(String),
    #[error("invalid address pool {0:?}: expected base=CIDR,size=N")]
    Pool(String),
    #[error("invalid log option {0:?}: expected KEY=VALUE")]
    LogOption(String),
    #[error("the engine cannot listen on {0:?}: only unix://PATH is supported, once")]
    Host(String),
    #[error("invalid log level: {0}")]
    LogLevel(String),
}

/// What Docker's options come to.
#[derive(Debug)]
pub(super) struct Translation {
    /// The command line of `engine`, its name first.
    pub words: Vec<OsString>,
    /// The configuration file.
    pub config: Table,
    /// Where the daemon keeps what survives a reboot.
    pub root: PathBuf,
    pub pid_file: Option<PathBuf>,
    /// What is to be said of options that mean nothing here.
    pub notes: Vec<String>,
}

/// Translates command line and file.
///
/// # Errors
/// For a value that makes no sense, or is given in both.
pub(super) fn translate(options: &Options, file: &DaemonJson) -> Result<Translation, OptionError> {
    refuse_twice(options, file)?;
    let or = |wanted: Option<&PathBuf>, default: &str| -> PathBuf {
        wanted.map_or_else(|| PathBuf::from(default), Clone::clone)
    };
    let root = or(
        options.data_root.as_ref().or(file.data_root.as_ref()),
        DEFAULT_ROOT,
    );
    let run = or(
        options.exec_root.as_ref().or(file.exec_root.as_ref()),
        DEFAULT_RUN,
    );
    let mut words: Vec<OsString> = ["engine", "daemon", "--foreground"]
        .map(OsString::from)
        .into();
    words.extend(["--root".into(), root.clone().into_os_string()]);
    words.extend(["--run-dir".into(), run.into_os_string()]);
    words.extend(["--host".into(), host(options, file)?.into()]);
    words.extend(["--log-level".into(), log_level(options, file)?.into()]);
    let pid_file = options.pidfile.as_ref().or(file.pidfile.as_ref());
    Ok(Translation {
        words,
        config: config(options, file)?,
        root,
        pid_file: Some(or(pid_file, PID_FILE)),
        notes: notes(options, file),
    })
}

/// Docker takes a value from one of the two only; lists are joined by neither.
fn refuse_twice(options: &Options, file: &DaemonJson) -> Result<(), OptionError> {
    fn both<T>(one: &Option<T>, other: &Option<T>) -> bool {
        one.is_some() && other.is_some()
    }
    fn lists<T, U>(one: &[T], other: &[U]) -> bool {
        !one.is_empty() && !other.is_empty()
    }
    let (o, f) = (options, file);
    let twice = [
        ("hosts", lists(&o.hosts, &f.hosts)),
        ("data-root", both(&o.data_root, &f.data_root)),
        ("exec-root", both(&o.exec_root, &f.exec_root)),
        ("pidfile", both(&o.pidfile, &f.pidfile)),
        ("debug", o.debug && f.debug),
        ("log-level", both(&o.log_level, &f.log_level)),
        (
            "default-runtime",
            both(&o.default_runtime, &f.default_runtime),
        ),
        ("log-driver", both(&o.log_driver, &f.log_driver)),
        ("log-opts", !o.log_opts.is_empty() && !f.log_opts.is_empty()),
        ("storage-driver", both(&o.storage_driver, &f.storage_driver)),
        ("userns-remap", both(&o.userns_remap, &f.userns_remap)),
        (
            "insecure-registries",
            lists(&o.insecure_registries, &f.insecure_registries),
        ),
        (
            "registry-mirrors",
            lists(&o.registry_mirrors, &f.registry_mirrors),
        ),
        (
            "default-address-pools",
            lists(&o.default_address_pools, &f.default_address_pools),
        ),
    ];
    let of_networks = [
        ("bip", both(&o.bip, &f.bip)),
        ("fixed-cidr", both(&o.fixed_cidr, &f.fixed_cidr)),
        ("ipv6", o.ipv6.is_some() && f.ipv6),
        ("bip6", both(&o.bip6, &f.bip6)),
        ("fixed-cidr-v6", both(&o.fixed_cidr_v6, &f.fixed_cidr_v6)),
    ];
    named(twice.iter().chain(&of_networks))
}

fn named<'a>(twice: impl Iterator<Item = &'a (&'a str, bool)>) -> Result<(), OptionError> {
    let named: Vec<&str> = twice.filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    match named.is_empty() {
        true => Ok(()),
        false => Err(OptionError::Twice(named.join(", "))),
    }
}

/// `fd://` is a socket that systemd would pass: the one it stands for is taken.
fn host(options: &Options, file: &DaemonJson) -> Result<String, OptionError> {
    let hosts = options.hosts.iter().chain(&file.hosts);
    let mut chosen: Option<&str> = None;
    for host in hosts
        .map(String::as_str)
        .filter(|host| !host.starts_with("fd://"))
    {
        if !host.starts_with("unix://") || chosen.is_some() {
            return Err(OptionError::Host(host.to_owned()));
        }
        chosen = Some(host);
    }
    Ok(chosen.unwrap_or(SOCKET).to_owned())
}

fn log_level(options: &Options, file: &DaemonJson) -> Result<&'static str, OptionError> {
    if options.debug || file.debug {
        return Ok("debug");
    }
    let level = options.log_level.as_ref().or(file.log_level.as_ref());
    match level.map(String::as_str) {
        None | Some("info") => Ok("info"),
        Some("trace") => Ok("trace"),
        Some("debug") => Ok("debug"),
        Some("warn" | "warning") => Ok("warn"),
        Some("error" | "fatal" | "panic") => Ok("error"),
        Some(other) => Err(OptionError::LogLevel(other.to_owned())),
    }
}

fn config(options: &Options, file: &DaemonJson) -> Result<Table, OptionError> {
    let mut config = Table::new();
    let runtime = options
        .default_runtime
        .as_ref()
        .or(file.default_runtime.as_ref());
    let driver = options.log_driver.as_ref().or(file.log_driver.as_ref());
    let remap = options.userns_remap.as_ref().or(file.userns_remap.as_ref());
    let texts = [
        ("default-runtime", runtime),
        ("log-driver", driver),
        ("userns-remap", remap),
    ];
    for (key, value) in texts {
        let text = value.map(|value| Value::String(value.clone()));
        config.extend(text.map(|text| (key.to_owned(), text)));
    }
    let insecure = joined(&options.insecure_registries, &file.insecure_registries);
    config.insert("insecure-registries".to_owned(), Value::Array(insecure));
    let mirrors = joined(&options.registry_mirrors, &file.registry_mirrors);
    if !mirrors.is_empty() {
        let mirrors = Table::from_iter([(DOCKER_REGISTRY.to_owned(), Value::Array(mirrors))]);
        config.insert("mirrors".to_owned(), Value::Table(mirrors));
    }
    let tables = [
        ("log-opts", log_options(options, file)?),
        ("runtimes", runtimes(options, file)?),
        ("network", network(options, file)?),
    ];
    let said = tables.into_iter().filter(|(_, table)| !table.is_empty());
    config.extend(said.map(|(key, table)| (key.to_owned(), Value::Table(table))));
    Ok(config)
}

fn joined(one: &[String], other: &[String]) -> Vec<Value> {
    let all = one.iter().chain(other).cloned();
    all.map(Value::String).collect()
}

fn log_options(options: &Options, file: &DaemonJson) -> Result<Table, OptionError> {
    let mut all: BTreeMap<String, String> = file.log_opts.clone();
    for option in &options.log_opts {
        let pair = option.split_once('=');
        let (key, value) = pair.ok_or_else(|| OptionError::LogOption(option.clone()))?;
        all.insert(key.to_owned(), value.to_owned());
    }
    let entry = |(key, value)| (key, Value::String(value));
    Ok(all.into_iter().map(entry).collect())
}

fn runtimes(options: &Options, file: &DaemonJson) -> Result<Table, OptionError> {
    let mut all = Table::new();
    let mut add = |name: &str, path: &str, args: &[String]| {
        let mut entry = Table::from_iter([("path".to_owned(), Value::String(path.to_owned()))]);
        if !args.is_empty() {
            let args = args.iter().cloned().map(Value::String);
            entry.insert("args".to_owned(), Value::Array(args.collect()));
        }
        all.insert(name.to_owned(), Value::Table(entry));
    };
    for (name, runtime) in &file.runtimes {
        add(name, &runtime.path, &runtime.arguments);
    }
    for runtime in &options.add_runtime {
        match runtime.split_once('=') {
            Some((name, path)) if !name.is_empty() && Path::new(path).is_absolute() => {
                add(name, path, &[]);
            }
            _ => return Err(OptionError::Runtime(runtime.clone())),
        }
    }
    Ok(all)
}

fn network(options: &Options, file: &DaemonJson) -> Result<Table, OptionError> {
    let mut network = Table::new();
    for (key, said, in_file) in [
        ("default-bridge", &options.bip, &file.bip),
        (
            "default-bridge-range",
            &options.fixed_cidr,
            &file.fixed_cidr,
        ),
        ("default-bridge6", &options.bip6, &file.bip6),
        (
            "default-bridge6-range",
            &options.fixed_cidr_v6,
            &file.fixed_cidr_v6,
        ),
    ] {
        if let Some(value) = said.as_ref().or(in_file.as_ref()) {
            network.insert(key.to_owned(), Value::String(value.clone()));
        }
    }
    if options.ipv6.unwrap_or(file.ipv6) {
        network.insert("default-bridge-ipv6".to_owned(), Value::Boolean(true));
    }
    let pools = pools(options, file)?;
    if !pools.is_empty() {
        network.insert("address-pools".to_owned(), Value::Array(pools));
    }
    Ok(network)
}

fn pools(options: &Options, file: &DaemonJson) -> Result<Vec<Value>, OptionError> {
    let pool = |base: &str, size: u8| {
        let entries = [
            ("base".to_owned(), Value::String(base.to_owned())),
            ("size".to_owned(), Value::Integer(i64::from(size))),
        ];
        Value::Table(Table::from_iter(entries))
    };
    let mut pools: Vec<Value> = Vec::new();
    pools.extend(
        file.default_address_pools
            .iter()
            .map(|it| pool(&it.base, it.size)),
    );
    for text in &options.default_address_pools {
        let bad = || OptionError::Pool(text.clone());
        let part = |key: &str| {
            let mut parts = text.split(',');
            parts.find_map(|part| part.strip_prefix(key))
        };
        let base = part("base=").ok_or_else(bad)?;
        let size = part("size=").and_then(|size| size.parse().ok());
        pools.push(pool(base, size.ok_or_else(bad)?));
    }
    Ok(pools)
}

fn notes(options: &Options, file: &DaemonJson) -> Vec<String> {
    let mut notes: Vec<String> = options
        .given_in_vain
        .iter()
        .map(|(name, why)| format!("--{name} is ignored: {why}"))
        .collect();
    let driver = options
        .storage_driver
        .as_ref()
        .or(file.storage_driver.as_ref());
    if let Some(driver) = driver.filter(|driver| *driver != "overlay2") {
        notes.push(format!(
            "storage driver {driver} is ignored: there is one, overlay2"
        ));
    }
    let rest = file.rest.keys();
    notes.extend(rest.map(|key| format!("{key} of the configuration file is ignored")));
    notes
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn translated(words: &str, file: &str) -> Result<Translation, OptionError> {
        let words = std::iter::once("dockerd").chain(words.split_whitespace());
        let words = words.map(OsString::from);
        let options = Options::read(words, &mut Options::command()).unwrap();
        translate(&options, &serde_json::from_str(file).unwrap())
    }

    fn words(translation: &Translation) -> String {
        let words = translation.words.iter().map(|word| word.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn without_options_it_is_where_dockers_clients_look() {
        let plain = translated("", "{}").unwrap();
        assert_eq!(
            words(&plain),
            format!(
                "engine daemon --foreground --root {DEFAULT_ROOT} --run-dir {DEFAULT_RUN} \
                 --host {SOCKET} --log-level info"
            )
        );
        assert_eq!(plain.pid_file.unwrap(), Path::new(PID_FILE));
        assert_eq!(plain.notes, [] as [&str; 0]);
    }

    #[test]
    fn each_option_comes_to_something() {
        let all = translated(
            "-H unix:///x.sock -H fd:// --data-root /d --exec-root /e --pidfile /p -D \
             --default-runtime crun --add-runtime crun=/usr/bin/crun --insecure-registry r:5000 \
             --registry-mirror http://m:5000 --bip 10.9.0.1/24 \
             --fixed-cidr 10.9.0.128/25 --ipv6 --bip6 fd00:9::1/64 --fixed-cidr-v6 fd00:9::/112 \
             --default-address-pool base=10.10.0.0/16,size=24 --log-driver local --log-opt max-size=1m --userns-remap default \
             --live-restore --userland-proxy=false --containerd /c.sock --storage-driver vfs",
            r#"{"features": {"buildkit": true}}"#,
        )
        .unwrap();
        assert_eq!(
            words(&all),
            "engine daemon --foreground --root /d --run-dir /e --host unix:///x.sock --log-level debug"
        );
        let expected: Table = toml::from_str(
            "default-runtime = \"crun\"\nuserns-remap = \"default\"\nlog-driver = \"local\"\ninsecure-registries = [\"r:5000\"]\n\
             [mirrors]\n\"docker.io\" = [\"http://m:5000\"]\n[log-opts]\nmax-size = \"1m\"\n\
             [runtimes.crun]\npath = \"/usr/bin/crun\"\n[network]\ndefault-bridge = \"10.9.0.1/24\"\n\
             default-bridge-range = \"10.9.0.128/25\"\ndefault-bridge-ipv6 = true\n\
             default-bridge6 = \"fd00:9::1/64\"\ndefault-bridge6-range = \"fd00:9::/112\"\n\
             address-pools = [{ base = \"10.10.0.0/16\", size = 24 }]",
        )
        .unwrap();
        assert_eq!(all.config, expected);
        let notes = all.notes.join("\n");
        for ignored in [
            "--live-restore is ignored",
            "--userland-proxy is ignored",
            "--containerd is ignored",
            "storage driver vfs is ignored",
            "features of the configuration file is ignored",
        ] {
            assert!(notes.contains(ignored), "{ignored}: {notes}");
        }
    }

    #[test]
    fn the_file_says_the_same_but_not_what_the_command_line_says() {
        let file = r#"{"bip": "10.9.0.1/24", "runtimes": {"crun": {"path": "/usr/bin/crun"}},
            "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}], "log-level": "warn"}"#;
        let of_file = translated("", file).unwrap();
        assert!(words(&of_file).ends_with("--log-level warn"));
        let text = toml::to_string(&of_file.config).unwrap();
        assert!(text.contains("default-bridge = \"10.9.0.1/24\""), "{text}");
        let args = r#"{"runtimes": {"x": {"path": "/x", "runtimeArgs": ["-v"]}}}"#;
        let args = translated("", args).unwrap().config["runtimes"]["x"]["args"].clone();
        assert_eq!(args, Value::Array(vec![Value::String("-v".to_owned())]));
        let twice = translated("--bip 10.8.0.1/24 -l info", file).unwrap_err();
        assert_eq!(twice, OptionError::Twice("log-level, bip".to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "-H tcp://0.0.0.0:2375",
            "-H unix:///a -H unix:///b",
            "--add-runtime crun",
            "--add-runtime crun=crun",
            "--log-opt max-size",
            "--log-level loud",
            "--default-address-pool 10.0.0.0/8",
        ] {
            assert!(translated(words, "{}").is_err(), "{words}");
        }
    }
}
