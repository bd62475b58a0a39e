//! The one place where a request is let through to its handler, or is not.
//!
//! Decided is on the request as the handlers see it: method, path taken apart,
//! and, where a body matters, the body parsed by the handler's own type; the
//! handler then gets the very bytes that were looked at. What a path names is
//! replaced by the whole id of what was found, so that the handler cannot find
//! something else under the name. Whatever is not declared is not served.

pub(in crate::api) mod audit;
pub(in crate::api) mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{ContainerId, Failure, FailureKind, VolumeName};
use engine_api::container::ContainerCreateBody;
use engine_api::exec::ExecCreateBody;
use engine_api::host_config::HostConfig;
use engine_api::versions::Body;
use engine_api::volume::VolumeCreateBody;
use engine_model::MountSource;
use engine_security::access::body::{self, OWNER_LABEL, References};
use engine_security::access::{Action, Object, Verdict, decide};
use serde_json::Value;
use volumed_api::{CreateVolume, VolumeConfig};

use super::peer::Caller;
use super::request::Request;
use crate::Engine;
use crate::container::Container;
use crate::error::{OrFail as _, Result, invalid, not_found};

/// How long volumed may take to make a volume.
const VOLUME_LIMIT: Duration = Duration::from_secs(120);
/// Characters of a container's whole id.
const ID_LENGTH: usize = 64;

/// Lets a request for an action through, or refuses it and records that.
///
/// # Errors
/// Not found for what is nothing of this client's; forbidden for what its policy
/// does not allow.
pub(super) async fn admit(
    engine: &Arc<Engine>,
    request: Request,
    action: Action,
) -> Result<Request> {
    match decide(request.caller.policy, action) {
        Verdict::Allowed => Ok(request),
        Verdict::Refused(reason) => Err(refuse(engine, &request, reason)),
        Verdict::Own => admit_own(engine, request, action).await,
    }
}

/// Records a refusal and returns what the client is told.
fn refuse(engine: &Engine, request: &Request, reason: &str) -> Failure {
    record(engine, request, reason);
    Failure::new(FailureKind::Forbidden, format!("access denied: {reason}"))
}

/// Records that something of others was asked for; `failure` hides that it exists.
fn hide(engine: &Engine, request: &Request, failure: Failure) -> Failure {
    record(engine, request, "it is not the client's own");
    failure
}

fn record(engine: &Engine, request: &Request, reason: &str) {
    let path = request.inner.uri().path();
    let what = (request.method.as_str(), path);
    audit::record(engine, &request.caller, what, reason);
}

async fn admit_own(engine: &Arc<Engine>, mut request: Request, action: Action) -> Result<Request> {
    match action.object() {
        Some(Object::Container) => pin_container(engine, &mut request, action)?,
        Some(Object::Exec) => check_exec(engine, &request)?,
        Some(Object::Volume) => check_volume(engine, &request)?,
        None => {}
    }
    let Some(body) = parsed_body(&mut request, action).await? else {
        return Ok(request);
    };
    let references =
        body::check(action, &body).map_err(|reason| refuse(engine, &request, &reason))?;
    check_containers(engine, &request, &references)?;
    claim_volumes(engine, &request, references).await?;
    Ok(request)
}

/// Reads the body by the type that the handler reads it by.
async fn parsed_body(request: &mut Request, action: Action) -> Result<Option<Value>> {
    let value = match action {
        Action::CreateContainer => serde_json::to_value(
            request
                .keep_versioned_json::<ContainerCreateBody>(Body::ContainerCreate)
                .await?,
        ),
        Action::UpdateContainer => serde_json::to_value(
            request
                .keep_versioned_json::<HostConfig>(Body::ContainerUpdate)
                .await?,
        ),
        Action::CreateExec => serde_json::to_value(
            request
                .keep_versioned_json::<ExecCreateBody>(Body::ExecCreate)
                .await?,
        ),
        Action::CreateVolume => {
            serde_json::to_value(request.keep_json_or_default::<VolumeCreateBody>().await?)
        }
        _ => return Ok(None),
    };
    value.map(Some).or_internal()
}

/// Finds a container of the client's own.
///
/// # Errors
/// Not found, in the same words, whether there is none or it is somebody else's.
fn find_container(engine: &Engine, request: &Request, text: &str) -> Result<Arc<Container>> {
    let missing = || not_found(format!("No such container: {text}"));
    // More than one container of that beginning: that is not to be told either.
    let container = engine.containers.find(text).map_err(|_| missing())?;
    match request.caller.sees(container.owner.as_deref()) {
        true => Ok(container),
        false => Err(hide(engine, request, missing())),
    }
}

