//! One attempt at a start: every step, and the way back from each.

use std::sync::Arc;
use std::time::Duration;

use base::{Failure, FailureKind, RunId, RunNumber};
use engine_model::MountSource;
use engine_model::container::NetworkMode;
use netd_api::{Attach, Attached, Detach};
use volumed_api::{
    BindUse, ImageUse, MissingSource, MountRootfs, RootfsMounted, UnmountRootfs, Upper, VolumeUse,
};

use super::{shared_memory, spec};
use crate::Engine;
use crate::container::{Container, network, shim};
use crate::error::Result;

/// How long netd may take to attach.
const ATTACH_LIMIT: Duration = Duration::from_secs(20);
/// How long volumed may take to mount; copying an image's content into a new
/// volume is part of it.
const MOUNT_LIMIT: Duration = Duration::from_secs(120);
/// How long an undo may take.
pub(in crate::container) const UNDO_LIMIT: Duration = Duration::from_secs(20);

/// Performs every step of the start and returns the process id of init.
///
/// # Errors
/// The first step that failed; all others are undone, and what could not be
/// undone is named too.
pub(super) async fn perform(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    run: &RunId,
) -> Result<u32> {
    let upper = match container.config().auto_remove {
        true => Upper::Volatile,
        false => Upper::Persistent,
    };
    let (attached, mounted, shim) = tokio::join!(
        attach(engine, container, run),
        mount(engine, container, run, upper),
        spawn(engine, container, run)
    );
    let started = match (attached, mounted, shim) {
        (Ok(attached), Ok(mounted), Ok(())) => {
            begin(engine, container, run, (attached, mounted)).await
        }
        (Err(failure), _, _) | (_, Err(failure), _) | (_, _, Err(failure)) => Err(failure),
    };
    match started {
        Ok(pid) => Ok(pid),
        Err(failure) => {
            container.waiting.dismiss();
            Err(undo(engine, container, run, failure).await)
        }
    }
}

async fn spawn(engine: &Arc<Engine>, container: &Container, run: &RunId) -> Result<()> {
    shim::spawn(engine, container, run).await
}

async fn begin(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    run: &RunId,
    (attached, mounted): (Option<Attached>, RootfsMounted),
) -> Result<u32> {
    let work = {
        let (engine, container, run) = (engine.clone(), container.clone(), run.clone());
        move || {
            engine.steps.reached("start.bundle");
            spec::write_bundle(&engine, &container, &run, (attached.as_ref(), &mounted))?;
            container.waiting.connect(&engine, &run)
        }
    };
    crate::blocking(work).await?;
    engine.steps.reached("start.process");
    shim::start(engine, run).await
}

/// Asks netd for the namespace; `None` where the container has none of its own.
async fn attach(engine: &Engine, container: &Container, run: &RunId) -> Result<Option<Attached>> {
    let config = &container.config();
    let endpoints = match &config.network {
        NetworkMode::Host | NetworkMode::Container(_) => return Ok(None),
        NetworkMode::None => Vec::new(),
        NetworkMode::Networks(endpoints) => {
            network::resolve(&engine.instance, endpoints).map_err(no_network)?
        }
    };
    engine.steps.reached("start.attach");
    let body = Attach {
        run: run.clone(),
        container_name: container.name(),
        hostname: config.hostname.clone(),
        endpoints,
        ports: network::ports(&config.ports)?,
        dns: network::dns(&config.dns),
        user_namespace: config.user_namespace.clone(),
    };
    let subject = run.to_string();
    let attached = engine.bus.call(&subject, &body, ATTACH_LIMIT).await;
    attached.map(Some).map_err(no_network)
}

/// Says as Docker's server does that a start failed for its networks.
fn no_network(failure: Failure) -> Failure {
    let message = &failure.message;
    Failure::new(
        failure.kind,
        format_args!("failed to set up container networking: {message}"),
    )
}

