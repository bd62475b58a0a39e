//! Who may do what over the API: policies by the peer of the socket, and what
//! each refusal leaves in the event log. Tests that are named after a CVE show
//! that what let others pass lets nobody pass here.

use std::io::{Read as _, Write as _};

use serde_json::json;
use tests::api::{User, connect, exchange, send};
use tests::{ROOT, Served, wait_until};

const ALICE: u32 = 61_001;
const BOB: u32 = 61_002;
const READER: u32 = 61_003;
const NOBODY: u32 = 61_004;
/// More bytes than a body may have.
const LARGE: usize = 5 << 20;
/// The group whose members are readers.
const READERS: u32 = 62_000;
const RULES: &str = "[api]\ndefault-policy = \"none\"\nrules = [\n\
    { uid = 61001, policy = \"own-containers\" },\n{ uid = 61002, policy = \"own-containers\" },\n\
    { uid = 61003, policy = \"read-only\" },\n{ gid = 62000, policy = \"read-only\" },\n]\n";

#[test]
fn the_policy_is_that_of_who_connects() {
    let served = Served::new(RULES);
    for (uid, line, status) in [
        (ROOT, "GET /info", 200),
        (ROOT, "GET /system/df", 200),
        (READER, "GET /containers/json?all=1", 200),
        (READER, "GET /metrics", 200),
        (READER, "POST /containers/prune", 403),
        (READER, "POST /networks/prune", 403),
        (READER, "DELETE /images/busybox:1", 403),
        (ALICE, "GET /images/json", 200),
        (ALICE, "GET /images/busybox:1/json", 200),
        (ALICE, "DELETE /images/busybox:1", 403),
        (ALICE, "GET /images/search?term=127.0.0.1:1/x", 403),
        (ALICE, "GET /distribution/127.0.0.1:1/x/json", 403),
        (READER, "GET /distribution/127.0.0.1:1/x/json", 403),
        (ALICE, "POST /images/busybox:1/tag?repo=x", 403),
        (ALICE, "POST /images/create?fromImage=busybox", 403),
        (ALICE, "POST /containers/prune", 403),
        (ALICE, "POST /volumes/prune", 403),
        (ALICE, "GET /networks", 403),
        (ALICE, "GET /system/df", 403),
        (ALICE, "GET /metrics", 403),
        (NOBODY, "GET /_ping", 200),
        (NOBODY, "GET /info", 403),
        // What no route is declared for is served to nobody.
        (ROOT, "GET /nonsense", 404),
        (ALICE, "PATCH /containers/json", 404),
        // Other ways to write the same path.
        (READER, "POST //containers///prune/", 403),
        (READER, "POST /v1.44/containers/%70rune", 403),
        (READER, "POST /containers%2Fprune", 404),
    ] {
        served.expect(uid, line, status);
    }
    let member = User {
        uid: NOBODY,
        gid: 63_000,
        groups: &[1, READERS],
    };
    let info = send(&served.socket, member, "GET /info", None);
    assert_eq!(info.status, 200, "{info:?}");
    served.finish();
}

/// Everything that is done to a container, `{}`.
const REQUESTS: &[&str] = &[
    "GET /containers/{}/json",
    "GET /containers/{}/logs?stdout=1",
    "GET /containers/{}/top",
    "GET /containers/{}/stats?stream=0",
    "GET /containers/{}/archive?path=/",
    "GET /containers/{}/export",
    "HEAD /containers/{}/archive?path=/",
    "GET /containers/{}/changes",
    "POST /containers/{}/start",
    "POST /containers/{}/kill",
    "POST /containers/{}/stop",
    "POST /containers/{}/wait",
    "POST /containers/{}/pause",
    "POST /containers/{}/attach?stdin=1",
    "POST /containers/{}/exec",
    "POST /containers/{}/rename?name=mine",
    "POST /containers/{}/update",
    "DELETE /containers/{}?force=1",
    "POST /containers/{}/resize?h=1&w=1",
];

