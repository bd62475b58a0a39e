//! `/containers`.

use std::fmt::Display;
use std::sync::Arc;

use base::Failure;
use engine_api::container::{
    ContainerCreateBody, ContainerUpdateResponse, TopResponse, WaitResponse,
};
use engine_api::host_config::HostConfig;
use engine_api::prune::ContainersPruneResponse;
use engine_api::versions::{self, Answer, Body as RequestBody};
use engine_model::Status;
use engine_model::signal::Signal;
use engine_shim_api::ControlRequest;
use hyper::body::Body as _;
use hyper::{Response, StatusCode};

use super::log_stream;
use crate::Engine;
use crate::api::prune::Chosen;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::view;
use crate::container::remove::{AnonymousVolumes, Force};
use crate::container::start::StartOutcome;
use crate::container::stop::{StopOutcome, StopRequest};
use crate::container::wait::WaitCondition;
use crate::container::{self, Container, create as creation, shim};
use crate::error::{OrFail as _, Result, conflict, invalid};
use crate::event::{CONTAINER_RENAMED, Renamed};

/// What old clients send in place of nothing when they start a container.
const LARGEST_NO_BODY_BYTES: u64 = 7;

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
    let wanted = view::list::Wanted {
        filters,
        all,
        limit,
    };
    let (engine, caller) = (engine.clone(), request.caller.clone());
    let with_size = request.flag("size");
    if !with_size && versions::is_newest(Answer::ContainerList, request.version) {
        let work = move || view::list::json((&engine, &caller), &wanted);
        return response::json_text(StatusCode::OK, crate::blocking(work).await?);
    }
    let work = move || {
        let mut rows = view::list::containers((&engine, &caller), &wanted)?;
        if with_size {
            view::size::add(&engine, &mut rows)?;
        }
        Ok(rows)
    };
    let answer = crate::blocking(work).await?;
    response::versioned((Answer::ContainerList, request.version), &answer)
}

/// `POST /containers/create`.
pub(in crate::api) async fn create(
    engine: &Arc<Engine>,
    mut request: Request,
) -> Result<Response<Body>> {
    let name = request.parameter("name").map(str::to_owned);
    let platform = request.parameter("platform").map(str::to_owned);
    let body: ContainerCreateBody = request.versioned_json(RequestBody::ContainerCreate).await?;
    let warnings = versions::deprecations(request.version, &body);
    if let Some(platform) = platform.filter(|text| !text.is_empty()) {
        let platform = platform.parse().or_invalid()?;
        crate::image::check_platform(engine, &body.config.image, &platform)?;
    }
    let (engine, owner) = (engine.clone(), request.caller.owner());
    let work = async move { creation::create(&engine, name.as_deref(), body, owner).await };
    let mut answer = crate::uninterrupted(work).await?;
    answer.warnings.extend(warnings);
    response::json(StatusCode::CREATED, &answer)
}

/// `GET /containers/{id}/json`.
pub(in crate::api) async fn inspect(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let (engine, with_size) = (engine.clone(), request.flag("size"));
    let work = move || {
        let mut answer = view::inspect::container(&engine, &container)?;
        if with_size {
            let size = view::size::measure(&engine, &container)?;
            (answer.size_rw, answer.size_root_fs) = (Some(size.written), Some(size.total));
        }
        Ok(answer)
    };
    let answer = crate::blocking(work).await?;
    response::versioned((Answer::ContainerInspect, request.version), &answer)
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
    let arguments = request.parameter("ps_args").unwrap_or("-ef");
    let answer: TopResponse = view::top::processes(engine, &container, arguments).await?;
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
pub(in crate::api) async fn start(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    // One whose length is not told may be anything.
    let size = request.inner.body().size_hint().exact();
    if size.is_none_or(|bytes| bytes > LARGEST_NO_BODY_BYTES) {
        return Err(invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
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
    let refused = |failure: Failure| of_what(failure, format_args!("cannot kill container: {id}"));
    let signal = request.parameter("signal");
    let signal = signal.map_or(Ok(Signal::KILL), str::parse).or_invalid();
    let signal = signal.map_err(refused)?;
    let engine = engine.clone();
    crate::uninterrupted(async move { container::stop::kill(&engine, &container, signal).await })
        .await
        .map_err(refused)?;
    response::empty(StatusCode::NO_CONTENT)
}

/// Says before the reason what was refused, with the container as the client named it.
fn of_what(failure: Failure, what: impl Display) -> Failure {
    Failure::new(failure.kind, format_args!("{what}: {}", failure.message))
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
    let wanted: HostConfig = request.versioned_json(RequestBody::ContainerUpdate).await?;
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
            "Error when allocating new name: Invalid container name (/{name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
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
    let (rows, columns) = size(request)?;
    let container = engine.containers.find(id)?;
    if container.state().status != Status::Running {
        return Err(conflict(format!(
            "container {} is not running",
            container.id
        )));
    }
    if !container.config().process.terminal {
        // As with Docker, nothing is asked of what has no size.
        return response::empty(StatusCode::OK);
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

/// Reads the parameters `h` and `w`; what no terminal has is the most that one has.
pub(super) fn size(request: &Request) -> Result<(u16, u16)> {
    let read = |name, what| {
        let text = request.parameter(name).unwrap_or_default();
        let parsed = text.parse::<u32>();
        let clipped = parsed.map(|value| u16::try_from(value).unwrap_or(u16::MAX));
        clipped.map_err(|error| {
            let why = match error.kind() {
                std::num::IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            invalid(format!("invalid resize {what} {text:?}: {why}"))
        })
    };
    Ok((read("h", "height")?, read("w", "width")?))
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
    .await
    .map_err(|failure| of_what(failure, format_args!("cannot remove container {id:?}")))?;
    response::empty(StatusCode::NO_CONTENT)
}

/// `POST /containers/prune`.
pub(in crate::api) async fn prune(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let chosen = Chosen::read(request, &["until"])?;
    let engine = engine.clone();
    let work = async move {
        let (mut deleted, mut space_reclaimed) = (Vec::new(), 0);
        for container in engine.containers.all() {
            let is_over = matches!(
                container.state().status,
                Status::Created | Status::Exited | Status::Dead
            );
            let is_chosen = {
                let config = container.config();
                chosen.has(&config.labels, Some(config.created))
            };
            if is_over && !container.state().starting && is_chosen {
                space_reclaimed += container::archive::size(&engine, &container).await?;
                container::remove::remove(&engine, &container, Force::No, AnonymousVolumes::Keep)
                    .await?;
                deleted.push(container.id.to_string());
            }
        }
        Ok(ContainersPruneResponse {
            containers_deleted: Some(deleted).filter(|deleted| !deleted.is_empty()),
            space_reclaimed,
        })
    };
    response::json(StatusCode::OK, &crate::uninterrupted(work).await?)
}
