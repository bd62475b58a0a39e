//! Terminals: proxied in the foreground, handed over when detached.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;

use crate::bundle::{Bundle, LIMIT, wait};

/// A terminal as a user would have one: the far end and what programs get.
struct Terminal {
    far: File,
    near: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let near = ioctl_tiocgptpeer(&far, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let terminal = Self {
            far: far.into(),
            near,
        };
        terminal.resize(33, 99);
        terminal
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.far, size).unwrap();
    }

    fn spawn(&self, mut command: Command) -> Child {
        let near = || Stdio::from(self.near.try_clone().unwrap());
        command
            .stdin(near())
            .stdout(near())
            .stderr(near())
            .spawn()
            .unwrap()
    }

    /// Reads until `text` has come, or everything is read.
    fn read_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&all).contains(text) {
            let mut watched = [PollFd::new(&self.far, PollFlags::IN)];
            let limit = Timespec::try_from(LIMIT).unwrap();
            let ready = poll(&mut watched, Some(&limit)).unwrap();
            assert!(
                ready > 0,
                "{text:?} does not come after {:?}",
                String::from_utf8_lossy(&all)
            );
            match self.far.read(&mut byte) {
                Ok(1) => all.push(byte[0]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }
}

fn with_terminal(script: &str) -> Bundle {
    let mut bundle = Bundle::with_script(script);
    bundle.config["process"]["terminal"] = json!(true);
    bundle
}

#[test]
fn run_proxies_the_callers_terminal() {
    let bundle = with_terminal("tty; stty size; read x; echo got:$x; ls -l /dev/console; exit 3");
    let mut terminal = Terminal::new();
    let before = format!("{:?}", tcgetattr(&terminal.near).unwrap());
    let mut child = terminal.spawn(bundle.command(&["run", "c"]));
    let text = terminal.read_until("33 99\r\n");
    assert!(text.contains("/dev/pts/0\r\n"), "{text}");
    terminal.far.write_all(b"hello\r").unwrap();
    let text = terminal.read_until("/dev/console");
    assert!(text.contains("got:hello\r\n"), "{text}");
    assert_eq!(wait(&mut child).code(), Some(3));
    assert_eq!(format!("{:?}", tcgetattr(&terminal.near).unwrap()), before);
    bundle.assert_clean();
}

#[test]
fn exec_proxies_and_follows_the_size() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let mut terminal = Terminal::new();
    let script = "trap 'stty size; exit 4' WINCH; stty size; while :; do sleep 0.01; done";
    let mut child = terminal.spawn(bundle.command(&["exec", "--tty", "c", "sh", "-c", script]));
    let text = terminal.read_until("33 99\r\n");
    assert!(text.contains("33 99"), "{text}");
    terminal.resize(44, 111);
    // Only a session's leader is told by the kernel; the runtime is none here.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::Signal::SIGWINCH,
    )
    .unwrap();
    let text = terminal.read_until("44 111\r\n");
    assert!(text.contains("44 111"), "{text}");
    assert_eq!(wait(&mut child).code(), Some(4));
}

#[test]
fn output_written_just_before_the_end_arrives() {
    let bundle = with_terminal("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done");
    let mut terminal = Terminal::new();
    let mut child = terminal.spawn(bundle.command(&["run", "c"]));
    let text = terminal.read_until("line 1999\r\n");
    assert!(text.ends_with("line 1999\r\n"));
    assert!(wait(&mut child).success());
}

/// Listens on a path that may be longer than an address.
fn listen(path: &Path) -> UnixListener {
    let directory = File::open(path.parent().unwrap()).unwrap();
    let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
    UnixListener::bind(Path::new(&short).join(path.file_name().unwrap())).unwrap()
}

/// Takes the terminal that comes over the next connection.
fn accept(listener: &UnixListener) -> OwnedFd {
    let (stream, _) = listener.accept().unwrap();
    runc_rs::handover::receive(stream.as_fd()).unwrap()
}

#[test]
fn detached_terminals_go_over_the_console_socket() {
    let mut bundle = with_terminal("stty size; exec sleep 1000");
    bundle.config["process"]["consoleSize"] = json!({"height": 11, "width": 22});
    bundle
        .runc(&["run", "--detach", "c"])
        .fails(1, "--console-socket");
    let path = bundle.path().join("socket");
    let listener = listen(&path);
    bundle
        .runc(&["run", "--detach", "--console-socket", "socket", "c"])
        .ok();
    let mut master = File::from(accept(&listener));
    let mut bytes = [0; 7];
    master.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"11 22\r\n");

    let exec = [
        "exec",
        "-t",
        "-d",
        "--console-socket",
        "socket",
        "c",
        "sh",
        "-c",
        "tty; id -u",
    ];
    bundle.runc(&exec).ok();
    let mut master = File::from(accept(&listener));
    let mut text = [0; 15];
    master.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8_lossy(&text), "/dev/pts/1\r\n0\r\n");
    bundle
        .runc(&["exec", "-t", "-d", "c", "true"])
        .fails(255, "--console-socket");
}

#[test]
fn a_socket_path_may_be_longer_than_an_address() {
    let bundle = with_terminal("exec sleep 1000");
    let long = bundle.path().join("d".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let path = long.join("socket");
    let listener = listen(&path);
    bundle
        .runc(&["run", "-d", "--console-socket", path.to_str().unwrap(), "c"])
        .ok();
    accept(&listener);
}
