//! The states of a container, in Docker's words, and the one function that
//! moves between them, used live and when the log is replayed.

use base::{RunNumber, Timestamp};
use serde::{Deserialize, Serialize};

/// What a container's state is reported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl Status {
    /// Returns Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// Where a container is in its life; `state.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    pub status: Status,
    /// The latest start, 0 before the first; stored before any request of that start.
    pub run: RunNumber,
    /// Whether a start of `run` is under way and not yet answered.
    #[serde(default)]
    pub starting: bool,
    /// Whether everything of the latest run has been cleaned up.
    #[serde(default = "yes")]
    pub cleaned: bool,
    #[serde(default)]
    pub pid: u32,
    #[serde(default)]
    pub exit_code: i32,
    #[serde(default)]
    pub oom_killed: bool,
    /// What went wrong with the latest start.
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub started: Option<Timestamp>,
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// Restarts by policy since the last start by a user.
    #[serde(default)]
    pub restarts: u32,
    /// Whether a user stopped it, which `unless-stopped` remembers.
    #[serde(default)]
    pub stopped_by_user: bool,
}

fn yes() -> bool {
    true
}

/// What can happen to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// A start begins; its run number is taken now.
    Starting {
        run: RunNumber,
    },
    /// The start failed; nothing of the run is left.
    StartFailed {
        run: RunNumber,
        error: String,
        exit_code: i32,
        time: Timestamp,
    },
    Started {
        run: RunNumber,
        pid: u32,
        time: Timestamp,
    },
    Paused,
    Resumed,
    /// A user asked for the end.
    StopRequested,
    Exited {
        run: RunNumber,
        exit_code: i32,
        oom_killed: bool,
        time: Timestamp,
    },
    /// The runtime's leftovers of the run are gone.
    Cleaned {
        run: RunNumber,
    },
    /// The restart policy will start it again.
    RestartScheduled,
    /// The scheduled restart is off.
    RestartDropped,
    RemoveRequested,
    /// Removal failed half-way and has to be asked for again.
    RemoveFailed {
        error: String,
    },
}

/// Says that something cannot happen in this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to a container that is {status:?}")]
pub struct IllegalTransition {
    pub status: Status,
    pub event: ContainerEvent,
}

impl ContainerState {
    /// Returns the state of a container that was just created.
    pub fn created() -> Self {
        Self {
            status: Status::Created,
            run: RunNumber(0),
            starting: false,
            cleaned: true,
            pid: 0,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started: None,
            finished: None,
            restarts: 0,
            stopped_by_user: false,
        }
    }

