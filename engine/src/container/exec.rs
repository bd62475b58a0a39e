//! Further processes in a running container.
//!
//! An exec's arguments may hold secrets, so they never reach the log: what the next
//! engine has to know of those that were started is in a file below `<run>`, see
//! [`record`]; the process file beside it goes when the process has started.

pub mod record;
mod start;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base::{ContainerId, RunId};
use engine_api::detach_keys::DetachKeys;
use engine_api::exec::ExecCreateBody;
use engine_model::Status;
use engine_model::container::{ConsoleSize, ProcessConfig, StdinConfig};
use engine_model::plan::{ResolvedUser, linked_environment};
use engine_shim_api::ControlRequest;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::start::{Claim, Streams, claim};
use super::{Container, links, lock, shim, user};
use crate::Engine;
use crate::error::{Result, conflict, invalid, not_found};
use crate::event::{EXEC_CREATED, ExecCreated};

/// Execs kept in memory; the oldest that are over are forgotten first.
const EXEC_LIMIT: usize = 4096;
/// How long an exec may take to begin before its terminal is refused a size.
const BEGIN_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// What an exec runs, and where it is in its life.
#[derive(Debug)]
pub struct Exec {
    pub id: String,
    pub run: RunId,
    pub process: ProcessConfig,
    /// Looked up when it was created, so that whoever creates it learns of an
    /// unknown name.
    user: ResolvedUser,
    pub privileged: bool,
    pub requested: ExecCreateBody,
    /// Where the next engine finds it.
    record: PathBuf,
    /// Held while that is written, so that the latest is what stays.
    recording: Mutex<()>,
    status: watch::Sender<ExecStatus>,
}

/// Where an exec is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStatus {
    /// Whether a start was asked for: it is not asked for twice.
    pub claimed: bool,
    pub pid: Option<u32>,
    pub exit_code: Option<i32>,
}

impl Exec {
    /// Returns where it is in its life.
    pub fn status(&self) -> ExecStatus {
        *self.status.borrow()
    }

    /// Returns its exit code once there is one.
    pub async fn wait(&self) -> i32 {
        let mut watch = self.status.subscribe();
        match watch.wait_for(|status| status.exit_code.is_some()).await {
            Ok(status) => status.exit_code.unwrap_or_default(),
            Err(_) => self.status().exit_code.unwrap_or_default(),
        }
    }
}

/// Every exec, in order of creation.
#[derive(Debug, Default)]
pub struct Execs {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<String, Arc<Exec>>,
    order: Vec<String>,
}

impl Execs {
    fn add(&self, exec: Arc<Exec>) -> Result<()> {
        let mut table = lock(&self.table);
        if table.order.len() >= EXEC_LIMIT {
            let over = |id: &String| {
                table
                    .by_id
                    .get(id)
                    .is_none_or(|exec| exec.status().exit_code.is_some())
            };
            let Some(index) = table.order.iter().position(over) else {
                return Err(conflict(format!(
                    "more than {EXEC_LIMIT} exec processes at once"
                )));
            };
            let id = table.order.remove(index);
            if let Some(forgotten) = table.by_id.remove(&id) {
                record::forget(&forgotten);
            }
        }
        table.order.push(exec.id.clone());
        table.by_id.insert(exec.id.clone(), exec);
        Ok(())
    }

    /// Finds an exec by its id.
    ///
    /// # Errors
    /// Not found, with Docker's sentence.
    pub fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let found = lock(&self.table).by_id.get(id).cloned();
        found.ok_or_else(|| not_found(format!("No such exec instance: {id}")))
    }

    /// Returns the ids of a container's execs that run.
    pub fn running_in(&self, container: &ContainerId) -> Vec<String> {
        let is_running = |exec: &&Arc<Exec>| {
            let status = exec.status();
            exec.run.container == *container && status.pid.is_some() && status.exit_code.is_none()
        };
        lock(&self.table)
            .by_id
            .values()
            .filter(is_running)
            .map(|exec| exec.id.clone())
            .collect()
    }

    /// Notes that an exec runs.
    pub fn started(&self, id: &str, pid: u32) {
        if let Ok(exec) = self.find(id) {
            let told = |status: &mut ExecStatus| status.pid.replace(pid) != Some(pid);
            if exec.status.send_if_modified(told) {
                record::write(&exec);
            }
        }
    }

    /// Notes that an exec has ended.
    pub fn exited(&self, id: &str, exit_code: i32) {
        if let Ok(exec) = self.find(id) {
            exec.status
                .send_modify(|status| status.exit_code = Some(exit_code));
            record::write(&exec);
        }
    }

    /// Notes that a container, and with it every exec of it, has ended.
    pub fn container_ended(&self, container: &ContainerId) {
        for exec in lock(&self.table)
            .by_id
            .values()
            .filter(|exec| exec.run.container == *container)
        {
            exec.status.send_if_modified(|status| {
                let is_open = status.exit_code.is_none();
                status.exit_code.get_or_insert(137);
                is_open
            });
        }
    }
}

