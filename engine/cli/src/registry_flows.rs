//! Logging in and out, and what the daemon is then shown with pulls, pushes and
//! searches; with the file of credentials and with programs that keep them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base::file::{FileMode, replace};
use serde_json::{Value, json};

use crate::fake::{Behaviour, Fake};

const LIMIT: Duration = Duration::from_secs(10);
const ACCEPTED: &str = r#"{"IdentityToken":"","Status":"Login Succeeded"}"#;
const USER: &str = r#"{"username":"user","password":"pass","serveraddress":"r.test:5000"}"#;
const NO_TERMINAL: &str = "Error: Cannot perform an interactive login from a non TTY device";

/// A user with a home and a daemon.
struct Home {
    fake: Fake,
    directory: tempfile::TempDir,
}

impl Home {
    fn new(behaviour: Behaviour) -> Self {
        Self::of(Fake::start(behaviour))
    }

    fn of(mut fake: Fake) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let variables = &mut fake.context.environment.variables;
        let path = directory.path().display().to_string();
        variables.insert("DOCKER_CONFIG".to_owned(), path.clone());
        variables.insert("PATH".to_owned(), format!("{path}:/usr/bin:/bin"));
        Self { fake, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("config.json")
    }

    fn write(&self, content: &Value) {
        let text = content.to_string();
        replace(&self.file(), text.as_bytes(), FileMode::Private).unwrap();
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }

    /// Installs `docker-credential-safe`, which keeps one secret in a file and notes
    /// how it was called.
    fn install_helper(&self) {
        let script = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$0 $*" >> calls
case $1 in
store) cat > kept ;;
erase) cat > erased; rm -f kept ;;
get)
    cat > asked
    [ -e kept ] || { echo "credentials not found in native keychain"; exit 1; }
    cat kept ;;
esac
"#;
        let path = self.directory.path().join("docker-credential-safe");
        replace(&path, script.as_bytes(), FileMode::Public).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn helpers(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    async fn run(&self, line: &str) -> Result<(), (u8, String)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = tokio::time::timeout(LIMIT, self.fake.run(&words)).await;
        let done = done.unwrap_or_else(|_| panic!("{line}: still running after {LIMIT:?}"));
        let code = done.map_err(|error| (error.code(), error.message()))?;
        assert_eq!(code, ExitCode::SUCCESS);
        Ok(())
    }

    async fn refused(&self, line: &str) -> String {
        let (code, message) = self.run(line).await.unwrap_err();
        assert_eq!(code, 1, "{line}: {message}");
        message
    }
}

