//! `bench runtime`: the commands of OCI runtimes on one bundle.
//!
//! In each round every contender goes through the same: a container made,
//! started, entered, killed and deleted, one run in the foreground, one
//! detached. What each printed is checked. The floor only runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::daemons::{self, Daemons, FLOOR, OURS, folder};
use super::{Plan, Series, Who, bundle, smallest};
use crate::images;
use crate::process::{Cmd, Timed};

const WARM_UP_ROUNDS: usize = 2;
/// Foreground runs at once, and how often.
const PARALLEL: usize = 50;
const PARALLEL_ROUNDS: usize = 7;
/// How often the smallest limit of memory is looked for.
const SMALLEST_ROUNDS: usize = 3;
const END_LIMIT: Duration = Duration::from_secs(20);
/// What the last container leaves is gone after this.
const SETTLE: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_micros(200);
/// Prints the token and the kernel's word for the filter, without a fork.
const SAY: &str = "while read -r line; do case $line in Seccomp:*) echo \"$line\";; esac; done \
    </proc/self/status; echo token=$1; ";
pub(super) const ID: &str = "bench";

/// Measures by the plan and returns a table and the ratios for each command.
///
/// # Errors
/// Fails when a contender fails or does not print what it must.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    make_bundles(plan)?;
    let runtimes: Vec<Who> = plan
        .contenders
        .iter()
        .copied()
        .filter(|who| *who != Who::Floor)
        .collect();
    let mut table = Table::new(plan, &runtimes);
    for round in 0..plan.rounds + WARM_UP_ROUNDS {
        table.counts = round >= WARM_UP_ROUNDS;
        for turn in 0..plan.contenders.len() {
            let who = plan.contenders[(turn + round) % plan.contenders.len()];
            one_round(who, round, &mut table).with_context(|| format!("measure {}", who.name()))?;
        }
    }
    table.counts = true;
    for round in 0..PARALLEL_ROUNDS {
        for turn in 0..runtimes.len() {
            let who = runtimes[(turn + round) % runtimes.len()];
            table.add("parallel-50", who, parallel(who)?);
            if round < SMALLEST_ROUNDS && has_memory_controller(plan) {
                table.add("smallest-limit", who, smallest::limit(who)?);
            }
        }
    }
    table.report()
}

/// v1 keeps it where v2 is only beside.
fn has_memory_controller(plan: &Plan) -> bool {
    !plan.unified
}

/// Everything measured, a series for each command.
struct Table {
    all: Vec<(&'static str, Series)>,
    counts: bool,
}

impl Table {
    fn new(plan: &Plan, runtimes: &[Who]) -> Self {
        let mut names = vec![
            "run",
            "run-detach",
            "create",
            "start",
            "exec",
            "kill",
            "delete",
            "create-start-delete",
            "parallel-50",
            "peak-memory",
        ];
        if has_memory_controller(plan) {
            names.push("smallest-limit");
        }
        let series = |name: &'static str| match name {
            "run" => (name, Series::new(name, &plan.contenders)),
            name => (name, Series::new(name, runtimes)),
        };
        Self {
            all: names.into_iter().map(series).collect(),
            counts: false,
        }
    }

    fn add(&mut self, what: &'static str, who: Who, value: f64) {
        if !self.counts {
            return;
        }
        let series = self.all.iter_mut().find(|(name, _)| *name == what);
        series
            .expect("every command has a series")
            .1
            .add(who, value);
    }

    fn report(&self) -> Result<String> {
        let unit = |name| match name {
            "peak-memory" | "smallest-limit" => "KiB",
            _ => "ms",
        };
        let tables = self
            .all
            .iter()
            .map(|(name, series)| series.report(unit(*name)));
        Ok(tables.collect::<Result<Vec<_>>>()?.concat())
    }
}

/// Every contender gets the same specification, and a root filesystem of its own.
fn make_bundles(plan: &Plan) -> Result<()> {
    let with_docker = Plan {
        contenders: vec![Who::Docker],
        ..plan.clone()
    };
    let daemons = Daemons::start(&with_docker)?;
    let image = bundle::make_image()?;
    daemons::pull(Who::Docker, &image)?;
    let seccomp = bundle::seccomp_of_docker(&image)?;
    daemons.stop()?;
    for who in &plan.contenders {
        match who {
            Who::Floor => images::busybox_root(&folder("floor")?.join("lower"))?,
            who => bundle::make(&bundle_of(*who)?, Who::Runc, &seccomp)?,
        }
    }
    Ok(())
}