    /// Returns whether a process of the container may live.
    pub fn is_live(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused) || self.starting
    }

    /// Returns the state after `event`: the only place where a container
    /// changes state. An event of an older run, or one that is already
    /// included, changes nothing, so that replaying is safe.
    ///
    /// # Errors
    /// When `event` cannot happen in this state; the state is then unchanged.
    pub fn on(&self, event: ContainerEvent) -> Result<Self, IllegalTransition> {
        if event.run().is_some_and(|run| run < self.run) || self.includes(&event) {
            return Ok(self.clone());
        }
        let next = if event.run().is_some() {
            self.on_run(&event)
        } else {
            self.on_wish(&event)
        };
        next.ok_or(IllegalTransition {
            status: self.status,
            event,
        })
    }

    /// What becomes of a run.
    fn on_run(&self, event: &ContainerEvent) -> Option<Self> {
        use ContainerEvent as E;
        use Status as S;
        let mut next = self.clone();
        let is_down = matches!(self.status, S::Created | S::Exited | S::Restarting);
        match event {
            E::Starting { run } if is_down && *run > self.run && self.cleaned => next.begin(*run),
            E::Started { pid, time, .. } if is_down && self.starting => next.start(*pid, *time),
            E::StartFailed {
                error,
                exit_code,
                time,
                ..
            } if is_down && self.starting => {
                next.fail(error, *exit_code, *time);
            }
            // Where it is down, the shim recorded the exit before anybody
            // recorded the start.
            E::Exited {
                exit_code,
                oom_killed,
                time,
                ..
            } if !is_down || self.starting => {
                if !is_down && !matches!(self.status, S::Running | S::Paused) {
                    return None;
                }
                next.exit(*exit_code, *oom_killed, *time);
                next.started.get_or_insert(*time);
            }
            E::Cleaned { .. } => next.cleaned = true,
            _ => return None,
        }
        Some(next)
    }

    /// What users and policies ask for.
    fn on_wish(&self, event: &ContainerEvent) -> Option<Self> {
        use ContainerEvent as E;
        use Status as S;
        let mut next = self.clone();
        match (self.status, event) {
            (S::Running, E::Paused) => next.status = S::Paused,
            (S::Paused, E::Resumed) => next.status = S::Running,
            (S::Running | S::Paused | S::Restarting, E::StopRequested) => {
                next.stopped_by_user = true;
            }
            // It ended by itself while the wish was on its way.
            (S::Exited | S::Removing | S::Dead, E::StopRequested) => {}
            (S::Exited, E::RestartScheduled) => {
                next.status = S::Restarting;
                next.restarts += 1;
            }
            (S::Restarting, E::RestartDropped) => next.status = S::Exited,
            (S::Created | S::Exited | S::Dead | S::Restarting, E::RemoveRequested)
                if !self.starting =>
            {
                next.status = S::Removing;
            }
            (S::Removing, E::RemoveRequested) => {}
            (S::Removing, E::RemoveFailed { error }) => {
                next.status = S::Dead;
                next.error.clone_from(error);
            }
            _ => return None,
        }
        Some(next)
    }

    /// Returns whether this state already reflects `event`.
    fn includes(&self, event: &ContainerEvent) -> bool {
        match event {
            ContainerEvent::Started { run, .. } => {
                *run == self.run && !self.starting && (self.is_live() || self.started.is_some())
            }
            ContainerEvent::Exited { run, .. } | ContainerEvent::StartFailed { run, .. } => {
                *run == self.run && !self.is_live()
            }
            ContainerEvent::Cleaned { run } => *run == self.run && self.cleaned,
            _ => false,
        }
    }

    fn begin(&mut self, run: RunNumber) {
        self.run = run;
        self.starting = true;
        self.cleaned = false;
        self.stopped_by_user = false;
        self.error.clear();
    }

    fn start(&mut self, pid: u32, time: Timestamp) {
        self.status = Status::Running;
        self.starting = false;
        self.pid = pid;
        self.exit_code = 0;
        self.oom_killed = false;
        self.started = Some(time);
    }

    fn fail(&mut self, error: &str, exit_code: i32, time: Timestamp) {
        self.starting = false;
        self.cleaned = true;
        self.pid = 0;
        self.error = error.to_owned();
        self.exit_code = exit_code;
        self.finished = Some(time);
        // Docker leaves a container that never ran as created.
        if self.status == Status::Restarting {
            self.status = Status::Exited;
        }
    }

    fn exit(&mut self, exit_code: i32, oom_killed: bool, time: Timestamp) {
        self.status = Status::Exited;
        self.starting = false;
        self.pid = 0;
        self.exit_code = exit_code;
        self.oom_killed = oom_killed;
        self.finished = Some(time);
    }
}