fn pin_container(engine: &Engine, request: &mut Request, action: Action) -> Result<()> {
    let is_link = request.path.len() > 2 || request.flag("link");
    if action == Action::RemoveContainer && is_link {
        let reason = "links are not for clients of the policy own-containers";
        return Err(refuse(engine, request, reason));
    }
    let text = request.path.get(1).cloned().unwrap_or_default();
    let container = find_container(engine, request, &text)?;
    if action == Action::StartContainer {
        check_mounts(engine, request, &container)?;
    }
    if let Some(part) = request.path.get_mut(1) {
        *part = container.id.to_string();
    }
    Ok(())
}

/// A volume that was the client's at the creation may have been removed since,
/// and be somebody else's now.
fn check_mounts(engine: &Engine, request: &Request, container: &Container) -> Result<()> {
    for mount in &container.config().mounts {
        if let MountSource::Volume {
            name,
            anonymous: false,
            ..
        } = &mount.source
        {
            find_volume(engine, request, name.as_str())?;
        }
    }
    Ok(())
}

fn check_exec(engine: &Engine, request: &Request) -> Result<()> {
    let id = request.path.get(1).map(String::as_str).unwrap_or_default();
    let exec = engine.execs.find(id)?;
    let container = engine.containers.by_id(&exec.run.container);
    let owner = container.and_then(|container| container.owner.clone());
    match request.caller.sees(owner.as_deref()) {
        true => Ok(()),
        false => {
            let missing = not_found(format!("No such exec instance: {id}"));
            Err(hide(engine, request, missing))
        }
    }
}

fn check_volume(engine: &Engine, request: &Request) -> Result<()> {
    let name = request.path.get(1).map(String::as_str).unwrap_or_default();
    find_volume(engine, request, name).map(drop)
}

fn find_volume(engine: &Engine, request: &Request, name: &str) -> Result<VolumeConfig> {
    let missing = || not_found(format!("get {name}: no such volume"));
    let parsed: VolumeName = name.parse().map_err(|_| missing())?;
    let found = volumed_api::query::volume(&engine.instance, &parsed).or_internal()?;
    let volume = found.ok_or_else(missing)?;
    match is_own_volume(&request.caller, &volume.labels) {
        true => Ok(volume),
        false => Err(hide(engine, request, missing())),
    }
}

/// Returns whether a volume with these labels exists for this client.
pub(in crate::api) fn is_own_volume(caller: &Caller, labels: &BTreeMap<String, String>) -> bool {
    caller.sees(labels.get(OWNER_LABEL).map(String::as_str))
}

/// Marks a volume that this client makes as its own.
pub(in crate::api) fn mark_volume(caller: &Caller, labels: &mut BTreeMap<String, String>) {
    if let Some(owner) = caller.owner() {
        labels.insert(OWNER_LABEL.to_owned(), owner);
    }
}

/// The beginning of an id is not taken here: between this and the handler's own
/// look-up it could come to mean another container.
fn check_containers(engine: &Engine, request: &Request, references: &References) -> Result<()> {
    for text in &references.containers {
        let is_hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hexadecimal && (text.len() != ID_LENGTH || text.parse::<ContainerId>().is_err()) {
            return Err(invalid(format!(
                "{text:?}: containers are referred to by name or by the whole id"
            )));
        }
        find_container(engine, request, text)?;
    }
    Ok(())
}

/// Sees to it that every volume exists and is the client's own: one that is
/// made later could be another's by then.
async fn claim_volumes(
    engine: &Arc<Engine>,
    request: &Request,
    references: References,
) -> Result<()> {
    for name in references.volumes {
        let name: VolumeName = name.parse().or_invalid()?;
        let mut labels = BTreeMap::new();
        mark_volume(&request.caller, &mut labels);
        let wanted = CreateVolume {
            name: name.clone(),
            driver: "local".to_owned(),
            labels,
            options: BTreeMap::new(),
        };
        let existing = volumed_api::query::volume(&engine.instance, &name).or_internal()?;
        let volume = match existing {
            Some(volume) => volume,
            None => {
                let engine = engine.clone();
                let work = async move {
                    let subject = wanted.name.as_str();
                    engine.bus.call(subject, &wanted, VOLUME_LIMIT).await
                };
                crate::uninterrupted(work).await?
            }
        };
        if !is_own_volume(&request.caller, &volume.labels) {
            let reason = format!("the name of volume {name:?} is taken");
            return Err(refuse(engine, request, &reason));
        }
    }
    Ok(())
}
