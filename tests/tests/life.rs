//! The life of containers, through the command line alone.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use tests::{Installation, finish, wait_until, words, words_and};

/// Asks for a page and returns the whole answer; empty if nobody answers.
fn get(port: u16) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        if asked.is_ok() {
            stream.read_to_string(&mut answer).unwrap_or_default();
        }
    }
    answer
}

#[test]
fn run_passes_output_input_and_exit_code() {
    let host = Installation::new();
    let said = host.engine(&words_and(
        "run --rm busybox:1 sh -c",
        "echo out; echo err >&2; exit 7",
    ));
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (7, "out\n", "err\n")
    );
    let mut command = host.command(&words("run --rm -i busybox:1 wc -c"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&[b'x'; 300_000])
        .unwrap();
    let said = finish(child);
    assert_eq!((said.code, said.stdout.trim()), (0, "300000"));
    host.fails(
        127,
        "not found",
        &words("run --rm busybox:1 no-such-program"),
    );
    host.fails(
        126,
        "ermission denied",
        &words("run --rm busybox:1 /etc/passwd"),
    );
    host.finish();
}

#[test]
fn a_web_server_is_published_and_its_volume_outlives_it() {
    let host = Installation::new();
    let web = "run -d --name web -p 8080:80 -v site:/www busybox:1 httpd -f -p 80 -h /www";
    host.ok(&words(web));
    wait_until("the page is served", || {
        get(8080).ends_with("from the image\n")
    });
    host.ok(&words_and(
        "exec web sh -c",
        "echo changed >/www/index.html",
    ));
    assert!(get(8080).ends_with("changed\n"));
    assert!(host.ok(&["ps"]).contains("0.0.0.0:8080->80/tcp"));
    host.fails(
        125,
        "port is already allocated",
        &words("run --rm -p 8080:80 busybox:1 true"),
    );
    host.fails(
        125,
        "is already in use by container",
        &words("run --name web busybox:1 true"),
    );
    host.ok(&words("stop -t 1 web"));
    assert_eq!(get(8080), "", "a stopped container serves nothing");
    host.fails(1, "in use", &["volume", "rm", "site"]);
    host.ok(&["rm", "web"]);
    assert_eq!(
        host.ok(&words(
            "run --rm -v site:/data busybox:1 cat /data/index.html"
        )),
        "changed\n"
    );
    host.ok(&["volume", "rm", "site"]);
    host.finish();
}

#[test]
fn logs_are_complete_and_can_be_followed() {
    let host = Installation::new();
    let script =
        "for i in $(seq 1000); do echo line $i; done; echo last >&2; sleep 0.3; echo after";
    host.ok(&words_and("run -d --name writer busybox:1 sh -c", script));
    let followed = host.ok(&["logs", "-f", "writer"]);
    assert_eq!(
        followed.lines().count(),
        1001,
        "stdout: 1000 lines and one after the pause"
    );
    assert!(followed.ends_with("line 1000\nafter\n"));
    assert_eq!(
        host.ok(&words("logs --tail 2 writer")).lines().next(),
        Some("after")
    );
    host.finish();
}

#[test]
fn users_networks_and_names_are_told_apart() {
    let host = Installation::new();
    let id = host.ok(&words_and(
        "run --rm -u web -w /tmp -e A=b --hostname box busybox:1 sh -c",
        "id; pwd; echo $A; hostname; echo $HOME",
    ));
    assert_eq!(
        id,
        "uid=33(web) gid=44(web) groups=44(web)\n/tmp\nb\nbox\n/www\n"
    );
    let none = host.ok(&words_and(
        "run --rm --network none busybox:1 sh -c",
        "ip -o link | wc -l",
    ));
    assert_eq!(none.trim(), "1", "only loopback");
    host.finish();
}

#[test]
fn what_is_not_there_is_named() {
    let host = Installation::new();
    host.fails(
        125,
        "network nonsense not found",
        &words("run --rm --network nonsense busybox:1 true"),
    );
    host.fails(
        125,
        "unable to find user nobody",
        &words("run --rm -u nobody busybox:1 true"),
    );
    host.fails(
        125,
        "must be an absolute path",
        &words("run --rm --mount type=bind,src=x,dst=/y busybox:1 true"),
    );
    host.fails(
        125,
        "bind source path does not exist",
        &words("run --rm --mount type=bind,src=/no/such,dst=/y busybox:1 true"),
    );
    host.fails(1, "No such container", &["start", "nonsense"]);
    host.finish();
}

