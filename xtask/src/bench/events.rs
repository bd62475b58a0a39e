//! `bench events`: from a command's start until a follower has read its event.
//!
//! Three followers read each contender's stream; the time counts when the first
//! of them has the line of a volume made for that round.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::daemons::{Daemons, command};
use super::{Plan, Series, Who};
use crate::process::{Background, Cmd};

const FOLLOWERS: usize = 3;
const WAKE_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_micros(50);

/// Measures by the plan and returns the table with its ratios.
///
/// # Errors
/// Fails when an event does not arrive.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    let daemons = Daemons::start(plan)?;
    let mut followers = Vec::new();
    for who in &plan.contenders {
        for index in 0..FOLLOWERS {
            followers.push(follow(*who, &log(*who, index))?);
        }
    }
    let mut series = Series::new("events-wake", &plan.contenders);
    for round in 0..plan.rounds {
        for turn in 0..plan.contenders.len() {
            let who = plan.contenders[(turn + round) % plan.contenders.len()];
            series.add(who, wake(who, &format!("bench-{round}"))?);
        }
    }
    for follower in followers {
        follower.stop()?;
    }
    daemons.stop()?;
    series.report("ms")
}

fn log(who: Who, index: usize) -> PathBuf {
    format!("/tmp/events-{}-{index}", who.name()).into()
}

fn follow(who: Who, log: &Path) -> Result<Background> {
    let follow = match who {
        Who::Ours => command(who).args(["events", "--follow", "--format", "json"]),
        _ => command(who).arg("events"),
    };
    follow.background(log)
}

/// Returns the milliseconds from starting a command until a follower shows its event.
fn wake(who: Who, volume: &str) -> Result<f64> {
    let create: Cmd = command(who).args(["volume", "create", volume]);
    let started = Instant::now();
    let running = create.background(Path::new("/tmp/events-command"))?;
    let elapsed = loop {
        if std::fs::read(log(who, 0)).is_ok_and(|bytes| contains(&bytes, volume.as_bytes())) {
            break started.elapsed();
        }
        if started.elapsed() > WAKE_LIMIT {
            bail!(
                "no follower of {} saw {volume} within {WAKE_LIMIT:?}",
                who.name()
            );
        }
        std::thread::sleep(POLL);
    };
    drop(running);
    Ok(elapsed.as_secs_f64() * 1e3)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
