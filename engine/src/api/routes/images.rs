//! `/images`.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Digest, Timestamp};
use engine_api::config::StringMap;
use engine_api::image::{
    ImageDeleteResponse, ImageHistory, ImageInspect, ImageMetadata, ImageSummary, RootFs,
};
use engine_api::inspect::{GraphDriver, NEVER};
use engine_api::prune::ImagesPruneResponse;
use engine_api::versions::Answer;
use engine_image::{Force, Image, ImageUse, Removed};
use hyper::{Response, StatusCode};

use super::platform;
use crate::Engine;
use crate::api::prune::Chosen;
use crate::api::request::{Request, repeated};
use crate::api::response::{self, Body};
use crate::api::view;
use crate::error::{OrFail as _, Result, invalid};
use crate::image;

const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];

/// `GET /images/json`.
pub(in crate::api) fn list(engine: &Arc<Engine>, request: &Request) -> Result<Response<Body>> {
    let filters = request.filters(FILTERS)?;
    let dangling = filters.boolean("dangling").or_invalid()?;
    let created = |key: &str| -> Result<Option<Timestamp>> {
        let found = filters
            .values(key)
            .next()
            .map(|name| image::resolve(engine, name))
            .transpose()?;
        Ok(found.and_then(|image| image.created))
    };
    let (before, since) = (created("before")?, created("since")?);
    let chosen = engine.images.list().into_iter().filter_map(|mut image| {
        let labels = image.labels().into_iter().collect();
        let is_chosen = dangling.is_none_or(|wanted| wanted == image.repo_tags.is_empty())
            && before.is_none_or(|before| image.created < Some(before))
            && since.is_none_or(|since| image.created > Some(since))
            && filters.allows_labels("label", &labels);
        if filters.has("reference") {
            // Only the names that match are shown, as Docker does.
            let is_wanted =
                |name: &String| filters.allows("reference", |pattern| matches(pattern, name));
            image.repo_tags.retain(is_wanted);
            image.repo_digests.retain(is_wanted);
        }
        let is_nameless = image.repo_tags.is_empty() && image.repo_digests.is_empty();
        (is_chosen && !(filters.has("reference") && is_nameless)).then_some(image)
    });
    let all = engine.images.list();
    let users = users(engine);
    let with_shared = request.flag("shared-size");
    let answer: Vec<_> = chosen
        .map(|image| {
            let mut summary = summary(&users, &image);
            if with_shared {
                summary.shared_size = view::size::shared(&image, &all);
            }
            summary
        })
        .collect();
    response::versioned((Answer::ImageList, request.version), &answer)
}

/// A pattern with `*` against a name with its tag, or without.
fn matches(pattern: &str, tag: &str) -> bool {
    let tag = tag.split('@').next().unwrap_or(tag);
    let name = tag.rsplit_once(':').map_or(tag, |(name, _)| name);
    glob(pattern, tag) || glob(pattern, name)
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => {
            let Some(tail) = text.strip_prefix(head) else {
                return false;
            };
            (0..=tail.len())
                .filter(|at| tail.is_char_boundary(*at))
                .any(|at| glob(rest, &tail[at..]))
        }
    }
}

/// Returns how many containers each image has.
pub(super) fn users(engine: &Engine) -> HashMap<Digest, i64> {
    let mut users = HashMap::new();
    for container in engine.containers.unordered() {
        *users.entry(container.config().image_id).or_default() += 1;
    }
    users
}

/// Returns an image as lists show it, without what it shares with others.
pub(super) fn summary(users: &HashMap<Digest, i64>, image: &Image) -> ImageSummary {
    let size = i64::try_from(image.size_bytes).unwrap_or(i64::MAX);
    ImageSummary {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        created: image.created.map_or(0, Timestamp::seconds),
        size,
        shared_size: -1,
        labels: Some(image.labels().into_iter().collect())
            .filter(|labels: &StringMap| !labels.is_empty()),
        containers: users.get(&image.id).copied().unwrap_or_default(),
        ..ImageSummary::default()
    }
}

/// What was said of the newest step, by whoever committed or imported it.
fn last_comment(image: &Image) -> String {
    let newest = image.config.history().iter().flatten().last();
    newest
        .and_then(|step| step.comment().clone())
        .unwrap_or_default()
}

/// `GET /images/{name}/json`.
pub(in crate::api) fn inspect(
    engine: &Arc<Engine>,
    request: &Request,
    name: &str,
) -> Result<Response<Body>> {
    platform::check(engine, request, name)?;
    let found = image::resolve(engine, name)?;
    let config = &found.config;
    let size = i64::try_from(found.size_bytes).unwrap_or(i64::MAX);
    let answer = ImageInspect {
        id: found.id.to_string(),
        comment: last_comment(&found),
        repo_tags: found.repo_tags.clone(),
        repo_digests: found.repo_digests.clone(),
        created: found
            .created
            .map_or(NEVER.to_owned(), |time| time.to_string()),
        author: config.author().clone().unwrap_or_default(),
        config: image::config_of(&found)?,
        architecture: found.platform.architecture.clone(),
        variant: found.platform.variant.clone().unwrap_or_default(),
        os: found.platform.os.clone(),
        size,
        graph_driver: graph_driver(engine, &found),
        root_fs: RootFs {
            r#type: "layers".into(),
            layers: found.diff_ids().map(|id| id.to_string()).collect(),
        },
        metadata: ImageMetadata {
            last_tag_time: found.last_tagged.to_string(),
        },
        ..ImageInspect::default()
    };
    response::versioned((Answer::ImageInspect, request.version), &answer)
}

