//! Which handler answers which path. Image names hold slashes, so the table is
//! matched over the parts of the path.

use std::sync::Arc;

use engine_api::prune::BuildCachePruneResponse;
use hyper::{Method, Response, StatusCode};

use super::access;
use super::request::Request;
use super::response::{self, Body};
use super::routes::{
    archives, attach, containers, disk, events, exec, files, images, metrics, networks, pull, push,
    registry, stats, system, volumes,
};
use crate::Engine;
use crate::error::{Result, unavailable, unsupported};

/// What `GET /plugins` lists.
const NO_PLUGINS: [(); 0] = [];

/// Answers a request that [`access::admit`] lets through; a route that is new
/// here is declared in its table, else nobody is served by it.
///
/// # Errors
/// Whatever the handler refuses; not found for an unknown path.
pub(super) async fn route(engine: &Arc<Engine>, request: Request) -> Result<Response<Body>> {
    // Docker answers this for every path; it tells nothing and does nothing.
    if request.method == Method::OPTIONS {
        return response::empty(StatusCode::OK);
    }
    let Some(route) = access::table::route_of(&request.method, &request.path) else {
        return response::no_such_page();
    };
    let request = access::admit(engine, request, route.action).await?;
    let path = request.path.clone();
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts.first().copied() {
        Some("containers") => containers_table(engine, request, &parts[1..]).await,
        Some("images") => images_table(engine, request, &parts[1..]).await,
        Some("exec") => exec_table(engine, request, &parts[1..]).await,
        Some("networks") => networks_table(engine, request, &parts[1..]).await,
        Some("volumes") => volumes_table(engine, request, &parts[1..]).await,
        _ => system_table(engine, request, &parts).await,
    }
}

/// Returns Docker's answer of an engine that is in no swarm.
fn swarm(parts: &[&str]) -> base::Failure {
    match parts {
        ["swarm", "init" | "join"] => unsupported("swarm mode is not supported by this engine"),
        ["swarm", "leave"] => unavailable("This node is not part of a swarm"),
        _ => unavailable(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
        ),
    }
}

