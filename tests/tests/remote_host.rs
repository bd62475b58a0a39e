//! The daemon of another host by ssh: a real sshd, in the namespaces of the test.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base::file::{FileMode, replace};
use rustix::mount::{MountFlags, mount};
use tests::{Installation, Said, run, wait_until, words};

const PORT: &str = "2222";
const URL: &str = "ssh://root@127.0.0.1:2222";
/// Where a client without an own socket would look.
const NOWHERE: &str = "/nonexistent";

/// An sshd in front of an installation, ended with it.
struct Far<'a> {
    host: &'a Installation,
    directory: PathBuf,
    child: Child,
}

fn write(path: &Path, text: &str) {
    replace(path, text.as_bytes(), FileMode::Private).expect("write a file");
}

fn script(path: &Path, text: &str) {
    write(path, &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("make it executable");
}

fn key(path: &Path) -> String {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path);
    assert_eq!(run(command.stdin(Stdio::null())).code, 0);
    fs::read_to_string(path.with_extension("pub")).expect("read a key")
}

/// Makes the keys of both sides and what makes them use these only.
fn configure(directory: &Path) {
    let at = |name: &str| directory.join(name);
    let shown = |name: &str| at(name).display().to_string();
    let host_key = key(&at("host"));
    write(&at("known"), &format!("[127.0.0.1]:{PORT} {host_key}"));
    write(&at("authorized"), &key(&at("user")));
    let server = format!(
        "ListenAddress 127.0.0.1\nPort {PORT}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nSetEnv PATH={}:/usr/bin:/bin\n",
        shown("host"),
        shown("authorized"),
        shown("bin"),
    );
    write(&at("sshd_config"), &server);
    let client = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nStrictHostKeyChecking yes\n",
        shown("user"),
        shown("known"),
    );
    write(&at("ssh_config"), &client);
    script(
        &at("client/ssh"),
        &format!("exec /usr/bin/ssh -F '{}' \"$@\"", shown("ssh_config")),
    );
}

impl<'a> Far<'a> {
    fn start(host: &'a Installation) -> Self {
        // sshd insists on a directory below /run; this one is the test's own.
        let text = CString::new("mode=755").expect("no zero byte");
        mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), &*text).expect("tests run as root");
        fs::create_dir("/run/sshd").expect("make a directory");
        let directory = host.scratch().join("far");
        for name in ["", "bin", "client"] {
            fs::create_dir(directory.join(name)).expect("make a directory");
        }
        let at = |name: &str| directory.join(name);
        let engine = host.command(&[]);
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
        let line: Vec<String> = std::iter::once(engine.get_program())
            .chain(engine.get_args())
            .map(quoted)
            .collect();
        script(
            &at("bin/engine"),
            &format!("exec {} \"$@\"", line.join(" ")),
        );
        symlink("engine", at("bin/docker")).expect("make a link");
        configure(&directory);
        let log = fs::File::create(at("log")).expect("make the log");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at("sshd_config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start sshd");
        wait_until("sshd listens", || {
            std::net::TcpStream::connect(format!("127.0.0.1:{PORT}")).is_ok()
        });
        Self {
            host,
            directory,
            child,
        }
    }

    /// Returns `engine …` of a client on another host: it has no daemon of its own.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.host.command(&[]).get_program());
        command
            .args(["--root", NOWHERE, "--run-dir", NOWHERE])
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.directory.join("client").display()),
            )
            .env("DOCKER_CONFIG", self.directory.join("config"))
            .stdin(Stdio::null());
        command
    }

    fn engine(&self, arguments: &[&str]) -> Said {
        run(&mut self.command(arguments))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let said = self.engine(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.stdout
    }
}

impl Drop for Far<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log"));
            eprintln!("{}", log.unwrap_or_default());
        }
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

