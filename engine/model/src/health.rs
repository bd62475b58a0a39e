//! Health checks: what is run, and what its results make of a container.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A health check; durations as Docker's defaults where the user gave none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthConfig {
    /// The process to run inside the container.
    pub arguments: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    /// Between probes until the first success within the start period.
    #[serde(default = "start_interval")]
    pub start_interval: Duration,
    pub retries: u32,
}

/// Docker's default.
const fn start_interval() -> Duration {
    Duration::from_secs(5)
}

impl HealthConfig {
    /// Returns how long to wait for the next probe, `age` after the start.
    pub fn pause(&self, state: HealthState, age: Duration) -> Duration {
        match state.status {
            HealthStatus::Starting if age < self.start_period => self.start_interval,
            _ => self.interval,
        }
    }
}

/// Docker's words for health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    /// Returns Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The health of a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthState {
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
}

impl HealthState {
    /// Returns the state of a container that was just started.
    pub fn starting() -> Self {
        Self {
            status: HealthStatus::Starting,
            failing_streak: 0,
        }
    }

    /// Returns the state after one probe that ended with `exit_code`, `age`
    /// after the start. Failures in the start period do not count until the
    /// first success.
    #[must_use]
    pub fn after_probe(self, config: &HealthConfig, exit_code: i32, age: Duration) -> Self {
        if exit_code == 0 {
            return Self {
                status: HealthStatus::Healthy,
                failing_streak: 0,
            };
        }
        if self.status == HealthStatus::Starting && age < config.start_period {
            return self;
        }
        let failing_streak = self.failing_streak.saturating_add(1);
        let status = if failing_streak >= config.retries {
            HealthStatus::Unhealthy
        } else {
            self.status
        };
        Self {
            status,
            failing_streak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_turns_unhealthy_after_the_retries_and_recovers() {
        let config = HealthConfig {
            arguments: vec!["true".into()],
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::from_secs(5),
            start_interval: Duration::from_secs(1),
            retries: 2,
        };
        let pause = |state, age| config.pause(state, Duration::from_secs(age)).as_secs();
        assert_eq!(pause(HealthState::starting(), 4), 1);
        assert_eq!(pause(HealthState::starting(), 5), 30);
        let probe = |state: HealthState, code, age| {
            state.after_probe(&config, code, Duration::from_secs(age))
        };
        let state = probe(HealthState::starting(), 1, 1);
        assert_eq!(state, HealthState::starting(), "the start period forgives");
        let state = probe(probe(state, 1, 6), 1, 7);
        assert_eq!(state.status, HealthStatus::Unhealthy);
        assert_eq!(
            probe(state, 0, 8),
            HealthState {
                status: HealthStatus::Healthy,
                failing_streak: 0
            }
        );
    }
}
