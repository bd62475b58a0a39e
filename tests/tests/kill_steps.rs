//! SIGKILL of engine, netd and volumed at every named step they reach in a
//! scenario, each name at least three times. A container that ran before sees
//! nothing of it, a new one runs soon after, what was told is complete, and
//! nothing stays behind.

use std::collections::BTreeMap;
use std::time::Instant;

use tests::{Doomed, Installation, Keeper, Said, Victim, wait_until};

/// How often a daemon is killed at steps of one name.
const KILLS_OF_EACH: usize = 3;
/// A step that another round reaches at another number is tried this often.
const TRIES: usize = 2 * SHIFTS.len();
/// So far from its number a step is looked for.
const SHIFTS: [i64; 7] = [0, 1, -1, 2, -2, 3, -3];
/// A step that is not reached.
const NEVER: u64 = u64::MAX;
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
    for turn in 0..TRIES {
        for step in std::mem::take(&mut planned) {
            if let Some(name) = round(&host, &keeper, victim, step).killed_at {
                let context = format!("{victim:?} at step {step}, {name}");
                host.wait_until_traces(&still, &context);
                kills.add(name, step);
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
        [0; 0],
        "not killed often enough: {kills:#?}"
    );
    host.finish();
}

/// Returns the numbers of the steps to kill at.
fn plan(steps: &[String]) -> Vec<u64> {
    let chosen = numbers_by_name(steps).into_values().flat_map(|numbers| {
        let last = numbers.len() - 1;
        [0, last / 2, last].map(|index| numbers[index])
    });
    let mut chosen: Vec<u64> = chosen.collect();
    chosen.sort_unstable();
    chosen
}

/// Returns at which numbers, counted from 1, each name is reached.
fn numbers_by_name(steps: &[String]) -> BTreeMap<&str, Vec<u64>> {
    let mut by_name: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (number, name) in (1..).zip(steps) {
        by_name.entry(name).or_default().push(number);
    }
    by_name
}

/// The numbers of the steps a daemon was killed at, by their names.
#[derive(Debug, Default)]
struct Kills {
    by_name: BTreeMap<String, Vec<u64>>,
}

impl Kills {
    fn add(&mut self, name: String, step: u64) {
        self.by_name.entry(name).or_default().push(step);
    }

    /// Returns a step of each name that has not been had often enough, another
    /// one each turn: another interleaving reaches it at another number.
    fn missing(&self, steps: &[String], turn: usize) -> Vec<u64> {
        let had = |name: &str| self.by_name.get(name).map_or(0, Vec::len);
        let numbers = numbers_by_name(steps).into_iter();
        let rare = numbers.filter(|(name, _)| had(name) < KILLS_OF_EACH);
        rare.map(|(_, numbers)| numbers[turn % numbers.len()])
            .map(|number| {
                number
                    .saturating_add_signed(SHIFTS[turn % SHIFTS.len()])
                    .max(1)
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
fn round(host: &Installation, keeper: &Keeper, victim: Victim, step: u64) -> Outcome {
    println!("{victim:?} dies at step {step}");
    let mut doomed = Doomed::start(host, victim, step);
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
