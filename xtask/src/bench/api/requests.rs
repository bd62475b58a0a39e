//! Single requests on a connection that is kept: ping, list, inspect.
//!
//! A value is one request, from before it is sent until its whole body is there.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::client::{Connection, Request};
use super::containers::{self, Containers, Wanted};
use super::{Bench, Who};

const FEW: usize = 10;
const MANY: usize = 1000;
/// Requests of a contender's turn, after one that does not count.
const PINGS: usize = 100;
const OTHERS: usize = 10;

/// `ping`: `_ping`.
pub(super) fn ping(bench: &Bench<'_>) -> Result<String> {
    let check = |_, body: &[u8]| {
        ensure!(body == b"OK", "a ping is answered with {body:?}");
        Ok(())
    };
    measure(bench, ("ping", PINGS), |_| Ok("/_ping".to_owned()), check)
}

/// `list-10`: the list of all containers while there are ten.
pub(super) fn list_few(bench: &Bench<'_>) -> Result<String> {
    let made = make(bench, FEW)?;
    let text = list(bench, "list-10", FEW)?;
    made.remove()?;
    Ok(text)
}

/// `list-1000`: the same with a thousand.
pub(super) fn list_many(bench: &Bench<'_>) -> Result<String> {
    list(bench, "list-1000", MANY)
}

/// `inspect`: one of the thousand.
pub(super) fn inspect(bench: &Bench<'_>) -> Result<String> {
    let newest = |who| {
        let mut connection = Connection::open(who)?;
        let answer = connection.call(Request::get("/containers/json?all=1&limit=1"))?;
        let rows = containers::parse(&answer)?;
        let id = rows[0]["Id"].as_str().context("a container is there")?;
        Ok::<_, anyhow::Error>(id.to_owned())
    };
    let path = |who| Ok(format!("/containers/{}/json", newest(who)?));
    let check = |who, body: &[u8]| {
        let answer = containers::parse(body)?;
        ensure!(
            answer["Id"] == newest(who)?.as_str(),
            "inspect tells of another container"
        );
        ensure!(
            answer["Config"]["Image"] == bench.image.as_str(),
            "inspect tells of another image"
        );
        Ok(())
    };
    measure(bench, ("inspect", OTHERS), path, check)
}

/// Makes the thousand containers, which never ran.
pub(super) fn make_many(bench: &Bench<'_>) -> Result<Containers> {
    make(bench, MANY)
}

fn make(bench: &Bench<'_>, count: usize) -> Result<Containers> {
    let wanted = Wanted {
        image: &bench.image,
        command: &["true"],
        bind: None,
        input: false,
    };
    let mut all = Containers::default();
    for who in &bench.plan.contenders {
        all.add(*who, wanted.create_many(*who, count)?);
    }
    Ok(all)
}

fn list(bench: &Bench<'_>, what: &'static str, count: usize) -> Result<String> {
    let check = |_, body: &[u8]| {
        let answer = containers::parse(body)?;
        let listed = answer.as_array().map_or(0, Vec::len);
        ensure!(listed == count, "{listed} of {count} containers are listed");
        let is_whole =
            |row: &Value| row["Image"] == bench.image.as_str() && row["State"] == "created";
        let whole = answer.as_array().into_iter().flatten().all(is_whole);
        ensure!(whole, "a container of the list is another");
        Ok(())
    };
    let path = |_| Ok("/containers/json?all=1".to_owned());
    measure(bench, (what, OTHERS), path, check)
}

/// Asks for `path` a number of times in each turn.
fn measure(
    bench: &Bench<'_>,
    (what, requests): (&'static str, usize),
    path: impl Fn(Who) -> Result<String>,
    check: impl Fn(Who, &[u8]) -> Result<()>,
) -> Result<String> {
    let mut series = bench.series(what);
    for round in bench.rounds() {
        for who in bench.turns(round) {
            let (path, mut connection) = (path(who)?, Connection::open(who)?);
            let warm_up = connection.call(Request::get(&path))?;
            check(who, &warm_up)?;
            for _ in 0..requests {
                let begun = Instant::now();
                let body = connection.call(Request::get(&path))?;
                series.add(who, begun.elapsed().as_secs_f64() * 1e6);
                ensure!(
                    body.len() == warm_up.len(),
                    "{path} is answered with {} bytes and then with {}",
                    warm_up.len(),
                    body.len()
                );
            }
        }
    }
    series.report("µs")
}
