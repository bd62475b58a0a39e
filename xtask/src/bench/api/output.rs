//! Bytes of a container's output: `logs` reads back what one has written, `attach`
//! what one writes meanwhile.
//!
//! The bytes are a file of lines that the container prints; both sides keep its
//! output by their default driver. A value is the time until all of them are there,
//! and the first turn of each contender compares them with the file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::client::{Connection, Request, Stream};
use super::containers::{self, Containers, Wanted};
use super::framing::Frames;
use super::{Bench, Who};
use crate::workspace::write_file;

/// Of the file. With what a log says of each line it stays below our default bound.
const BYTES: usize = 64 << 20;
const LINE_BYTES: usize = 256;
const FILE: &str = "/data/api-lines";

/// What the bytes are compared with.
type Lines<'a> = Option<&'a [u8]>;

/// `logs`: the standard output of a container that has ended.
pub(super) fn logs(bench: &Bench<'_>) -> Result<String> {
    let lines = make_lines()?;
    let wanted = printer(bench, &["cat", "/lines"], false);
    let mut written = Containers::default();
    for who in &bench.plan.contenders {
        let mut connection = Connection::open(*who)?;
        let id = wanted.create(&mut connection)?;
        containers::start(&mut connection, &id)?;
        containers::wait(&mut connection, &id)?;
        read_log(*who, &id, Some(&lines))?;
        written.add(*who, vec![id]);
    }
    let mut series = bench.series("logs");
    for round in bench.rounds() {
        for who in bench.turns(round) {
            let elapsed = read_log(who, &written.of(who)?[0], None)?;
            series.add(who, elapsed.as_secs_f64() * 1e3);
        }
    }
    written.remove()?;
    series.report("ms")
}

/// `attach`: the standard output of a container that prints once it is told to.
pub(super) fn attach(bench: &Bench<'_>) -> Result<String> {
    let lines = make_lines()?;
    for who in &bench.plan.contenders {
        attach_once(bench, *who, Some(&lines))?;
    }
    let mut series = bench.series("attach");
    for round in bench.rounds() {
        for who in bench.turns(round) {
            let elapsed = attach_once(bench, who, None)?;
            series.add(who, elapsed.as_secs_f64() * 1e3);
        }
    }
    series.report("ms")
}

fn printer<'a>(bench: &'a Bench<'_>, command: &'a [&'a str], input: bool) -> Wanted<'a> {
    Wanted {
        image: &bench.image,
        command,
        bind: Some("/data/api-lines:/lines:ro"),
        input,
    }
}

fn read_log(who: Who, id: &str, lines: Lines<'_>) -> Result<Duration> {
    let path = format!("/containers/{id}/logs?stdout=1");
    let connection = Connection::open(who)?;
    let begun = Instant::now();
    let mut stream = connection.stream(Request::get(&path))?;
    count(&mut stream, lines).with_context(|| format!("read the log of {}", who.name()))?;
    Ok(begun.elapsed())
}

/// Returns the time from telling a container to print until its output is over.
fn attach_once(bench: &Bench<'_>, who: Who, lines: Lines<'_>) -> Result<Duration> {
    let command = ["sh", "-c", "read go; cat /lines"];
    let wanted = printer(bench, &command, true);
    let mut connection = Connection::open(who)?;
    let id = wanted.create(&mut connection)?;
    let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1");
    let mut stream = Connection::open(who)?.stream(Request::post(&path, "", 101))?;
    containers::start(&mut connection, &id)?;
    let begun = Instant::now();
    stream.write(b"go\n")?;
    count(&mut stream, lines).with_context(|| format!("attach to one of {}", who.name()))?;
    let elapsed = begun.elapsed();
    containers::wait(&mut connection, &id)?;
    containers::remove(who, &[id])?;
    Ok(elapsed)
}

/// Reads a stream to its end; its standard output must have as many bytes as the file.
fn count(stream: &mut Stream, lines: Lines<'_>) -> Result<()> {
    let mut frames = Frames::default();
    let mut seen = 0;
    let mut compare = |piece: &[u8]| {
        if let Some(lines) = lines {
            let expected = lines.get(seen..seen + piece.len());
            ensure!(
                expected == Some(piece),
                "the output is another after {seen} bytes"
            );
            seen += piece.len();
        }
        Ok(())
    };
    while stream.read(&mut |bytes| frames.feed(bytes, &mut compare))? {}
    ensure!(
        frames.stdout == BYTES as u64,
        "{} of {BYTES} bytes came",
        frames.stdout
    );
    Ok(())
}

/// Writes the file of lines that nobody can guess from each other, and returns it.
fn make_lines() -> Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(BYTES);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    while lines.len() < BYTES {
        for _ in 0..LINE_BYTES - 1 {
            // Marsaglia's xorshift.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            lines.push(b"0123456789 abcdefghijklmnopqrstuv"[(random % 33) as usize]);
        }
        lines.push(b'\n');
    }
    let path: PathBuf = Path::new(FILE).into();
    write_file(&path, &lines)?;
    Ok(lines)
}
