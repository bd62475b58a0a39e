//! `GET /system/df`: what takes room on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Digest;
use engine_api::disk::DiskUsageResponse;
use engine_api::filters::Filters;
use engine_api::versions::Answer;
use engine_api::volume::VolumeUsage;
use engine_archive::size::size_of;
use hyper::Response;

use super::{images, volumes};
use crate::Engine;
use crate::api::peer::Caller;
use crate::api::request::{Request, repeated};
use crate::api::response::{self, Body};
use crate::api::view;
use crate::api::view::size::signed;
use crate::error::{OrFail as _, Result, invalid};

/// What can be asked for alone.
const TYPES: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// Answers with the images, containers and volumes there are, and their sizes.
pub(in crate::api) async fn usage(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let types = match request.query.contains_key("type") {
        true => repeated(request.inner.uri(), "type")?,
        false => Vec::new(),
    };
    if let Some(unknown) = types.iter().find(|one| !TYPES.contains(&one.as_str())) {
        return Err(invalid(format!("unknown object type: {unknown}")));
    }
    let (engine, caller) = (engine.clone(), request.caller.clone());
    let answer = crate::blocking(move || collect((&engine, &caller), &types)).await?;
    response::versioned((Answer::DiskUsage, request.version), &answer)
}

fn collect((engine, caller): (&Engine, &Caller), types: &[String]) -> Result<DiskUsageResponse> {
    let wants = |name: &str| types.is_empty() || types.iter().any(|one| one == name);
    let mut answer = DiskUsageResponse::default();
    if wants("image") {
        let all = engine.images.list();
        // A layer of several images is there once.
        let layers: BTreeMap<Digest, u64> = all
            .iter()
            .flat_map(|image| &image.layers)
            .map(|layer| (layer.diff_id, layer.size_bytes))
            .collect();
        answer.layers_size = signed(layers.values().sum());
        let users = images::users(engine);
        let shown = all.iter().map(|image| {
            let mut summary = images::summary(&users, image);
            summary.shared_size = view::size::shared(image, &all);
            summary
        });
        answer.images = Some(shown.collect());
    }
    if wants("container") {
        let wanted = view::list::Wanted {
            filters: Filters::default(),
            all: true,
            limit: None,
        };
        let mut all = view::list::containers((engine, caller), &wanted)?;
        view::size::add(engine, &mut all)?;
        answer.containers = Some(all);
    }
    if wants("volume") {
        answer.volumes = Some(volume_rows(engine)?);
    }
    if wants("build-cache") {
        answer.build_cache = Some(Vec::new());
    }
    Ok(answer)
}

fn volume_rows(engine: &Engine) -> Result<Vec<engine_api::volume::Volume>> {
    let all = volumed_api::query::volumes(&engine.instance).or_internal()?;
    let row = |config: &volumed_api::VolumeConfig| {
        let data = volumed_api::query::data_directory(&engine.instance, &config.name);
        let mut row = view::volume::volume(engine, config);
        row.usage_data = Some(VolumeUsage {
            size: signed(size_of(&data).or_internal()?),
            ref_count: volumes::users(engine, &config.name).len() as i64,
        });
        Ok(row)
    };
    all.iter().map(row).collect()
}
