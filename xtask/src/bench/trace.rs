//! Where the time of our own runs goes: each step by the facts in the event log.
//!
//! The log holds a time with every record, so that nothing has to be traced and
//! a run is not slowed down by being looked at. A step lasts from the record that
//! ends the one before it to the record that ends it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::stats::{self, Row, Sample};
use crate::workspace::read_text;

/// What the design allows from one record to the next, in milliseconds.
const STEPS: &[Step] = &[
    Step {
        name: "command, request",
        ended_by: Mark::First("container.created"),
        budget: 4.0,
    },
    Step {
        name: "plan, state files",
        ended_by: Mark::First("rootfs.mount"),
        budget: 2.0,
    },
    Step {
        name: "network and root filesystem",
        ended_by: Mark::Last(&["network.attached", "rootfs.mounted"]),
        budget: 5.0,
    },
    Step {
        name: "shim and runtime, to the started program",
        ended_by: Mark::First("container.started"),
        budget: 12.0,
    },
    Step {
        name: "program",
        ended_by: Mark::First("container.exited"),
        budget: 1.0,
    },
    Step {
        name: "answer",
        ended_by: Mark::End,
        budget: 4.0,
    },
];

struct Step {
    name: &'static str,
    ended_by: Mark,
    budget: f64,
}

enum Mark {
    First(&'static str),
    Last(&'static [&'static str]),
    /// The command's own end.
    End,
}

/// When a command ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begun: Timestamp,
    pub(crate) ended: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Record {
    #[serde(deserialize_with = "timestamp")]
    time: Timestamp,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
}

fn timestamp<'de, D: Deserializer<'de>>(text: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(text)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Returns a table of the steps of the runs in `windows`, with the log in `folder`.
///
/// # Errors
/// Fails when the log cannot be read or a run's records are not in it.
pub(crate) fn table(title: &str, folder: &Path, windows: &[Window]) -> Result<String> {
    let records = read(folder)?;
    let mut steps = vec![Vec::new(); STEPS.len()];
    for window in windows {
        let durations = split(&records, *window)?;
        for (step, duration) in steps.iter_mut().zip(durations) {
            step.push(duration);
        }
    }
    let mut rows = Vec::new();
    for (step, values) in STEPS.iter().zip(steps) {
        let sample = Sample::new(values).context("no run was measured")?;
        let name = format!("{title}: {}, of {} ms", step.name, step.budget);
        rows.push(Row { name, sample });
    }
    Ok(stats::table("ms", &rows) + "\n")
}

fn read(folder: &Path) -> Result<Vec<Record>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {folder:?}"))?;
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("read {folder:?}"))?.path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            // A compacted segment's first line is no record.
            let text = read_text(&path)?;
            records.extend(
                text.lines()
                    .filter_map(|line| serde_json::from_str(line).ok()),
            );
        }
    }
    Ok(records)
}

/// Returns the milliseconds of each step of the one run in `window`.
fn split(records: &[Record], window: Window) -> Result<Vec<f64>> {
    let inside = |record: &&Record| record.time >= window.begun && record.time <= window.ended;
    let created: Vec<_> = records
        .iter()
        .filter(inside)
        .filter(|record| record.kind == "container.created")
        .collect();
    ensure!(
        created.len() == 1,
        "{} containers were created in one run",
        created.len()
    );
    let id = &created[0].subject;
    let own: Vec<_> = records
        .iter()
        .filter(inside)
        .filter(|record| record.subject.split('.').next() == Some(id))
        .collect();
    let mut durations = Vec::new();
    let mut before = window.begun;
    for step in STEPS {
        let at = ends_at(step, &own, window)?;
        durations.push(before.until(at)?.total(jiff::Unit::Nanosecond)? / 1e6);
        before = at;
    }
    Ok(durations)
}

fn ends_at(step: &Step, records: &[&Record], window: Window) -> Result<Timestamp> {
    let of = |kind: &str| {
        let mut times = records.iter().filter(|record| record.kind == kind);
        times.next().map(|record| record.time)
    };
    let found = match &step.ended_by {
        Mark::First(kind) => of(kind),
        Mark::Last(kinds) => kinds.iter().filter_map(|kind| of(kind)).max(),
        Mark::End => Some(window.ended),
    };
    found.with_context(|| format!("the log has no end of the step {:?}", step.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(millisecond: i64, kind: &str, subject: &str) -> Record {
        Record {
            time: Timestamp::from_millisecond(millisecond).unwrap(),
            kind: kind.into(),
            subject: subject.into(),
        }
    }

    fn window(begun: i64, ended: i64) -> Window {
        Window {
            begun: Timestamp::from_millisecond(begun).unwrap(),
            ended: Timestamp::from_millisecond(ended).unwrap(),
        }
    }

    fn run() -> Vec<Record> {
        vec![
            record(14, "container.created", "x"),
            record(15, "rootfs.mount", "x.1"),
            record(16, "container.cleaned", "before.1"),
            record(17, "network.attached", "x.1"),
            record(19, "rootfs.mounted", "x.1"),
            record(30, "container.started", "x.1"),
            record(31, "container.exited", "x.1"),
        ]
    }

    #[test]
    fn steps_last_from_record_to_record() {
        let steps = split(&run(), window(10, 35)).unwrap();
        assert_eq!(steps, [4.0, 1.0, 4.0, 11.0, 1.0, 4.0]);
    }

    #[test]
    fn a_run_without_a_network_has_only_its_root_to_wait_for() {
        let mut records = run();
        records.retain(|record| record.kind != "network.attached");
        assert_eq!(split(&records, window(10, 35)).unwrap()[2], 4.0);
    }

    #[test]
    fn a_window_without_its_run_is_an_error() {
        assert!(split(&run(), window(0, 10)).is_err());
        let mut records = run();
        records.retain(|record| record.kind != "container.exited");
        assert!(split(&records, window(10, 35)).is_err());
    }
}
