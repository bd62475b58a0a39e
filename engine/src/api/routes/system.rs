//! `_ping`, `version`, `info`.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_api::system::{
    Commit, Component, FirewallInfo, IndexConfig, InfoResponse, Platform, PluginsInfo,
    RegistryConfig, RuntimeInfo, SwarmInfo, VersionResponse,
};
use engine_api::version::{MAX_VERSION, MIN_VERSION};
use engine_api::versions::Answer;
use engine_model::Status;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};

use crate::Engine;
use crate::api::peer::Caller;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::config::{DEFAULT_RUNTIME, OWN_RUNTIME};
use crate::container::log::DRIVERS;
use crate::error::Result;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Docker's registry, and what clients call it.
const OFFICIAL: &str = "docker.io";
const INDEX: &str = "https://index.docker.io/v1/";

/// `GET|HEAD /_ping`.
pub(in crate::api) fn ping() -> Result<Response<Body>> {
    let mut answer = response::text(StatusCode::OK, "OK")?;
    let headers = answer.headers_mut();
    for (name, value) in [
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
        ("swarm", "inactive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(answer)
}

/// `GET /version`.
pub(in crate::api) fn version() -> Result<Response<Body>> {
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    let architecture = engine_api::system::architecture();
    let details = [
        ("ApiVersion", MAX_VERSION.to_string()),
        ("MinAPIVersion", MIN_VERSION.to_string()),
        ("Arch", architecture.to_owned()),
        ("Experimental", "false".to_owned()),
        ("KernelVersion", kernel.clone()),
        ("Os", "linux".to_owned()),
    ];
    let component = |name: &str, details: &[(&str, String)]| Component {
        name: name.into(),
        version: VERSION.into(),
        details: details
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    };
    let answer = VersionResponse {
        platform: Platform {
            name: "engine".into(),
        },
        components: vec![
            component("Engine", &details),
            component(OWN_RUNTIME, &[]),
            component("engine-shim", &[]),
        ],
        version: VERSION.into(),
        api_version: MAX_VERSION.to_string(),
        min_api_version: MIN_VERSION.to_string(),
        os: "linux".into(),
        arch: architecture.into(),
        kernel_version: kernel,
        ..VersionResponse::default()
    };
    response::json(StatusCode::OK, &answer)
}

/// `GET /info`.
pub(in crate::api) async fn info(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let (engine, caller) = (engine.clone(), request.caller.clone());
    let answer = crate::blocking(move || Ok(collect(&engine, &caller))).await?;
    response::versioned((Answer::Info, request.version), &answer)
}

fn collect(engine: &Engine, caller: &Caller) -> InfoResponse {
    let mut answer = InfoResponse {
        id: engine.instance.root_hash().into(),
        images: engine.images.list().len() as i64,
        driver: "overlay2".into(),
        driver_status: vec![("Layers".into(), "directories".into())],
        logging_driver: engine.config.log_driver.clone(),
        docker_root_dir: engine.instance.root().display().to_string(),
        server_version: VERSION.into(),
        runtimes: runtimes(engine),
        default_runtime: engine.config.default_runtime.clone(),
        swarm: SwarmInfo {
            local_node_state: "inactive".into(),
            ..SwarmInfo::default()
        },
        live_restore_enabled: true,
        security_options: security_options(engine),
        init_binary: "engine-shim".into(),
        index_server_address: INDEX.into(),
        registry_config: registries(engine),
        firewall_backend: FirewallInfo {
            driver: "nftables".into(),
        },
        ..InfoResponse::default()
    };
    answer.plugins = PluginsInfo {
        volume: vec!["local".into()],
        network: ["bridge", "host", "null"].map(str::to_owned).into(),
        authorization: None,
        log: DRIVERS.map(str::to_owned).into(),
    };
    for commit in [
        &mut answer.runc_commit,
        &mut answer.containerd_commit,
        &mut answer.init_commit,
    ] {
        *commit = Commit { id: VERSION.into() };
    }
    count_containers(engine, caller, &mut answer);
    describe_host(&mut answer);
    capabilities(&mut answer);
    answer
}

/// What containers are confined by.
fn security_options(engine: &Engine) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if !engine.config.userns_remap.is_empty() {
        options.push("name=userns".to_owned());
    }
    options
}

fn registries(engine: &Engine) -> RegistryConfig {
    let mirrors = |name: &str| -> Option<Vec<String>> {
        let all = engine.config.mirrors.get(name)?;
        Some(all.iter().map(ToString::to_string).collect())
    };
    let index = |name: &str, secure: bool| IndexConfig {
        name: name.to_owned(),
        mirrors: mirrors(name).unwrap_or_default(),
        secure,
        official: name == OFFICIAL,
    };
    let insecure = engine.config.insecure_registries.iter();
    let insecure = insecure.map(|name| (name.clone(), index(name, false)));
    RegistryConfig {
        // Loopback is spoken to without TLS, as by Docker.
        insecure_registry_cidrs: ["::1/128", "127.0.0.0/8"].map(str::to_owned).into(),
        index_configs: insecure
            .chain([(OFFICIAL.to_owned(), index(OFFICIAL, true))])
            .collect(),
        mirrors: mirrors(OFFICIAL),
    }
}

fn count_containers(engine: &Engine, caller: &Caller, answer: &mut InfoResponse) {
    let mut all = engine.containers.unordered();
    all.retain(|container| caller.sees(container.owner.as_deref()));
    let count = |wanted: Status| all.iter().filter(|c| c.state().status == wanted).count() as i64;
    answer.containers = all.len() as i64;
    answer.containers_running = count(Status::Running);
    answer.containers_paused = count(Status::Paused);
    answer.containers_stopped =
        answer.containers - answer.containers_running - answer.containers_paused;
}

fn describe_host(answer: &mut InfoResponse) {
    let kernel = rustix::system::uname();
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    answer.system_time = base::Timestamp::now().to_string();
    answer.cgroup_driver = "cgroupfs".into();
    if unified {
        answer.security_options.push("name=cgroupns".to_owned());
    }
    answer.cgroup_version = if unified { "2" } else { "1" }.into();
    answer.kernel_version = kernel.release().to_string_lossy().into_owned();
    answer.operating_system = operating_system();
    answer.os_type = "linux".into();
    answer.architecture = std::env::consts::ARCH.into();
    answer.n_cpu = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as i64;
    answer.mem_total = memory_bytes();
    answer.name = kernel.nodename().to_string_lossy().into_owned();
}

fn capabilities(answer: &mut InfoResponse) {
    let flags = [
        &mut answer.memory_limit,
        &mut answer.swap_limit,
        &mut answer.cpu_cfs_period,
        &mut answer.cpu_cfs_quota,
        &mut answer.cpu_shares,
        &mut answer.cpu_set,
        &mut answer.pids_limit,
        &mut answer.oom_kill_disable,
        &mut answer.ipv4_forwarding,
    ];
    for flag in flags {
        *flag = true;
    }
}

fn runtimes(engine: &Engine) -> BTreeMap<String, RuntimeInfo> {
    let entry = |path: &std::path::Path, args: &[String]| RuntimeInfo {
        path: path.display().to_string(),
        runtime_args: args.to_vec(),
    };
    let mut all: BTreeMap<String, RuntimeInfo> = engine
        .config
        .runtimes
        .iter()
        .map(|(name, runtime)| (name.clone(), entry(&runtime.path, &runtime.args)))
        .collect();
    let own = entry(&engine.binaries.runtime, &[]);
    all.entry(DEFAULT_RUNTIME.into()).or_insert(own.clone());
    all.insert(OWN_RUNTIME.into(), own);
    all
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux".into(), |name| name.trim_matches('"').to_owned())
}

fn memory_bytes() -> i64 {
    let info = rustix::system::sysinfo();
    i64::try_from(info.totalram.saturating_mul(u64::from(info.mem_unit))).unwrap_or(i64::MAX)
}
