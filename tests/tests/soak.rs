//! Many containers that are started and stopped in parallel while engine, netd and
//! volumed are killed at random moments: nothing stays behind, and every event is there.
//!
//! `cargo xtask soak` runs it for long: how long, with how many containers and where the
//! logs of a failure are kept is told by variables; without them it is short.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::Timestamp;
use serde_json::{Value, json};
use tests::{Installation, Keeper, Random, Victim};

/// Requests under way at once.
const PARALLEL: usize = 8;
/// The short form.
const SHORT: Duration = Duration::from_secs(15);
const FEW: usize = 24;
/// The time between two kills is up to so much.
const CALM: Duration = Duration::from_secs(2);
/// No request is tried for longer, whoever is killed meanwhile.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);
/// A follower that hears nothing for so long asks again.
const QUIET_LIMIT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long what ends behind the answers may take in the end.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Ends with a code of its own when it is told to, and costs nothing until then.
const WORKER: &str = "trap 'exit 3' TERM; sleep 100000 & wait";
/// What happens to every container, in this order, once.
const LIFE: [&str; 4] = ["create", "start", "die", "destroy"];
/// The same where the start was undone.
const UNDONE: [&str; 2] = ["create", "destroy"];
const FIRST_PORT: usize = 20_000;

/// What is asked for by variables.
struct Options {
    lasts: Duration,
    containers: usize,
    keep: Option<PathBuf>,
}

impl Options {
    fn read() -> Self {
        let number = |name: &str| -> Option<u64> {
            let text = std::env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is no number")),
            )
        };
        Self {
            lasts: number("ENGINE_SOAK_SECONDS").map_or(SHORT, Duration::from_secs),
            containers: number("ENGINE_SOAK_CONTAINERS").map_or(FEW, |it| it as usize),
            keep: std::env::var_os("ENGINE_SOAK_LOGS").map(PathBuf::from),
        }
    }
}

#[test]
fn containers_come_and_go_in_parallel_while_daemons_are_killed() {
    let options = Options::read();
    let random = Random::new();
    let seed = random.seed();
    let host = Installation::new();
    let kept = KeptLogs {
        host: &host,
        directory: options.keep.clone(),
    };
    let keeper = Keeper::start(&host);
    let files = host.files();
    let soak = Soak::new(&host);
    // What then stays, as the default bridge, is made by the first containers.
    soak.wave(0, 4);
    let still = host.settled_traces(&files);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| soak.kill(random.clone()));
        let follower = scope.spawn(|| soak.follow());
        let calm = Ended(&soak.calm);
        let ended = Ended(&soak.over);
        let mut number = 0;
        while soak.begun.elapsed() < options.lasts {
            number += 1;
            soak.wave(number, options.containers);
        }
        drop(ended);
        killer.join().expect("daemons can be killed");
        drop(calm);
        soak.tell(&format!("{number} waves"));
        follower.join().expect("events can be followed");
    });
    keeper.check(&host);
    host.wait_for_traces(&still, &format!("seed {seed}"), SETTLE_LIMIT);
    soak.check_events();
    drop(kept);
    host.finish();
}

/// Says that something is over, also when a check fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps the logs of a failure.
struct KeptLogs<'a> {
    host: &'a Installation,
    directory: Option<PathBuf>,
}

impl Drop for KeptLogs<'_> {
    fn drop(&mut self) {
        let Some(directory) = self.directory.as_ref().filter(|_| std::thread::panicking()) else {
            return;
        };
        let instance = &self.host.instance;
        let mut copy = std::process::Command::new("cp");
        copy.args(["-a", "--parents"]).arg(instance.events());
        copy.arg(instance.run().join("engine.log"));
        copy.arg(instance.shims()).arg(instance.containers());
        // What is not there cannot be kept; the failure is told all the same.
        let copied = copy.arg(directory).status();
        println!("logs are kept in {}: {copied:?}", directory.display());
    }
}

/// What all threads share.
struct Soak<'a> {
    host: &'a Installation,
    begun: Instant,
    /// No container is started any more.
    over: AtomicBool,
    /// Nor is a daemon killed.
    calm: AtomicBool,
    kills: [AtomicUsize; Victim::ALL.len()],
    starts: AtomicUsize,
    most_up: AtomicUsize,
    cuts: AtomicUsize,
    runs: std::sync::Mutex<BTreeMap<String, Run>>,
    followed: std::sync::Mutex<Vec<Value>>,
}

/// What the client knows of a container's only run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// It was told that it runs.
    Told,
    /// Its start was cut, and the container is gone.
    Undone,
}

/// What a request has come to.
struct Answer {
    status: u16,
    body: Value,
    /// Whether an earlier attempt was cut, so that it may have been done already.
    is_again: bool,
}