#[test]
fn what_is_anothers_does_not_exist() {
    let served = Served::new(RULES);
    let id = served.create(ALICE, "hers", &json!({"Binds": ["hers-data:/data"]}));
    served.expect(ALICE, "POST /containers/hers/start", 204);
    let body = json!({"Cmd": ["id", "-u"], "AttachStdout": true});
    let made = served.post(ALICE, "/containers/hers/exec", &body);
    assert_eq!(made.status, 201, "{made:?}");
    let exec = made.json()["Id"].as_str().unwrap().to_owned();
    for (name, short) in [("hers", false), (id.as_str(), false), (&id[..12], true)] {
        let inspected = served.expect(ALICE, &format!("GET /containers/{name}/json"), 200);
        assert_eq!(inspected.json()["Id"], id.as_str(), "{short}");
        for line in REQUESTS {
            let answer = served.expect(BOB, &line.replace("{}", name), 404);
            let missing = format!("No such container: {name}");
            assert!(
                line.starts_with("HEAD") || answer.body.contains(&missing),
                "{line}: {answer:?}"
            );
        }
    }
    for line in [
        format!("GET /exec/{exec}/json"),
        format!("POST /exec/{exec}/start"),
        "GET /volumes/hers-data".to_owned(),
        "DELETE /volumes/hers-data".to_owned(),
        "DELETE /volumes/no-such".to_owned(),
        "GET /containers/json?filters={\"since\":[\"hers\"]}".replace('"', "%22"),
    ] {
        served.expect(BOB, &line, 404);
    }
    served.finish();
}

#[test]
fn lists_hold_what_is_the_clients_own() {
    let served = Served::new(RULES);
    served.create(ALICE, "hers", &json!({"Binds": ["hers-data:/data"]}));
    let count = |uid, line| {
        served
            .expect(uid, line, 200)
            .json()
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count(BOB, "GET /containers/json?all=1"), 0);
    assert_eq!(count(ALICE, "GET /containers/json?all=1"), 1);
    assert_eq!(count(ROOT, "GET /containers/json?all=1"), 1);
    let volumes = |uid| served.expect(uid, "GET /volumes", 200).json()["Volumes"].to_string();
    assert!(!volumes(BOB).contains("hers-data") && volumes(ALICE).contains("hers-data"));
    assert_eq!(served.expect(BOB, "GET /info", 200).json()["Containers"], 0);
    served.finish();
}

#[test]
fn events_are_those_of_the_own_containers() {
    let served = Served::new(RULES);
    served.create(ALICE, "hers", &json!({}));
    served.create(BOB, "his", &json!({}));
    served.create(ROOT, "roots", &json!({}));
    let until = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let line = format!("GET /events?since=1&until={until:.9}");
    let of = |uid| served.expect(uid, &line, 200).body;
    let (alices, roots) = (of(ALICE), of(ROOT));
    assert!(
        alices.contains("\"hers\"") && !alices.contains("\"his\"") && !alices.contains("\"roots\"")
    );
    assert!(roots.contains("\"hers\"") && roots.contains("\"his\""));
    served.finish();
}

