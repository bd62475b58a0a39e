//! Printing answers, and collecting what comes as a stream.

use bollard::container::LogOutput;
use bollard::errors::Error;
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};

/// Prints what came of a call and returns its answer.
pub(crate) fn say<T: Serialize>(name: &str, answer: Result<T, Error>) -> Option<T> {
    let (shown, answer) = match answer {
        Ok(answer) => (serde_json::to_value(&answer).expect("an answer is JSON"), Some(answer)),
        Err(error) => (told(&error), None),
    };
    println!("{name} {shown}");
    answer
}

/// Says what of an error a caller can act on.
fn told(error: &Error) -> Value {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            json!({"error": {"status": status_code, "message": message}})
        }
        Error::DockerContainerWaitError { error, code } => {
            json!({"error": {"wait": error, "code": code}})
        }
        other => json!({"error": {"kind": other.to_string()}}),
    }
}

/// Collects a stream to its end, or its error.
pub(crate) async fn all<T>(stream: impl Stream<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    stream.try_collect().await
}

/// Collects output by its stream: pieces may be cut anywhere.
pub(crate) async fn text(stream: impl Stream<Item = Result<LogOutput, Error>>) -> Result<Value, Error> {
    let (mut out, mut err, mut console) = (String::new(), String::new(), String::new());
    let mut stream = std::pin::pin!(stream);
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        let to = match piece {
            LogOutput::StdErr { .. } => &mut err,
            LogOutput::StdOut { .. } => &mut out,
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => &mut console,
        };
        to.push_str(&piece.to_string());
    }
    Ok(json!({"stdout": out, "stderr": err, "console": console}))
}