/// Where the layers are, the uppermost apart.
fn graph_driver(engine: &Engine, image: &Image) -> GraphDriver {
    let path = |diff_id: Digest| engine.instance.layer(&diff_id).display().to_string();
    let mut layers = image.diff_ids().rev().map(path);
    let mut data = StringMap::new();
    data.extend(layers.next().map(|top| ("UpperDir".to_owned(), top)));
    let below: Vec<String> = layers.collect();
    if !below.is_empty() {
        data.insert("LowerDir".to_owned(), below.join(":"));
    }
    GraphDriver {
        data,
        name: "overlay2".into(),
    }
}

/// `GET /images/{name}/history`.
pub(in crate::api) fn history(
    engine: &Arc<Engine>,
    request: &Request,
    name: &str,
) -> Result<Response<Body>> {
    platform::check(engine, request, name)?;
    let found = image::resolve(engine, name)?;
    let mut layers = found.layers.iter();
    let mut rows: Vec<ImageHistory> = found
        .config
        .history()
        .iter()
        .flatten()
        .map(|step| {
            let is_empty = step.empty_layer().unwrap_or(false);
            let layer = if is_empty { None } else { layers.next() };
            ImageHistory {
                id: "<missing>".into(),
                created: step
                    .created()
                    .as_ref()
                    .and_then(|t| t.parse().ok())
                    .map_or(0, Timestamp::seconds),
                created_by: step.created_by().clone().unwrap_or_default(),
                size: layer.map_or(0, |layer| {
                    i64::try_from(layer.size_bytes).unwrap_or(i64::MAX)
                }),
                comment: step.comment().clone().unwrap_or_default(),
                ..ImageHistory::default()
            }
        })
        .collect();
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        newest.id = found.id.to_string();
        newest.tags = Some(found.repo_tags.clone());
    }
    response::json(StatusCode::OK, &rows)
}

/// `POST /images/{name}/tag`.
pub(in crate::api) async fn tag(
    engine: &Arc<Engine>,
    request: &Request,
    name: &str,
) -> Result<Response<Body>> {
    let repository = request
        .parameter("repo")
        .ok_or_else(|| invalid("invalid reference format"))?;
    let target = match request.parameter("tag") {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.to_owned(),
    };
    let (engine, name) = (engine.clone(), name.to_owned());
    crate::blocking(move || image::tag(&engine, &name, &target)).await?;
    response::empty(StatusCode::CREATED)
}

fn deleted(step: &Removed) -> ImageDeleteResponse {
    match step {
        Removed::Untagged(name) => ImageDeleteResponse {
            untagged: name.clone(),
            ..Default::default()
        },
        Removed::Deleted(digest) => ImageDeleteResponse {
            deleted: digest.to_string(),
            ..Default::default()
        },
    }
}

/// `DELETE /images/{name}`.
pub(in crate::api) async fn remove(
    engine: &Arc<Engine>,
    request: &Request,
    name: &str,
) -> Result<Response<Body>> {
    let force = if request.flag("force") {
        Force::Yes
    } else {
        Force::No
    };
    if request.parameter("platforms").is_some() {
        let platforms = repeated(request.inner.uri(), "platforms")?;
        platform::check_each(engine, &platforms, name)?;
    }
    let (engine, name) = (engine.clone(), name.to_owned());
    let removed = crate::blocking(move || image::remove(&engine, &name, force)).await?;
    response::json(
        StatusCode::OK,
        &removed.iter().map(deleted).collect::<Vec<_>>(),
    )
}

/// `POST /images/prune`: untagged images, with `dangling=false` all unused ones.
pub(in crate::api) async fn prune(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let chosen = Chosen::read(request, &["dangling", "until"])?;
    let only_dangling = chosen
        .filters
        .boolean("dangling")
        .or_invalid()?
        .unwrap_or(true);
    let engine = engine.clone();
    let answer = crate::blocking(move || {
        let mut answer = ImagesPruneResponse {
            images_deleted: None,
            space_reclaimed: 0,
        };
        for found in engine.images.list() {
            let labels = found.labels().into_iter().collect();
            let is_chosen = chosen.has(&labels, found.created)
                && (!only_dangling || found.repo_tags.is_empty())
                && image::used_by(&engine, &found.id) == ImageUse::Unused;
            if is_chosen {
                let removed = image::remove(&engine, &found.id.to_string(), Force::Yes)?;
                answer.space_reclaimed += found.size_bytes;
                answer
                    .images_deleted
                    .get_or_insert_default()
                    .extend(removed.iter().map(deleted));
            }
        }
        Ok(answer)
    })
    .await?;
    response::json(StatusCode::OK, &answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_with_and_without_a_tag() {
        for (pattern, tag, expected) in [
            ("busybox", "busybox:1", true),
            ("busybox:1", "busybox:1", true),
            ("busy*", "busybox:1", true),
            ("*:1", "a/b:1", true),
            ("box", "busybox:1", false),
        ] {
            assert_eq!(matches(pattern, tag), expected, "{pattern} {tag}");
        }
    }
}
