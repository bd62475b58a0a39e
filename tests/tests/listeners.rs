//! Where the API is served and to whom: TLS clients by their certificates,
//! browsers never; what requests may weigh; what is counted and logged of them.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use base::file::{FileMode, replace};
use serde_json::Value;
use tests::api::{Authority, User, connect, exchange};
use tests::{Installation, ROOT, Said, Served, wait_until};

const ADDRESS: &str = "tcp://127.0.0.1:2376";
const RULES: &str = "[api]\ndefault-policy = \"none\"\nrules = [\n\
    { common-name = \"admin\", policy = \"full\" },\n{ common-name = \"reader\", policy = \"read-only\" },\n]\n";

/// CVE-2025-9074 and its kind: pages and foreign names reach no listener.
#[test]
fn cve_2025_9074_dns_rebinding_and_pages_are_kept_out_of_every_listener() {
    let config = "[api]\nlisten = [\"tcp://127.0.0.1:2375\"]\nallow-plain-loopback = true\n\
        metrics-listen = \"127.0.0.1:9323\"\nallowed-hosts = [\"engine.example\"]\n\
        allowed-origins = [\"https://ui.example\"]\n";
    let served = Served::new(config);
    let on = |port: u16, headers: &str, path: &str| {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        exchange(stream, request.as_bytes()).status
    };
    for (headers, status) in [
        ("Host: 127.0.0.1:2375", 200),
        ("Host: localhost", 200),
        ("Host: engine.example:2375", 200),
        ("Host: 127.0.0.1\r\nOrigin: https://ui.example", 200),
        ("Host: evil.example", 403),
        ("Host: evil.example:2375", 403),
        ("Host: 127.0.0.1.evil.example", 403),
        ("Host: 127.0.0.1\r\nOrigin: http://evil.example", 403),
        ("Host: 127.0.0.1\r\nOrigin: null", 403),
        ("Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site", 403),
    ] {
        assert_eq!(on(2375, headers, "/info"), status, "{headers}");
        assert_eq!(on(9323, headers, "/metrics"), status, "{headers}");
        let request = format!("GET /info HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        let stream = connect(&served.socket, User::new(ROOT));
        assert_eq!(
            exchange(stream, request.as_bytes()).status,
            status,
            "{headers}"
        );
    }
    assert_eq!(
        on(9323, "Host: localhost", "/info"),
        403,
        "only measurements"
    );
    assert_eq!(on(9323, "Host: localhost", "/containers/json"), 403);
    let reasons: Vec<String> = served
        .refusals()
        .iter()
        .map(|it| it["data"]["reason"].to_string())
        .collect();
    assert!(
        reasons.iter().any(|it| it.contains("evil.example")),
        "{reasons:?}"
    );
    served.finish();
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let served = Served::new("");
    let ask = |headers: &str| {
        let stream = connect(&served.socket, User::new(ROOT));
        let request =
            format!("GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{headers}\r\n");
        exchange(stream, request.as_bytes()).status
    };
    assert_eq!(ask(&"X: y\r\n".repeat(90)), 200);
    assert_eq!(ask(&"X: y\r\n".repeat(200)), 431);
    assert_eq!(ask(&format!("X: {}\r\n", "y".repeat(300_000))), 431);
    served.finish();
}

/// An installation that serves TLS, and whom it and others trust.
struct Secured {
    served: Served,
    authority: Authority,
    stranger: Authority,
    _place: tempfile::TempDir,
}

impl Secured {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(&place.path().join("own"));
        let stranger = Authority::new(&place.path().join("foreign"));
        for name in ["server", "admin", "reader", "guest"] {
            authority.sign(name);
        }
        stranger.sign("admin");
        Self {
            served: Served::new(&format!("{RULES}{}", table(&authority))),
            authority,
            stranger,
            _place: place,
        }
    }

    /// Runs `engine …` over TLS as a client that `of` has signed.
    fn engine(&self, of: &Authority, name: &str, words: &[&str]) -> Said {
        let (certificate, key) = (of.certificate(name), of.key(name));
        let own = ["--tlscert", &certificate, "--tlskey", &key];
        self.trusting(&self.authority, &[&own[..], words].concat())
    }

    /// Runs `engine …` over TLS as a client that trusts an authority.
    fn trusting(&self, authority: &Authority, words: &[&str]) -> Said {
        let ca = authority.certificate("ca");
        let verify = ["-H", ADDRESS, "--tlsverify", "--tlscacert", &ca];
        self.served.host.engine(&[&verify[..], words].concat())
    }
}

fn table(authority: &Authority) -> String {
    let [ca, certificate] = ["ca", "server"].map(|name| authority.certificate(name));
    let key = authority.key("server");
    format!(
        "listen = [{ADDRESS:?}]\ntls-ca = {ca:?}\ntls-certificate = {certificate:?}\ntls-key = {key:?}\n"
    )
}

#[test]
fn a_client_is_who_its_certificate_says() {
    let secured = Secured::new();
    let own = &secured.authority;
    let echo = ["run", "--rm", "busybox:1", "echo", "over TLS"];
    let said = secured.engine(own, "admin", &echo);
    assert_eq!(said.stdout, "over TLS\n", "{said:?}");
    assert_eq!(secured.engine(own, "reader", &["ps"]).code, 0);
    let said = secured.engine(own, "reader", &echo);
    let is_denied = |said: &Said| said.stderr.contains("access denied");
    assert!(said.code == 125 && is_denied(&said), "{said:?}");
    assert!(is_denied(&secured.engine(own, "guest", &["ps"])));
    let refused = secured.served.refusals();
    let names: Vec<_> = refused
        .iter()
        .map(|it| it["data"]["common_name"].as_str().unwrap_or("-"))
        .collect();
    assert!(
        names.contains(&"reader") && names.contains(&"guest"),
        "{names:?}"
    );
    secured.served.finish();
}

