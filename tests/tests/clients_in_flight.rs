//! The engine is killed while clients are connected: each of them gets a clean end,
//! containers go on, and the next engine answers whoever comes again, with nothing
//! lost and nothing twice.

use base::Timestamp;
use serde_json::{Value, json};
use tests::api::{User, send};
use tests::flight::{Command, Flight, kill_engine};
use tests::{Installation, KEEPER, Keeper, PART_BYTES, Registry, wait_until, words, words_and};

/// Waits for a file, and ends with a code of its own.
const WAITER: &str = "echo begun; while [ ! -e /go ]; do sleep 0.05; done; seq 1 20000; exit 7";
/// What the log calls what happens to every container, and what Docker does.
const OF_RUNS: [(&str, &str); 4] = [
    ("container.created", "create"),
    ("container.started", "start"),
    ("container.exited", "die"),
    ("container.removed", "destroy"),
];

/// Returns the whole lines of a text; what was cut has no end.
fn whole_lines(text: &str) -> Vec<&str> {
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    text[..end].lines().collect()
}

/// Fails unless the lines count on from `first`.
fn check_ticks(lines: &[&str], first: usize) {
    let expected = (first..).map(|i| format!("tick {i}"));
    let differs = lines.iter().zip(expected).find(|(a, b)| *a != b);
    assert_eq!(differs, None, "of {} lines", lines.len());
}

fn ask(host: &Installation, line: &str, body: Option<&Value>) -> Value {
    let answer = send(&host.instance.socket(), User::new(tests::ROOT), line, body);
    assert!((200..300).contains(&answer.status), "{line}: {answer:?}");
    answer.json()
}

#[test]
fn attached_clients_end_and_can_come_again() {
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    let raw = format!("POST /containers/{KEEPER}/attach?stream=1&stdout=1&stderr=1");
    let raw = Flight::begin(&host, &raw, None);
    let command = Command::begin(&host, &["attach", "--no-stdin", KEEPER]);
    raw.wait_for("tick");
    command.wait_for("tick");
    let death = kill_engine(&host);
    raw.end_after(death);
    command.fail_after(death);

    keeper.check_new_run(&host);
    let again = format!("POST /containers/{KEEPER}/attach?logs=1&stream=1&stdout=1&stderr=1");
    let again = Flight::begin(&host, &again, None);
    let logged = host.ok(&["logs", KEEPER]).lines().count();
    again.wait_for(&format!("tick {}\n", logged + 2));
    check_ticks(&whole_lines(&again.hang_up()), 0);
    keeper.check(&host);
    host.finish();
}

#[test]
fn followers_of_a_log_go_on_where_they_were() {
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    let follow = format!("GET /containers/{KEEPER}/logs?follow=1&stdout=1&timestamps=1");
    let raw = Flight::begin(&host, &follow, None);
    let command = Command::begin(&host, &["logs", "-f", "--timestamps", KEEPER]);
    raw.wait_for("tick 2");
    command.wait_for("tick 2");
    let death = kill_engine(&host);
    let before = raw.end_after(death);
    let printed = command.fail_after(death).stdout;
    assert!(whole_lines(&printed).len() > 2, "{printed}");

    keeper.check_new_run(&host);
    for before in [before, printed] {
        let before = whole_lines(&before);
        let (time, _) = before
            .last()
            .and_then(|it| it.split_once(' '))
            .expect("a line");
        let time: Timestamp = time.parse().expect("a time");
        let since = format!("{follow}&since={}", in_seconds(time));
        let after = Flight::begin(&host, &since, None);
        after.wait_for(&format!("tick {}\n", before.len() + 4));
        let after = after.hang_up();
        // The last one that was had is the first again, as with Docker.
        let after = whole_lines(&after);
        assert_eq!(after.first(), before.last());
        let lines = before.iter().chain(&after[1..]);
        let lines: Vec<&str> = lines
            .map(|line| &line[line.find(' ').expect("a time") + 1..])
            .collect();
        check_ticks(&lines, 0);
    }
    let since = Command::begin(&host, &["logs", "-f", "--since", "1h", KEEPER]);
    since.wait_for("tick 4");
    check_ticks(&whole_lines(&since.output()), 0);
    let death = kill_engine(&host);
    since.fail_after(death);
    keeper.check(&host);
    host.finish();
}

/// As `since` has it: seconds with nine digits behind the point.
fn in_seconds(time: Timestamp) -> String {
    let nanoseconds = time.nanoseconds();
    format!(
        "{}.{:09}",
        nanoseconds / 1_000_000_000,
        nanoseconds % 1_000_000_000
    )
}

