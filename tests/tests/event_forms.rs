//! `GET /events` in the forms that clients ask for.

use std::io::{Read as _, Write as _};

use tests::api::{User, connect, exchange};
use tests::{Installation, Served, wait_until, words};

#[test]
fn events_come_in_the_form_that_is_accepted() {
    let served = Served::new("");
    served.create(tests::ROOT, "one", &serde_json::json!({}));
    for (accepted, kind, begins) in [
        (
            "application/json-seq",
            "application/json-seq",
            "\u{1e}{\"status\":\"create\"",
        ),
        (
            "application/x-ndjson",
            "application/x-ndjson",
            "{\"status\":\"create\"",
        ),
        (
            "application/jsonl;q=0.5, text/html",
            "application/jsonl",
            "{\"status\":\"create\"",
        ),
        ("text/html", "application/json", "{\"status\":\"create\""),
    ] {
        let request = format!(
            "GET /v1.51/events?since=1&until=9999999999.1&filters=%7B%22event%22:[%22create%22],%22type%22:[%22container%22]%7D HTTP/1.1\r\n\
             Host: docker\r\nConnection: close\r\nAccept: {accepted}\r\n\r\n"
        )
        .replace("until=9999999999.1", &format!("until={}", base::Timestamp::now().seconds() + 1));
        let stream = connect(&served.socket, User::new(tests::ROOT));
        let answer = exchange(stream, request.as_bytes());
        let head = answer.head.to_ascii_lowercase();
        assert!(
            head.contains(&format!("content-type: {kind}\r\n")),
            "{accepted}: {answer:?}"
        );
        let separators = answer.body.matches('\u{1e}').count();
        assert_eq!(
            separators,
            usize::from(kind == "application/json-seq"),
            "{answer:?}"
        );
        assert!(answer.body.contains(begins), "{accepted}: {answer:?}");
    }
    served.finish();
}

/// Nothing is ever sent to whoever waits for events that do not come, so that its end
/// is not noticed by that.
#[test]
fn a_listener_that_has_gone_is_not_kept() {
    let host = Installation::new();
    let socket = host.instance.socket();
    let pid = host.pid_of("engine").expect("the engine runs");
    let held = || {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        entries.count()
    };
    let before = held();
    let listeners: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect(&socket, User::new(tests::ROOT));
            let filters = "%7B%22event%22:[%22rename%22]%7D";
            let request = format!("GET /events?filters={filters} HTTP/1.1\r\nHost: a\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("written");
            let mut head = [0; 12];
            stream.read_exact(&mut head).expect("an answer comes");
            assert_eq!(&head, b"HTTP/1.1 200");
            stream
        })
        .collect();
    assert!(held() >= before + listeners.len());
    drop(listeners);
    wait_until("they are gone", || held() <= before + 2);
    // One that has only said all that it has to say still listens.
    host.ok(&words("run -d --name box --network none busybox:1 sleep 3"));
    let mut patient = connect(&socket, User::new(tests::ROOT));
    let request = b"POST /containers/box/wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    patient.write_all(request).expect("written");
    patient
        .shutdown(std::net::Shutdown::Write)
        .expect("its half can be ended");
    let mut answer = String::new();
    patient
        .read_to_string(&mut answer)
        .expect("an answer comes");
    assert!(answer.contains("\"StatusCode\":0"), "{answer}");
    host.finish();
}
