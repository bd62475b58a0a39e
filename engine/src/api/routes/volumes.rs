//! `/volumes`.

use std::sync::Arc;
use std::time::Duration;

use base::{FailureKind, VolumeName};
use engine_api::prune::VolumesPruneResponse;
use engine_api::version::ApiVersion;
use engine_api::volume::{VolumeCreateBody, VolumeListResponse};
use engine_model::MountSource;
use hyper::{Response, StatusCode};
use volumed_api::{CreateVolume, RemoveVolume, VolumeConfig};

use crate::Engine;
use crate::api::access;
use crate::api::prune::Chosen;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::view;
use crate::container::create::ANONYMOUS;
use crate::error::{OrFail as _, Result, conflict, invalid, not_found, unsupported};

/// How long volumed may take; data may have to be deleted.
const LIMIT: Duration = Duration::from_secs(120);

/// `GET /volumes`.
pub(in crate::api) fn list(engine: &Arc<Engine>, request: &Request) -> Result<Response<Body>> {
    let filters = request.filters(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.boolean("dangling").or_invalid()?;
    let all = volumed_api::query::volumes(&engine.instance).or_internal()?;
    let chosen = all.iter().filter(|volume| {
        access::is_own_volume(&request.caller, &volume.labels)
            && filters.allows("name", |name| volume.name.as_str().contains(name))
            && filters.allows("driver", |driver| volume.driver == driver)
            && filters.allows_labels("label", &volume.labels)
            && dangling.is_none_or(|wanted| wanted == users(engine, &volume.name).is_empty())
    });
    let volumes = chosen
        .map(|volume| view::volume::volume(engine, volume))
        .collect();
    response::json(
        StatusCode::OK,
        &VolumeListResponse {
            volumes,
            warnings: None,
        },
    )
}

/// Ids of the containers that name a volume, whether they run or not.
pub(super) fn users(engine: &Engine, name: &VolumeName) -> Vec<String> {
    let uses = |container: &Arc<crate::container::Container>| {
        container
            .config()
            .mounts
            .iter()
            .any(|mount| match &mount.source {
                MountSource::Volume { name: used, .. } => used == name,
                MountSource::Bind { .. }
                | MountSource::Tmpfs { .. }
                | MountSource::Image { .. } => false,
            })
    };
    engine
        .containers
        .all()
        .iter()
        .filter(|c| uses(c))
        .map(|c| c.id.to_string())
        .collect()
}

fn find(engine: &Engine, name: &str) -> Result<VolumeConfig> {
    let missing = || not_found(format!("get {name}: no such volume"));
    let parsed: VolumeName = name.parse().map_err(|_| missing())?;
    volumed_api::query::volume(&engine.instance, &parsed)
        .or_internal()?
        .ok_or_else(missing)
}

/// `GET /volumes/{name}`.
pub(in crate::api) fn inspect(engine: &Arc<Engine>, name: &str) -> Result<Response<Body>> {
    response::json(
        StatusCode::OK,
        &view::volume::volume(engine, &find(engine, name)?),
    )
}

/// `POST /volumes/create`.
pub(in crate::api) async fn create(
    engine: &Arc<Engine>,
    mut request: Request,
) -> Result<Response<Body>> {
    let body: VolumeCreateBody = request.json_or_default().await?;
    if body.cluster_volume_spec.is_some() {
        return Err(unsupported("cluster volumes are not supported"));
    }
    let mut labels = body.labels;
    let name = match body.name.as_str() {
        "" => {
            labels.insert(ANONYMOUS.to_owned(), String::new());
            VolumeName::random()
        }
        name => name.parse().map_err(|_| {
            invalid(format!(
                "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            ))
        })?,
    };
    access::mark_volume(&request.caller, &mut labels);
    let driver = if body.driver.is_empty() {
        "local".to_owned()
    } else {
        body.driver
    };
    let wanted = CreateVolume {
        name,
        driver,
        labels,
        options: body.driver_opts,
    };
    let name = wanted.name.clone();
    let work = {
        let engine = engine.clone();
        async move { engine.bus.call(wanted.name.as_str(), &wanted, LIMIT).await }
    };
    let made: VolumeConfig =
        crate::uninterrupted(work)
            .await
            .map_err(|failure| match failure.kind {
                FailureKind::NotFound => not_found(format!("create {name}: {}", failure.message)),
                _ => failure,
            })?;
    if !access::is_own_volume(&request.caller, &made.labels) {
        let name = made.name;
        return Err(conflict(format!("create {name}: the name is taken")));
    }
    response::json(StatusCode::CREATED, &view::volume::volume(engine, &made))
}

/// `DELETE /volumes/{name}`.
pub(in crate::api) async fn remove(
    engine: &Arc<Engine>,
    request: &Request,
    name: &str,
) -> Result<Response<Body>> {
    let found = find(engine, name);
    let volume = match found {
        Err(failure) if failure.kind == FailureKind::NotFound && request.flag("force") => {
            return response::empty(StatusCode::NO_CONTENT);
        }
        other => other?,
    };
    let users = users(engine, &volume.name);
    if !users.is_empty() {
        return Err(conflict(format!(
            "remove {name}: volume is in use - [{}]",
            users.join(", ")
        )));
    }
    remove_now(engine, volume.name).await?;
    response::empty(StatusCode::NO_CONTENT)
}

async fn remove_now(engine: &Arc<Engine>, name: VolumeName) -> Result<u64> {
    let engine = engine.clone();
    let work = async move {
        let body = RemoveVolume { name };
        engine.bus.call(body.name.as_str(), &body, LIMIT).await
    };
    Ok(crate::uninterrupted(work).await?.size_bytes)
}

/// `POST /volumes/prune`: anonymous volumes, with the filter `all` named ones too.
pub(in crate::api) async fn prune(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let chosen = Chosen::read(request, &["all"])?;
    // Before 1.42 named volumes went too.
    let all = chosen
        .filters
        .boolean("all")
        .or_invalid()?
        .unwrap_or(request.version < ApiVersion::v1(42));
    let mut deleted = Vec::new();
    let mut space_reclaimed = 0;
    for volume in volumed_api::query::volumes(&engine.instance).or_internal()? {
        let is_chosen = chosen.has(&volume.labels, Some(volume.created));
        let is_anonymous = volume.labels.contains_key(ANONYMOUS);
        if is_chosen && (all || is_anonymous) && users(engine, &volume.name).is_empty() {
            space_reclaimed += remove_now(engine, volume.name.clone()).await?;
            deleted.push(volume.name.to_string());
        }
    }
    response::json(
        StatusCode::OK,
        &VolumesPruneResponse {
            volumes_deleted: Some(deleted),
            space_reclaimed,
        },
    )
}