#[test]
fn a_daemon_is_reached_by_ssh() {
    let host = Installation::new();
    let far = Far::start(&host);
    let on = |line: &str| {
        [&["-H", URL][..], &words(line)]
            .concat()
            .iter()
            .map(|w| (*w).to_owned())
            .collect::<Vec<_>>()
    };
    let said = |line: &str| far.engine(&on(line).iter().map(String::as_str).collect::<Vec<_>>());
    let hello = said("run --rm --network none busybox:1 echo hello");
    assert_eq!(
        (hello.code, hello.stdout.as_str()),
        (0, "hello\n"),
        "{hello:?}"
    );
    assert_eq!(said("run --rm --network none busybox:1 false").code, 1);

    // The end of stdin arrives, after more than any buffer on the way holds.
    let input = far.directory.join("input");
    let text = "0123456789abcdef\n".repeat(200_000);
    write(&input, &text);
    let words = on("run --rm -i --network none busybox:1 cat");
    let mut cat = far.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let said_back = run(cat.stdin(fs::File::open(&input).expect("open")));
    assert!(said_back.stdout == text, "{} bytes", said_back.stdout.len());

    // The socket may be named, and one that is not there is an error.
    let socket = host.instance.run().join("engine.sock");
    let named = format!("{URL}{}", socket.display());
    assert!(far.ok(&["-H", &named, "version"]).contains("Server"));
    let missing = format!("{URL}/nonexistent/x.sock");
    let error = far.engine(&["-H", &missing, "ps"]);
    assert!(
        error.code == 1 && error.stderr.contains("/nonexistent/x.sock"),
        "{error:?}"
    );
    drop(far);
    host.finish();
}

#[test]
fn the_streams_are_the_connection() {
    let host = Installation::new();
    // As the stock client asks by ssh; stdin is over before the answer begins.
    let request = host.scratch().join("request");
    let text = "GET /_ping HTTP/1.1\r\nHost: docker.example.com\r\nConnection: close\r\n\r\n";
    write(&request, text);
    let mut dial = host.command(&words("system dial-stdio"));
    let said = run(dial.stdin(fs::File::open(&request).expect("open")));
    assert_eq!(said.code, 0, "{said:?}");
    let is_whole = said.stdout.starts_with("HTTP/1.1 200") && said.stdout.ends_with("OK");
    assert!(is_whole, "{said:?}");
    host.finish();
}

#[test]
fn a_context_names_a_host() {
    let host = Installation::new();
    let far = Far::start(&host);
    let at = format!("host={URL}");
    assert_eq!(
        far.ok(&["context", "create", "far", "--docker", &at]),
        "far\n"
    );
    let again = far.engine(&["context", "create", "far", "--docker", &at]);
    assert!(
        again.code == 1 && again.stderr.contains("already exists"),
        "{again:?}"
    );
    assert_eq!(far.ok(&words("context show")), "default\n");
    host.ok(&words("create --name there --network none busybox:1 true"));
    let names = words("ps -a --format {{.Names}}");
    let with = [&["--context", "far"][..], &names].concat();
    assert_eq!(far.ok(&with), "there\n");

    far.ok(&words("context use far"));
    assert_eq!(far.ok(&names), "there\n");
    assert_eq!(far.ok(&words("context ls -q")), "default\nfar\n");
    let table = far.ok(&words("context ls"));
    assert!(table.contains("far *") && table.contains(URL), "{table}");
    let of = words("context inspect far -f {{.Endpoints.docker.Host}}");
    assert_eq!(far.ok(&of), format!("{URL}\n"));

    let in_use = far.engine(&words("context rm far"));
    assert!(
        in_use.code == 1 && in_use.stderr.contains("is in use"),
        "{in_use:?}"
    );
    far.ok(&words("context use default"));
    far.ok(&words("context rm far"));
    let gone = far.engine(&words("context use far"));
    assert!(
        gone.code == 1 && gone.stderr.contains("context not found"),
        "{gone:?}"
    );
    drop(far);
    host.finish();
}

#[test]
fn a_host_that_refuses_is_an_error() {
    let host = Installation::new();
    let far = Far::start(&host);
    write(&far.directory.join("authorized"), "");
    let refused = far.engine(&["-H", URL, "ps"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("Permission denied"),
        "{refused:?}"
    );
    write(&far.directory.join("known"), "");
    let unknown = far.engine(&["-H", URL, "ps"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("Host key"),
        "{unknown:?}"
    );
    let nobody = far.engine(&["-H", "ssh://root@127.0.0.1:1", "ps"]);
    assert!(
        nobody.code == 1 && nobody.stderr.contains("refused"),
        "{nobody:?}"
    );
    drop(far);
    host.finish();
}