#[test]
fn followers_of_events_lose_none_and_have_none_twice() {
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    let raw = Flight::begin(&host, "GET /events", None);
    // This one reads the log itself, with or without an engine.
    let command = Command::begin(&host, &["events", "--from", "0:0", "--format", "json"]);
    host.ok(&words_and(
        "run -d --name ender busybox:1 sh -c",
        "sleep 1; exit 5",
    ));
    raw.wait_for("\"Action\":\"start\"");
    let death = kill_engine(&host);
    let before = events(&raw.end_after(death));
    command.wait_for("\"exit_code\":5");

    keeper.check_new_run(&host);
    let last = before.last().expect("there were some");
    let until = Timestamp::now();
    let end = in_seconds(until);
    let since = in_seconds(Timestamp::from_nanoseconds(nanoseconds(last)));
    let ask = |since: &str| {
        let line = format!("GET /events?since={since}&until={end}");
        events(&Flight::begin(&host, &line, None).whole())
    };
    let mut after = ask(&since);
    // What has the time of the last one comes again, as with Docker.
    after.retain(|event| !before.contains(event));
    assert!(nanoseconds(&after[0]) > nanoseconds(last), "{after:#?}");
    let all = ask("0");
    let first = all.iter().position(|event| *event == before[0]);
    let told: Vec<&Value> = before.iter().chain(&after).collect();
    let logged: Vec<&Value> = all[first.expect("it is there")..].iter().collect();
    assert_eq!(told, logged);
    assert_eq!(of_runs(&all), recorded(&host, until));

    host.ok(&words("rm ender"));
    command.wait_for("container.removed");
    let followed = command.kill();
    let followed = whole_lines(&followed);
    let records = host.ok(&words("events --no-follow --from 0:0 --format json"));
    assert!(followed.len() > all.len());
    assert!(records.lines().zip(&followed).all(|(a, b)| a == *b));
    keeper.check(&host);
    host.finish();
}

/// Takes the events of an answer apart; one that was cut is none.
fn events(body: &str) -> Vec<Value> {
    let events = whole_lines(body).into_iter();
    events
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
}

fn nanoseconds(event: &Value) -> i64 {
    event["timeNano"].as_i64().expect("it has a time")
}

/// What happened to which container, and when.
type Fact = (String, &'static str, i64);

/// Returns the facts that events tell of containers' runs.
fn of_runs(events: &[Value]) -> Vec<Fact> {
    let fact = |event: &Value| {
        let action = OF_RUNS
            .iter()
            .find(|(_, action)| event["Action"] == *action)?;
        let id = event["Actor"]["ID"].as_str().expect("it has an id");
        (event["Type"] == "container").then(|| (id.to_owned(), action.1, nanoseconds(event)))
    };
    events.iter().filter_map(fact).collect()
}

/// Returns the same as the log has it.
fn recorded(host: &Installation, until: Timestamp) -> Vec<Fact> {
    let records = host.ok(&words("events --no-follow --from 0:0 --format json"));
    let fact = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("a record");
        let action = OF_RUNS.iter().find(|(kind, _)| record["type"] == *kind)?;
        let subject = record["subject"].as_str().expect("it has a subject");
        let id = subject.split('.').next().unwrap_or_default();
        let time: Timestamp = record["time"].as_str()?.parse().expect("a time");
        (time <= until).then(|| (id.to_owned(), action.1, time.nanoseconds()))
    };
    records.lines().filter_map(fact).collect()
}