impl<'a> Soak<'a> {
    fn new(host: &'a Installation) -> Self {
        Self {
            host,
            begun: Instant::now(),
            over: AtomicBool::new(false),
            calm: AtomicBool::new(false),
            kills: Default::default(),
            starts: AtomicUsize::new(0),
            most_up: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            runs: Default::default(),
            followed: Default::default(),
        }
    }

    fn tell(&self, what: &str) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let [engine, netd, volumed] = &self.kills;
        let seconds = self.begun.elapsed().as_secs_f64();
        let starts = count(&self.starts);
        println!(
            "{seconds:6.1} s: {what}; {starts} starts ({:.1}/s), most up at once {}; killed: engine {}, netd {}, volumed {}; {} requests were cut",
            starts as f64 / seconds,
            count(&self.most_up),
            count(engine),
            count(netd),
            count(volumed),
            count(&self.cuts),
        );
    }

    /// Starts so many containers, and when all of them run stops and removes them.
    fn wave(&self, number: usize, containers: usize) {
        let names: Vec<String> = (0..containers)
            .map(|i| format!("soak-{number}-{i}"))
            .collect();
        let ids = self.each(&names, |index, name| self.start(index, name));
        let up = self.count_up();
        // The keeper is one too.
        assert_eq!(up, containers + 1, "wave {number}: all run at once");
        self.most_up.fetch_max(containers, Ordering::Relaxed);
        self.tell(&format!("wave {number}: {containers} are up"));
        self.each(&ids, |index, id| self.end(index, id));
        self.tell(&format!("wave {number}: {containers} are gone"));
    }

    /// Does `work` for each of `items`, several at once.
    fn each<T: Send>(&self, items: &[String], work: impl Fn(usize, &str) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let done = std::sync::Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else {
                            return;
                        };
                        let result = work(index, item);
                        done.lock()
                            .expect("no other has failed")
                            .insert(index, result);
                    }
                });
            }
        });
        done.into_inner()
            .expect("none has failed")
            .into_values()
            .collect()
    }

    /// Creates and starts a container; returns its id.
    fn start(&self, index: usize, name: &str) -> String {
        loop {
            let id = self.create(index, name);
            let started = self.ask(&format!("POST /containers/{id}/start"), None);
            let is_well = match started.status {
                204 => true,
                304 => started.is_again,
                // The start was cut and undone: such a container is gone then.
                404 if started.is_again && removes_itself(index) => {
                    self.note(id, Run::Undone);
                    continue;
                }
                _ => false,
            };
            assert!(is_well, "start {name}: {} {}", started.status, started.body);
            self.starts.fetch_add(1, Ordering::Relaxed);
            self.note(id.clone(), Run::Told);
            return id;
        }
    }

    fn note(&self, id: String, run: Run) {
        let mut runs = self.runs.lock().expect("no other has failed");
        runs.insert(id, run);
    }

    /// Creates a container; returns its id.
    fn create(&self, index: usize, name: &str) -> String {
        let mut host_config = json!({"AutoRemove": removes_itself(index)});
        if index % 4 == 1 {
            let port = (FIRST_PORT + index).to_string();
            host_config["PortBindings"] = json!({"80/tcp": [{"HostPort": port}]});
        }
        if index % 4 == 2 {
            host_config["Binds"] = json!(["soak:/data"]);
        }
        let body = json!({"Image": "busybox:1", "Cmd": ["sh", "-c", WORKER],
            "HostConfig": host_config, "ExposedPorts": {"80/tcp": {}}});
        let created = self.ask(&format!("POST /containers/create?name={name}"), Some(&body));
        let id = match (created.status, created.is_again) {
            (201, _) => created.body["Id"].clone(),
            // It was made, and its answer was cut.
            (409, true) => {
                let found = self.ask(&format!("GET /containers/{name}/json"), None);
                found.body["Id"].clone()
            }
            (status, _) => panic!("create {name}: {status} {}", created.body),
        };
        id.as_str().expect("it has an id").to_owned()
    }

    /// Stops and removes a container.
    fn end(&self, index: usize, id: &str) {
        let stopped = self.ask(&format!("POST /containers/{id}/stop"), None);
        let is_well = match stopped.status {
            204 => true,
            304 => stopped.is_again,
            404 => stopped.is_again && removes_itself(index),
            _ => false,
        };
        assert!(is_well, "stop {id}: {} {}", stopped.status, stopped.body);
        if removes_itself(index) {
            return;
        }
        let state = self.ask(&format!("GET /containers/{id}/json"), None).body["State"].clone();
        assert_eq!(
            (&state["Status"], &state["ExitCode"]),
            (&json!("exited"), &json!(3)),
            "{state}"
        );
        let removed = self.ask(&format!("DELETE /containers/{id}"), None);
        let is_well = removed.status == 204 || (removed.status == 404 && removed.is_again);
        assert!(is_well, "rm {id}: {} {}", removed.status, removed.body);
    }

    fn count_up(&self) -> usize {
        let listed = self.ask("GET /containers/json", None).body;
        listed.as_array().map_or(0, Vec::len)
    }

    /// Sends a request again and again until it is answered.
    fn ask(&self, line: &str, body: Option<&Value>) -> Answer {
        let begun = Instant::now();
        let mut is_again = false;
        loop {
            if let Some((status, body)) = send(&self.host.instance.socket(), line, body) {
                return Answer {
                    status,
                    body,
                    is_again,
                };
            }
            assert!(
                begun.elapsed() < REQUEST_LIMIT,
                "{line}: no answer\n{}",
                self.host.log()
            );
            is_again = true;
            self.cuts.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Kills one daemon after the other. An engine that is dead starts when a command
    /// wants it; it looks after the others.
    fn kill(&self, mut random: Random) {
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(random.below(CALM.as_micros() as u64)));
            let victim = random.one_of(&Victim::ALL);
            self.host.kill_daemon(victim);
            let index = Victim::ALL.iter().position(|it| *it == victim);
            self.kills[index.expect("it is one")].fetch_add(1, Ordering::Relaxed);
            self.host.ok(&["ps", "-q"]);
        }
    }

    /// Follows the events of containers, from where it was each time the engine dies,
    /// to the last one.
    fn follow(&self) {
        let mut since = "0".to_owned();
        loop {
            let is_last = self.calm.load(Ordering::Relaxed);
            let until = if is_last { until_now() } else { String::new() };
            let Ok(stream) = self.begin_events(&since, &until) else {
                std::thread::sleep(RETRY_PAUSE);
                continue;
            };
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            for event in lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()) {
                let mut followed = self.followed.lock().expect("no other has failed");
                let time = event["timeNano"].as_i64().expect("it has a time");
                since = format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
                // What has the time of the last one comes again, as with Docker.
                if !followed.iter().rev().take(16).any(|known| *known == event) {
                    followed.push(event);
                }
                if !is_last && self.calm.load(Ordering::Relaxed) {
                    break;
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Asks for the events of containers, each on a line of its own without pieces.
    fn begin_events(&self, since: &str, until: &str) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(self.host.instance.socket())?;
        stream.set_read_timeout(Some(QUIET_LIMIT))?;
        let filters = "%7B%22type%22:[%22container%22]%7D";
        let request = format!(
            "GET /events?since={since}{until}&filters={filters} HTTP/1.0\r\nHost: docker\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    /// Each container was created, started, ended and removed, once, in this order, and
    /// whoever followed has heard all of it.
    fn check_events(&self) {
        let stream = self.begin_events("0", &until_now());
        let stream = stream.expect("the engine listens");
        let mut text = String::new();
        BufReader::new(stream)
            .read_to_string(&mut text)
            .expect("it is whole");
        let lines = text.lines().filter(|line| line.starts_with('{'));
        let events: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect();
        let mut lives = BTreeMap::<&str, Vec<&str>>::new();
        for event in &events {
            let action = event["Action"].as_str().expect("it has an action");
            if LIFE.contains(&action) {
                let id = event["Actor"]["ID"].as_str().expect("it has an id");
                lives.entry(id).or_default().push(action);
            }
        }
        let runs = self.runs.lock().expect("no other has failed");
        for (id, run) in runs.iter() {
            let life = lives.get(id.as_str()).map(Vec::as_slice);
            let is_well = life == Some(&LIFE) || (*run == Run::Undone && life == Some(&UNDONE));
            assert!(is_well, "{id} {run:?}: {life:?}");
        }
        let followed = self.followed.lock().expect("no other has failed");
        let heard = followed.len();
        // Some ends are told after the last look.
        let told = runs.values().filter(|run| **run == Run::Told).count();
        let is_whole = heard >= LIFE.len() * told && followed.iter().eq(&events[..heard]);
        assert!(is_whole, "{heard} of {} events", events.len());
        println!(
            "{} containers, {} events of containers, {heard} followed",
            runs.len(),
            events.len()
        );
    }
}

/// As `/events` is asked for what there is.
fn until_now() -> String {
    let now = Timestamp::now().nanoseconds();
    format!("&until={}.{:09}", now / 1_000_000_000, now % 1_000_000_000)
}

/// Some containers are removed when they end.
fn removes_itself(index: usize) -> bool {
    index.is_multiple_of(3)
}

/// Sends a request; `None` if its answer was cut.
fn send(socket: &Path, line: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(REQUEST_LIMIT)).ok()?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    match status {
        204 | 304 => Some((status, Value::Null)),
        // One that ends too early is no JSON.
        _ => Some((status, serde_json::from_str(body).ok()?)),
    }
}
