//! Networks of containers, through the command line.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tests::{Installation, Victim, wait_until, words, words_and};

/// Names are answered again this soon after netd was killed.
const NAMES_LIMIT: Duration = Duration::from_secs(1);
/// How often a name is asked for.
const ASK_EVERY: Duration = Duration::from_millis(50);

#[test]
fn a_container_that_runs_joins_networks_and_leaves_them() {
    let host = Installation::new();
    host.ok(&words("network create front"));
    host.ok(&words("network create back"));
    host.ok(&words(
        "run -d --name server --network back busybox:1 httpd -f -p 80 -h /www",
    ));
    host.ok(&words("run -d --name box busybox:1 sleep 1000"));
    let resolver = || host.ok(&words("exec box cat /etc/resolv.conf"));
    let before = resolver();
    host.ok(&words_and(
        "exec box sh -c",
        "echo '192.0.2.1 mine' >>/etc/hosts",
    ));
    host.ok(&words("network connect --alias www --alias w2 back box"));
    host.ok(&words("network connect front box"));
    let ask = words("exec box nslookup server");
    assert!(host.ok(&ask).contains("Address"), "no answer");
    host.ok(&words("exec server nslookup w2"));
    let links = host.ok(&words("exec box ls /sys/class/net"));
    assert_eq!(links, "eth0\neth1\neth2\nlo\n");
    let hosts = host.ok(&words("exec box cat /etc/hosts"));
    assert_eq!(hosts.matches("\n172.").count(), 3, "{hosts}");
    host.fails(
        1,
        "endpoint with name box already exists in network back",
        &words("network connect back box"),
    );
    host.ok(&words("network disconnect back box"));
    host.ok(&words("network disconnect front box"));
    assert_eq!(resolver(), before);
    let hosts = host.ok(&words("exec box cat /etc/hosts"));
    assert_eq!(hosts.matches("\n172.").count(), 1, "{hosts}");
    assert!(hosts.contains("192.0.2.1 mine"), "{hosts}");
    host.fails(
        1,
        "is not connected to network back",
        &words("network disconnect back box"),
    );
    let format = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(
        host.ok(&words_and("inspect box --format", format)),
        "bridge \n"
    );
    host.ok(&words("rm -f box server"));
    host.ok(&words("network rm front back"));
    host.finish();
}

#[test]
fn one_that_does_not_run_finds_its_networks_when_it_starts() {
    let host = Installation::new();
    host.ok(&words("network create --subnet 10.83.0.0/24 front"));
    host.ok(&words("create --name box busybox:1 sleep 1000"));
    host.ok(&words("network connect --ip 10.83.0.77 front box"));
    host.ok(&words("network disconnect bridge box"));
    host.ok(&words("start box"));
    let shown = host.ok(&words("exec box ip -o -4 addr show eth0"));
    assert!(shown.contains("10.83.0.77/24"), "{shown}");
    // Told so again after a restart.
    host.ok(&words("restart -t 0 box"));
    let format = "{{.NetworkSettings.Networks.front.IPAddress}}";
    let shown = host.ok(&words_and("inspect box --format", format));
    assert_eq!(shown, "10.83.0.77\n");
    host.ok(&words("rm -f box"));
    host.ok(&words("create --name alone --network none busybox:1 true"));
    host.fails(
        1,
        "private (none) mode",
        &words("network connect front alone"),
    );
    host.ok(&words("create --name open --network host busybox:1 true"));
    host.fails(
        1,
        "cannot be connected to any other network",
        &words("network connect front open"),
    );
    host.fails(1, "not found", &words("network connect nonsense alone"));
    host.finish();
}

#[test]
fn containers_that_are_linked_know_each_other_by_names_of_their_own() {
    let host = Installation::new();
    host.ok(&words(
        "run -d --name db -e FOO=1 --expose 5432 busybox:1 httpd -f -p 80 -h /www",
    ));
    host.ok(&words(
        "run -d --name web --link db:my-store busybox:1 sleep 1000",
    ));
    let names = words_and("ps --format", "{{.Names}}");
    assert_eq!(host.ok(&names), "web\ndb,web/my-store\n");
    let shown = words_and("inspect web --format", "{{json .HostConfig.Links}}");
    assert_eq!(host.ok(&shown), "[\"/db:/web/my-store\"]\n");
    let environment = host.ok(&words("exec web env"));
    for variable in [
        "MY_STORE_NAME=/web/my-store",
        "MY_STORE_ENV_FOO=1",
        "MY_STORE_PORT_5432_TCP_PORT=5432",
    ] {
        assert!(environment.contains(variable), "{environment}");
    }
    let fetch = words("exec web wget -qO- http://my-store/");
    assert_eq!(host.ok(&fetch), "from the image\n");
    // Where the other has moved to, its names follow.
    host.ok(&words("stop -t 0 db"));
    host.ok(&words("run -d --name other busybox:1 sleep 1000"));
    host.ok(&words("start db"));
    assert_eq!(host.ok(&fetch), "from the image\n");
    host.ok(&words("stop -t 0 db web"));
    host.fails(
        1,
        "Cannot link to a non running container: /db AS /web/my-store",
        &words("start web"),
    );
    host.ok(&words("rm --link web/my-store"));
    host.ok(&words("start web"));
    host.fails(1, "No such container", &words("rm --link web/my-store"));
    host.fails(
        125,
        "could not get container for nobody",
        &words("run --rm --link nobody busybox:1 true"),
    );
    host.finish();
}

