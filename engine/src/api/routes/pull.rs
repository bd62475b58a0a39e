//! `POST /images/create`: images from a registry.

use std::sync::Arc;

use engine_api::progress::ProgressMessage;
use engine_image::{LayerStep, PullRequest, Reference, RegistryAccess};
use hyper::Response;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::registry;
use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body, Feed};
use crate::distribution::pull::{PullNews, pull};
use crate::error::{OrFail as _, Result, internal};

/// `POST /images/create`: a pull, or with `fromSrc` an import. What a registry does
/// not have is an error before the stream begins, as with Docker.
pub(in crate::api) async fn create(
    engine: &Arc<Engine>,
    request: Request,
) -> Result<Response<Body>> {
    let Some(name) = request.parameter("fromImage") else {
        return super::archives::import(engine, request).await;
    };
    let platform = request.parameter("platform").map(str::parse).transpose();
    let wanted = PullRequest {
        reference: with_tag(name, request.parameter("tag"))?,
        platform: platform.or_invalid()?,
        access: RegistryAccess::default(),
    };
    let credential = registry::credential(&request);
    let (mut news, mut outcome) = pull(engine, wanted, credential);
    let Some(first) = news.recv().await else {
        let ended = (&mut outcome).await;
        let last =
            ended.map_err(|error| internal(format!("the pull was cut short: {error}")))??;
        return told(&last).await;
    };
    let (feed, answer) = response::stream("application/json")?;
    let abort = outcome.abort_handle();
    tokio::spawn(async move {
        let told = async {
            tell_news(&feed, first, &mut news).await;
            tell_outcome(&feed, outcome).await;
        };
        tokio::select! {
            () = told => {}
            // The client has gone: the pull is given up, what it fetched is kept.
            () = feed.closed() => abort.abort(),
        }
    });
    Ok(answer)
}

/// Answers a pull that has nothing else to tell.
async fn told(last: &str) -> Result<Response<Body>> {
    let (feed, answer) = response::stream("application/json")?;
    let line = ProgressMessage::status(last).to_line();
    // There is room for one line.
    feed.send(line).await.or_internal()?;
    Ok(answer)
}

/// Returns the reference of a name and of a tag or digest that replaces its own.
pub(super) fn with_tag(name: &str, tag: Option<&str>) -> Result<Reference> {
    let named: Reference = name.parse().or_invalid()?;
    let Some(tag) = tag else {
        return Ok(named);
    };
    if let Ok(digest) = tag.parse() {
        return Ok(named.with_digest(digest));
    }
    let tagged = named.with_tag(tag).or_invalid()?;
    match named.digest() {
        // A digest beside the tag wins.
        Some(digest) => Ok(tagged.with_digest(digest)),
        None => Ok(tagged),
    }
}

async fn tell_news(feed: &Feed, first: PullNews, rest: &mut mpsc::Receiver<PullNews>) {
    let mut next = Some(first);
    while let Some(news) = next {
        if feed.send(message(news).to_line()).await.is_err() {
            return;
        }
        next = rest.recv().await;
    }
}

fn message(news: PullNews) -> ProgressMessage {
    match news {
        PullNews::Found(reference) => {
            let digest = reference.digest().map(|digest| digest.to_string());
            let id = digest.or_else(|| reference.tag().map(str::to_owned));
            ProgressMessage {
                id: id.unwrap_or_default(),
                ..ProgressMessage::status(format!("Pulling from {}", reference.path()))
            }
        }
        PullNews::Layer { blob, step } => layer_message(&blob.hex()[..12], step),
        PullNews::Pulled(digest) => ProgressMessage::status(format!("Digest: {digest}")),
    }
}

fn layer_message(id: &str, step: LayerStep) -> ProgressMessage {
    let bytes = ProgressMessage::bytes;
    match step {
        LayerStep::Waiting => ProgressMessage::about(id, "Pulling fs layer"),
        LayerStep::Exists => ProgressMessage::about(id, "Already exists"),
        LayerStep::Downloading { current, total } => bytes(id, "Downloading", current, total),
        LayerStep::Retrying { pause } => ProgressMessage::about(
            id,
            format!("Retrying in {} seconds", pause.as_secs().max(1)),
        ),
        LayerStep::Downloaded => ProgressMessage::about(id, "Download complete"),
        LayerStep::Extracting { current, total } => bytes(id, "Extracting", current, total),
        LayerStep::Complete => ProgressMessage::about(id, "Pull complete"),
    }
}

async fn tell_outcome(feed: &Feed, outcome: JoinHandle<Result<String>>) {
    let message = match outcome.await {
        Ok(Ok(last)) => ProgressMessage::status(last),
        Ok(Err(failure)) => ProgressMessage::error(failure.message),
        Err(error) => ProgressMessage::error(format!("the pull was cut short: {error}")),
    };
    // A client that has gone does not want the outcome.
    feed.send(message.to_line()).await.unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_or_digest_completes_the_name() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let of = |name: &str, tag: &str| with_tag(name, Some(tag)).unwrap().to_string();
        assert_eq!(of("a/b", "1"), "a/b:1");
        assert_eq!(of("a/b:2", "1"), "a/b:1");
        assert_eq!(of("a:1", &digest), format!("a@{digest}"));
        assert_eq!(of(&format!("a@{digest}"), "1"), format!("a@{digest}"));
        assert_eq!(with_tag("a", None).unwrap().to_string(), "a");
        assert!(with_tag("a", Some("sha256:00")).is_err());
        assert!(with_tag("A", Some("1")).is_err());
    }
}