impl ContainerEvent {
    fn run(&self) -> Option<RunNumber> {
        match self {
            Self::Starting { run }
            | Self::StartFailed { run, .. }
            | Self::Started { run, .. }
            | Self::Exited { run, .. }
            | Self::Cleaned { run } => Some(*run),
            Self::Paused
            | Self::Resumed
            | Self::StopRequested
            | Self::RestartScheduled
            | Self::RestartDropped
            | Self::RemoveRequested
            | Self::RemoveFailed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContainerEvent as E;

    const T1: Timestamp = Timestamp::EPOCH;

    fn after(events: &[E]) -> ContainerState {
        let mut state = ContainerState::created();
        for event in events {
            state = state
                .on(event.clone())
                .unwrap_or_else(|error| panic!("{error}"));
        }
        state
    }

    fn starting(run: u64) -> E {
        E::Starting {
            run: RunNumber(run),
        }
    }

    fn started(run: u64) -> E {
        E::Started {
            run: RunNumber(run),
            pid: 7,
            time: T1,
        }
    }

    fn exited(run: u64) -> E {
        E::Exited {
            run: RunNumber(run),
            exit_code: 3,
            oom_killed: false,
            time: T1,
        }
    }

    fn cleaned(run: u64) -> E {
        E::Cleaned {
            run: RunNumber(run),
        }
    }

    #[test]
    fn a_whole_life_goes_through_dockers_words() {
        let life = [
            (starting(1), Status::Created),
            (started(1), Status::Running),
            (E::Paused, Status::Paused),
            (E::Resumed, Status::Running),
            (exited(1), Status::Exited),
            (cleaned(1), Status::Exited),
            (E::RestartScheduled, Status::Restarting),
            (starting(2), Status::Restarting),
            (started(2), Status::Running),
            (exited(2), Status::Exited),
            (cleaned(2), Status::Exited),
            (E::RemoveRequested, Status::Removing),
        ];
        let mut state = ContainerState::created();
        for (event, status) in life {
            state = state.on(event.clone()).unwrap();
            assert_eq!(state.status, status, "after {event:?}");
        }
        assert_eq!(
            (state.exit_code, state.restarts, state.run),
            (3, 1, RunNumber(2))
        );
    }

    #[test]
    fn replaying_what_is_included_changes_nothing() {
        let state = after(&[
            starting(1),
            started(1),
            exited(1),
            cleaned(1),
            starting(2),
            started(2),
        ]);
        for old in [started(1), exited(1), cleaned(1), started(2)] {
            assert_eq!(state.on(old.clone()).as_ref(), Ok(&state), "{old:?}");
        }
        let over = after(&[starting(1), started(1), exited(1), cleaned(1)]);
        for old in [started(1), exited(1), cleaned(1)] {
            assert_eq!(over.on(old.clone()).as_ref(), Ok(&over), "{old:?}");
        }
    }

    #[test]
    fn an_exit_may_be_recorded_before_the_start() {
        let state = after(&[starting(1), exited(1)]);
        assert_eq!((state.status, state.exit_code), (Status::Exited, 3));
        assert!(state.started.is_some());
    }

    #[test]
    fn a_next_run_waits_until_the_last_one_is_cleaned() {
        let state = after(&[starting(1), started(1), exited(1)]);
        assert!(state.on(starting(2)).is_err());
        assert!(state.on(cleaned(1)).unwrap().on(starting(2)).is_ok());
    }

    #[test]
    fn what_cannot_happen_is_refused() {
        let running = after(&[starting(1), started(1)]);
        for event in [
            E::RemoveRequested,
            starting(2),
            E::Resumed,
            E::RestartScheduled,
        ] {
            assert!(running.on(event.clone()).is_err(), "{event:?}");
        }
        let created = ContainerState::created();
        for event in [E::Paused, exited(1), started(1), E::StopRequested] {
            assert!(created.on(event.clone()).is_err(), "{event:?}");
        }
    }

    #[test]
    fn a_stop_that_comes_after_the_end_changes_nothing() {
        let mut state = after(&[starting(1), started(1), exited(1)]);
        for event in [E::StopRequested, E::RemoveRequested, E::StopRequested] {
            let before = state.clone();
            state = state.on(event.clone()).unwrap();
            assert_eq!(state == before, event == E::StopRequested);
        }
    }

    #[test]
    fn a_failed_start_leaves_a_created_container() {
        let failed = E::StartFailed {
            run: RunNumber(1),
            error: "no".into(),
            exit_code: 127,
            time: T1,
        };
        let state = after(&[starting(1), failed]);
        assert_eq!(
            (state.status, state.exit_code, state.error.as_str()),
            (Status::Created, 127, "no")
        );
        assert!(state.on(starting(2)).is_ok());
    }
}