#[test]
fn limits_and_read_only_hold() {
    let host = Installation::new();
    let script = "cat /proc/self/limits | grep 'open files'; touch /x 2>&1; touch /run/x && echo tmpfs; df -k /dev/shm | tail -1";
    let said = host.ok(&words_and("run --rm --read-only --tmpfs /run:size=1m --ulimit nofile=77:88 --shm-size 8m busybox:1 sh -c", script));
    for part in ["77", "Read-only file system", "tmpfs", "8192"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let killed = host.engine(&words_and(
        "run --name eater -m 16m busybox:1 sh -c",
        "a=x; while :; do a=$a$a; done",
    ));
    assert_eq!(killed.code, 137, "{killed:?}");
    assert_eq!(
        host.ok(&words("inspect -f {{.State.OOMKilled}} eater"))
            .trim(),
        "true"
    );
    let pids = host.engine(&words_and(
        "run --rm --pids-limit 5 busybox:1 sh -c",
        "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait",
    ));
    assert!(pids.stderr.contains("can't fork"), "{pids:?}");
    host.finish();
}

#[test]
fn restart_policies_and_pauses_work() {
    let host = Installation::new();
    host.ok(&words_and(
        "run -d --name flaky --restart on-failure:2 busybox:1 sh -c",
        "echo again; exit 3",
    ));
    let inspect = |format: &str| {
        host.ok(&["inspect", "-f", format, "flaky"])
            .trim()
            .to_owned()
    };
    wait_until("all restarts are used up", || {
        inspect("{{.State.Status}} {{.RestartCount}}") == "exited 2"
    });
    assert_eq!(host.ok(&["logs", "flaky"]).lines().count(), 3);
    host.ok(&words("run -d --name sleeper busybox:1 sleep 1000"));
    host.ok(&["pause", "sleeper"]);
    host.fails(1, "paused", &["exec", "sleeper", "true"]);
    assert!(host.ok(&["ps"]).contains("(Paused)"));
    host.ok(&["unpause", "sleeper"]);
    host.ok(&["rename", "sleeper", "sleepy"]);
    host.ok(&words("kill -s KILL sleepy"));
    assert_eq!(host.ok(&["wait", "sleepy"]).trim(), "137");
    host.finish();
}

#[test]
fn user_networks_resolve_names_and_are_apart() {
    let host = Installation::new();
    host.ok(&["network", "create", "front"]);
    host.ok(&["network", "create", "back"]);
    host.ok(&words(
        "run -d --name server --network front --network-alias www busybox:1 httpd -f -p 80 -h /www",
    ));
    for name in ["server", "www"] {
        let url = format!("http://{name}/");
        let ask = words_and("run --rm --network front busybox:1 wget -qO-", &url);
        wait_until("the server answers by name", || {
            host.engine(&ask).stdout == "from the image\n"
        });
    }
    let address = host.ok(&words(
        "inspect -f {{.NetworkSettings.Networks.front.IPAddress}} server",
    ));
    // Not as pid 1, which a signal of `timeout` would not end.
    let fetch = format!("timeout 2 wget -qO- http://{}/; exit $?", address.trim());
    let said = host.engine(&words_and(
        "run --rm --network back busybox:1 sh -c",
        &fetch,
    ));
    assert_ne!(said.code, 0, "another network must not reach it: {said:?}");
    host.fails(1, "has active endpoints", &["network", "rm", "front"]);
    host.ok(&["rm", "-f", "server"]);
    host.ok(&words("network rm front back"));
    host.finish();
}

#[test]
fn many_are_stopped_at_once() {
    let host = Installation::new();
    let names = ["one", "two", "three", "four"];
    for name in names {
        // As pid 1 it has no use for the signal.
        host.ok(&words(&format!("run -d --name {name} busybox:1 sleep 600")));
    }
    let begun = std::time::Instant::now();
    assert_eq!(
        host.ok(&words("stop -t 3 one two three four")),
        "one\ntwo\nthree\nfour\n"
    );
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(9),
        "in turn"
    );
    host.finish();
}

