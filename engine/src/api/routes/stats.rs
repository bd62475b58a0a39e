//! `GET /containers/{id}/stats`.

use std::sync::Arc;
use std::time::Duration;

use engine_api::stats::StatsResponse;
use engine_model::Status;
use hyper::{Response, StatusCode};
use tokio::time::MissedTickBehavior;

use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body, Feed};
use crate::container::Container;
use crate::container::stats::{follow, measure};
use crate::error::Result;

/// How often a stream says something, as Docker's.
const INTERVAL: Duration = Duration::from_secs(1);

/// Answers with one measurement, or with one a second for as long as the client
/// listens and the container exists.
pub(in crate::api) async fn stats(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let is_stream = request.parameter("stream").is_none() || request.flag("stream");
    if is_stream {
        let (feed, answer) = response::stream("application/json")?;
        tokio::spawn(stream(engine.clone(), container, feed));
        return Ok(answer);
    }
    let mut first = now(engine, &container).await?;
    let is_running = matches!(container.state().status, Status::Running | Status::Paused);
    if request.flag("one-shot") && is_running {
        // Docker's server names it only when it has looked twice.
        (first.name, first.id) = Default::default();
        return response::json(StatusCode::OK, &first);
    }
    if !is_running {
        return response::json(StatusCode::OK, &first);
    }
    // What a processor does shows in the difference.
    tokio::time::sleep(INTERVAL).await;
    let mut second = now(engine, &container).await?;
    follow(&mut second, &first);
    response::json(StatusCode::OK, &second)
}

async fn now(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<StatsResponse> {
    let (engine, container) = (engine.clone(), container.clone());
    crate::blocking(move || Ok(measure(&engine, &container))).await
}

async fn stream(engine: Arc<Engine>, container: Arc<Container>, feed: Feed) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = container.watch();
    let mut before: Option<StatsResponse> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = feed.closed() => return,
            _ = watch.wait_for(|snapshot| snapshot.removed) => return,
        }
        let mut stats = match now(&engine, &container).await {
            Ok(stats) => stats,
            Err(error) => {
                tracing::warn!(container = %container.id, %error, "cannot measure it");
                return;
            }
        };
        if let Some(before) = &before {
            follow(&mut stats, before);
        }
        if feed.send_json(&stats).await.is_err() {
            return;
        }
        before = Some(stats);
    }
}