#[test]
fn whoever_cannot_show_who_it_is_is_not_let_in() {
    let secured = Secured::new();
    // Signed by somebody else, whatever name it has.
    let said = secured.engine(&secured.stranger, "admin", &["ps"]);
    assert_ne!(said.code, 0, "{said:?}");
    let said = secured.trusting(&secured.authority, &["ps"]);
    assert_ne!(said.code, 0, "a client needs a certificate: {said:?}");
    let said = secured.trusting(&secured.stranger, &["ps"]);
    let unreachable = format!("cannot connect to the engine at {ADDRESS}");
    assert!(said.stderr.contains(&unreachable), "{said:?}");
    let said = secured.served.host.engine(&["-H", ADDRESS, "ps"]);
    assert_ne!(said.code, 0, "without TLS: {said:?}");
    secured.served.finish();
}

#[test]
fn standard_input_and_its_end_pass_through_tls() {
    let place = tempfile::tempdir().unwrap();
    let authority = Authority::new(place.path());
    authority.sign("server");
    authority.sign("admin");
    // Where Docker's command line looks for them.
    for (name, standard) in [("admin.pem", "cert.pem"), ("admin.key", "key.pem")] {
        std::fs::copy(place.path().join(name), place.path().join(standard)).unwrap();
    }
    let served = Served::new(&format!("[api]\n{}", table(&authority)));
    let input = place.path().join("input");
    replace(
        &input,
        "a line\n".repeat(50_000).as_bytes(),
        FileMode::Public,
    )
    .unwrap();
    let mut command = served
        .host
        .command(&["run", "--rm", "-i", "busybox:1", "cat"]);
    command
        .env("DOCKER_HOST", "tcp://127.0.0.1")
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", place.path())
        .stdin(std::fs::File::open(&input).unwrap());
    let said = tests::run(&mut command);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout == "a line\n".repeat(50_000),
        "{} bytes came",
        said.stdout.len()
    );
    served.finish();
}

#[test]
fn a_door_without_a_lock_is_not_opened() {
    let host = Installation::new();
    host.ok(&["daemon", "stop"]);
    for (table, named) in [
        ("listen = [\"tcp://127.0.0.1:2375\"]", "without TLS"),
        (
            "allow-plain-loopback = true\nlisten = [\"tcp://0.0.0.0:2375\"]",
            "without TLS",
        ),
        ("metrics-listen = \"0.0.0.0:9323\"", "not on loopback"),
        (
            "listen = [\"tcp://127.0.0.1:2376\"]\ntls-ca = \"/no/ca\"\ntls-certificate = \"/no/c\"\ntls-key = \"/no/k\"",
            "/no/",
        ),
    ] {
        let file = host.scratch().join("config.toml");
        replace(
            &file,
            format!("[api]\n{table}\n").as_bytes(),
            FileMode::Private,
        )
        .unwrap();
        host.fails(
            1,
            named,
            &["--config", &file.display().to_string(), "daemon"],
        );
    }
    host.finish();
}

#[test]
fn the_daemon_tells_what_it_counts() {
    let served = Served::new("");
    served
        .host
        .ok(&["run", "-d", "--name", "one", "busybox:1", "sleep", "600"]);
    served.host.ok(&["exec", "one", "true"]);
    served.host.kill_9("netd");
    let text = || served.expect(ROOT, "GET /metrics", 200).body;
    wait_until("the helper is back", || {
        text().contains("engine_helper_restarts_total{helper=\"netd\"} 1")
    });
    let said = text();
    for line in [
        "engine_containers{state=\"running\"} 1",
        "engine_images 1",
        "engine_execs_total 1",
        "engine_api_requests_total{route=\"/containers/create\",method=\"POST\",status=\"201\"} 1",
        "engine_api_request_seconds_count{route=\"/containers/{id}/exec\"} 1",
    ] {
        assert!(
            said.lines().any(|it| it == line),
            "{line} is not in\n{said}"
        );
    }
    served.finish();
}

#[test]
fn the_log_can_be_read_by_machines() {
    let host = Installation::new();
    host.ok(&["daemon", "stop"]);
    let path = host.scratch().join("log");
    let file = std::fs::File::create(&path).unwrap();
    let mut daemon = host
        .command(&["--log-format", "json", "daemon", "--foreground"])
        .stderr(file)
        .spawn()
        .unwrap();
    wait_until("the daemon answers", || {
        UnixStream::connect(host.instance.socket()).is_ok()
    });
    host.fails(1, "No such", &["inspect", "--type", "container", "nope"]);
    host.ok(&["daemon", "stop"]);
    daemon.wait().unwrap();
    let log = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let is_refusal = |line: &&Value| line["message"].to_string().contains("such container");
    let refused = lines.iter().find(is_refusal);
    let refused = refused.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(refused["span"]["path"], "/v1.51/containers/nope/json");
    assert!(refused["span"]["number"].is_u64(), "{refused}");
    host.finish();
}
