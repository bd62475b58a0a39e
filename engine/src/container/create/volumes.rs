//! Making the volumes that a new container names, before anybody is told of it.
//!
//! A volume that is there is taken as it is. Filling an empty one from the image
//! is left to the container's first start, which has a root filesystem.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{FailureKind, VolumeName};
use engine_model::{MountConfig, MountSource};
use engine_security::access::body::OWNER_LABEL;
use volumed_api::{CreateVolume, RemoveVolume};

use crate::Engine;
use crate::container::{Requested, store};
use crate::error::{OrFail as _, Result};

/// The label of volumes that nobody has named.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";
const LOCAL: &str = "local";
/// How long volumed may take for one.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes what is not there yet, in the order of the mounts.
///
/// # Errors
/// The first volume that cannot be made; those without a name that were made
/// before it are gone then, as in Docker, and those with one stay.
pub(super) async fn make(engine: &Engine, stored: &store::StoredContainer) -> Result<()> {
    let mut made = Vec::new();
    for mount in &stored.config.mounts {
        let Some(mut wanted) = wanted(mount, &stored.requested) else {
            continue;
        };
        if let Some(owner) = &stored.owner {
            wanted.labels.insert(OWNER_LABEL.to_owned(), owner.clone());
        }
        match make_one(engine, &wanted).await {
            Ok(()) => made.push(wanted),
            Err(failure) => return Err(discard(engine, &made, failure).await),
        }
    }
    Ok(())
}

async fn make_one(engine: &Engine, wanted: &CreateVolume) -> Result<()> {
    let there = volumed_api::query::volume(&engine.instance, &wanted.name).or_internal()?;
    if there.is_some_and(|volume| volume.driver == wanted.driver) {
        return Ok(());
    }
    engine.steps.reached("create.volume");
    let call = engine.bus.call(wanted.name.as_str(), wanted, LIMIT);
    call.await.map(drop)
}

/// Takes the volumes without a name away again; returns `failure`, with what of
/// that failed.
async fn discard(engine: &Engine, made: &[CreateVolume], failure: base::Failure) -> base::Failure {
    let mut message = failure.message.clone();
    for volume in made.iter().filter(|it| it.labels.contains_key(ANONYMOUS)) {
        let name = volume.name.clone();
        let body = RemoveVolume { name };
        match engine.bus.call(body.name.as_str(), &body, LIMIT).await {
            Err(error) if error.kind != FailureKind::NotFound => {
                message.push_str(&format!("; and then: {}", error.message));
            }
            _ => {}
        }
    }
    base::Failure::new(failure.kind, message)
}

/// Returns how the volume of a mount is made; `None` if it has none.
fn wanted(mount: &MountConfig, requested: &Requested) -> Option<CreateVolume> {
    let MountSource::Volume {
        name, anonymous, ..
    } = &mount.source
    else {
        return None;
    };
    let mut wanted = of_long_form(mount, name, requested).unwrap_or_else(|| CreateVolume {
        name: name.clone(),
        driver: or_local(&requested.host_config.volume_driver),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    });
    if *anonymous {
        wanted.labels.insert(ANONYMOUS.to_owned(), String::new());
    }
    Some(wanted)
}

/// `--mount` alone says labels, a driver and its options.
fn of_long_form(
    mount: &MountConfig,
    name: &VolumeName,
    requested: &Requested,
) -> Option<CreateVolume> {
    let is_it = |asked: &&engine_api::mount::Mount| {
        asked.r#type == "volume"
            && super::mounts::clean(&asked.target).is_ok_and(|target| target == mount.destination)
    };
    let asked = requested.host_config.mounts.iter().find(is_it)?;
    let options = asked.volume_options.clone().unwrap_or_default();
    let driver = options.driver_config.unwrap_or_default();
    Some(CreateVolume {
        name: name.clone(),
        driver: or_local(&driver.name),
        labels: options.labels,
        options: driver.options,
    })
}

fn or_local(driver: &str) -> String {
    match driver {
        "" => LOCAL.to_owned(),
        driver => driver.to_owned(),
    }
}