#[test]
fn what_reaches_the_host_is_not_created() {
    let served = Served::new(RULES);
    served.create(ROOT, "roots", &json!({}));
    served.host.ok(&["volume", "create", "roots-data"]);
    for host_config in [
        json!({"Privileged": true}),
        json!({"Binds": ["/:/host"]}),
        json!({"Binds": ["roots-data:/data"]}),
        json!({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}),
        json!({"CapAdd": ["SYS_ADMIN"]}),
        json!({"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]}),
        json!({"NetworkMode": "host"}),
        json!({"PidMode": "host"}),
        json!({"SecurityOpt": ["seccomp=unconfined"]}),
        json!({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}),
    ] {
        let body = json!({"Image": "busybox:1", "HostConfig": host_config});
        let answer = served.post(ALICE, "/containers/create", &body);
        assert_eq!(answer.status, 403, "{host_config}: {answer:?}");
    }
    for host_config in [
        json!({"PidMode": "container:roots"}),
        json!({"NetworkMode": "container:roots"}),
        json!({"VolumesFrom": ["roots"]}),
    ] {
        let body = json!({"Image": "busybox:1", "HostConfig": host_config});
        let answer = served.post(ALICE, "/containers/create", &body);
        assert_eq!(answer.status, 404, "{host_config}: {answer:?}");
    }
    let volume = json!({"Name": "v", "DriverOpts": {"type": "none", "o": "bind", "device": "/"}});
    assert_eq!(served.post(ALICE, "/volumes/create", &volume).status, 403);
    let taken = json!({"Name": "roots-data"});
    assert_eq!(served.post(ALICE, "/volumes/create", &taken).status, 409);
    served.create(ALICE, "hers", &json!({}));
    let exec = json!({"Cmd": ["id"], "Privileged": true});
    assert_eq!(
        served.post(ALICE, "/containers/hers/exec", &exec).status,
        403
    );
    assert_eq!(
        served.host.ok(&["ps", "-a", "--format", "{{.Names}}"]),
        "hers\nroots\n"
    );
    served.finish();
}

/// A name that is the beginning of another's id must not lead there.
#[test]
fn a_name_does_not_lead_to_a_container_of_others() {
    let served = Served::new(RULES);
    let id = served.create(ROOT, "roots", &json!({}));
    let prefix = &id[..12];
    served.create(ALICE, prefix, &json!({}));
    let inspected = served.expect(ALICE, &format!("GET /containers/{prefix}/json"), 200);
    assert_ne!(inspected.json()["Id"], id.as_str());
    let body =
        json!({"Image": "busybox:1", "HostConfig": {"PidMode": format!("container:{prefix}")}});
    assert_eq!(served.post(ALICE, "/containers/create", &body).status, 400);
    served.expect(
        ALICE,
        &format!("POST /containers/{prefix}/rename?name=other"),
        204,
    );
    served.expect(ALICE, &format!("GET /containers/{prefix}/json"), 404);
    served.expect(ALICE, &format!("DELETE /containers/{prefix}?force=1"), 404);
    served.finish();
}

/// What follows the head of a request for a privileged container, written in
/// many ways, and what is to be answered.
fn bodies() -> Vec<(&'static str, String, u16)> {
    let bad = r#"{"Image":"busybox:1","HostConfig":{"Privileged":true}}"#;
    let padding = " ".repeat(LARGE);
    let chunked = |body: &str| {
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let sized = |body: &str, length: usize| format!("Content-Length: {length}\r\n\r\n{body}");
    vec![
        ("no body", "\r\n".to_owned(), 400),
        ("length of zero", sized("", 0), 400),
        // What follows a body of no length is another request, and none.
        ("length of zero and a body", sized(bad, 0), 400),
        ("in pieces", chunked(bad), 403),
        (
            "too large",
            sized(&format!("{padding}{bad}"), padding.len() + bad.len()),
            400,
        ),
        (
            "too large in pieces",
            chunked(&format!("{padding}{bad}")),
            400,
        ),
        // The last counts, for both.
        (
            "twice the key",
            sized(
                &bad.replace("true", "false,\"Privileged\":true"),
                bad.len() + 19,
            ),
            403,
        ),
        (
            "two lengths",
            format!("Content-Length: 0\r\n{}", sized(bad, bad.len())),
            400,
        ),
    ]
}

#[test]
fn who_has_containers_of_its_own_is_not_root_in_them() {
    let served = Served::new(RULES);
    let image = json!({"Type": "image", "Source": "busybox:1", "Target": "/box", "ImageOptions": {"Subpath": "www"}});
    let id = served.create(
        ALICE,
        "mine",
        &json!({"Binds": ["data:/data"], "Mounts": [image]}),
    );
    served.expect(ALICE, &format!("POST /containers/{id}/start"), 204);
    let page = ["exec", &id, "stat", "-c", "%u:%g", "/box/index.html"];
    assert_eq!(served.host.ok(&page), "0:0\n");
    let ids = served.host.ok(&["exec", &id, "cat", "/proc/self/uid_map"]);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(ids, ["0", "100000", "65536"]);
    served.host.ok(&["exec", &id, "touch", "/data/file"]);
    // The volume was made with the container, and is its owner's.
    served.expect(ALICE, "GET /volumes/data", 200);
    served.expect(BOB, "GET /volumes/data", 404);

    let root = served.create(ROOT, "roots", &json!({}));
    served.expect(ROOT, &format!("POST /containers/{root}/start"), 204);
    let ids = served
        .host
        .ok(&["exec", &root, "cat", "/proc/self/uid_map"]);
    assert!(ids.split_whitespace().eq(["0", "0", "4294967295"]), "{ids}");
    served.finish();
}

/// A body that the one who decides does not see, and the handler does.
#[test]
fn cve_2024_41110_and_cve_2026_34040_no_body_passes_unseen() {
    let served = Served::new(RULES);
    for (what, rest, status) in bodies() {
        let head = "POST /v1.44/containers/create HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
            Content-Type: application/json\r\n";
        let stream = connect(&served.socket, User::new(ALICE));
        let answer = exchange(stream, format!("{head}{rest}").as_bytes());
        // A server that stops reading may be cut off before its answer is read.
        assert!(
            answer.status == status || answer.status == 0 && rest.len() > LARGE,
            "{what}: {answer:?}"
        );
        assert_eq!(served.host.ok(&["ps", "-aq"]), "", "{what}");
    }
    served.finish();
}

#[test]
fn refusals_are_in_the_log_and_a_flood_of_them_is_not() {
    let served = Served::new(RULES);
    for _ in 0..200 {
        served.expect(NOBODY, "GET /info?secret=1", 403);
    }
    served.expect(READER, "DELETE /volumes/x", 403);
    wait_until("the reader's refusal is recorded", || {
        served
            .refusals()
            .iter()
            .any(|it| it["data"]["uid"] == READER)
    });
    let all = served.refusals();
    let (nobodys, readers): (Vec<_>, Vec<_>) =
        all.iter().partition(|it| it["data"]["uid"] == NOBODY);
    assert!((1..60).contains(&nobodys.len()), "{} of 200", nobodys.len());
    let data = &readers[0]["data"];
    assert_eq!(
        (&data["gid"], &data["policy"]),
        (&json!(READER), &json!("read-only"))
    );
    assert_eq!(
        (&data["method"], &data["path"]),
        (&json!("DELETE"), &json!("/volumes/x"))
    );
    assert_eq!(data["pid"], std::process::id());
    assert!(!nobodys[0].to_string().contains("secret"), "{nobodys:?}");
    served.finish();
}

#[test]
fn one_client_does_not_take_the_connections_of_others() {
    let served = Served::new(RULES);
    let idle: Vec<_> = (0..100)
        .map(|_| connect(&served.socket, User::new(READER)))
        .collect();
    // Of those that are in the queue, some may be accepted after this one.
    wait_until("no further connection is served", || {
        served.send(READER, "GET /_ping").status == 0
    });
    served.expect(ALICE, "GET /_ping", 200);
    served.expect(ROOT, "GET /_ping", 200);
    drop(idle);
    wait_until("there is room again", || {
        served.send(READER, "GET /_ping").status == 200
    });
    served.finish();
}

/// A connection that has stopped being HTTP is one all the same.
#[test]
fn attached_clients_count_as_connections() {
    let served = Served::new(RULES);
    served.create(ALICE, "hers", &json!({}));
    served.expect(ALICE, "POST /containers/hers/start", 204);
    let attach = |_| {
        let mut stream = connect(&served.socket, User::new(ALICE));
        let request = "POST /containers/hers/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\
            Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 12];
        let read = stream.read_exact(&mut first);
        (read.is_ok() && first == *b"HTTP/1.1 101").then_some(stream)
    };
    let attached: Vec<_> = (0..64).map(attach).collect();
    assert!(attached.iter().all(Option::is_some));
    assert_eq!(served.send(ALICE, "GET /_ping").status, 0);
    served.expect(BOB, "GET /_ping", 200);
    drop(attached);
    wait_until("there is room again", || {
        served.send(ALICE, "GET /_ping").status == 200
    });
    served.finish();
}
