//! `/containers`.

use std::sync::Arc;

use engine_api::container::{
    ContainerCreateBody, ContainerUpdateResponse, TopResponse, WaitResponse,
};
use engine_api::host_config::HostConfig;
use engine_api::prune::ContainersPruneResponse;
use engine_model::Status;
use engine_model::signal::Signal;
use engine_shim_api::ControlRequest;
use hyper::{Response, StatusCode};

use super::log_stream;
use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::stream::{self, Framing};
use crate::api::view;
use crate::container::exec::Streams;
use crate::container::remove::{AnonymousVolumes, Force};
use crate::container::start::StartOutcome;
use crate::container::stop::{StopOutcome, StopRequest};
use crate::container::wait::WaitCondition;
use crate::container::{self, Container, create as creation, shim};
use crate::error::{OrFail as _, Result, conflict, invalid};
use crate::event::{CONTAINER_ATTACHED, CONTAINER_RENAMED, Renamed};

/// `GET /containers/json`.
pub(in crate::api) async fn list(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let filters = request.filters(view::list::FILTERS)?;
    let all = request.flag("all")
        || request
            .number::<i64>("limit")?
            .is_some_and(|limit| limit > 0);
    let limit = request
        .number::<i64>("limit")?
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0);
    let (engine, caller) = (engine.clone(), request.caller.clone());
    let answer =
        crate::blocking(move || view::list::containers((&engine, &caller), &filters, all, limit))
            .await?;
    response::json(StatusCode::OK, &answer)
}

/// `POST /containers/create`.
pub(in crate::api) async fn create(
    engine: &Arc<Engine>,
    mut request: Request,
) -> Result<Response<Body>> {
    let name = request.parameter("name").map(str::to_owned);
    let body: ContainerCreateBody = request.json().await?;
    let (engine, owner) = (engine.clone(), request.caller.owner());
    let work = async move { creation::create(&engine, name.as_deref(), body, owner).await };
    response::json(StatusCode::CREATED, &crate::uninterrupted(work).await?)
}

/// `GET /containers/{id}/json`.
pub(in crate::api) async fn inspect(
    engine: &Arc<Engine>,
    _request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let engine = engine.clone();
    let answer = crate::blocking(move || view::inspect::container(&engine, &container)).await?;
    response::json(StatusCode::OK, &answer)
}

/// `GET /containers/{id}/top`.
pub(in crate::api) async fn top(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    if !matches!(container.state().status, Status::Running | Status::Paused) {
        return Err(conflict(format!(
            "container {} is not running",
            container.id
        )));
    }
    if let Some(arguments) = request
        .parameter("ps_args")
        .filter(|arguments| *arguments != "-ef")
    {
        return Err(crate::error::unsupported(format!(
            "ps arguments {arguments:?} are not supported"
        )));
    }
    let answer: TopResponse = view::top::processes(engine, &container)?;
    response::json(StatusCode::OK, &answer)
}

/// `GET /containers/{id}/logs`.
pub(in crate::api) async fn logs(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    log_stream::logs(request, container)
}

/// `POST /containers/{id}/start`.
pub(in crate::api) async fn start(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let engine = engine.clone();
    let work = async move { container::start::start(&engine, &container).await };
    match crate::uninterrupted(work).await? {
        StartOutcome::Started => response::empty(StatusCode::NO_CONTENT),
        StartOutcome::AlreadyRunning => response::empty(StatusCode::NOT_MODIFIED),
    }
}

fn stop_request(request: &Request) -> Result<StopRequest> {
    let signal = request
        .parameter("signal")
        .map(str::parse::<Signal>)
        .transpose()
        .or_invalid()?;
    Ok(StopRequest {
        signal,
        timeout_seconds: request.number("t")?,
    })
}

/// `POST /containers/{id}/stop`.
pub(in crate::api) async fn stop(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let (engine, options) = (engine.clone(), stop_request(request)?);
    let work = async move { container::stop::stop(&engine, &container, options).await };
    match crate::uninterrupted(work).await? {
        StopOutcome::Stopped => response::empty(StatusCode::NO_CONTENT),
        StopOutcome::NotRunning => response::empty(StatusCode::NOT_MODIFIED),
    }
}

