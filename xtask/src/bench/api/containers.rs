//! Containers of a contender, made and removed by its API.

use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::super::Who;
use super::client::{Connection, Request};

/// Requests at once where how long they take does not count.
const AT_ONCE: usize = 4;

/// A container to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) image: &'a str,
    pub(super) command: &'a [&'a str],
    /// `FROM:TO:ro`, or nothing.
    pub(super) bind: Option<&'a str>,
    /// Whether it reads standard input.
    pub(super) input: bool,
}

/// Containers that are there, by contender.
#[derive(Debug, Default)]
pub(super) struct Containers(Vec<(Who, Vec<String>)>);

impl Wanted<'_> {
    fn body(&self) -> String {
        let host = json!({"Binds": self.bind.map_or(vec![], |bind| vec![bind])});
        let body = json!({
            "Image": self.image, "Cmd": self.command, "HostConfig": host,
            "AttachStdin": self.input, "OpenStdin": self.input, "StdinOnce": self.input,
            "AttachStdout": self.input,
        });
        body.to_string()
    }

    /// Makes one and returns its id.
    ///
    /// # Errors
    /// Fails when it is refused.
    pub(super) fn create(&self, connection: &mut Connection) -> Result<String> {
        let body = self.body();
        let answer = connection.call(Request::post("/containers/create", &body, 201))?;
        let answer = parse(&answer)?;
        let id = answer["Id"].as_str().context("a container has an id")?;
        Ok(id.to_owned())
    }

    /// Makes many and returns their ids.
    ///
    /// # Errors
    /// Fails when one is refused.
    pub(super) fn create_many(&self, who: Who, count: usize) -> Result<Vec<String>> {
        let made = Mutex::new(Vec::new());
        at_once(who, &(0..count).collect::<Vec<_>>(), |connection, _| {
            let id = self.create(connection)?;
            made.lock().expect("nobody panics with it").push(id);
            Ok(())
        })?;
        Ok(made.into_inner().expect("nobody panics with it"))
    }
}

impl Containers {
    pub(super) fn add(&mut self, who: Who, ids: Vec<String>) {
        self.0.push((who, ids));
    }

    /// Returns a contender's.
    ///
    /// # Errors
    /// Fails where it has none.
    pub(super) fn of(&self, who: Who) -> Result<&[String]> {
        let found = self.0.iter().find(|(known, _)| *known == who);
        let (_, ids) = found.with_context(|| format!("{} has no containers", who.name()))?;
        Ok(ids)
    }

    /// Removes them, whether they run or not.
    ///
    /// # Errors
    /// Fails when one cannot be removed.
    pub(super) fn remove(self) -> Result<()> {
        self.0.iter().try_for_each(|(who, ids)| remove(*who, ids))
    }
}

/// Starts a container.
///
/// # Errors
/// Fails when it is refused, or runs already.
pub(super) fn start(connection: &mut Connection, id: &str) -> Result<()> {
    let path = format!("/containers/{id}/start");
    connection.call(Request::post(&path, "", 204)).map(drop)
}

/// Waits for a container's end.
///
/// # Errors
/// Fails when its exit code is not 0.
pub(super) fn wait(connection: &mut Connection, id: &str) -> Result<()> {
    let path = format!("/containers/{id}/wait");
    let answer = parse(&connection.call(Request::post(&path, "", 200))?)?;
    ensure!(
        answer["StatusCode"] == 0,
        "the container ended with {answer}"
    );
    Ok(())
}

/// Removes containers, whether they run or not.
///
/// # Errors
/// Fails when one cannot be removed.
pub(super) fn remove(who: Who, ids: &[String]) -> Result<()> {
    at_once(who, ids, |connection, id| {
        let path = format!("/containers/{id}?force=1&v=1");
        let request = Request {
            method: "DELETE",
            status: 204,
            ..Request::get(&path)
        };
        connection.call(request).map(drop)
    })
}

/// Returns the ids of containers that run.
///
/// # Errors
/// Fails when they cannot be listed.
pub(super) fn running(who: Who) -> Result<Vec<String>> {
    let answer = Connection::open(who)?.call(Request::get("/containers/json"))?;
    let Value::Array(rows) = parse(&answer)? else {
        bail!("a list of containers is no array");
    };
    let ids = rows.iter().filter_map(|row| row["Id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// Returns an answer as JSON.
///
/// # Errors
/// Fails when it is none.
pub(super) fn parse(answer: &[u8]) -> Result<Value> {
    serde_json::from_slice(answer)
        .with_context(|| format!("parse {:?}", String::from_utf8_lossy(answer)))
}

/// Does something with each item, on a few connections.
fn at_once<T: Sync>(
    who: Who,
    items: &[T],
    work: impl Fn(&mut Connection, &T) -> Result<()> + Sync,
) -> Result<()> {
    let share = items.len().div_ceil(AT_ONCE).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = items
            .chunks(share)
            .map(|items| {
                scope.spawn(|| {
                    let mut connection = Connection::open(who)?;
                    items
                        .iter()
                        .try_for_each(|item| work(&mut connection, item))
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|_| bail!("a thread of the bench panicked"))
        })
    })
}
