//! As whom the suite runs, and who manages its control groups.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::release::Release;
use super::rootless;
use crate::process::Cmd;

/// How the tests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// On the host, v1 beside v2.
    #[value(skip)]
    Root,
    /// cgroup v2
    Unified,
    /// cgroup v2, `--systemd-cgroup`
    Systemd,
    /// cgroup v1, `--systemd-cgroup`: Debian 12's suite and systemd, as the newest
    /// has no v1
    SystemdLegacy,
    /// An ordinary user with subordinate ids
    Rootless,
    /// The same, with a control group of its own
    RootlessCgroup,
    /// The same, with a systemd of its own
    RootlessSystemd,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Unified => "unified",
            Self::Systemd => "systemd",
            Self::SystemdLegacy => "systemd-legacy",
            Self::Rootless => "rootless",
            Self::RootlessCgroup => "rootless-cgroup",
            Self::RootlessSystemd => "rootless-systemd",
        }
    }

    /// Returns where its tests run.
    pub(super) fn place(self) -> String {
        match self {
            Self::Root => "on the test machine".to_owned(),
            mode => format!("in the emulated machine, {}", mode.name()),
        }
    }

    /// Returns whose suite it is.
    pub(super) fn release(self) -> Release {
        match self {
            Self::SystemdLegacy => Release::Old,
            _ => Release::Newest,
        }
    }

    /// Makes ready what the tests need; they write to `output`.
    ///
    /// # Errors
    /// Fails when the user cannot be made.
    pub(super) fn prepare(self, output: &Path) -> Result<()> {
        match self {
            Self::Root | Self::Unified | Self::Systemd | Self::SystemdLegacy => Ok(()),
            Self::Rootless => rootless::make_user(output),
            Self::RootlessCgroup => {
                rootless::make_user(output)?;
                rootless::give_cgroup()
            }
            Self::RootlessSystemd => {
                rootless::make_user(output)?;
                rootless::start_manager()
            }
        }
    }

    /// Returns the beginning of a command with these variables.
    pub(super) fn command(self, variables: &[(&str, String)]) -> Cmd {
        let command = match self {
            Self::Root | Self::Unified | Self::Systemd | Self::SystemdLegacy => Cmd::new("env"),
            Self::Rootless | Self::RootlessCgroup => rootless::as_user().arg("env"),
            Self::RootlessSystemd => rootless::in_session().arg("env"),
        };
        let command = match self {
            Self::Root | Self::Unified | Self::Systemd | Self::SystemdLegacy => command,
            Self::Rootless | Self::RootlessSystemd => rootless::with_features(command, "idmap"),
            Self::RootlessCgroup => rootless::with_features(command, "idmap+cgroup"),
        };
        let command = match self {
            Self::Systemd | Self::SystemdLegacy | Self::RootlessSystemd => {
                command.arg("RUNC_USE_SYSTEMD=yes")
            }
            _ => command,
        };
        let words = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        command.args(words)
    }
}