/// Has the root filesystem mounted, and volumes and binds made ready.
///
/// # Errors
/// What volumed says.
pub(in crate::container) async fn mount(
    engine: &Engine,
    container: &Container,
    run: &RunId,
    upper: Upper,
) -> Result<RootfsMounted> {
    let config = &container.config();
    let body = MountRootfs {
        run: run.clone(),
        layers: config.layers.clone(),
        upper,
        volumes: config
            .mounts
            .iter()
            .filter_map(|mount| volume_use(mount, run))
            .collect(),
        binds: config.mounts.iter().filter_map(bind_use).collect(),
        images: config.mounts.iter().filter_map(image_use).collect(),
        shared_memory_bytes: shared_memory::shareable_bytes(container),
        user_namespace: config.user_namespace.clone(),
    };
    engine.steps.reached("start.mount");
    engine.bus.call(&run.to_string(), &body, MOUNT_LIMIT).await
}

/// An empty volume is filled from the image once, by the container's first
/// start: what a user emptied later stays empty.
fn volume_use(mount: &engine_model::MountConfig, run: &RunId) -> Option<VolumeUse> {
    let MountSource::Volume {
        name,
        copy_up,
        anonymous,
        subpath,
    } = &mount.source
    else {
        return None;
    };
    let label = ("com.docker.volume.anonymous".to_owned(), String::new());
    Some(VolumeUse {
        name: name.clone(),
        destination: mount.destination.clone().into(),
        copy_up: *copy_up && run.run == RunNumber(1),
        subpath: subpath.clone(),
        labels: anonymous.then_some(label).into_iter().collect(),
    })
}

fn bind_use(mount: &engine_model::MountConfig) -> Option<BindUse> {
    let MountSource::Bind {
        host_path, create, ..
    } = &mount.source
    else {
        return None;
    };
    let missing = if *create {
        MissingSource::Create
    } else {
        MissingSource::Refuse
    };
    Some(BindUse {
        source: host_path.into(),
        missing,
    })
}

fn image_use(mount: &engine_model::MountConfig) -> Option<ImageUse> {
    let MountSource::Image {
        layers, subpath, ..
    } = &mount.source
    else {
        return None;
    };
    Some(ImageUse {
        layers: layers.clone(),
        subpath: subpath.clone(),
    })
}

/// Takes back what an attempt did, and returns `failure`, with what could not
/// be undone. Each undo is safe where nothing was done.
pub(in crate::container) async fn undo(
    engine: &Engine,
    container: &Container,
    run: &RunId,
    failure: Failure,
) -> Failure {
    let subject = run.to_string();
    let (detach, unmount) = (
        Detach { run: run.clone() },
        UnmountRootfs { run: run.clone() },
    );
    let has_network = !matches!(
        container.config().network,
        NetworkMode::Host | NetworkMode::Container(_)
    );
    engine.steps.reached("undo.shim");
    let shim = shim::abandon(engine, run).await;
    let detached = async {
        if !has_network {
            return Ok(());
        }
        engine
            .bus
            .call(&subject, &detach, UNDO_LIMIT)
            .await
            .map(drop)
    };
    let unmounted = async {
        engine
            .bus
            .call(&subject, &unmount, UNDO_LIMIT)
            .await
            .map(drop)
    };
    engine.steps.reached("undo.helpers");
    let (detached, unmounted) = tokio::join!(detached, unmounted);
    let failed: Vec<String> = [shim, detached, unmounted]
        .into_iter()
        .filter_map(Result::err)
        .map(|error| error.message)
        .collect();
    with_failed_undo(failure, &failed)
}

fn with_failed_undo(failure: Failure, failed: &[String]) -> Failure {
    if failed.is_empty() {
        return failure;
    }
    Failure::new(
        FailureKind::Internal,
        format!(
            "{}; undoing it failed too: {}",
            failure.message,
            failed.join("; ")
        ),
    )
}
