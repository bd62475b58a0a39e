//! SIGKILL of engine, netd and volumed at random moments of 200 cycles of run,
//! stop and rm. The seed is printed; `ENGINE_TEST_SEED` repeats its choices.

use std::time::{Duration, Instant, SystemTime};

use tests::{Installation, Keeper, Said, Victim, wait_until};

const CYCLES: u32 = 200;
/// The keeper is looked at, and the host, this often.
const LOOK_EVERY: u32 = 20;
/// What the first cycles are expected to take.
const FIRST_CYCLE: Duration = Duration::from_millis(500);
const WORKER: &str = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done";

#[test]
fn daemons_are_killed_at_random_while_containers_come_and_go() {
    let seed = seed();
    println!("ENGINE_TEST_SEED={seed}");
    let mut random = Random { state: seed };
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    let files = host.files();
    // What then stays, as the default bridge, is made by the first containers.
    cycle(&host);
    keeper.check_new_run(&host);
    let still = host.settled_traces(&files);
    let mut lasts = FIRST_CYCLE;
    for number in 0..CYCLES {
        let victim = [Victim::Engine, Victim::Netd, Victim::Volumed][random.below(3) as usize];
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

/// Returns the seed that was asked for, else another each time.
fn seed() -> u64 {
    if let Ok(text) = std::env::var("ENGINE_TEST_SEED") {
        return text.parse().expect("ENGINE_TEST_SEED is a number");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("the clock is set").as_nanos() as u64
}

/// Splitmix64: enough to choose moments.
struct Random {
    state: u64,
}

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
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
