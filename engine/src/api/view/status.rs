//! The status column: `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`.

use std::time::Duration;

use base::Timestamp;
use engine_model::{ContainerState, HealthState, HealthStatus, Status};

/// Docker's words for what a container can be.
pub(in crate::api) const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

/// Returns Docker's text for a state.
pub(super) fn text(state: &ContainerState, health: Option<HealthState>, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| human(now.since(time.unwrap_or(now)));
    match state.status {
        Status::Created => "Created".into(),
        Status::Dead => "Dead".into(),
        Status::Removing => "Removal In Progress".into(),
        Status::Restarting => format!(
            "Restarting ({}) {} ago",
            state.exit_code,
            since(state.finished)
        ),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
        Status::Paused => format!("Up {} (Paused)", since(state.started)),
        Status::Running => {
            let suffix = match health.map(|health| health.status) {
                None => "",
                Some(HealthStatus::Starting) => " (health: starting)",
                Some(HealthStatus::Healthy) => " (healthy)",
                Some(HealthStatus::Unhealthy) => " (unhealthy)",
            };
            format!("Up {}{suffix}", since(state.started))
        }
    }
}

/// Returns a duration in Docker's words.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 14 => format!("{} days", hours / 24),
        () if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_dockers_words() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (180, "3 minutes"),
            (3700, "About an hour"),
            (3600 * 5, "5 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 21, "3 weeks"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }
}