#[test]
fn a_link_on_a_users_network_is_a_name_for_one_container_only() {
    let host = Installation::new();
    host.ok(&words("network create front"));
    host.ok(&words(
        "run -d --name db --network front busybox:1 sleep 1000",
    ));
    let ask = "run --rm --network front";
    host.ok(&words(&format!(
        "{ask} --link db:store busybox:1 nslookup store"
    )));
    let stranger = host.engine(&words(&format!("{ask} busybox:1 nslookup store")));
    assert_ne!(stranger.code, 0, "{stranger:?}");
    host.finish();
}

#[test]
fn volumes_come_from_other_containers() {
    let host = Installation::new();
    host.ok(&words_and(
        "run --name first -v data:/data -v /anonymous --tmpfs /mem busybox:1 sh -c",
        "echo kept >/data/file; echo too >/anonymous/file",
    ));
    let read = "cat /data/file /anonymous/file; test ! -e /mem";
    let both = words_and("run --rm --volumes-from first busybox:1 sh -c", read);
    assert_eq!(host.ok(&both), "kept\ntoo\n");
    let written = host.engine(&words(
        "run --rm --volumes-from first:ro busybox:1 touch /data/new",
    ));
    assert!(written.stderr.contains("Read-only"), "{written:?}");
    // What is its own stays its own.
    let own = words("run --rm --volumes-from first -v own:/data busybox:1 ls /data");
    assert_eq!(host.ok(&own), "");
    host.fails(
        125,
        "No such container: nobody",
        &words("run --rm --volumes-from nobody busybox:1 true"),
    );
    host.fails(
        125,
        "invalid mode",
        &words("run --rm --volumes-from first:rx busybox:1 true"),
    );
    host.finish();
}

/// A container that asks for a name again and again, and when it was answered.
struct Asker {
    namespace: File,
    name: &'static str,
    answered: Mutex<Vec<Instant>>,
    over: AtomicBool,
}

impl Asker {
    /// Asks as a process in the container does, until it is over.
    fn ask(&self) {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("tests run as root");
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
        socket
            .set_read_timeout(Some(ASK_EVERY))
            .expect("a timeout can be set");
        let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.push(u8::try_from(self.name.len()).expect("short"));
        question.extend(self.name.bytes());
        question.extend([0, 0, 1, 0, 1]);
        while !self.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let mut answer = [0; 512];
            // Nobody listens for a moment, which is what this is about.
            let sent = socket.send_to(&question, (Ipv4Addr::new(127, 0, 0, 11), 53));
            let length = sent.and_then(|_| socket.recv(&mut answer)).unwrap_or(0);
            // Found, with an address.
            if length > question.len() && answer[3] & 15 == 0 && answer[7] == 1 {
                self.answered
                    .lock()
                    .expect("no other has failed")
                    .push(asked);
            }
            std::thread::sleep(ASK_EVERY.saturating_sub(asked.elapsed()));
        }
    }

    /// Returns the longest time without an answer from a moment on, once there are
    /// answers that were asked for `after` it.
    fn longest_gap(&self, from: Instant, after: Duration) -> Duration {
        let answered = || self.answered.lock().expect("no other has failed").clone();
        wait_until("names are answered", || {
            answered().last().is_some_and(|last| *last > from + after)
        });
        let mut gaps = vec![];
        let mut last = from;
        for time in answered().into_iter().filter(|time| *time > from) {
            gaps.push(time - last);
            last = time;
        }
        gaps.into_iter().max().expect("there was an answer")
    }
}

#[test]
fn names_are_answered_within_a_second_when_netd_is_killed() {
    let host = Installation::new();
    host.ok(&words("network create mine"));
    for name in ["server", "client"] {
        host.ok(&words(&format!(
            "run -d --name {name} --network mine busybox:1 sleep 1000"
        )));
    }
    let pid = host.ok(&words("inspect -f {{.State.Pid}} client"));
    let asker = Asker {
        namespace: File::open(format!("/proc/{}/ns/net", pid.trim())).expect("it runs"),
        name: "server",
        answered: Mutex::default(),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| asker.ask());
        asker.longest_gap(Instant::now(), Duration::ZERO);
        let mut gaps = Vec::new();
        for _ in 0..3 {
            let death = Instant::now();
            host.kill_daemon(Victim::Netd);
            gaps.push(asker.longest_gap(death, NAMES_LIMIT));
        }
        println!("without an answer: {gaps:?}");
        asker.over.store(true, Ordering::Relaxed);
        asking.join().expect("asking does not fail");
        assert!(gaps.iter().all(|gap| *gap < NAMES_LIMIT), "{gaps:?}");
    });
    host.finish();
}
