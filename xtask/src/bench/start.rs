//! `bench start`: from nothing to an exit status, with and without a bridge.
//!
//! Every run prints a token made for it, its IPv4 addresses and its Seccomp line;
//! token, addresses, seccomp mode and exit code are checked. Contenders take
//! turns within a round, starting with another one each round. Of ours it is
//! also shown where the time goes.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::bundle;
use super::daemons::{self, Daemons, command, folder};
use super::trace::{self, Window};
use super::{Plan, Series, Who};
use crate::images;
use crate::process::{Cmd, Timed};

/// Our event log, by the engine's root folder.
const EVENTS: &str = "/data/engine/events";
const WARM_UP_ROUNDS: usize = 2;
/// Runs in the container: the token and the exit code are its arguments.
const SCRIPT: &str = "echo token=$1; ip -4 -o addr; grep ^Seccomp: /proc/self/status; exit $2";
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Net {
    Bridge,
    None,
}

/// Measures by the plan and returns both tables with their ratios.
///
/// # Errors
/// Fails when a run does not print what it must.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    let daemons = Daemons::start(plan)?;
    let image = bundle::make_image()?;
    for who in plan.contenders.iter().filter(|who| has_images(**who)) {
        daemons::pull(*who, &image)?;
    }
    make_bundles(plan, &image)?;
    keep_up(plan.up, &image)?;
    let lanes = lanes(plan);
    let mut series = [
        Series::new("start", &contenders(&lanes, Net::Bridge)),
        Series::new("start-nonet", &contenders(&lanes, Net::None)),
    ];
    let mut windows = [Vec::new(), Vec::new()];
    for round in 0..plan.rounds + WARM_UP_ROUNDS {
        for turn in 0..lanes.len() {
            let (who, net) = lanes[(turn + round) % lanes.len()];
            let timed = measure(who, net, &image, round)?;
            if round < WARM_UP_ROUNDS {
                continue;
            }
            let index = usize::from(net == Net::None);
            series[index].add(who, timed.elapsed.as_secs_f64() * 1e3);
            if who == Who::Ours {
                windows[index].push(window(&timed));
            }
        }
    }
    daemons.stop()?;
    let mut text = String::new();
    for (series, windows) in series.iter().zip(&windows) {
        text += &series.report("ms")?;
        if !windows.is_empty() {
            text += &trace::table(series.what, Path::new(EVENTS), windows)?;
        }
    }
    Ok(text)
}

fn window(timed: &Timed) -> Window {
    Window {
        begun: timed.begun,
        ended: timed.begun + timed.elapsed,
    }
}

/// Starts containers that are there while others are measured.
fn keep_up(count: usize, image: &str) -> Result<()> {
    for _ in 0..count {
        let run = ["run", "--detach", image, "sleep", "7200"];
        command(Who::Ours).args(run).read()?;
    }
    Ok(())
}

/// Returns who runs on which network, in their order within a round.
///
/// Bundles and the floor have nobody who would attach them, so they stay without.
fn lanes(plan: &Plan) -> Vec<(Who, Net)> {
    let bridge = plan.contenders.iter().filter(|who| has_images(**who));
    let bridge = bridge.map(|who| (*who, Net::Bridge));
    bridge
        .chain(plan.contenders.iter().map(|who| (*who, Net::None)))
        .collect()
}

fn contenders(lanes: &[(Who, Net)], net: Net) -> Vec<Who> {
    lanes
        .iter()
        .filter(|(_, other)| *other == net)
        .map(|(who, _)| *who)
        .collect()
}

fn has_images(who: Who) -> bool {
    matches!(who, Who::Ours | Who::Docker | Who::Podman)
}

/// Makes a bundle per OCI runtime, with the seccomp filter that dockerd writes.
fn make_bundles(plan: &Plan, image: &str) -> Result<()> {
    if !plan
        .contenders
        .iter()
        .any(|who| matches!(who, Who::Crun | Who::Runc | Who::Floor))
    {
        return Ok(());
    }
    let seccomp = bundle::seccomp_of_docker(image)?;
    for runtime in [Who::Crun, Who::Runc] {
        let folder = folder(&format!("bundle-{}", runtime.name()))?;
        bundle::make(&folder, runtime, &seccomp)?;
    }
    images::busybox_root(&folder("floor")?.join("lower"))
}

