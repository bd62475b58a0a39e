//! Waiting for a container's end.

use std::sync::Arc;

use engine_model::Status;

use super::{Container, Snapshot};
use crate::error::{Result, invalid};

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// Already true for a container that does not run.
    NotRunning,
    /// The end of the present run, or of the next one.
    NextExit,
    /// Name and record are free.
    Removed,
}

impl WaitCondition {
    /// Reads the query parameter `condition`.
    ///
    /// # Errors
    /// Invalid for a word Docker does not know.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        match text.unwrap_or_default() {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            other => Err(invalid(format!("invalid condition: {other:?}"))),
        }
    }
}

/// Begins to wait at once and returns the future that ends with the exit code.
///
/// The two parts are apart so that a client that was answered the headers can
/// rely on not missing an exit.
pub fn wait(
    container: &Arc<Container>,
    condition: WaitCondition,
) -> impl Future<Output = i32> + use<> {
    let mut watch = container.watch();
    let first = watch.borrow().clone();
    async move {
        let over = |now: &Snapshot| match condition {
            // A restart by policy is an end too, as with Docker.
            WaitCondition::NotRunning => {
                now.removed || !is_up(now) || now.state.finished > first.state.finished
            }
            WaitCondition::NextExit => now.removed || is_next_exit(&first, now),
            WaitCondition::Removed => now.removed,
        };
        // An error says that the container's last owner is gone: it is removed.
        drop(watch.wait_for(over).await);
        watch.borrow().state.exit_code
    }
}

/// Whether it runs or is about to be restarted.
fn is_up(now: &Snapshot) -> bool {
    now.state.is_live() || now.state.status == Status::Restarting
}

/// The present run, if one is live at first, or any later run has ended.
fn is_next_exit(first: &Snapshot, now: &Snapshot) -> bool {
    let is_later = now.state.run > first.state.run || first.state.is_live();
    // A run that was started since may be over and restarting by now.
    is_later
        && !now.state.is_live()
        && now.state.started.is_some()
        && now.state.finished > first.state.finished
}
