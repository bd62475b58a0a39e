//! `bench api`: what clients of a Docker API wait for, beside dockerd in one run.
//!
//! A part for each ratio name. Contenders take turns within every round; every
//! answer is checked, outside of the time that counts, and a wrong one fails the
//! bench. The containers that a part makes are gone when it ends.

mod client;
mod containers;
mod framing;
mod many;
mod output;
mod processes;
mod requests;
mod samples;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::daemons::{self, Daemons};
use super::{Plan, Series, Who, bundle};

/// What is measured, by the name of its ratio.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub(crate) enum Part {
    Ping,
    #[value(name = "list-10")]
    List10,
    ClientRun,
    Logs,
    Attach,
    FanOut,
    #[value(name = "parallel-100")]
    Parallel100,
    #[value(name = "list-1000")]
    List1000,
    Inspect,
    Stats,
    Memory,
}

impl Part {
    /// Those that are measured while 1,000 stopped containers are there.
    fn is_among_many(self) -> bool {
        self >= Self::List1000
    }

    /// Those that are measured while 100 more run.
    fn is_while_running(self) -> bool {
        self >= Self::Stats
    }
}

/// What every part is measured with.
#[derive(Debug)]
struct Bench<'a> {
    plan: &'a Plan,
    daemons: &'a Daemons,
    image: String,
}

impl Bench<'_> {
    /// Returns who is measured in a round, in its order.
    fn turns(&self, round: usize) -> impl Iterator<Item = Who> {
        let all = &self.plan.contenders;
        (0..all.len()).map(move |turn| all[(turn + round) % all.len()])
    }

    fn rounds(&self) -> std::ops::Range<usize> {
        0..self.plan.rounds
    }

    fn series(&self, what: &'static str) -> Series {
        Series::new(what, &self.plan.contenders)
    }
}

/// Measures by the plan and returns the tables with their ratios.
///
/// # Errors
/// Fails when an answer is not what it must be.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    let daemons = Daemons::start(plan)?;
    let image = bundle::make_image()?;
    for who in &plan.contenders {
        daemons::pull(*who, &image)?;
    }
    let bench = Bench {
        plan,
        daemons: &daemons,
        image,
    };
    let text = measure(&bench)?;
    daemons.stop()?;
    Ok(text)
}

fn measure(bench: &Bench<'_>) -> Result<String> {
    let wanted = |part: &Part| bench.plan.parts.is_empty() || bench.plan.parts.contains(part);
    let all = <Part as clap::ValueEnum>::value_variants();
    let (many, few): (Vec<Part>, Vec<Part>) = all
        .iter()
        .filter(|part| wanted(part))
        .partition(|part| part.is_among_many());
    let mut text = String::new();
    for part in few {
        text += &one(bench, part)?;
    }
    if many.is_empty() {
        return Ok(text);
    }
    let (running, stopped): (Vec<Part>, Vec<Part>) =
        many.into_iter().partition(|part| part.is_while_running());
    let made = requests::make_many(bench)?;
    for part in stopped {
        text += &one(bench, part)?;
    }
    if !running.is_empty() {
        let running_containers = samples::start_many(bench)?;
        for part in running {
            text += &one(bench, part)?;
        }
        running_containers.remove()?;
    }
    made.remove()?;
    Ok(text)
}

fn one(bench: &Bench<'_>, part: Part) -> Result<String> {
    println!("bench api: {part:?}");
    match part {
        Part::Ping => requests::ping(bench),
        Part::List10 => requests::list_few(bench),
        Part::ClientRun => many::client_run(bench),
        Part::Logs => output::logs(bench),
        Part::Attach => output::attach(bench),
        Part::FanOut => many::fan_out(bench),
        Part::Parallel100 => many::parallel(bench),
        Part::List1000 => requests::list_many(bench),
        Part::Inspect => requests::inspect(bench),
        Part::Stats => samples::stats(bench),
        Part::Memory => processes::memory(bench),
    }
}
