//! SIGKILL of engine, netd and volumed at every named step they reach in a
//! scenario, each name at least three times. A container that ran before sees
//! nothing of it, a new one runs soon after, what was told is complete, and
//! nothing stays behind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use tests::{Doomed, Installation, Keeper, Said, Victim, wait_until};

/// How often a daemon is killed at steps of one name.
const KILLS_OF_EACH: usize = 3;
/// A step that a round has not reached, as it depends on who was first, is tried
/// this often.
const TRIES: usize = 8;
/// A step that is not reached.
const NEVER: &str = "18446744073709551615";
/// Ends by itself when told to, with a word and a code of its own.
const WORKER: &str = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done";

#[test]
fn the_engine_is_killed_at_every_step() {
    kill_at_every_step(Victim::Engine);
}

#[test]
fn netd_is_killed_at_every_step() {
    kill_at_every_step(Victim::Netd);
}

#[test]
fn volumed_is_killed_at_every_step() {
    kill_at_every_step(Victim::Volumed);
}

/// A first round without a kill tells which steps there are. Of a name that is
/// reached often the first, the last and one in between are fatal.
fn kill_at_every_step(victim: Victim) {
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    let files = host.files();
    let begun = Instant::now();
    // The first round of all makes what then stays, as the default bridge.
    round(&host, &keeper, victim, NEVER);
    let steps = round(&host, &keeper, victim, NEVER).steps;
    let still = host.settled_traces(&files);
    let mut kills = Kills::default();
    let mut planned = plan(&steps);
    for turn in 1..=TRIES {
        for step in std::mem::take(&mut planned) {
            let fault = step.to_string();
            if round(&host, &keeper, victim, &fault).killed_at.is_some() {
                host.wait_until_traces(&still, &format!("{victim:?} at step {fault}"));
                kills.add(step);
            }
        }
        planned = kills.missing(&steps, turn);
    }
    println!(
        "{victim:?}: {:?}, of {} steps: {kills:#?}",
        begun.elapsed(),
        steps.len()
    );
    assert_eq!(
        kills.missing(&steps, 0),
        [],
        "not killed often enough: {kills:#?}"
    );
    host.finish();
}

/// A step by its name and how often that was reached before it: tasks side by
/// side change the order of all steps, but hardly ever that of one name's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    name: String,
    occurrence: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.occurrence)
    }
}

/// Returns the steps to kill at.
fn plan(steps: &[String]) -> Vec<Step> {
    let counts = count_by_name(steps).into_iter();
    let chosen = counts.flat_map(|(name, count)| {
        [1, count.div_ceil(2), count].map(|occurrence| Step {
            name: name.to_owned(),
            occurrence,
        })
    });
    chosen.collect()
}

/// Returns how often each name is reached.
fn count_by_name(steps: &[String]) -> BTreeMap<&str, usize> {
    let mut by_name = BTreeMap::new();
    for name in steps {
        *by_name.entry(name.as_str()).or_default() += 1;
    }
    by_name
}

/// At which of its occurrences a daemon was killed, by the name of the step.
#[derive(Debug, Default)]
struct Kills {
    by_name: BTreeMap<String, Vec<usize>>,
}

impl Kills {
    fn add(&mut self, step: Step) {
        let had = self.by_name.entry(step.name).or_default();
        had.push(step.occurrence);
    }

    /// Returns a step of each name that has not been had often enough, another
    /// one each turn.
    fn missing(&self, steps: &[String], turn: usize) -> Vec<Step> {
        let had = |name: &str| self.by_name.get(name).map_or(0, Vec::len);
        let counts = count_by_name(steps).into_iter();
        let rare = counts.filter(|(name, _)| had(name) < KILLS_OF_EACH);
        rare.map(|(name, count)| Step {
            name: name.to_owned(),
            occurrence: turn % count + 1,
        })
        .collect()
    }
}

/// What a round has come to.
struct Outcome {
    /// The name of the fatal step, if it was reached.
    killed_at: Option<String>,
    /// The names of the victim's steps.
    steps: Vec<String>,
}

/// Runs the scenario until the victim is dead, looks at what is left, and
/// clears up.
fn round(host: &Installation, keeper: &Keeper, victim: Victim, fault: &str) -> Outcome {
    println!("{victim:?} dies at step {fault}");
    let mut doomed = Doomed::start(host, victim, fault);
    let mut client = Client {
        host,
        victim,
        known: BTreeMap::new(),
    };
    for act in SCENARIO {
        if doomed.killed_at().is_some() {
            break;
        }
        client.perform(act, &mut doomed);
    }
    let outcome = Outcome {
        killed_at: doomed.killed_at(),
        steps: doomed.steps(),
    };
    if outcome.killed_at.is_none() {
        doomed.disarm(host);
    }
    keeper.check_new_run(host);
    keeper.check(host);
    client.check();
    clear(host);
    outcome
}

/// One command of the scenario.
#[derive(Debug)]
struct Act {
    command: &'static [&'static str],
    code: i32,
    /// The container it changes.
    of: &'static str,
    /// Status, exit code and log of the container afterwards; `None` if it is gone.
    after: Option<(&'static str, &'static str)>,
}