fn input(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

#[tokio::test]
async fn a_login_is_kept_and_shown_to_the_registry_only() {
    let behaviour = Behaviour::idle()
        .answer("POST /auth", 200, ACCEPTED)
        .answer("POST /images/create", 200, "{\"status\":\"Done\"}\r\n")
        .answer(
            "POST /images/r.test%3A5000%2Fx/push",
            200,
            "{\"status\":\"Done\"}\r\n",
        );
    let home = Home::of(Fake::with_input(behaviour, input("pass\n")));
    home.run("login -u user --password-stdin r.test:5000")
        .await
        .unwrap();
    assert_eq!(home.fake.stdout(), "Login Succeeded\n");
    let file = home.file().display().to_string();
    let warning = format!(
        "\nWARNING! Your credentials are stored unencrypted in '{file}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\n"
    );
    assert_eq!(home.fake.stderr(), warning);
    let expected = json!({"auths": {"r.test:5000": {"auth": "dXNlcjpwYXNz"}}});
    assert_eq!(home.read(), expected);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(home.fake.secrets(), [USER]);
    home.run("pull r.test:5000/x:1").await.unwrap();
    home.run("pull elsewhere.test/x:1").await.unwrap();
    home.run("pull x").await.unwrap();
    assert_eq!(
        home.fake.secrets(),
        [USER, USER],
        "no other registry sees it"
    );
    home.run("push -q r.test:5000/x:1").await.unwrap();
    assert_eq!(home.fake.secrets(), [USER; 3]);
    let all = format!("{:?}{}", home.fake.requests(), home.fake.stderr());
    assert!(!all.contains("pass\""), "{all}");
    home.run("logout https://r.test:5000/v1/").await.unwrap();
    assert_eq!(home.read(), json!({"auths": {}}));
    assert!(
        home.fake
            .stdout()
            .ends_with("Removing login credentials for r.test:5000\n")
    );
}

#[tokio::test]
async fn what_run_pulls_is_pulled_with_credentials() {
    let create = "POST /containers/create";
    let behaviour = Behaviour::idle()
        .answer(
            create,
            404,
            r#"{"message":"No such image: r.test:5000/x:1"}"#,
        )
        .answer(create, 201, r#"{"Id":"c0ffee","Warnings":[]}"#)
        .answer("POST /images/create", 200, "{\"status\":\"Done\"}\r\n");
    let home = Home::new(behaviour);
    home.write(&json!({"auths": {"r.test:5000": {"auth": "dXNlcjpwYXNz"}}}));
    home.run("create r.test:5000/x:1").await.unwrap();
    assert_eq!(home.fake.secrets(), [USER]);
}

#[tokio::test]
async fn what_is_refused_is_not_kept() {
    let message = "login attempt to http://r.test:5000/v2/ failed with status: 401 Unauthorized";
    let refusal = json!({ "message": message }).to_string();
    let home = Home::new(Behaviour::idle().answer("POST /auth", 500, &refusal));
    let refused = home.refused("login -u user -p wrong r.test:5000").await;
    assert_eq!(refused, format!("Error response from daemon: {message}"));
    assert!(!home.file().exists());
    let insecure = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n";
    assert_eq!(home.fake.stderr(), insecure);
}

#[tokio::test]
async fn options_that_make_no_login_are_refused_before_anything_is_asked() {
    let home = Home::new(Behaviour::idle());
    for (line, expected) in [
        (
            "login --password-stdin r.test",
            "the --password-stdin option requires --username to be set",
        ),
        (
            "login -u u -p p --password-stdin r.test",
            "conflicting options: cannot specify both --password and --password-stdin",
        ),
        ("login --username= r.test", "username is empty"),
        ("login --password= r.test", "password is empty"),
        ("login r.test", NO_TERMINAL),
        ("login -u u r.test", NO_TERMINAL),
        ("push -a x:1", "tag can't be used with --all-tags/-a"),
        ("pull -a x:1", "tag can't be used with --all-tags/-a"),
    ] {
        assert_eq!(home.refused(line).await, expected, "{line}");
    }
    assert!(home.fake.requests().is_empty());
    assert_eq!(home.fake.stderr(), "");
}

#[tokio::test]
async fn what_is_kept_is_tried_before_the_user_is_asked() {
    let behaviour = Behaviour::idle()
        .answer("POST /auth", 200, ACCEPTED)
        .answer("POST /auth", 401, r#"{"message":"unauthorized: expired"}"#);
    let home = Home::new(behaviour);
    let kept = json!({"auths": {"r.test:5000": {"auth": "dXNlcjpwYXNz"}}, "x": 1});
    home.write(&kept);
    home.run("login r.test:5000").await.unwrap();
    assert_eq!(home.fake.stdout(), "Login Succeeded\n");
    assert!(
        home.fake
            .stderr()
            .starts_with("Authenticating with existing credentials... [Username: user]\n")
    );
    assert_eq!(home.refused("login r.test:5000").await, NO_TERMINAL);
    let stderr = home.fake.stderr();
    assert!(
        stderr.ends_with("Stored credentials invalid or expired\n"),
        "{stderr}"
    );
    assert_eq!(home.read(), kept);
}

#[tokio::test]
async fn a_token_takes_the_place_of_the_password() {
    let token = r#"{"IdentityToken":"t0ken","Status":"Login Succeeded"}"#;
    let behaviour =
        Behaviour::idle()
            .answer("POST /auth", 200, token)
            .answer("GET /images/search", 200, "[]");
    let home = Home::new(behaviour);
    home.run("login -u user -p pass r.test:5000").await.unwrap();
    let entry = &home.read()["auths"]["r.test:5000"];
    assert_eq!(entry["identitytoken"], "t0ken");
    assert_eq!(entry["auth"], "dXNlcjo=", "without the password");
    home.run("search r.test:5000/x").await.unwrap();
    let shown = home.fake.secrets().pop().unwrap();
    let expected = r#"{"username":"user","serveraddress":"r.test:5000","identitytoken":"t0ken"}"#;
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn programs_keep_credentials_where_the_file_says_so() {
    for config in [
        json!({"credsStore": "safe"}),
        json!({"credHelpers": {"r.test:5000": "safe"}, "credsStore": "none"}),
    ] {
        let behaviour = Behaviour::idle()
            .answer("POST /auth", 200, ACCEPTED)
            .answer("POST /images/create", 200, "{\"status\":\"Done\"}\r\n");
        let home = Home::new(behaviour);
        home.install_helper();
        home.write(&config);
        home.run("pull r.test:5000/x:1").await.unwrap();
        assert!(home.fake.secrets().is_empty(), "nothing is kept yet");
        home.run("login -u user -p pass r.test:5000").await.unwrap();
        let kept: Value = serde_json::from_str(&home.helpers("kept")).unwrap();
        let expected = json!({"ServerURL": "r.test:5000", "Username": "user", "Secret": "pass"});
        assert_eq!(kept, expected);
        let stored = std::fs::read_to_string(home.file()).unwrap();
        assert_eq!(home.read()["auths"], json!({"r.test:5000": {}}));
        assert!(!stored.contains("dXNl"), "{stored}");
        home.run("pull r.test:5000/x:1").await.unwrap();
        assert_eq!(home.fake.secrets(), [USER, USER]);
        let calls = home.helpers("calls");
        assert!(!calls.contains("pass"), "{calls}");
        home.run("logout r.test:5000").await.unwrap();
        assert_eq!(home.helpers("kept"), "");
        assert_eq!(home.read()["auths"], json!({}));
    }
}

#[tokio::test]
async fn a_program_that_fails_is_told_of_and_the_pull_goes_on() {
    let behaviour =
        Behaviour::idle().answer("POST /images/create", 200, "{\"status\":\"Done\"}\r\n");
    let home = Home::new(behaviour);
    home.write(&json!({"credsStore": "missing"}));
    home.run("pull r.test:5000/x:1").await.unwrap();
    let stderr = home.fake.stderr();
    assert!(
        stderr.starts_with(
            "WARNING: cannot use stored credentials: cannot run docker-credential-missing"
        ),
        "{stderr}"
    );
    let (_, failed) = home.run("login -u u -p p r.test").await.unwrap_err();
    assert!(failed.contains("no such thing"), "{failed}");
    home.write(&json!({"credsStore": "../evil"}));
    home.run("pull r.test:5000/x:1").await.unwrap();
    let stderr = home.fake.stderr();
    assert!(
        stderr.contains("\"../evil\" cannot be the name of a credential helper"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_password_is_typed_without_being_shown() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let behaviour = Behaviour::idle().answer("POST /auth", 200, ACCEPTED);
    let home = Home::of(Fake::on_terminal(behaviour, &slave));
    let mut keyboard = File::from(master);
    let mut screen = keyboard.try_clone().unwrap();
    let typist = std::thread::spawn(move || {
        let mut shown = String::new();
        let mut wait_for = |text: &str, shown: &mut String| {
            while !shown.contains(text) {
                let mut buffer = [0; 256];
                let length = screen.read(&mut buffer).unwrap();
                shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        };
        wait_for("Username: ", &mut shown);
        keyboard.write_all(b"user\n").unwrap();
        wait_for("Password: ", &mut shown);
        // The echo is off a moment after the prompt.
        std::thread::sleep(Duration::from_millis(200));
        keyboard.write_all(b"pass\n").unwrap();
        wait_for("Login Succeeded", &mut shown);
        (shown, keyboard)
    });
    home.run("login r.test:5000").await.unwrap();
    let (shown, _keyboard) = typist.join().unwrap();
    assert!(!shown.contains("pass\r"), "{shown:?}");
    assert_eq!(home.fake.secrets(), [USER]);
    let modes = rustix::termios::tcgetattr(&slave).unwrap().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO));
}

#[tokio::test]
async fn a_push_asks_for_one_tag_or_for_all() {
    let done = "{\"status\":\"Preparing\",\"progressDetail\":{},\"id\":\"abc\"}\r\n{\"status\":\"1: digest: sha256:0 size: 1\"}\r\n{\"progressDetail\":{},\"aux\":{\"Tag\":\"1\",\"Digest\":\"sha256:0\",\"Size\":1}}\r\n";
    let push = "POST /images/x/push";
    let behaviour = Behaviour::idle()
        .answer(push, 200, done)
        .answer(push, 200, done)
        .answer(push, 200, done)
        .answer(
            push,
            200,
            r#"{"errorDetail":{"message":"no basic auth credentials"}}"#,
        );
    let home = Home::new(behaviour);
    home.run("push x").await.unwrap();
    let lines = "abc: Preparing\n1: digest: sha256:0 size: 1\n";
    let first = format!("Using default tag: latest\n{lines}");
    assert_eq!(home.fake.stdout(), first);
    home.run("push -a x").await.unwrap();
    home.run("push -q x:1").await.unwrap();
    let quiet = "docker.io/library/x:1\n";
    assert_eq!(home.fake.stdout(), format!("{first}{lines}{quiet}"));
    assert_eq!(home.refused("push x:2").await, "no basic auth credentials");
    let requests = ["?tag=latest", "", "?tag=1", "?tag=2"];
    assert_eq!(
        home.fake.requests(),
        requests.map(|query| format!("{push}{query}"))
    );
    assert_eq!(home.fake.secrets(), ["{}"; 4], "the header is always there");
}

#[tokio::test]
async fn a_search_is_a_table_of_the_most_liked() {
    let found = json!([
        {"star_count": 2, "is_official": false, "name": "a/x", "is_automated": false, "description": "two\nlines"},
        {"star_count": 10, "is_official": true, "name": "x", "is_automated": false,
         "description": "A description that is longer than any column of a table may be"},
    ]);
    let path = "GET /images/search";
    let home = Home::new(Behaviour::idle().answer(path, 200, &found.to_string()));
    home.run("search x").await.unwrap();
    let table = "NAME      DESCRIPTION                                     STARS     OFFICIAL\n\
                 x         A description that is longer than any column…   10        [OK]\n\
                 a/x       two lines                                       2         \n";
    assert_eq!(home.fake.stdout(), table);
    home.run("search --format {{.Name}}={{.IsOfficial}} -f stars=2 --limit 5 x")
        .await
        .unwrap();
    assert_eq!(home.fake.stdout(), format!("{table}x=[OK]\na/x=\n"));
    let last = home.fake.requests().pop().unwrap();
    assert!(
        last.starts_with(&format!("{path}?term=x&limit=5&filters=")),
        "{last}"
    );
}

#[tokio::test]
async fn all_tags_are_pulled_by_asking_for_none() {
    let answer = "{\"status\":\"Status: Image is up to date for x\"}\r\n";
    let home = Home::new(Behaviour::idle().answer("POST /images/create", 200, answer));
    home.run("pull -a x").await.unwrap();
    assert_eq!(home.fake.requests(), ["POST /images/create?fromImage=x"]);
    let expected = "Status: Image is up to date for x\ndocker.io/library/x\n";
    assert_eq!(home.fake.stdout(), expected);
}

#[tokio::test]
async fn the_environment_comes_before_the_file() {
    let answer = "{\"status\":\"Done\"}\r\n";
    let mut home = Home::new(Behaviour::idle().answer("POST /images/create", 200, answer));
    home.write(&json!({"auths": {"r.test:5000": {"auth": "b3RoZXI6eA=="}}}));
    let variable = json!({"auths": {"r.test:5000": {"auth": "dXNlcjpwYXNz"}}});
    let variables = &mut home.fake.context.environment.variables;
    variables.insert("DOCKER_AUTH_CONFIG".to_owned(), variable.to_string());
    home.run("pull r.test:5000/x:1").await.unwrap();
    assert_eq!(home.fake.secrets(), [USER]);
}

#[tokio::test]
async fn without_a_server_docker_hub_is_meant() {
    let behaviour = Behaviour::idle()
        .answer("POST /auth", 200, ACCEPTED)
        .answer("POST /images/create", 200, "{\"status\":\"Done\"}\r\n");
    let home = Home::new(behaviour);
    home.run("login -u user -p pass").await.unwrap();
    let hub = "https://index.docker.io/v1/";
    assert_eq!(home.read()["auths"][hub]["auth"], "dXNlcjpwYXNz");
    for name in ["x", "docker.io/a/x", "index.docker.io/x"] {
        home.run(&format!("pull {name}")).await.unwrap();
    }
    let expected = USER.replace("r.test:5000", hub);
    assert_eq!(home.fake.secrets(), [&*expected; 4]);
    home.run("logout").await.unwrap();
    let said = format!("Removing login credentials for {hub}\n");
    assert!(home.fake.stdout().ends_with(&said));
    assert_eq!(home.read()["auths"], json!({}));
}
