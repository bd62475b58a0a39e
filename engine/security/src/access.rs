//! Who may do what over the API: a pure decision over a policy and an action.
//!
//! [`decide`] knows no request and no object: what a route means is declared
//! where the routes are, whose an object is is looked up there too. Bodies are
//! checked by [`body`]. Every match over policies and actions is exhaustive, so
//! that a new action cannot be forgotten here.

pub mod body;

use serde::Deserialize;

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Everything, which is to be root on the host.
    Full,
    /// Looking at everything, environments, logs and files included.
    ReadOnly,
    /// Confined containers of its own; those of others do not exist for it.
    OwnContainers,
    /// Nothing but asking whether somebody is there.
    None,
    /// Nothing but measurements: of the port that serves them, never of a rule.
    #[serde(skip_deserializing)]
    Metrics,
}

impl Policy {
    /// Returns the policy as configurations name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::OwnContainers => "own-containers",
            Self::None => "none",
            Self::Metrics => "metrics",
        }
    }
}

/// What a request does, as far as permission is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Ping,
    ReadSystem,
    ReadMetrics,
    ReadDiskUsage,
    FollowEvents,
    ListContainers,
    CreateContainer,
    ReadContainer,
    StartContainer,
    ControlContainer,
    UpdateContainer,
    RemoveContainer,
    AttachContainer,
    WriteContainerFiles,
    CommitContainer,
    CreateExec,
    ReadExec,
    UseExec,
    ReadImages,
    ChangeImages,
    ReadNetworks,
    ChangeNetworks,
    ListVolumes,
    ReadVolume,
    CreateVolume,
    RemoveVolume,
    /// Removes whatever nobody uses, of everybody.
    Prune,
    /// Has the engine speak to a registry that the client names, for an answer alone:
    /// logging in, searching, what is there under a name.
    AskRegistry,
    /// Builds images and what belongs to that.
    Build,
    /// Answered with a refusal whoever asks: swarm, plugins.
    NotBuilt,
}

/// Every action, for tests of tables.
pub const ACTIONS: &[Action] = &[
    Action::Ping,
    Action::ReadSystem,
    Action::ReadMetrics,
    Action::ReadDiskUsage,
    Action::FollowEvents,
    Action::ListContainers,
    Action::CreateContainer,
    Action::ReadContainer,
    Action::StartContainer,
    Action::ControlContainer,
    Action::UpdateContainer,
    Action::RemoveContainer,
    Action::AttachContainer,
    Action::WriteContainerFiles,
    Action::CommitContainer,
    Action::CreateExec,
    Action::ReadExec,
    Action::UseExec,
    Action::ReadImages,
    Action::ChangeImages,
    Action::ReadNetworks,
    Action::ChangeNetworks,
    Action::ListVolumes,
    Action::ReadVolume,
    Action::CreateVolume,
    Action::RemoveVolume,
    Action::Prune,
    Action::AskRegistry,
    Action::Build,
    Action::NotBuilt,
];

/// What kind of object the path of an action's request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    Container,
    Exec,
    Volume,
}

impl Action {
    /// Returns what the path names, where that can be somebody's own.
    pub fn object(self) -> Option<Object> {
        use Action as A;
        match self {
            A::ReadContainer
            | A::StartContainer
            | A::ControlContainer
            | A::UpdateContainer
            | A::RemoveContainer
            | A::AttachContainer
            | A::WriteContainerFiles
            | A::CreateExec => Some(Object::Container),
            A::ReadExec | A::UseExec => Some(Object::Exec),
            A::ReadVolume | A::RemoveVolume => Some(Object::Volume),
            A::Ping
            | A::ReadSystem
            | A::ReadMetrics
            | A::ReadDiskUsage
            | A::FollowEvents
            | A::ListContainers
            | A::CreateContainer
            | A::CommitContainer
            | A::ReadImages
            | A::ChangeImages
            | A::ReadNetworks
            | A::ChangeNetworks
            | A::ListVolumes
            | A::CreateVolume
            | A::Prune
            | A::AskRegistry
            | A::Build
            | A::NotBuilt => None,
        }
    }

    /// Returns whether it changes nothing.
    fn is_reading(self) -> bool {
        use Action as A;
        match self {
            A::Ping
            | A::ReadSystem
            | A::ReadMetrics
            | A::ReadDiskUsage
            | A::FollowEvents
            | A::ListContainers
            | A::ReadContainer
            | A::ReadExec
            | A::ReadImages
            | A::ReadNetworks
            | A::ListVolumes
            | A::ReadVolume
            | A::NotBuilt => true,
            A::CreateContainer
            | A::StartContainer
            | A::ControlContainer
            | A::UpdateContainer
            | A::RemoveContainer
            | A::AttachContainer
            | A::WriteContainerFiles
            | A::CommitContainer
            | A::CreateExec
            | A::UseExec
            | A::ChangeImages
            | A::ChangeNetworks
            | A::CreateVolume
            | A::RemoveVolume
            | A::Prune
            | A::AskRegistry
            | A::Build => false,
        }
    }
}

