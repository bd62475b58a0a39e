//! `GET /events` in the forms that clients ask for.

use tests::Served;
use tests::api::{User, connect, exchange};

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
