//! `POST /images/{name}/push`: images to a registry.

use std::sync::Arc;

use engine_api::progress::ProgressMessage;
use engine_api::registry::PushResult;
use engine_image::{PushEvent, PushStep};
use hyper::Response;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::registry;
use super::{platform, pull::with_tag};
use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body, Feed, Gone};
use crate::distribution::push::{PushNews, push as begin};
use crate::error::Result;

/// `POST /images/{name}/push`: one tag, or without `tag` all of them. As with
/// Docker, everything but a name that is none is told in the stream.
pub(in crate::api) async fn push(
    engine: &Arc<Engine>,
    mut request: Request,
    name: &str,
) -> Result<Response<Body>> {
    // Docker's command line sends an empty object.
    request.skip_body().await?;
    let reference = with_tag(name, request.parameter("tag"))?;
    platform::check(engine, &request, &reference.to_string())?;
    let (feed, answer) = response::stream("application/json")?;
    let refers = format!("The push refers to repository [{}]", reference.name());
    let (mut news, outcome) = begin(engine, reference, registry::credential(&request));
    let abort = outcome.abort_handle();
    tokio::spawn(async move {
        let told = tell(&feed, refers, &mut news, outcome);
        tokio::select! {
            // Either end of it is the client's.
            told = told => told.unwrap_or_default(),
            // The client has gone: the push is given up.
            () = feed.closed() => {}
        }
        abort.abort();
    });
    Ok(answer)
}

async fn tell(
    feed: &Feed,
    refers: String,
    news: &mut mpsc::Receiver<PushNews>,
    outcome: JoinHandle<Result<()>>,
) -> Result<(), Gone> {
    feed.send(ProgressMessage::status(refers).to_line()).await?;
    while let Some(news) = news.recv().await {
        for message in messages(news) {
            feed.send(message.to_line()).await?;
        }
    }
    let message = match outcome.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(failure)) => failure.message,
        Err(error) => format!("the push was cut short: {error}"),
    };
    feed.send(ProgressMessage::error(message).to_line()).await
}

fn messages(news: PushNews) -> Vec<ProgressMessage> {
    let pushed = match news {
        PushNews::Layer(event) => return vec![layer_message(&event)],
        PushNews::Pushed(pushed) => pushed,
    };
    let (tag, digest, size) = (pushed.tag, pushed.digest.to_string(), pushed.size);
    let line = format!("{tag}: digest: {digest} size: {size}");
    let result = PushResult { tag, digest, size };
    let aux = serde_json::to_value(result).unwrap_or_default();
    vec![
        ProgressMessage::status(line),
        ProgressMessage::with_aux(aux),
    ]
}

fn layer_message(event: &PushEvent) -> ProgressMessage {
    let id = &event.diff_id.hex()[..12];
    let status = match &event.step {
        PushStep::Preparing => "Preparing".to_owned(),
        PushStep::Waiting => "Waiting".to_owned(),
        PushStep::Exists => "Layer already exists".to_owned(),
        PushStep::Mounted { from } => format!("Mounted from {from}"),
        PushStep::Pushing { current, total } => {
            return ProgressMessage::bytes(id, "Pushing", *current, *total);
        }
        PushStep::Retrying { seconds: 1 } => "Retrying in 1 second".to_owned(),
        PushStep::Retrying { seconds } => format!("Retrying in {seconds} seconds"),
        PushStep::Pushed => "Pushed".to_owned(),
    };
    ProgressMessage::about(id, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Digest;

    #[test]
    fn lines_are_dockers() {
        let digest = Digest::of(b"x");
        let step = |step| {
            let news = PushNews::Layer(PushEvent {
                diff_id: digest,
                step,
            });
            lines(news)
        };
        let id = &digest.hex()[..12];
        let line = |text: &str| format!("{}\r\n", text.replace("ID", id));
        assert_eq!(
            step(PushStep::Preparing),
            line(r#"{"status":"Preparing","progressDetail":{},"id":"ID"}"#)
        );
        assert_eq!(
            step(PushStep::Pushing {
                current: 34_304,
                total: 1_982_256
            }),
            line(
                r#"{"status":"Pushing","progressDetail":{"current":34304,"total":1982256},"progress":"[>                                                  ]   34.3kB/1.982MB","id":"ID"}"#
            )
        );
        let pushed = PushNews::Pushed(engine_image::Pushed {
            tag: "1".into(),
            digest,
            size: 527,
        });
        let expected = format!(
            "{{\"status\":\"1: digest: {digest} size: 527\"}}\r\n{{\"progressDetail\":{{}},\"aux\":{{\"Digest\":\"{digest}\",\"Size\":527,\"Tag\":\"1\"}}}}\r\n"
        );
        assert_eq!(lines(pushed), expected);
    }

    fn lines(news: PushNews) -> String {
        let lines = messages(news).into_iter();
        let text: Vec<u8> = lines.flat_map(|message| message.to_line()).collect();
        String::from_utf8(text).unwrap()
    }
}