const fn act(command: &'static [&'static str]) -> Act {
    Act {
        command,
        code: 0,
        of: "",
        after: None,
    }
}

const fn change(
    of: &'static str,
    command: &'static [&'static str],
    status: &'static str,
    log: &'static str,
) -> Act {
    Act {
        command,
        code: 0,
        of,
        after: Some((status, log)),
    }
}

const SCENARIO: &[Act] = &[
    act(&["network", "create", "fresh"]),
    change(
        "worker",
        &[
            "run",
            "-d",
            "--name",
            "worker",
            "--network",
            "fresh",
            "-p",
            "8091:80",
            "-v",
            "fresh:/www",
            "--mount",
            "type=image,source=busybox:1,target=/tools,image-subpath=bin",
            "busybox:1",
            "sh",
            "-c",
            WORKER,
        ],
        "running 0",
        "up\n",
    ),
    act(&["exec", "worker", "echo", "hi"]),
    act(&[
        "run",
        "--rm",
        "-v",
        "/anonymous",
        "busybox:1",
        "echo",
        "once",
    ]),
    change("worker", &["stop", "worker"], "exited 3", "up\nbye\n"),
    Act {
        command: &["rename", "worker", "renamed"],
        code: 0,
        of: "worker",
        after: None,
    },
    change(
        "renamed",
        &["start", "renamed"],
        "running 0",
        "up\nbye\nup\n",
    ),
    change(
        "renamed",
        &["pause", "renamed"],
        "paused 0",
        "up\nbye\nup\n",
    ),
    change(
        "renamed",
        &["unpause", "renamed"],
        "running 0",
        "up\nbye\nup\n",
    ),
    change(
        "renamed",
        &["restart", "renamed"],
        "running 0",
        "up\nbye\nup\nbye\nup\n",
    ),
    change(
        "flaky",
        &[
            "run",
            "-d",
            "--name",
            "flaky",
            "--restart",
            "on-failure:1",
            "busybox:1",
            "sh",
            "-c",
            "echo try; exit 4",
        ],
        "exited 4",
        "try\ntry\n",
    ),
    Act {
        command: &["run", "--name", "bad", "busybox:1", "no-such-program"],
        code: 127,
        of: "bad",
        after: Some(("created 127", "")),
    },
    Act {
        command: &["rm", "bad"],
        code: 0,
        of: "bad",
        after: None,
    },
    Act {
        command: &["rm", "-f", "renamed"],
        code: 0,
        of: "renamed",
        after: None,
    },
    Act {
        command: &["rm", "flaky"],
        code: 0,
        of: "flaky",
        after: None,
    },
    act(&["volume", "rm", "fresh"]),
    act(&["network", "rm", "fresh"]),
];

/// Who gives the commands and remembers what it was told.
#[derive(Debug)]
struct Client<'a> {
    host: &'a Installation,
    victim: Victim,
    known: BTreeMap<&'static str, (&'static str, &'static str)>,
}

impl Client<'_> {
    /// A command in whose course the engine dies may fail; a helper's death is
    /// nobody's business: it comes back and answers.
    fn perform(&mut self, act: &Act, doomed: &mut Doomed) {
        self.known.remove(act.of);
        let said = self.host.engine(act.command);
        let may_fail = self.victim == Victim::Engine && doomed.killed_at().is_some();
        let is_well = said.code == act.code;
        assert!(is_well || may_fail, "{act:?}: {said:?}\n{}", doomed.said());
        if let (true, Some(after)) = (is_well, act.after) {
            self.known.insert(act.of, after);
            self.wait(act.of, after);
        }
    }

    /// What was told is so.
    fn check(&self) {
        for (name, told) in &self.known {
            self.wait(name, *told);
        }
    }

    /// Waits until a container has its status and its log. A daemon that dies
    /// in the middle of an answer is asked again.
    fn wait(&self, name: &str, (status, log): (&str, &str)) {
        let format = "{{.State.Status}} {{.State.ExitCode}}";
        let inspect = || self.host.engine(&["inspect", "-f", format, name]);
        wait_until(&format!("{name} is {status}"), || {
            inspect().stdout.trim() == status
        });
        wait_until(&format!("{name} has logged {log:?}"), || {
            self.host.engine(&["logs", name]).stdout == log
        });
    }
}

/// Removes whatever the scenario has left but the keeper; nothing resists.
fn clear(host: &Installation) {
    let all = host.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    for name in all.lines().filter(|name| *name != tests::KEEPER) {
        removed(&host.engine(&["rm", "-f", name]));
    }
    removed(&host.engine(&["volume", "rm", "fresh"]));
    removed(&host.engine(&["network", "rm", "fresh"]));
}

/// It was removed, or not there any more.
fn removed(said: &Said) {
    let is_absent = said.stderr.contains("No such")
        || said.stderr.contains("no such")
        || said.stderr.contains("not found");
    assert!(said.code == 0 || is_absent, "{said:?}");
}
