//! Restart policies: whether and when an exited container starts again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Docker's restart policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    #[default]
    No,
    /// After a non-zero exit; 0 means without limit.
    OnFailure {
        maximum_retries: u32,
    },
    Always,
    /// As `Always`, unless a user stopped it.
    UnlessStopped,
}

/// What to do about an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    Stay,
    RestartAfter(Duration),
}

/// The first back-off; it doubles with each restart that did not last.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest back-off.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A run that lasted this long begins the back-off anew.
const LASTING: Duration = Duration::from_secs(10);

/// The exit a decision is about.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    pub exit_code: i32,
    pub stopped_by_user: bool,
    /// Restarts by policy so far.
    pub restarts: u32,
    pub lasted: Duration,
}

impl RestartPolicy {
    /// Returns whether a container starts again after `exit`, and when.
    pub fn decide(self, exit: Exit) -> RestartDecision {
        let again = match self {
            Self::No => false,
            Self::OnFailure { maximum_retries } => {
                exit.exit_code != 0 && (maximum_retries == 0 || exit.restarts < maximum_retries)
            }
            Self::Always | Self::UnlessStopped => true,
        };
        if !again || exit.stopped_by_user {
            return RestartDecision::Stay;
        }
        RestartDecision::RestartAfter(delay(exit))
    }

    /// Returns whether a container that is down starts when the engine does.
    pub fn starts_with_engine(self, stopped_by_user: bool) -> bool {
        match self {
            Self::No | Self::OnFailure { .. } => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped_by_user,
        }
    }
}

fn delay(exit: Exit) -> Duration {
    if exit.lasted >= LASTING {
        return FIRST_DELAY;
    }
    let doublings = exit.restarts.min(16);
    (FIRST_DELAY * 2_u32.pow(doublings)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(
        policy: RestartPolicy,
        exit_code: i32,
        stopped_by_user: bool,
        restarts: u32,
    ) -> RestartDecision {
        policy.decide(Exit {
            exit_code,
            stopped_by_user,
            restarts,
            lasted: Duration::from_secs(1),
        })
    }

    #[test]
    fn policies_decide_as_docker_does() {
        use RestartDecision::Stay;
        let three = RestartPolicy::OnFailure { maximum_retries: 3 };
        assert_eq!(decide(RestartPolicy::No, 1, false, 0), Stay);
        assert_eq!(decide(three, 0, false, 0), Stay);
        assert_ne!(decide(three, 1, false, 2), Stay);
        assert_eq!(decide(three, 1, false, 3), Stay);
        assert_ne!(decide(RestartPolicy::Always, 0, false, 0), Stay);
        assert_eq!(decide(RestartPolicy::Always, 0, true, 0), Stay);
        assert!(RestartPolicy::Always.starts_with_engine(true));
        assert!(!RestartPolicy::UnlessStopped.starts_with_engine(true));
    }

    #[test]
    fn the_back_off_doubles_to_a_minute_and_begins_anew() {
        let after = |restarts| decide(RestartPolicy::Always, 0, false, restarts);
        assert_eq!(
            after(0),
            RestartDecision::RestartAfter(Duration::from_millis(100))
        );
        assert_eq!(
            after(3),
            RestartDecision::RestartAfter(Duration::from_millis(800))
        );
        assert_eq!(
            after(1000),
            RestartDecision::RestartAfter(Duration::from_secs(60))
        );
        let lasting = Exit {
            exit_code: 0,
            stopped_by_user: false,
            restarts: 9,
            lasted: Duration::from_secs(11),
        };
        assert_eq!(
            RestartPolicy::Always.decide(lasting),
            RestartDecision::RestartAfter(Duration::from_millis(100))
        );
    }
}