async fn system_table(
    engine: &Arc<Engine>,
    request: Request,
    parts: &[&str],
) -> Result<Response<Body>> {
    match (request.method.clone(), parts) {
        (Method::GET | Method::HEAD, ["_ping"]) => system::ping(),
        (Method::GET, ["version"]) => system::version(),
        (Method::GET, ["info"]) => system::info(engine, &request).await,
        (Method::GET, ["metrics"]) => metrics::metrics(engine).await,
        (Method::GET, ["system", "df"]) => disk::usage(engine, &request).await,
        (Method::POST, ["commit"]) => archives::commit(engine, request).await,
        (Method::POST, ["auth"]) => registry::auth(engine, request).await,
        (Method::GET, ["distribution", name @ .., "json"]) => {
            registry::inspect(engine, &request, &name.join("/")).await
        }
        (Method::GET, ["events"]) => events::follow(engine, &request),
        // There is no build cache, and so nothing that could be in it.
        (Method::POST, ["build", "prune"]) => {
            response::json(StatusCode::OK, &BuildCachePruneResponse::default())
        }
        (Method::POST, ["build" | "session" | "grpc", ..]) => Err(unsupported(
            "building images is not supported by this engine",
        )),
        (_, ["swarm", ..] | ["nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => {
            Err(swarm(parts))
        }
        (Method::GET, ["plugins"]) => response::json(StatusCode::OK, &NO_PLUGINS),
        (_, ["plugins", ..]) => Err(unsupported("plugins are not supported by this engine")),
        _ => response::no_such_page(),
    }
}

async fn containers_table(
    engine: &Arc<Engine>,
    request: Request,
    parts: &[&str],
) -> Result<Response<Body>> {
    match (request.method.clone(), parts) {
        (Method::GET, ["json"]) => containers::list(engine, &request).await,
        (Method::POST, ["create"]) => containers::create(engine, request).await,
        (Method::POST, ["prune"]) => containers::prune(engine, &request).await,
        (Method::GET, [id, "json"]) => containers::inspect(engine, &request, id).await,
        (Method::GET, [id, "top"]) => containers::top(engine, &request, id).await,
        (Method::GET, [id, "stats"]) => stats::stats(engine, &request, id).await,
        (Method::HEAD, [id, "archive"]) => files::head(engine, &request, id).await,
        (Method::GET, [id, "archive"]) => files::get(engine, &request, id).await,
        (Method::PUT, [id, "archive"]) => files::put(engine, request, id).await,
        (Method::GET, [id, "changes"]) => files::changes(engine, id).await,
        (Method::GET, [id, "export"]) => files::export(engine, id).await,
        (Method::GET, [id, "logs"]) => containers::logs(engine, &request, id).await,
        (Method::POST, [id, "start"]) => containers::start(engine, &request, id).await,
        (Method::POST, [id, "stop"]) => containers::stop(engine, &request, id).await,
        (Method::POST, [id, "restart"]) => containers::restart(engine, &request, id).await,
        (Method::POST, [id, "kill"]) => containers::kill(engine, &request, id).await,
        (Method::POST, [id, "pause"]) => containers::pause(engine, id).await,
        (Method::POST, [id, "unpause"]) => containers::unpause(engine, id).await,
        (Method::POST, [id, "update"]) => containers::update(engine, request, id).await,
        (Method::POST, [id, "rename"]) => containers::rename(engine, &request, id).await,
        (Method::POST, [id, "resize"]) => containers::resize(engine, &request, id).await,
        (Method::POST, [id, "wait"]) => containers::wait(engine, &request, id),
        (Method::POST, [id, "attach"]) => attach::attach(engine, request, id).await,
        (Method::GET, [id, "attach", "ws"]) => attach::websocket(engine, request, id).await,
        (Method::POST, [id, "exec"]) => exec::create(engine, request, id).await,
        // The name of a link has two parts.
        (Method::DELETE, id @ ([_] | [_, _])) => {
            containers::remove(engine, &request, &id.join("/")).await
        }
        (_, [_, "checkpoints", ..]) => {
            Err(unsupported("checkpoints of containers are not supported"))
        }
        _ => response::no_such_page(),
    }
}

async fn exec_table(
    engine: &Arc<Engine>,
    request: Request,
    parts: &[&str],
) -> Result<Response<Body>> {
    match (request.method.clone(), parts) {
        (Method::POST, [id, "start"]) => exec::start(engine, request, id).await,
        (Method::POST, [id, "resize"]) => exec::resize(engine, &request, id).await,
        (Method::GET, [id, "json"]) => exec::inspect(engine, id),
        _ => response::no_such_page(),
    }
}

async fn images_table(
    engine: &Arc<Engine>,
    request: Request,
    parts: &[&str],
) -> Result<Response<Body>> {
    match (request.method.clone(), parts) {
        (Method::GET, ["json"]) => images::list(engine, &request),
        (Method::POST, ["create"]) => pull::create(engine, request).await,
        (Method::GET, ["search"]) => registry::search(engine, &request).await,
        (Method::POST, [name @ .., "push"]) => push::push(engine, request, &name.join("/")).await,
        (Method::POST, ["load"]) => archives::load(engine, request).await,
        (Method::GET, ["get"]) => archives::save(engine, &request, None),
        (Method::GET, [name @ .., "get"]) => archives::save(engine, &request, Some(name.join("/"))),
        (Method::GET, [name @ .., "json"]) => images::inspect(engine, &request, &name.join("/")),
        (Method::GET, [name @ .., "history"]) => images::history(engine, &request, &name.join("/")),
        (Method::POST, [name @ .., "tag"]) => images::tag(engine, &request, &name.join("/")).await,
        (Method::DELETE, name) => images::remove(engine, &request, &name.join("/")).await,
        (Method::POST, ["prune"]) => images::prune(engine, &request).await,
        _ => response::no_such_page(),
    }
}

async fn networks_table(
    engine: &Arc<Engine>,
    request: Request,
    parts: &[&str],
) -> Result<Response<Body>> {
    match (request.method.clone(), parts) {
        (Method::GET, []) => networks::list(engine, &request),
        (Method::POST, ["create"]) => networks::create(engine, request).await,
        (Method::POST, ["prune"]) => networks::prune(engine, &request).await,
        (Method::GET, [id]) => networks::inspect(engine, id),
        (Method::DELETE, [id]) => networks::remove(engine, id).await,
        (Method::POST, [id, "connect"]) => networks::connect(engine, request, id).await,
        (Method::POST, [id, "disconnect"]) => networks::disconnect(engine, request, id).await,
        _ => response::no_such_page(),
    }
}

async fn volumes_table(
    engine: &Arc<Engine>,
    request: Request,
    parts: &[&str],
) -> Result<Response<Body>> {
    match (request.method.clone(), parts) {
        (Method::GET, []) => volumes::list(engine, &request),
        (Method::POST, ["create"]) => volumes::create(engine, request).await,
        (Method::POST, ["prune"]) => volumes::prune(engine, &request).await,
        (Method::GET, [name]) => volumes::inspect(engine, name),
        (Method::DELETE, [name]) => volumes::remove(engine, &request, name).await,
        _ => response::no_such_page(),
    }
}
