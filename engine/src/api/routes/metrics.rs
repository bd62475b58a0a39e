//! `GET /metrics`, for Prometheus. Not of Docker's API, which serves it at an
//! address of its own; so do we, where one is configured.

use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::Engine;
use crate::api::response::{self, Body};
use crate::api::view::status;
use crate::error::{OrFail as _, Result};
use crate::metrics::Levels;

/// The format's own type; without the version some readers guess.
const TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// `GET /metrics`.
pub(in crate::api) async fn metrics(engine: &Arc<Engine>) -> Result<Response<Body>> {
    let engine = engine.clone();
    let text = crate::blocking(move || Ok(engine.metrics.render(&levels(&engine)?))).await?;
    let mut answer = response::text(StatusCode::OK, &text)?;
    answer.headers_mut().insert(CONTENT_TYPE, TYPE);
    Ok(answer)
}

fn levels(engine: &Engine) -> Result<Levels> {
    let mut levels = Levels {
        images: engine.images.list().len(),
        volumes: volumed_api::query::volumes(&engine.instance)
            .or_internal()?
            .len(),
        position: engine.bus.log().last().or_internal()?,
        started: engine.started.nanoseconds() as f64 / 1e9,
        ..Levels::default()
    };
    for state in status::STATES {
        levels.containers.insert(state, 0);
    }
    for container in engine.containers.unordered() {
        let state = container.state().status.as_str();
        *levels.containers.entry(state).or_default() += 1;
    }
    Ok(levels)
}
