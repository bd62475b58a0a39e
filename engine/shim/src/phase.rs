//! What a run goes through, pure: each transition names the one thing to do.
//!
//! The order that everything else relies on stands here and nowhere else: the
//! exit is recorded before `delete`, `delete` is done before `cleaned`.

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was asked yet.
    Waiting,
    /// `run --detach` is under way.
    Starting,
    /// Init runs.
    Running,
    /// Init is gone; what it wrote is being read.
    Draining,
    /// The exit is being recorded.
    Recording,
    /// `delete` is under way.
    Deleting,
    /// `cleaned` is being recorded.
    Clearing,
    /// All is recorded; attached clients get the rest of the output.
    Lingering,
    /// The start failed; `delete` removes what it left.
    Undoing,
    /// The start failed and left nothing.
    Failed,
    /// The shim ends.
    Ended,
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PhaseEvent {
    StartAsked,
    Started,
    StartFailed,
    InitExited,
    Drained,
    ExitRecorded,
    Deleted,
    CleanedRecorded,
    ClientsGone,
    ShutdownAsked,
}

/// What a transition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Run,
    AnnounceStart,
    Drain,
    RecordExit,
    Delete,
    RecordCleaned,
    Linger,
    AnswerFailure,
    End,
}

/// Says that a run cannot take this step where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the container is {}", .phase.words())]
pub(crate) struct IllegalStep {
    pub(crate) phase: Phase,
}

impl Phase {
    /// The only place where a run moves on.
    ///
    /// # Errors
    /// When `event` cannot happen in this phase; the phase then stays.
    pub(crate) fn on(self, event: PhaseEvent) -> Result<(Self, Action), IllegalStep> {
        use {Action as A, Phase as P, PhaseEvent as E};
        match (self, event) {
            (P::Waiting, E::StartAsked) => Ok((P::Starting, A::Run)),
            (P::Starting, E::Started) => Ok((P::Running, A::AnnounceStart)),
            (P::Starting, E::StartFailed) => Ok((P::Undoing, A::Delete)),
            (P::Undoing, E::Deleted) => Ok((P::Failed, A::AnswerFailure)),
            (P::Running, E::InitExited) => Ok((P::Draining, A::Drain)),
            (P::Draining, E::Drained) => Ok((P::Recording, A::RecordExit)),
            (P::Recording, E::ExitRecorded) => Ok((P::Deleting, A::Delete)),
            (P::Deleting, E::Deleted) => Ok((P::Clearing, A::RecordCleaned)),
            (P::Clearing, E::CleanedRecorded) => Ok((P::Lingering, A::Linger)),
            (P::Lingering, E::ClientsGone) => Ok((P::Ended, A::End)),
            (P::Waiting | P::Failed | P::Lingering, E::ShutdownAsked) => Ok((P::Ended, A::End)),
            (phase, _) => Err(IllegalStep { phase }),
        }
    }

    /// Returns whether requests to the container make sense.
    pub(crate) fn is_running(self) -> bool {
        self == Self::Running
    }

    /// Returns whether the container's streams may still carry something.
    pub(crate) fn accepts_clients(self) -> bool {
        matches!(
            self,
            Self::Waiting | Self::Starting | Self::Running | Self::Draining
        )
    }

    fn words(self) -> &'static str {
        match self {
            Self::Waiting => "not started",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining | Self::Recording | Self::Deleting | Self::Clearing => "not running",
            Self::Lingering | Self::Ended => "not running",
            Self::Undoing | Self::Failed => "not started: its start failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use {Action as A, PhaseEvent as E};

    fn walk(events: &[PhaseEvent]) -> (Phase, Vec<Action>) {
        let mut phase = Phase::Waiting;
        let mut actions = Vec::new();
        for event in events {
            let (next, action) = phase.on(*event).unwrap();
            phase = next;
            actions.push(action);
        }
        (phase, actions)
    }

    #[test]
    fn a_run_is_recorded_then_deleted_then_cleaned() {
        let (phase, actions) = walk(&[
            E::StartAsked,
            E::Started,
            E::InitExited,
            E::Drained,
            E::ExitRecorded,
            E::Deleted,
            E::CleanedRecorded,
            E::ClientsGone,
        ]);
        assert_eq!(phase, Phase::Ended);
        let expected = [
            A::Run,
            A::AnnounceStart,
            A::Drain,
            A::RecordExit,
            A::Delete,
            A::RecordCleaned,
            A::Linger,
            A::End,
        ];
        assert_eq!(actions, expected);
    }

    #[test]
    fn a_failed_start_is_undone_before_it_is_answered() {
        let (phase, actions) = walk(&[E::StartAsked, E::StartFailed, E::Deleted, E::ShutdownAsked]);
        assert_eq!(phase, Phase::Ended);
        assert_eq!(actions, [A::Run, A::Delete, A::AnswerFailure, A::End]);
    }

    #[test]
    fn a_second_start_and_a_shutdown_while_running_are_refused() {
        let (running, _) = walk(&[E::StartAsked, E::Started]);
        for event in [E::StartAsked, E::ShutdownAsked, E::ExitRecorded, E::Deleted] {
            let error = running.on(event).unwrap_err();
            assert_eq!(error.to_string(), "the container is running");
        }
    }
}
