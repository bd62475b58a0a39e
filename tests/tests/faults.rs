//! Daemons killed at any moment: containers go on, nothing is forgotten.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tests::{Doomed, Installation, Victim, wait_until, words, words_and};

/// A new container must work this soon after a kill.
const RECOVERY_LIMIT: Duration = Duration::from_secs(5);

fn state(host: &Installation, name: &str) -> String {
    host.ok(&[
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.ExitCode}}",
        name,
    ])
    .trim()
    .to_owned()
}

#[test]
fn containers_do_not_notice_the_death_of_the_engine() {
    let host = Installation::new();
    let ticker = "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done";
    host.ok(&words_and("run -d --name ticker busybox:1 sh -c", ticker));
    host.ok(&words_and(
        "run -d --name ender busybox:1 sh -c",
        "sleep 0.5; echo done; exit 5",
    ));
    let pid = host.ok(&words("inspect -f {{.State.Pid}} ticker"));
    host.kill_9("engine");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        state(&host, "ender"),
        "exited 5",
        "its end came while no engine ran"
    );
    assert_eq!(host.ok(&["logs", "ender"]), "done\n");
    assert_eq!(
        host.ok(&words("inspect -f {{.State.Pid}} ticker")),
        pid,
        "it is the same process"
    );
    assert_eq!(
        host.ok(&words_and("exec ticker echo", "still here")),
        "still here\n"
    );
    let logs = host.ok(&["logs", "ticker"]);
    let expected: Vec<String> = (0..logs.lines().count())
        .map(|i| format!("tick {i}"))
        .collect();
    assert!(
        logs.lines().count() > 15 && logs.lines().eq(expected.iter()),
        "{logs}"
    );
    host.ok(&words("stop -t 1 ticker"));
    host.finish();
}

#[test]
fn a_command_starts_the_engine_though_one_is_only_just_dying() {
    let host = Installation::new();
    host.ok(&["ps"]);
    host.kill_daemon(tests::Victim::Engine);
    let lock = host.instance.daemon_lock("engine");
    // As a killed process holds it until the kernel has taken it apart.
    let dying = base::lock::FileLock::try_acquire(&lock).unwrap();
    assert!(dying.is_some());
    let said = std::thread::scope(|scope| {
        let said = scope.spawn(|| host.engine(&["ps", "-q"]));
        wait_until("a daemon has found the lock held", || {
            let log = std::fs::read_to_string(host.instance.run().join("engine.log"));
            log.is_ok_and(|log| log.contains("another daemon runs"))
        });
        drop(dying);
        said.join().unwrap()
    });
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    host.finish();
}

#[test]
fn a_command_starts_the_engine_though_the_dying_one_took_its_connection() {
    let host = Installation::new();
    host.ok(&["ps"]);
    host.kill_daemon(tests::Victim::Engine);
    let socket = host.instance.run().join("engine.sock");
    fs::remove_file(&socket).unwrap();
    // As a killed process listens until the kernel has closed its files.
    let dying = UnixListener::bind(&socket).unwrap();
    dying.set_nonblocking(true).unwrap();
    let said = std::thread::scope(|scope| {
        let said = scope.spawn(|| host.engine(&["ps", "-q"]));
        let mut waiting = [PollFd::new(&dying, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut waiting, Some(&limit)).unwrap(), 1, "none came");
        // The request is in the connection's queue, or will find it closed.
        drop(dying);
        said.join().unwrap()
    });
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    host.finish();
}

#[test]
fn a_new_container_runs_soon_after_each_daemon_is_killed() {
    let host = Installation::new();
    host.ok(&words(
        "run -d --name keeper -p 8099:80 -v keep:/www busybox:1 httpd -f -p 80 -h /www",
    ));
    for program in ["netd", "volumed", "engine", "netd", "volumed"] {
        host.kill_9(program);
        let begun = Instant::now();
        let said = host.ok(&words(
            "run --rm -v keep:/data busybox:1 cat /data/index.html",
        ));
        assert_eq!(said, "from the image\n");
        assert!(
            begun.elapsed() < RECOVERY_LIMIT,
            "{program}: {:?}",
            begun.elapsed()
        );
        assert_eq!(state(&host, "keeper"), "running 0");
    }
    host.finish();
}

#[test]
fn a_run_whose_shim_is_killed_is_ended_and_can_be_started_again() {
    let host = Installation::new();
    host.ok(&words("run -d --name orphan busybox:1 sleep 1000"));
    host.kill_9("engine-shim");
    wait_until("the engine notices", || {
        state(&host, "orphan") == "exited 255"
    });
    host.ok(&["start", "orphan"]);
    assert_eq!(state(&host, "orphan"), "running 0");
    // Both at once: whoever comes back finds out from the disk.
    host.kill_9("engine");
    host.kill_9("engine-shim");
    wait_until("the next engine notices", || {
        state(&host, "orphan") == "exited 255"
    });
    host.finish();
}

#[test]
fn a_restart_that_failed_is_followed_by_the_next_though_the_engine_dies_between() {
    let host = Installation::new();
    let source = host.scratch().join("source");
    fs::create_dir(&source).unwrap();
    let mut doomed = Doomed::start(&host, Victim::Engine, "restart.schedule#1");
    let mount = format!("type=bind,src={},dst=/data", source.display());
    let mut run = words("run -d --name flaky --restart on-failure --mount");
    let script =
        "[ -e /data/go ] && exec sleep 1000; while [ ! -e /tmp/end ]; do sleep 0.02; done; exit 4";
    run.extend([mount.as_str(), "busybox:1", "sh", "-c", script]);
    host.ok(&run);
    fs::remove_dir(&source).unwrap();
    host.ok(&words("exec flaky touch /tmp/end"));
    doomed.wait_dead();
    fs::create_dir(&source).unwrap();
    fs::File::create(source.join("go")).unwrap();
    wait_until("it is started again", || {
        state(&host, "flaky") == "running 0"
    });
    host.finish();
}

/// Returns how often the log tells something of the container called `name`.
fn count_told(host: &Installation, kind: &str, name: &str) -> usize {
    let records = host.ok(&words("events --no-follow --from 0:0 --format json"));
    let records = records
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a record"));
    let is_told = |it: &serde_json::Value| it["type"] == kind && it["data"]["name"] == name;
    records.filter(is_told).count()
}

#[test]
fn what_a_killed_engine_did_is_told_once() {
    let host = Installation::new();
    for (step, kind) in [
        ("create.tell#1", "container.created"),
        ("create.told#1", "container.created"),
        ("remove.tell#1", "container.removed"),
        ("remove.files#1", "container.removed"),
    ] {
        let name = step.replace(['.', '#'], "-");
        let create = format!("create --name {name} busybox:1 true");
        let remove = format!("rm {name}");
        let is_removal = kind == "container.removed";
        if is_removal {
            host.ok(&words(&create));
        }
        let mut doomed = Doomed::start(&host, Victim::Engine, step);
        // Whether it is answered does not matter here.
        host.engine(&words(if is_removal { &remove } else { &create }));
        doomed.wait_dead();
        let names = host.ok(&words("ps -a --format {{.Names}}"));
        assert_eq!(names.lines().any(|it| it == name), !is_removal, "{step}");
        assert_eq!(count_told(&host, kind, &name), 1, "{step}");
        // Nor once more, when the next one dies.
        host.kill_daemon(Victim::Engine);
        host.ok(&["ps"]);
        assert_eq!(count_told(&host, kind, &name), 1, "{step}");
    }
    host.finish();
}
