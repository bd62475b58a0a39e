//! Printing answers.

use serde_json::{Value, json};
use testcontainers::bollard::errors::Error as BollardError;
use testcontainers::core::error::{ClientError, TestcontainersError};

/// Prints what came of a call and returns its answer.
pub(crate) fn say<T>(
    name: &str,
    answer: Result<T, TestcontainersError>,
    show: impl FnOnce(&T) -> Value,
) -> Option<T> {
    let (shown, answer) = match answer {
        Ok(answer) => (show(&answer), Some(answer)),
        Err(error) => (told(&error), None),
    };
    println!("{name} {shown}");
    answer
}

/// Shows that a call was made, where its answer is a handle.
pub(crate) fn done<T>(_: &T) -> Value {
    json!("done")
}

pub(crate) fn text(bytes: &Vec<u8>) -> Value {
    json!(String::from_utf8_lossy(bytes))
}

/// What the engine said, and beside that the kind of error.
fn told(error: &TestcontainersError) -> Value {
    let answer = match error {
        TestcontainersError::Client(error) => answer_of(error),
        _ => None,
    };
    match answer {
        Some(BollardError::DockerResponseServerError { status_code, message }) => {
            json!({"error": {"status": status_code, "message": message}})
        }
        _ => json!({"error": {"message": error.to_string()}}),
    }
}

fn answer_of(error: &ClientError) -> Option<&BollardError> {
    match error {
        ClientError::PullImage { err, .. } => Some(err),
        ClientError::Init(err)
        | ClientError::CreateContainer(err)
        | ClientError::StartContainer(err)
        | ClientError::StopContainer(err)
        | ClientError::PauseContainer(err)
        | ClientError::UnpauseContainer(err)
        | ClientError::InspectContainer(err)
        | ClientError::InitExec(err)
        | ClientError::UploadToContainerError(err) => Some(err),
        _ => None,
    }
}