fn measure(who: Who, net: Net, image: &str, round: usize) -> Result<Timed> {
    let token = bundle::fresh_token()?;
    // Never 0, so that a contender which loses the status is noticed; below the codes of shells.
    let code = round % 100 + 1;
    let command = prepare(who, net, image, &[token.clone(), code.to_string()])?;
    let timed = command.timed(Path::new("/tmp/bench-output"))?;
    check(&timed, who, net, &token, code as i32)
        .with_context(|| format!("`{command}` printed:\n{}", timed.output))?;
    Ok(timed)
}

fn prepare(who: Who, net: Net, image: &str, args: &[String]) -> Result<Cmd> {
    let script = ["sh", "-c", SCRIPT, "sh"].map(str::to_owned);
    let process: Vec<String> = script.into_iter().chain(args.iter().cloned()).collect();
    Ok(match who {
        Who::Ours | Who::Docker | Who::Podman => {
            let run = command(who).args(["run", "--rm"]);
            let run = if net == Net::None {
                run.arg("--network=none")
            } else {
                run
            };
            run.arg(image).args(process)
        }
        Who::Crun | Who::Runc | Who::CrunOld | Who::RuncOld => {
            let bundle = folder(&format!("bundle-{}", who.name()))?;
            bundle::set_process(&bundle, &process)?;
            command(who)
                .args(["run", "--bundle"])
                .arg(bundle)
                .arg("bench")
        }
        Who::Floor => command(who).arg(folder("floor")?).args(process),
    })
}

fn check(timed: &Timed, who: Who, net: Net, token: &str, code: i32) -> Result<()> {
    let lines: Vec<&str> = timed.output.lines().map(str::trim).collect();
    let address = |line: &&&str| line.contains(" inet ") && !line.contains(" inet 127.");
    let addresses = lines.iter().filter(address).count();
    let seccomp = if who == Who::Floor {
        "Seccomp:\t0"
    } else {
        "Seccomp:\t2"
    };
    ensure!(
        timed.code == code,
        "the exit code is {} instead of {code}",
        timed.code
    );
    ensure!(
        lines.contains(&format!("token={token}").as_str()),
        "the token {token} is missing"
    );
    ensure!(lines.contains(&seccomp), "there is no line {seccomp:?}");
    ensure!(
        addresses == usize::from(net == Net::Bridge),
        "there are {addresses} IPv4 addresses"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn timed(output: &str) -> Timed {
        Timed {
            begun: jiff::Timestamp::UNIX_EPOCH,
            elapsed: Duration::ZERO,
            code: 3,
            output: output.into(),
        }
    }

    const BRIDGE: &str = "token=t\n1: lo    inet 127.0.0.1/8 scope host lo\n\
        2: eth0    inet 172.17.0.2/16 scope global eth0\nSeccomp:\t2\n";

    #[test]
    fn a_run_that_prints_everything_counts() {
        check(&timed(BRIDGE), Who::Docker, Net::Bridge, "t", 3).unwrap();
    }

    #[test]
    fn anything_missing_or_too_much_fails_the_bench() {
        let other = |from: &str, to: &str| timed(&BRIDGE.replace(from, to));
        for (run, net, token, code) in [
            (timed(BRIDGE), Net::Bridge, "t", 0),
            (timed(BRIDGE), Net::Bridge, "other", 3),
            (timed(BRIDGE), Net::None, "t", 3),
            (other("172.17.0.2", "127.0.0.2"), Net::Bridge, "t", 3),
            (other("Seccomp:\t2", "Seccomp:\t0"), Net::Bridge, "t", 3),
        ] {
            assert!(
                check(&run, Who::Docker, net, token, code).is_err(),
                "{run:?}"
            );
        }
    }

    #[test]
    fn bundles_and_the_floor_run_without_a_bridge_only() {
        let contenders = vec![Who::Docker, Who::Crun, Who::Floor];
        let plan = Plan {
            name: super::super::Name::Start,
            rounds: 1,
            contenders,
            up: 0,
            unified: false,
            parts: Vec::new(),
        };
        assert_eq!(
            lanes(&plan),
            [
                (Who::Docker, Net::Bridge),
                (Who::Docker, Net::None),
                (Who::Crun, Net::None),
                (Who::Floor, Net::None)
            ]
        );
    }
}