/// What comes of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Allowed for what is the client's own: the object the path names must be,
    /// a list holds nothing else, and a body must pass [`body::check`].
    Own,
    /// Refused, and why.
    Refused(&'static str),
}

/// Decides whether a client with this policy may do this.
pub fn decide(policy: Policy, action: Action) -> Verdict {
    match policy {
        Policy::Full => Verdict::Allowed,
        Policy::ReadOnly if action.is_reading() => Verdict::Allowed,
        Policy::ReadOnly => Verdict::Refused("the policy read-only changes nothing"),
        Policy::OwnContainers => of_owner(action),
        Policy::None if action == Action::Ping => Verdict::Allowed,
        Policy::None => Verdict::Refused("the policy none allows nothing"),
        Policy::Metrics if action == Action::ReadMetrics => Verdict::Allowed,
        Policy::Metrics => Verdict::Refused("only /metrics is served here"),
    }
}

fn of_owner(action: Action) -> Verdict {
    use Action as A;
    match action {
        A::Ping | A::ReadSystem | A::ReadImages | A::NotBuilt => Verdict::Allowed,
        A::FollowEvents
        | A::ListContainers
        | A::CreateContainer
        | A::ReadContainer
        | A::StartContainer
        | A::ControlContainer
        | A::UpdateContainer
        | A::RemoveContainer
        | A::AttachContainer
        | A::WriteContainerFiles
        | A::CreateExec
        | A::ReadExec
        | A::UseExec
        | A::ListVolumes
        | A::ReadVolume
        | A::CreateVolume
        | A::RemoveVolume => Verdict::Own,
        A::ReadMetrics | A::ReadDiskUsage => {
            Verdict::Refused("the policy own-containers does not show what others use")
        }
        A::AskRegistry => Verdict::Refused("the policy own-containers asks no registries"),
        A::CommitContainer | A::ChangeImages | A::Build => {
            Verdict::Refused("the policy own-containers leaves images as they are")
        }
        A::ReadNetworks | A::ChangeNetworks => {
            Verdict::Refused("the policy own-containers has no networks of its own")
        }
        A::Prune => Verdict::Refused("the policy own-containers removes one thing at a time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action as A;

    #[test]
    fn full_may_do_everything_and_none_only_ping() {
        for action in ACTIONS {
            assert_eq!(decide(Policy::Full, *action), Verdict::Allowed);
            let is_allowed = decide(Policy::None, *action) == Verdict::Allowed;
            assert_eq!(is_allowed, *action == A::Ping, "{action:?}");
        }
    }

    #[test]
    fn whoever_may_only_read_changes_nothing() {
        for action in [
            A::CreateContainer,
            A::StartContainer,
            A::AttachContainer,
            A::CreateExec,
            A::UseExec,
            A::WriteContainerFiles,
            A::ChangeImages,
            A::ChangeNetworks,
            A::CreateVolume,
            A::Prune,
            A::Build,
        ] {
            let verdict = decide(Policy::ReadOnly, action);
            assert!(matches!(verdict, Verdict::Refused(_)), "{action:?}");
        }
        assert_eq!(decide(Policy::ReadOnly, A::ReadMetrics), Verdict::Allowed);
        assert_eq!(decide(Policy::ReadOnly, A::ReadContainer), Verdict::Allowed);
    }

    /// What names an object, or tells of objects, is never allowed outright.
    #[test]
    fn an_owner_reaches_nothing_of_others() {
        for action in ACTIONS {
            let verdict = decide(Policy::OwnContainers, *action);
            let is_about_others = action.object().is_some()
                || matches!(action, A::FollowEvents | A::ListContainers | A::ListVolumes);
            if is_about_others {
                assert_eq!(verdict, Verdict::Own, "{action:?}");
            }
        }
        let prune = decide(Policy::OwnContainers, A::Prune);
        assert!(matches!(prune, Verdict::Refused(_)));
        let images = decide(Policy::OwnContainers, A::ChangeImages);
        assert!(matches!(images, Verdict::Refused(_)));
    }

    #[test]
    fn no_rule_can_name_the_policy_of_the_port_of_measurements() {
        assert!(serde_json::from_str::<Policy>("\"metrics\"").is_err());
        assert_eq!(decide(Policy::Metrics, A::ReadMetrics), Verdict::Allowed);
        let info = decide(Policy::Metrics, A::ReadSystem);
        assert!(matches!(info, Verdict::Refused(_)));
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for policy in [
            Policy::Full,
            Policy::ReadOnly,
            Policy::OwnContainers,
            Policy::None,
        ] {
            let quoted = format!("\"{}\"", policy.name());
            assert_eq!(serde_json::from_str::<Policy>(&quoted).unwrap(), policy);
        }
    }
}
