//! Names that containers ask for, while netd is killed.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tests::{Installation, Victim, wait_until, words};

/// Names are answered again this soon after netd was killed.
const NAMES_LIMIT: Duration = Duration::from_secs(1);
/// How often a name is asked for.
const ASK_EVERY: Duration = Duration::from_millis(50);

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
