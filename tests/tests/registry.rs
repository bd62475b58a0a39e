//! To a real registry and back: logging in, pushing, pulling what was pushed, and
//! what is said when that does not go well.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::registry::{PASSWORD, USER};
use tests::{Installation, PART_BYTES, Registry, Said, finish, run, wait_until};

const SERVER: &str = "localhost:5000";
const TAGGED: &str = "localhost:5000/box:1";

/// A user of an installation, with a file of credentials.
struct User<'a> {
    host: &'a Installation,
    directory: PathBuf,
}

impl<'a> User<'a> {
    fn new(host: &'a Installation) -> Self {
        let directory = host.scratch().join("docker");
        Self { host, directory }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(arguments);
        command.env("DOCKER_CONFIG", &self.directory);
        command
    }

    fn engine(&self, arguments: &[&str]) -> Said {
        run(self.command(arguments).stdin(Stdio::null()))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let said = self.engine(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}\n{}", self.host.log());
        said.stdout
    }

    fn fails(&self, text: &str, arguments: &[&str]) {
        let said = self.engine(arguments);
        assert!(
            said.code == 1 && said.stderr.contains(text),
            "expected {text:?} of {arguments:?}: {said:?}"
        );
    }

    fn log_in(&self, password: &str) -> Said {
        let mut login = self.command(&["login", "-u", USER, "--password-stdin", SERVER]);
        let login = login
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut login = login.spawn().expect("the command is built");
        let mut stdin = login.stdin.take().expect("it is a pipe");
        stdin.write_all(password.as_bytes()).expect("it is read");
        drop(stdin);
        finish(login)
    }

    fn id(&self, name: &str) -> String {
        self.ok(&["images", "-q", "--no-trunc", name])
    }