#[test]
fn a_shared_network_comes_with_its_owners_names() {
    let host = Installation::new();
    host.ok(&["network", "create", "front"]);
    host.ok(&words(
        "run -d --name owner --network front --hostname boss --add-host far:192.0.2.7 \
         --dns-search corp.example busybox:1 sleep 600",
    ));
    host.ok(&words(
        "run -d --name guest --network container:owner busybox:1 sleep 600",
    ));
    let seen = |name: &str| {
        let files = "cat /etc/hosts /etc/hostname /etc/resolv.conf; hostname";
        host.ok(&words_and(&format!("exec {name} sh -c"), files))
    };
    let of_owner = seen("owner");
    assert!(of_owner.contains("192.0.2.7\tfar"), "{of_owner}");
    assert_eq!(seen("guest"), of_owner);
    let third = words_and(
        "run --rm --network container:guest busybox:1 cat",
        "/etc/hostname",
    );
    assert_eq!(host.ok(&third), "boss\n", "by way of another guest");
    let url = words("run --rm --network front busybox:1 nslookup owner");
    assert_eq!(host.engine(&url).code, 0);
    host.ok(&words("rename owner chief"));
    wait_until("the new name resolves", || {
        let ask = words("run --rm --network front busybox:1 nslookup chief");
        host.engine(&ask).code == 0
    });
    assert_ne!(host.engine(&url).code, 0, "the old name is gone");
    for contradiction in [
        "-p 80:80",
        "--hostname other",
        "--add-host a:192.0.2.1",
        "--dns 192.0.2.1",
    ] {
        let arguments =
            format!("run --rm --network container:chief {contradiction} busybox:1 true");
        host.fails(125, "conflicting options", &words(&arguments));
    }
    host.finish();
}

#[test]
fn an_installation_that_a_failed_test_drops_leaves_nothing() {
    let host = Installation::new();
    host.ok(&words("run -d --name frozen busybox:1 sleep 600"));
    host.ok(&["pause", "frozen"]);
    let pid = host.ok(&["inspect", "-f", "{{.State.Pid}}", "frozen"]);
    // Whoever inherits its remains reaps them in its own time.
    let runs = || {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        status.is_ok_and(|status| !status.contains(") Z "))
    };
    assert!(runs());
    let group = host.instance.cgroup_parent();
    drop(host);
    let groups = std::fs::read_dir("/sys/fs/cgroup").expect("it is mounted");
    let groups = groups.flatten().map(|entry| entry.path());
    let left: Vec<_> = groups
        .map(|mount| mount.join(group.trim_start_matches('/')))
        .filter(|group| group.exists())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!runs());
}

/// Docker's `wait` ends with each run, also where a policy begins another.
#[test]
fn a_run_that_is_followed_by_another_ends_a_wait() {
    let host = Installation::new();
    let run = "run -d --name again --restart always busybox:1 sh -c";
    host.ok(&words_and(run, "sleep 0.5; exit 3"));
    assert_eq!(host.ok(&["wait", "again"]), "3\n");
    host.ok(&words("rm -f again"));
    host.finish();
}

/// One that goes with its run stays over a restart, with what it wrote, and goes when
/// it ends otherwise; one whose restart fails does not stay either.
#[test]
fn a_container_that_removes_itself_can_be_restarted() {
    let host = Installation::new();
    let script = "echo run >> /runs; trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let run = [
        "run",
        "-d",
        "--rm",
        "--name",
        "box",
        "busybox:1",
        "sh",
        "-c",
    ];
    host.ok(&[&run[..], &[script]].concat());
    let runs = || {
        let said = host.engine(&["exec", "box", "cat", "/runs"]);
        said.stdout.lines().count()
    };
    wait_until("it has begun", || runs() == 1);
    for round in 2..5 {
        host.ok(&words("restart box"));
        wait_until("it has begun anew", || runs() == round);
    }
    let id = host.ok(&words("inspect -f {{.Id}} box"));
    host.ok(&words("kill box"));
    wait_until("it is gone", || host.ok(&words("ps -aq")).is_empty());
    let files = host.scratch().join("root/containers").join(id.trim());
    wait_until("its files are gone", || !files.exists());
    host.finish();
}

/// By its own end and by the user at once: it is told once.
#[test]
fn the_removal_of_what_removes_itself_is_told_once() {
    let host = Installation::new();
    host.ok(&words("run -d --rm --name box busybox:1 sleep 1000"));
    host.ok(&words("rm -f box"));
    let events = host.ok(&words("events --no-follow --format {{.type}}"));
    let removals = events.lines().filter(|kind| *kind == "container.removed");
    assert_eq!(removals.count(), 1, "{events}");
    host.finish();
}