pub(super) fn bundle_of(who: Who) -> Result<PathBuf> {
    folder(&format!("bundle-{}", who.name()))
}

pub(super) fn runtime(who: Who) -> Cmd {
    let program = match who {
        Who::Ours => Cmd::new(format!("{OURS}/runc-rs")),
        who => daemons::command(who),
    };
    let root = format!("/run/bench-{}", who.name());
    program.args(["--root", &root])
}

fn one_round(who: Who, round: usize, table: &mut Table) -> Result<()> {
    // Never 0, so that a contender which loses the status is noticed.
    let code = round % 100 + 1;
    if who == Who::Floor {
        let process = process(&bundle::fresh_token()?, &format!("exit {code}"));
        let floor = Cmd::new(FLOOR).arg(folder("floor")?).args(process);
        table.add("run", who, milliseconds(&timed(&floor, code)?));
        return Ok(());
    }
    foreground(who, code, table)?;
    detached(who, table)?;
    in_steps(who, code, table)?;
    let memory = peak_memory(who)?;
    table.add("peak-memory", who, memory);
    Ok(())
}

pub(super) fn process(token: &str, then: &str) -> Vec<String> {
    let script = format!("{SAY}{then}");
    ["sh", "-c", &script, "sh", token].map(str::to_owned).into()
}

fn foreground(who: Who, code: usize, table: &mut Table) -> Result<()> {
    let (bundle, token) = (bundle_of(who)?, bundle::fresh_token()?);
    bundle::set_process(&bundle, &process(&token, &format!("exit {code}")))?;
    let run = runtime(who).args(["run", "--bundle"]).arg(bundle).arg(ID);
    let run = timed(&run, code)?;
    check_said(&run.output, &token)?;
    table.add("run", who, milliseconds(&run));
    Ok(())
}

fn detached(who: Who, table: &mut Table) -> Result<()> {
    let (bundle, token) = (bundle_of(who)?, bundle::fresh_token()?);
    bundle::set_process(&bundle, &process(&token, "exec sleep 600"))?;
    let run = runtime(who)
        .args(["run", "--detach", "--bundle"])
        .arg(bundle)
        .arg(ID);
    let run = timed(&run, 0)?;
    let pid = pid_of(who, "running")?;
    wait_until("the container speaks", || said().contains(&token))?;
    check_said(&said(), &token)?;
    table.add("run-detach", who, milliseconds(&run));
    end(who, pid)?;
    timed(&runtime(who).args(["delete", ID]), 0).map(drop)
}

fn in_steps(who: Who, code: usize, table: &mut Table) -> Result<()> {
    let (bundle, token) = (bundle_of(who)?, bundle::fresh_token()?);
    bundle::set_process(&bundle, &process(&token, "exec sleep 600"))?;
    let create = runtime(who)
        .args(["create", "--bundle"])
        .arg(bundle)
        .arg(ID);
    let create = timed(&create, 0)?;
    let pid = pid_of(who, "created")?;
    // The container keeps what `create` was given: the file of its output.
    let output = Path::new(OUTPUT).with_extension("container");
    std::fs::rename(OUTPUT, &output).context("keep the container's output")?;
    let of_container = || std::fs::read_to_string(&output).unwrap_or_default();
    let start = timed(&runtime(who).args(["start", ID]), 0)?;
    wait_until("the container speaks", || of_container().contains(&token))?;
    check_said(&of_container(), &token)?;
    let inside = bundle::fresh_token()?;
    let exec = process(&inside, &format!("exit {code}"));
    let exec = timed(&runtime(who).args(["exec", ID]).args(exec), code)?;
    check_said(&exec.output, &inside)?;
    let kill = timed(&runtime(who).args(["kill", ID, "KILL"]), 0)?;
    wait_ended(pid)?;
    let delete = timed(&runtime(who).args(["delete", ID]), 0)?;
    let state = runtime(who).args(["state", ID]).output()?;
    ensure!(state.code() != 0, "the container is there after `delete`");
    let whole = [&create, &start, &delete].map(milliseconds).iter().sum();
    table.add("create-start-delete", who, whole);
    for (what, timed) in [
        ("create", &create),
        ("start", &start),
        ("exec", &exec),
        ("kill", &kill),
        ("delete", &delete),
    ] {
        table.add(what, who, milliseconds(timed));
    }
    Ok(())
}

