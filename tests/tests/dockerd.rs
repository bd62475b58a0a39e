//! The daemon started as Docker's would be.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base::file::{FileMode, replace};
use tests::{Installation, wait_until, words, words_and};

/// A dockerd on the installation's directories, ended with it.
struct Dockerd {
    child: Child,
    log: PathBuf,
    socket: String,
}

fn program(host: &Installation) -> PathBuf {
    let path = host.scratch().join("dockerd");
    if !path.exists() {
        symlink(host.command(&[]).get_program(), &path).expect("make a link");
    }
    path
}

impl Dockerd {
    fn start(host: &Installation, options: &[&str]) -> Self {
        host.ok(&words("daemon stop"));
        let log = host.scratch().join("dockerd.log");
        let socket = format!("unix://{}", host.scratch().join("docker.sock").display());
        let file = File::create(&log).expect("make the log");
        let child = Command::new(program(host))
            .arg("--data-root")
            .arg(host.instance.root())
            .arg("--exec-root")
            .arg(host.instance.run())
            .args(["-H", &socket, "--pidfile"])
            .arg(host.scratch().join("docker.pid"))
            .args(options)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("start dockerd");
        let started = Self { child, log, socket };
        wait_until("it answers", || {
            host.engine(&["-H", &started.socket, "version"]).code == 0
        });
        started
    }

    fn ok(&self, host: &Installation, arguments: &[&str]) -> String {
        let all: Vec<&str> = ["-H", &self.socket]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        host.ok(&all)
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
        // It has ended already, but in a test that fails.
        self.child.kill().unwrap_or_default();
    }
}

#[test]
fn dockers_options_and_file_are_taken() {
    let host = Installation::new();
    let own = host.command(&[]).get_program().to_owned();
    let runtime = PathBuf::from(own).with_file_name("runc-rs");
    let json = host.scratch().join("daemon.json");
    let text = format!(
        r#"{{"runtimes": {{"mine": {{"path": {:?}, "runtimeArgs": ["--debug"]}}}},
            "log-driver": "local", "features": {{"buildkit": true}}}}"#,
        runtime.display()
    );
    replace(&json, text.as_bytes(), FileMode::Private).unwrap();
    let dockerd = Dockerd::start(
        &host,
        &[
            "--config-file",
            &json.display().to_string(),
            "--default-runtime=mine",
            "--bip=10.66.0.1/24",
            "--live-restore",
            "--userland-proxy=false",
        ],
    );
    let pid = fs::read_to_string(host.scratch().join("docker.pid")).unwrap();
    assert_eq!(pid, dockerd.child.id().to_string());
    let run = words("run -d --name box busybox:1 sleep 1000");
    dockerd.ok(&host, &run);
    let format = "{{.HostConfig.Runtime}} {{.HostConfig.LogConfig.Type}} {{.NetworkSettings.Networks.bridge.Gateway}}";
    let shown = dockerd.ok(&host, &words_and("inspect box --format", format));
    assert_eq!(shown, "mine local 10.66.0.1\n");
    let said = fs::read_to_string(&dockerd.log).unwrap();
    for ignored in [
        "--live-restore is ignored",
        "--userland-proxy is ignored",
        "features",
    ] {
        assert!(said.contains(ignored), "{said}");
    }
    // A second one finds the first.
    let second = Command::new(program(&host))
        .arg("--pidfile")
        .arg(host.scratch().join("docker.pid"))
        .arg("--exec-root")
        .arg(host.scratch().join("other"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is still running"), "{said}");
    dockerd.stop();
    assert!(!host.scratch().join("docker.pid").exists());
    // The container went on, and our own command finds it.
    assert_eq!(host.ok(&words_and("ps --format", "{{.Names}}")), "box\n");
    host.finish();
}

#[test]
fn what_dockerd_would_refuse_is_refused_before_anything_is_started() {
    let host = Installation::new();
    let json = host.scratch().join("daemon.json");
    let run = |text: &str, options: &[&str]| {
        replace(&json, text.as_bytes(), FileMode::Private).unwrap();
        let output = Command::new(program(&host))
            .arg("--config-file")
            .arg(&json)
            .args(options)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = run("{\"bip\": \"10.1.0.1/24\"}", &["--bip", "10.2.0.1/24"]);
    assert!(code == Some(1) && said.contains("both as a flag and in the configuration file: bip"));
    let (code, said) = run("{", &[]);
    assert!(code == Some(1) && said.contains("daemon.json"), "{said}");
    let (code, said) = run("{\"bip\": 5}", &["--validate"]);
    assert!(code == Some(1) && said.contains("daemon.json"), "{said}");
    let (code, said) = run("{\"debug\": true}", &["--validate"]);
    assert!(
        code == Some(0) && said.contains("configuration OK"),
        "{said}"
    );
    let (code, said) = run("{}", &["--no-such-option"]);
    assert!(
        code != Some(0) && said.contains("--no-such-option"),
        "{said}"
    );
    host.finish();
}