    /// Sends a request to the daemon and returns the whole answer.
    fn ask(&self, request: &str) -> String {
        let socket = self.host.instance.run().join("engine.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("it listens");
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is text");
        answer
    }
}

/// Asserts that no file below `directory` holds `text`.
fn assert_nowhere(directory: &Path, text: &str) {
    let mut grep = Command::new("grep");
    let found = run(grep.args(["-rlaF", "--", text]).arg(directory));
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{found:?}");
}

#[test]
fn an_image_is_pushed_with_a_password_and_comes_back() {
    let host = Installation::new();
    let registry = Registry::start_with_password(host.scratch());
    let user = User::new(&host);
    let id = user.id("busybox:1");
    user.ok(&["tag", "busybox:1", TAGGED]);
    user.fails("no basic auth credentials", &["push", TAGGED]);
    log_in(&user);
    push_twice_and_mount(&user);
    for name in ["busybox:1", "localhost:5000/deep/other:2", TAGGED] {
        user.ok(&["rmi", name]);
    }
    assert_eq!(user.ok(&["images", "-q"]), "");
    let ran = user.engine(&["run", "--rm", TAGGED, "cat", "/www/index.html"]);
    assert_eq!((ran.code, &*ran.stdout), (0, "from the image\n"), "{ran:?}");
    assert_eq!(user.id(TAGGED), id);
    let events = user.ok(&["events", "--no-follow", "--from", "1:0"]);
    assert!(events.contains("image.pushed"), "{events}");
    assert_eq!(
        user.ok(&["logout", SERVER]),
        "Removing login credentials for localhost:5000\n"
    );
    user.fails("no basic auth credentials", &["push", TAGGED]);
    user.fails("no basic auth credentials", &["pull", TAGGED]);
    for directory in [host.instance.root(), host.instance.run()] {
        assert_nowhere(directory, PASSWORD);
        // The same in the form that headers and the file have.
        assert_nowhere(directory, "dXNlcjpzM2NyZXQtV29yZA");
    }
    host.finish();
    drop(registry);
}

/// Logs in with a wrong password and with the right one.
fn log_in(user: &User<'_>) {
    let wrong = user.log_in("wrong");
    let refusal = "login attempt to http://localhost:5000/v2/ failed with status: 401 Unauthorized";
    let expected = format!("Error response from daemon: {refusal}\n");
    assert_eq!((wrong.code, wrong.stderr), (1, expected));
    assert!(!user.directory.exists(), "nothing is kept");
    let right = user.log_in(&format!("{PASSWORD}\n"));
    assert_eq!(
        (right.code, &*right.stdout),
        (0, "Login Succeeded\n"),
        "{right:?}"
    );
    let file = user.directory.join("config.json");
    let mode = fs::metadata(&file)
        .expect("it is kept")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn push_twice_and_mount(user: &User<'_>) {
    let said = user.ok(&["push", TAGGED]);
    let begin = "The push refers to repository [localhost:5000/box]\n";
    assert!(said.starts_with(begin), "{said}");
    for text in [": Preparing\n", ": Pushed\n", "\n1: digest: sha256:"] {
        assert!(said.contains(text), "{text:?} is missing: {said}");
    }
    let again = user.ok(&["push", TAGGED]);
    assert!(again.contains(": Layer already exists\n"), "{again}");
    assert_eq!(
        said.lines().last(),
        again.lines().last(),
        "the same manifest"
    );
    user.ok(&["tag", TAGGED, "localhost:5000/deep/other:2"]);
    let mounted = user.ok(&["push", "localhost:5000/deep/other:2"]);
    assert!(mounted.contains(": Mounted from box\n"), "{mounted}");
}

#[test]
fn names_that_do_not_exist_are_refused_with_dockers_sentences() {
    let host = Installation::new();
    let registry = Registry::start(host.scratch());
    let user = User::new(&host);
    user.fails(
        "An image does not exist locally with the tag: localhost:5000/box",
        &["push", TAGGED],
    );
    user.ok(&["tag", "busybox:1", TAGGED]);
    user.fails(
        "tag does not exist: localhost:5000/box:latest",
        &["push", "localhost:5000/box"],
    );
    user.fails(
        "Error response from daemon: Unexpected status code 404",
        &["search", "localhost:5000/box"],
    );
    user.fails(
        "Error response from daemon: repository localhost:5000/nope not found: name unknown: repository name not known to registry",
        &["pull", "-a", "localhost:5000/nope"],
    );
    let pull = user.ask("POST /v1.44/images/create?fromImage=localhost:5000/box&tag=nope");
    assert!(pull.starts_with("HTTP/1.1 404 "), "{pull}");
    let message = r#"{"message":"manifest for localhost:5000/box:nope not found: manifest unknown: manifest unknown"}"#;
    assert!(pull.contains(message), "{pull}");
    let found = user.ask("GET /v1.44/distribution/localhost:5000/box:1/json");
    assert!(found.starts_with("HTTP/1.1 404 "), "{found}");
    user.ok(&["push", "-q", TAGGED]);
    let found = user.ask("GET /v1.44/distribution/localhost:5000/box:1/json");
    let platform = r#""Platforms":[{"architecture":"amd64","os":"linux"}]"#;
    assert!(
        found.starts_with("HTTP/1.1 200 ") && found.contains(platform),
        "{found}"
    );
    drop(registry);
    user.fails("localhost:5000", &["push", TAGGED]);
    let search = user.ask("GET /v1.44/images/search?term=x&filters=%7B%22nope%22:%5B%22a%22%5D%7D");
    assert!(search.starts_with("HTTP/1.1 400 "), "{search}");
    host.finish();
}

#[test]
fn a_push_is_an_event_about_a_name_with_the_images_labels() {
    let host = Installation::new();
    let registry = Registry::start(host.scratch());
    let user = User::new(&host);
    let archive = host.scratch().join("small.tar");
    let said = run(Command::new("tar")
        .arg("-cf")
        .arg(&archive)
        .args(["-T", "/dev/null"]));
    assert_eq!(said.code, 0, "{said:?}");
    let archive = archive.display().to_string();
    user.ok(&["import", "-c", "LABEL team=x", &archive, TAGGED]);
    user.ok(&["push", "-q", TAGGED]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let until = now.expect("it is after 1970").as_secs() + 1;
    let told = user.ask(&format!("GET /v1.44/events?since=1&until={until}"));
    let expected = r#""Action":"push","Actor":{"ID":"localhost:5000/box:1","Attributes":{"name":"localhost:5000/box","team":"x"}}"#;
    assert!(told.contains(expected), "{told}");
    host.finish();
    drop(registry);
}

#[test]
fn all_tags_go_and_come_back() {
    let host = Installation::new();
    let registry = Registry::start(host.scratch());
    let user = User::new(&host);
    for tag in ["a", "b"] {
        user.ok(&["tag", "busybox:1", &format!("localhost:5000/box:{tag}")]);
    }
    let said = user.ok(&["push", "--all-tags", "localhost:5000/box"]);
    assert!(said.contains("\na: digest: sha256:"), "{said}");
    assert!(said.contains("\nb: digest: sha256:"), "{said}");
    for name in ["busybox:1", "localhost:5000/box:a", "localhost:5000/box:b"] {
        user.ok(&["rmi", name]);
    }
    let said = user.ok(&["pull", "-a", "localhost:5000/box"]);
    for text in ["a: Pulling from box\n", "b: Pulling from box\n"] {
        assert!(said.contains(text), "{said}");
    }
    let end = "Status: Downloaded newer image for localhost:5000/box\nlocalhost:5000/box\n";
    assert!(said.ends_with(end), "{said}");
    let listed = user.ok(&["images", "--format", "{{.Tag}}", "localhost:5000/box"]);
    let mut tags: Vec<&str> = listed.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["a", "b"]);
    host.finish();
    drop(registry);
}

/// Returns how many bytes of uploads the registry has.
fn arrived(directory: &Path) -> u64 {
    let mut du = Command::new("du");
    let said = run(du.arg("-sb").arg(directory));
    let size = said.stdout.split_whitespace().next();
    size.and_then(|size| size.parse().ok()).unwrap_or(0)
}

#[test]
fn a_push_goes_on_when_its_registry_is_back() {
    let host = Installation::new();
    host.import_large("localhost:5000/large:1");
    let user = User::new(&host);
    let registry = Registry::start(host.scratch());
    host.slow_down();
    let mut push = user.command(&["push", "localhost:5000/large:1"]);
    let push = push
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let push = push.spawn().expect("the command is built");
    let storage = host.scratch().join("registry");
    wait_until("a part has come", || arrived(&storage) > PART_BYTES);
    drop(registry);
    host.speed_up();
    let registry = Registry::start(host.scratch());
    let said = finish(push);
    assert_eq!(said.code, 0, "{said:?}");
    for text in [
        ": Retrying in 5 seconds\n",
        ": Retrying in 1 second\n",
        ": Pushed\n",
    ] {
        assert!(said.stdout.contains(text), "{text:?} is missing: {said:?}");
    }
    let id = user.id("localhost:5000/large:1");
    user.ok(&["rmi", "localhost:5000/large:1"]);
    user.ok(&["pull", "-q", "localhost:5000/large:1"]);
    assert_eq!(user.id("localhost:5000/large:1"), id);
    host.finish();
    drop(registry);
}