/// Returns how many milliseconds as many runs take that begin at once.
fn parallel(who: Who) -> Result<f64> {
    let (bundle, token) = (bundle_of(who)?, bundle::fresh_token()?);
    bundle::set_process(&bundle, &process(&token, "exit 7"))?;
    let begun = Instant::now();
    let finished: Vec<Result<Timed>> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..PARALLEL)
            .map(|number| {
                let id = format!("{ID}-{number}");
                let run = runtime(who).args(["run", "--bundle"]).arg(&bundle).arg(&id);
                scope.spawn(move || run.timed(Path::new(&format!("{OUTPUT}-{id}"))))
            })
            .collect();
        let runs = runs.into_iter();
        runs.map(|run| run.join().expect("a run does not panic"))
            .collect()
    });
    let elapsed = begun.elapsed();
    for run in finished {
        let run = run?;
        ensure!(
            run.code == 7,
            "a run ended with {}: {}",
            run.code,
            run.output
        );
        check_said(&run.output, &token)?;
    }
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// Returns the peak of the process that stays in the foreground, in KiB.
fn peak_memory(who: Who) -> Result<f64> {
    let (bundle, token) = (bundle_of(who)?, bundle::fresh_token()?);
    bundle::set_process(&bundle, &process(&token, "exec sleep 600"))?;
    let run = runtime(who).args(["run", "--bundle"]).arg(bundle).arg(ID);
    let run = run.background(Path::new(OUTPUT))?;
    wait_until("the container speaks", || said().contains(&token))?;
    let pid = pid_of(who, "running")?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.pid()));
    let status = status.context("read the runtime's status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok());
    end(who, pid)?;
    wait_until("the run is over", || {
        !Path::new(&format!("/proc/{}/exe", run.pid())).exists()
    })?;
    run.stop()?;
    peak.context("the runtime's status has no VmHWM")
}

pub(super) const OUTPUT: &str = "/tmp/bench-output";

fn said() -> String {
    std::fs::read_to_string(OUTPUT).unwrap_or_default()
}

fn timed(command: &Cmd, code: usize) -> Result<Timed> {
    // The kernel takes the last container's network apart behind its end, and
    // whoever makes the next one meanwhile would wait for that.
    std::thread::sleep(SETTLE);
    let timed = command.timed(Path::new(OUTPUT))?;
    ensure!(
        usize::try_from(timed.code) == Ok(code),
        "`{command}` ended with {} instead of {code}:\n{}",
        timed.code,
        timed.output
    );
    Ok(timed)
}

fn check_said(output: &str, token: &str) -> Result<()> {
    let lines: Vec<&str> = output.lines().map(str::trim).collect();
    let all = ["Seccomp:\t2", &format!("token={token}")];
    match all.iter().find(|wanted| !lines.contains(*wanted)) {
        Some(wanted) => bail!("there is no line {wanted:?} in:\n{output}"),
        None => Ok(()),
    }
}

fn pid_of(who: Who, status: &str) -> Result<i64> {
    let state = runtime(who).args(["state", ID]).read()?;
    let state: Value = serde_json::from_str(&state).context("parse a state")?;
    ensure!(
        state["status"] == status,
        "the container is not {status}: {state}"
    );
    state["pid"].as_i64().context("the state has no pid")
}

fn end(who: Who, pid: i64) -> Result<()> {
    timed(&runtime(who).args(["kill", ID, "KILL"]), 0)?;
    wait_ended(pid)
}

/// Waits until a process is gone or a zombie, which is when runtimes call its
/// container stopped.
fn wait_ended(pid: i64) -> Result<()> {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    let is_over = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    wait_until("the container ends", is_over)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + END_LIMIT;
    while !condition() {
        ensure!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn milliseconds(timed: &Timed) -> f64 {
    timed.elapsed.as_secs_f64() * 1e3
}
