//! `stats`: 100 containers that run are measured for 100 clients at once.
//!
//! A sample comes each second whoever sends it, so what counts is the time of
//! processors that all processes of a contender spend on one; the shims are among
//! them. `stats-one-shot` is how long a client waits for one measurement.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::client::{Connection, Request, Stream};
use super::containers::{self, Containers, Wanted};
use super::processes::Spent;
use super::{Bench, Who};
use crate::bench::Series;

const CONTAINERS: usize = 100;
/// Of each stream, after the first, with which it begins.
const SAMPLES: usize = 4;
/// A sample without the name of its container, or shorter, is none.
const LEAST_BYTES: usize = 200;

/// Starts the containers.
pub(super) fn start_many(bench: &Bench<'_>) -> Result<Containers> {
    let wanted = Wanted {
        image: &bench.image,
        command: &["sleep", "7200"],
        bind: None,
        input: false,
    };
    let mut all = Containers::default();
    for who in &bench.plan.contenders {
        let ids = wanted.create_many(*who, CONTAINERS)?;
        let mut connection = Connection::open(*who)?;
        for id in &ids {
            containers::start(&mut connection, id)?;
        }
        all.add(*who, ids);
    }
    Ok(all)
}

/// Measures streams and single answers.
pub(super) fn stats(bench: &Bench<'_>) -> Result<String> {
    let mut streams = bench.series("stats");
    let mut single = bench.series("stats-one-shot");
    for round in bench.rounds() {
        for who in bench.turns(round) {
            let ids = containers::running(who)?;
            ensure!(
                ids.len() == CONTAINERS,
                "{} of {CONTAINERS} containers of {} run",
                ids.len(),
                who.name()
            );
            streams.add(who, stream_all(who, &ids)?);
            one_shots(who, &ids, &mut single)?;
        }
    }
    Ok(streams.report("µs of processors a sample")? + &single.report("µs")?)
}

/// Returns the microseconds that a sample of all streams costs.
fn stream_all(who: Who, ids: &[String]) -> Result<f64> {
    let mut streams = Vec::new();
    for id in ids {
        let path = format!("/containers/{id}/stats?stream=1");
        streams.push(Connection::open(who)?.stream(Request::get(&path))?);
    }
    read_samples(&mut streams, 1)?;
    let before = Spent::by(who)?;
    read_samples(&mut streams, SAMPLES)?;
    let spent = Spent::by(who)?.since(&before);
    Ok(spent / (SAMPLES * ids.len()) as f64)
}

/// Reads so many samples of each stream; they come about once a second, so nobody is
/// late by being read after the others.
fn read_samples(streams: &mut [Stream], count: usize) -> Result<()> {
    for stream in streams {
        let (mut lines, mut bytes) = (0, 0);
        while lines < count {
            let more = stream.read(&mut |piece| {
                lines += piece.iter().filter(|byte| **byte == b'\n').count();
                bytes += piece.len();
                Ok(())
            })?;
            ensure!(more, "a stream of measurements ended");
        }
        ensure!(
            bytes > count * LEAST_BYTES,
            "{count} samples in {bytes} bytes"
        );
    }
    Ok(())
}

fn one_shots(who: Who, ids: &[String], series: &mut Series) -> Result<()> {
    let mut connection = Connection::open(who)?;
    for id in ids {
        let path = format!("/containers/{id}/stats?stream=0&one-shot=1");
        let begun = Instant::now();
        let body = connection.call(Request::get(&path))?;
        series.add(who, begun.elapsed().as_secs_f64() * 1e6);
        let answer = containers::parse(&body)?;
        // dockerd names the container in streams only.
        let is_measured = answer["cpu_stats"]["cpu_usage"]["total_usage"].as_u64() > Some(0);
        ensure!(
            is_measured && answer["pids_stats"]["current"] == 1,
            "a measurement of {} says {answer}",
            who.name()
        );
    }
    Ok(())
}