/// Creates an exec in a running container; nothing runs yet.
///
/// # Errors
/// Conflict, with Docker's sentence, when the container does not run; invalid
/// for a user it does not know.
pub async fn create(
    engine: &Arc<Engine>,
    (container, named): (&Arc<Container>, &str),
    requested: ExecCreateBody,
) -> Result<Arc<Exec>> {
    check_running(container, named)?;
    if requested.cmd.is_empty() {
        return Err(invalid("No exec command specified"));
    }
    check_keys(&requested.detach_keys)?;
    engine.group_moves.prepare();
    let config = container.config();
    let of_container = &config.process;
    let linked = links::linked(engine, container)?;
    let mut environment = linked_environment(&config, &container.name(), &linked);
    environment.extend(requested.env.clone().unwrap_or_default());
    let process = process(&requested, of_container, environment);
    let run = container.run();
    let user = look_up_user(engine, &run, &process).await?;
    let id = ContainerId::random().to_string();
    let exec = Arc::new(Exec {
        record: record::path(&engine.instance.shim(&run), &id),
        id,
        run,
        process,
        user,
        privileged: requested.privileged,
        requested,
        recording: Mutex::default(),
        status: watch::Sender::default(),
    });
    engine.execs.add(exec.clone())?;
    tell_created(engine, &exec)?;
    Ok(exec)
}

/// Keys that nobody can type are refused before anything runs.
fn check_keys(text: &str) -> Result<()> {
    match text.is_empty() || text.parse::<DetachKeys>().is_ok() {
        true => Ok(()),
        false => Err(invalid(format!("Invalid escape keys ({text}) provided"))),
    }
}

/// Returns what is run: what was asked for, and of the container what was not.
fn process(
    requested: &ExecCreateBody,
    of_container: &ProcessConfig,
    environment: Vec<String>,
) -> ProcessConfig {
    let or = |own: &String, default: &String| match own.is_empty() {
        true => default.clone(),
        false => own.clone(),
    };
    ProcessConfig {
        arguments: requested.cmd.0.clone(),
        environment: last_of_each(environment),
        working_directory: or(&requested.working_dir, &of_container.working_directory),
        user: or(&requested.user, &of_container.user),
        additional_groups: of_container.additional_groups.clone(),
        terminal: requested.tty,
        console_size: requested.console_size.and_then(ConsoleSize::from_api),
        stdin: if requested.attach_stdin {
            StdinConfig::Open
        } else {
            StdinConfig::Closed
        },
        init: false,
    }
}

async fn look_up_user(
    engine: &Engine,
    run: &RunId,
    process: &ProcessConfig,
) -> Result<ResolvedUser> {
    let rootfs = engine.instance.rootfs(run);
    let (name, groups) = (process.user.clone(), process.additional_groups.clone());
    crate::blocking(move || user::resolve(&rootfs, &name, &groups)).await
}

fn tell_created(engine: &Engine, exec: &Exec) -> Result<()> {
    engine.steps.reached("exec.created");
    let fact = ExecCreated {
        exec: exec.id.clone(),
    };
    let subject = exec.run.to_string();
    engine.bus.publish(EXEC_CREATED, subject, &fact).map(drop)
}

/// Keeps the last value of each variable; a name without one takes it away.
fn last_of_each(environment: Vec<String>) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut last = HashMap::new();
    for (index, entry) in environment.iter().enumerate() {
        last.insert(name(entry), index);
    }
    let mut index = 0;
    let mut kept = environment;
    kept.retain(|entry| {
        index += 1;
        last.get(&name(entry)) == Some(&(index - 1)) && entry.contains('=')
    });
    kept
}

fn check_running(container: &Container, named: &str) -> Result<()> {
    let id = &container.id;
    match container.state().status {
        Status::Running => Ok(()),
        Status::Paused => Err(conflict(format!(
            "Container {named} is paused, unpause the container before exec"
        ))),
        Status::Restarting => Err(conflict(format!(
            "Container {named} is restarting, wait until the container is running"
        ))),
        _ => Err(conflict(format!("container {id} is not running"))),
    }
}

/// Sets the size of an exec's terminal.
///
/// # Errors
/// Conflict when it does not run.
pub async fn resize(engine: &Engine, exec: &Exec, rows: u16, columns: u16) -> Result<()> {
    // A client may ask as soon as it is connected, a moment before the process is there.
    let mut watch = exec.status.subscribe();
    let begun = watch
        .wait_for(|status| !status.claimed || status.pid.is_some() || status.exit_code.is_some());
    tokio::time::timeout(BEGIN_LIMIT, begun).await.ok();
    let status = exec.status();
    if status.pid.is_none() || status.exit_code.is_some() {
        return Err(not_found(format!(
            "NotFound: process does not exist {}: not found",
            exec.id
        )));
    }
    if !exec.process.terminal {
        // As with Docker, nothing is asked of what has no size.
        return Ok(());
    }
    let request = ControlRequest::Resize {
        exec: Some(exec.id.clone()),
        rows,
        columns,
    };
    shim::call(engine, &exec.run, request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_variable_wins() {
        let all = ["A=1", "B=2", "A=3"].map(str::to_owned).to_vec();
        assert_eq!(last_of_each(all), ["B=2", "A=3"]);
    }
}