#[test]
fn whoever_waits_ends_and_waits_again() {
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    host.ok(&words_and("run -d --name waiter busybox:1 sh -c", WAITER));
    host.ok(&words_and(
        "run -d --name ender busybox:1 sh -c",
        "sleep 1; exit 5",
    ));
    let line = "POST /containers/waiter/wait?condition=next-exit";
    let raw = Flight::begin(&host, line, None);
    let command = Command::begin(&host, &["wait", "waiter"]);
    let mut run = words("run --name runner busybox:1 sh -c");
    run.push(WAITER);
    let run = Command::begin(&host, &run);
    run.wait_for("begun");
    let death = kill_engine(&host);
    raw.end_after(death);
    command.fail_after(death);
    run.fail_after(death);

    keeper.check_new_run(&host);
    assert_eq!(host.ok(&["wait", "ender"]), "5\n", "it ended meanwhile");
    let raw = Flight::begin(&host, line, None);
    let command = Command::begin(&host, &["wait", "waiter", "runner"]);
    for name in ["waiter", "runner"] {
        host.ok(&["exec", name, "touch", "/go"]);
    }
    assert_eq!(raw.whole().trim(), r#"{"StatusCode":7}"#);
    let said = command.end();
    assert_eq!((said.code, said.stdout.as_str()), (0, "7\n7\n"), "{said:?}");
    keeper.check(&host);
    host.finish();
}

#[test]
fn execs_go_on_and_their_ends_are_told() {
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    let create = json!({"AttachStdout": true, "AttachStderr": true, "Cmd": ["sh", "-c", WAITER]});
    let line = format!("POST /containers/{KEEPER}/exec");
    let exec = ask(&host, &line, Some(&create));
    let exec = exec["Id"].as_str().expect("it has an id");
    let start = json!({"Detach": false, "Tty": false});
    let raw = Flight::begin(&host, &format!("POST /exec/{exec}/start"), Some(&start));
    let command = Command::begin(&host, &["exec", KEEPER, "sh", "-c", WAITER]);
    raw.wait_for("begun");
    command.wait_for("begun");
    let death = kill_engine(&host);
    raw.end_after(death);
    command.fail_after(death);

    keeper.check_new_run(&host);
    let inspect = || ask(&host, &format!("GET /exec/{exec}/json"), None);
    let shown = inspect();
    let state = (&shown["Running"], &shown["ExitCode"]);
    assert_eq!(state, (&json!(true), &Value::Null), "{shown}");
    assert!(shown["Pid"].as_u64() > Some(0), "{shown}");
    assert_eq!(shown["ProcessConfig"]["entrypoint"], "sh");
    let running = || {
        host.ok(&["top", KEEPER])
            .matches("while [ ! -e /go ]")
            .count()
    };
    assert_eq!(running(), 2, "they go on");
    host.ok(&["exec", KEEPER, "touch", "/go"]);
    // Nobody reads what they print, which does not keep them.
    wait_until("they have ended", || running() == 0);
    let ends = || ends_of_execs(&host);
    wait_until("their ends are told", || ends().len() == 2);
    let of_raw = |event: &&Value| event["Actor"]["Attributes"]["execID"] == exec;
    assert_eq!(ends().iter().filter(of_raw).count(), 1);
    // Also one that was told of the end before it died.
    for _ in 0..2 {
        let shown = inspect();
        let state = (&shown["Running"], &shown["ExitCode"]);
        assert_eq!(state, (&json!(false), &json!(7)), "{shown}");
        kill_engine(&host);
        keeper.check_new_run(&host);
    }
    keeper.check(&host);
    host.finish();
}

/// Returns the events of the ends of execs that ended as the one here does.
fn ends_of_execs(host: &Installation) -> Vec<Value> {
    let until = in_seconds(Timestamp::now());
    let line = format!("GET /events?since=0&until={until}");
    let mut events = events(&Flight::begin(host, &line, None).whole());
    events.retain(|event| {
        event["Action"] == "exec_die" && event["Actor"]["Attributes"]["exitCode"] == "7"
    });
    events
}

#[test]
fn a_pull_goes_on_with_the_next_engine() {
    let host = Installation::new();
    let keeper = Keeper::start(&host);
    host.import_large("large:1");
    let registry = Registry::start(host.scratch());
    let archive = host.scratch().join("large.tar");
    let path = archive.display().to_string();
    host.ok(&["save", "-o", &path, "large:1"]);
    registry.push(&archive, "large:1");
    host.ok(&["rmi", "large:1"]);
    host.slow_down();
    let name = "localhost:5000/large:1";
    let line = "POST /images/create?fromImage=localhost:5000/large&tag=1";
    let raw = Flight::begin(&host, line, None);
    let command = Command::begin(&host, &["pull", name]);
    wait_until("a part has come", || host.downloaded() > PART_BYTES);
    raw.wait_for("Pulling from");
    let death = kill_engine(&host);
    raw.end_after(death);
    command.fail_after(death);
    host.speed_up();

    let listed = host.ok(&["images", "--format", "{{.Repository}}"]);
    assert_eq!(listed, "busybox\n");
    assert!(host.downloaded() > PART_BYTES, "what has come is kept");
    let said = Flight::begin(&host, line, None).whole();
    assert!(said.contains("Downloaded newer image"), "{said}");
    let requests = registry.requests();
    assert!(requests.contains(" 206 "), "it went on: {requests}");
    assert_eq!(host.downloaded(), 0, "no part of a layer is left");
    host.ok(&["rmi", name]);
    keeper.check(&host);
    host.finish();
}
