//! `_ping`, `version`, `info`.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_api::system::{
    Commit, Component, InfoResponse, Platform, PluginsInfo, RuntimeInfo, SwarmInfo, VersionResponse,
};
use engine_model::Status;
use hyper::{Response, StatusCode};

use crate::Engine;
use crate::api::peer::Caller;
use crate::api::request::{NEWEST, OLDEST, Request};
use crate::api::response::{self, Body};
use crate::config::{DEFAULT_RUNTIME, OWN_RUNTIME};
use crate::error::Result;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET|HEAD /_ping`.
pub(in crate::api) fn ping() -> Result<Response<Body>> {
    let mut answer = response::text(StatusCode::OK, "OK")?;
    let no_cache = hyper::header::HeaderValue::from_static("no-cache, no-store, must-revalidate");
    answer
        .headers_mut()
        .insert(hyper::header::CACHE_CONTROL, no_cache);
    Ok(answer)
}

/// `GET /version`.
pub(in crate::api) fn version() -> Result<Response<Body>> {
    let details = [
        ("ApiVersion", NEWEST.to_string()),
        ("MinAPIVersion", OLDEST.to_string()),
    ];
    let kernel = rustix::system::uname();
    let answer = VersionResponse {
        platform: Platform {
            name: "engine".into(),
        },
        components: vec![Component {
            name: "Engine".into(),
            version: VERSION.into(),
            details: details
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }],
        version: VERSION.into(),
        api_version: NEWEST.to_string(),
        min_api_version: OLDEST.to_string(),
        os: "linux".into(),
        arch: engine_api::system::architecture().into(),
        kernel_version: kernel.release().to_string_lossy().into_owned(),
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
    response::json(StatusCode::OK, &answer)
}

fn collect(engine: &Engine, caller: &Caller) -> InfoResponse {
    let mut answer = InfoResponse {
        id: engine.instance.root_hash().into(),
        images: engine.images.list().len() as i64,
        driver: "overlay2".into(),
        driver_status: vec![("Layers".into(), "directories".into())],
        logging_driver: "json-file".into(),
        docker_root_dir: engine.instance.root().display().to_string(),
        server_version: VERSION.into(),
        runtimes: runtimes(engine),
        default_runtime: DEFAULT_RUNTIME.into(),
        swarm: SwarmInfo {
            local_node_state: "inactive".into(),
            ..SwarmInfo::default()
        },
        live_restore_enabled: true,
        security_options: vec!["name=seccomp,profile=builtin".into()],
        ..InfoResponse::default()
    };
    answer.plugins = PluginsInfo {
        volume: vec!["local".into()],
        network: ["bridge", "host", "null"].map(str::to_owned).into(),
        authorization: None,
        log: ["json-file", "local", "none"].map(str::to_owned).into(),
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
    let entry = |path: &std::path::Path| RuntimeInfo {
        path: path.display().to_string(),
        runtime_args: Vec::new(),
    };
    let mut all: BTreeMap<String, RuntimeInfo> = engine
        .config
        .runtimes
        .iter()
        .map(|(name, runtime)| (name.clone(), entry(&runtime.path)))
        .collect();
    let own = entry(&engine.binaries.runtime);
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