/// `POST /containers/{id}/restart`.
pub(in crate::api) async fn restart(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let (engine, options) = (engine.clone(), stop_request(request)?);
    crate::uninterrupted(
        async move { container::stop::restart(&engine, &container, options).await },
    )
    .await?;
    response::empty(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/kill`.
pub(in crate::api) async fn kill(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let signal = request
        .parameter("signal")
        .map_or(Ok(Signal::KILL), str::parse)
        .or_invalid()?;
    let engine = engine.clone();
    crate::uninterrupted(async move { container::stop::kill(&engine, &container, signal).await })
        .await?;
    response::empty(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/pause`.
pub(in crate::api) async fn pause(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let engine = engine.clone();
    crate::uninterrupted(async move { container::stop::pause(&engine, &container).await }).await?;
    response::empty(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/unpause`.
pub(in crate::api) async fn unpause(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let engine = engine.clone();
    crate::uninterrupted(async move { container::stop::unpause(&engine, &container).await })
        .await?;
    response::empty(StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/update`.
pub(in crate::api) async fn update(
    engine: &Arc<Engine>,
    mut request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let wanted: HostConfig = request.json().await?;
    let engine = engine.clone();
    crate::uninterrupted(
        async move { container::update::update(&engine, &container, wanted).await },
    )
    .await?;
    response::json(StatusCode::OK, &ContainerUpdateResponse::default())
}

/// `POST /containers/{id}/rename`.
pub(in crate::api) async fn rename(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let name = request
        .parameter("name")
        .ok_or_else(|| invalid("Neither old nor new names may be empty"))?;
    let name = name.strip_prefix('/').unwrap_or(name).to_owned();
    if !base::id::is_valid_name(&name) {
        return Err(invalid(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    let engine = engine.clone();
    crate::uninterrupted(async move {
        let _operation = container.operation.lock().await;
        crate::blocking({
            let (engine, container) = (engine.clone(), container.clone());
            move || rename_now(&engine, &container, &name)
        })
        .await
    })
    .await?;
    response::empty(StatusCode::NO_CONTENT)
}

fn rename_now(engine: &Engine, container: &Container, name: &str) -> Result<()> {
    let old_name = container.name();
    if old_name == name {
        return Err(invalid(
            "Renaming a container with the same name as its current name",
        ));
    }
    let claim = engine.containers.claim(name, &container.id)?;
    let mut stored = container.stored();
    stored.name = name.to_owned();
    engine.steps.reached("rename.record");
    container::store::write_config(container.directory(), &stored).or_internal()?;
    container.set_name(name.to_owned());
    claim.keep_renamed();
    engine.containers.free_name(&old_name);
    engine.steps.reached("rename.tell");
    let fact = Renamed {
        old_name,
        name: name.to_owned(),
    };
    engine
        .bus
        .publish(CONTAINER_RENAMED, container.id.to_string(), &fact)
        .map(drop)
}

/// `POST /containers/{id}/resize`.
pub(in crate::api) async fn resize(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let (rows, columns) = size(request)?;
    if container.state().status != Status::Running {
        return Err(conflict(format!(
            "container {} is not running",
            container.id
        )));
    }
    shim::call(
        engine,
        &container.run(),
        ControlRequest::Resize {
            exec: None,
            rows,
            columns,
        },
    )
    .await?;
    response::empty(StatusCode::OK)
}

/// Reads the parameters `h` and `w`.
pub(super) fn size(request: &Request) -> Result<(u16, u16)> {
    let read = |name| {
        request
            .number(name)?
            .ok_or_else(|| invalid(format!("invalid value for {name}: it is missing")))
    };
    Ok((read("h")?, read("w")?))
}

/// `POST /containers/{id}/wait`: the headers come at once, so that the client
/// knows that it misses nothing from here on.
pub(in crate::api) fn wait(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let condition = WaitCondition::parse(request.parameter("condition"))?;
    let over = container::wait::wait(&container, condition);
    drop(container);
    let (feed, answer) = response::stream("application/json")?;
    tokio::spawn(async move {
        tokio::select! {
            exit_code = over => {
                let body = WaitResponse { status_code: i64::from(exit_code), error: None };
                // A client that has gone does not want the answer.
                feed.send_json(&body).await.unwrap_or_default();
            }
            () = feed.closed() => {}
        }
    });
    Ok(answer)
}

/// `POST /containers/{id}/attach`.
pub(in crate::api) async fn attach(
    engine: &Arc<Engine>,
    request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    if request.flag("logs") {
        return Err(crate::error::unsupported(
            "attaching with logs=1 is not supported; read the logs apart",
        ));
    }
    stream::check_upgrade(&request)?;
    let keys = stream::detach_keys(request.parameter("detachKeys"))?;
    let streams = Streams {
        stdin: request.flag("stdin"),
        stdout: request.flag("stdout"),
        stderr: request.flag("stderr"),
    };
    let framing = if container.config().process.terminal {
        Framing::Raw
    } else {
        Framing::Multiplexed
    };
    let attachment = container::attach::attach(engine, &container, streams).await?;
    engine.bus.publish(
        CONTAINER_ATTACHED,
        container.id.to_string(),
        &serde_json::json!({}),
    )?;
    stream::hijack(
        request,
        attachment.connected(),
        (framing, keys),
        std::future::ready(()),
    )
}

/// `DELETE /containers/{id}`.
pub(in crate::api) async fn remove(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    if request.flag("link") {
        container::links::remove(engine, id).await?;
        return response::empty(StatusCode::NO_CONTENT);
    }
    let container = engine.containers.find(id)?;
    let force = if request.flag("force") {
        Force::Yes
    } else {
        Force::No
    };
    let volumes = if request.flag("v") {
        AnonymousVolumes::Remove
    } else {
        AnonymousVolumes::Keep
    };
    let engine = engine.clone();
    crate::uninterrupted(async move {
        container::remove::remove(&engine, &container, force, volumes).await
    })
    .await?;
    response::empty(StatusCode::NO_CONTENT)
}

/// `POST /containers/prune`.
pub(in crate::api) async fn prune(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let filters = request.filters(&["label", "label!"])?;
    let engine = engine.clone();
    let work = async move {
        let (mut deleted, mut space_reclaimed) = (Vec::new(), 0);
        for container in engine.containers.all() {
            let is_over = matches!(
                container.state().status,
                Status::Created | Status::Exited | Status::Dead
            );
            let labels = &container.config().labels;
            let is_chosen = filters.allows_labels("label", labels)
                && (!filters.has("label!") || !filters.allows_labels("label!", labels));
            if is_over && !container.state().starting && is_chosen {
                space_reclaimed += container::archive::size(&engine, &container).await?;
                container::remove::remove(&engine, &container, Force::No, AnonymousVolumes::Keep)
                    .await?;
                deleted.push(container.id.to_string());
            }
        }
        Ok(ContainersPruneResponse {
            containers_deleted: Some(deleted),
            space_reclaimed,
        })
    };
    response::json(StatusCode::OK, &crate::uninterrupted(work).await?)
}
