//! The benchmarks, each a module that runs inside the tree of peers.
//!
//! They measure and return text; making the tree, entering it and recording the
//! result is the command's part.

pub(crate) mod api;
pub(crate) mod bundle;
pub(crate) mod daemons;
pub(crate) mod events;
pub(crate) mod memory;
pub(crate) mod pull;
pub(crate) mod runtime;
mod smallest;
pub(crate) mod start;
pub(crate) mod trace;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::stats::{self, Row, Sample};

/// What to measure, how often, and whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) name: Name,
    pub(crate) rounds: usize,
    pub(crate) contenders: Vec<Who>,
    /// Containers of ours that are up meanwhile, for `start`.
    pub(crate) up: usize,
    /// On cgroup v2 alone, for `runtime`.
    pub(crate) unified: bool,
    /// For `api`; none means all.
    pub(crate) parts: Vec<api::Part>,
}

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum Name {
    Start,
    Pull,
    Events,
    Memory,
    Runtime,
    Api,
}

/// A contender.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub(crate) enum Who {
    Ours,
    Docker,
    Podman,
    Crun,
    Runc,
    /// Debian 12's.
    CrunOld,
    /// Debian 12's.
    RuncOld,
    Floor,
}

impl Who {
    /// Returns the name that tables and ratio lines use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::CrunOld => "crun-old",
            Self::RuncOld => "runc-old",
            Self::Floor => "floor",
        }
    }
}

impl Plan {
    pub(crate) fn has(&self, who: Who) -> bool {
        self.contenders.contains(&who)
    }
}

/// Measures by the plan and returns tables followed by ratio lines.
///
/// # Errors
/// Fails when a contender fails or its output is not what it must print.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    match plan.name {
        Name::Start => start::run(plan),
        Name::Pull => pull::run(plan),
        Name::Events => events::run(plan),
        Name::Memory => memory::run(plan),
        Name::Runtime => runtime::run(plan),
        Name::Api => api::run(plan),
    }
}

/// Values of one ratio name, by contender.
#[derive(Debug, Default)]
pub(crate) struct Series {
    what: &'static str,
    values: Vec<(Who, Vec<f64>)>,
}

impl Series {
    pub(crate) fn new(what: &'static str, contenders: &[Who]) -> Self {
        Self {
            what,
            values: contenders.iter().map(|who| (*who, Vec::new())).collect(),
        }
    }

    pub(crate) fn add(&mut self, who: Who, value: f64) {
        let entry = self.values.iter_mut().find(|(known, _)| *known == who);
        entry
            .expect("a contender is measured only where the plan has it")
            .1
            .push(value);
    }

    /// Returns the table and, where ours was measured, the ratio lines.
    ///
    /// # Errors
    /// Fails when a contender was never measured.
    pub(crate) fn report(&self, unit: &str) -> Result<String> {
        let mut rows = Vec::new();
        for (who, values) in &self.values {
            let sample = Sample::new(values.clone())
                .with_context(|| format!("{} was not measured", who.name()))?;
            rows.push(Row {
                name: format!("{} {}", self.what, who.name()),
                sample,
            });
        }
        let mut text = stats::table(unit, &rows);
        text.push('\n');
        let ours = self.values.iter().position(|(who, _)| *who == Who::Ours);
        for (index, (who, _)) in self.values.iter().enumerate() {
            if let Some(ours) = ours.filter(|ours| *ours != index) {
                text += &stats::ratio(
                    self.what,
                    who.name(),
                    &rows[ours].sample,
                    &rows[index].sample,
                );
            }
        }
        Ok(text + "\n")
    }
}
