//! SIGKILL of engine, netd and volumed at random moments of 200 cycles of run,
//! stop and rm. The seed is printed; `ENGINE_TEST_SEED` repeats its choices.

use std::time::{Duration, Instant};

use tests::{Installation, Keeper, Random, Said, Victim, wait_until};

const CYCLES: u32 = 200;
/// The keeper is looked at, and the host, this often.
const LOOK_EVERY: u32 = 20;
/// What the first cycles are expected to take.
const FIRST_CYCLE: Duration = Duration::from_millis(500);
const WORKER: &str = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done";

#[test]
fn daemons_are_killed_at_random_while_containers_come_and_go() {
    let mut random = Random::new();
    let seed = random.seed();
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    let files = host.files();
    // What then stays, as the default bridge, is made by the first containers.
    cycle(&host);
    keeper.check_new_run(&host);
    let still = host.settled_traces(&files);
    let mut lasts = FIRST_CYCLE;
    for number in 0..CYCLES {
        let victim = random.one_of(&Victim::ALL);
        let delay = Duration::from_micros(random.below(lasts.as_micros() as u64));
        println!("cycle {number}: {victim:?} after {delay:?}");
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(delay);
                host.kill_daemon(victim);
            });
            cycle(&host);
            lasts = begun.elapsed();
        });
        keeper.check_new_run(&host);
        clear(&host);
        if number % LOOK_EVERY == 0 {
            keeper.check(&host);
            host.wait_until_traces(&still, &format!("cycle {number} of seed {seed}"));
        }
    }
    keeper.check(&host);
    host.finish();
}

/// Runs, stops and removes a container. What a client is told must be so; a
/// command whose daemon dies may fail.
fn cycle(host: &Installation) {
    let mut run = vec!["run", "-d", "--name", "cycler", "-p", "8092:80"];
    run.extend(["-v", "cycle:/www", "busybox:1", "sh", "-c", WORKER]);
    let is_logged = |expected: &str| {
        wait_until(&format!("the log is {expected:?}"), || {
            host.engine(&["logs", "cycler"]).stdout == expected
        });
    };
    if !is_done(&host.engine(&run)) {
        return;
    }
    is_logged("up\n");
    if !is_done(&host.engine(&["stop", "cycler"])) {
        return;
    }
    is_logged("up\nbye\n");
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    wait_until("the exit is known", || {
        let said = host.engine(&["inspect", "-f", format, "cycler"]);
        said.stdout == "exited 3\n"
    });
    is_done(&host.engine(&["rm", "cycler"]));
}

/// Whether a command did what it should; it may only fail for the connection.
fn is_done(said: &Said) -> bool {
    // Lost in the middle of a request, or not had for the next one.
    let cuts = ["connection", "cannot connect", "not running"];
    let is_cut = cuts.iter().any(|cut| said.stderr.contains(cut));
    assert!(said.code == 0 || is_cut, "{said:?}");
    said.code == 0
}

/// Removes what a cycle that was cut short has left; nothing resists.
fn clear(host: &Installation) {
    let all = host.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    for name in all.lines().filter(|name| *name != tests::KEEPER) {
        host.ok(&["rm", "-f", name]);
    }
}
