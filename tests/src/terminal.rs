//! A terminal with a person at it: a pty whose other side runs a command.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::{WAIT_LIMIT, wait_until};

/// A command that runs on a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    /// Runs `command` on a terminal of 24 rows and 80 columns.
    pub fn run(command: &Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(flags).expect("a terminal can be made");
        grantpt(&keyboard).expect("it is ours");
        unlockpt(&keyboard).expect("it is ours");
        let keyboard = File::from(keyboard);
        resize(&keyboard, 24, 80);
        let child = on_terminal(command, &keyboard);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (reader, shown) = (keyboard.try_clone(), screen.clone());
        let reader = reader.expect("a descriptor is free");
        std::thread::spawn(move || watch(reader, &shown));
        Self {
            keyboard,
            screen,
            child,
        }
    }

    /// Types keys.
    pub fn type_keys(&mut self, keys: &str) {
        let typed = self.keyboard.write_all(keys.as_bytes());
        typed.expect("the terminal is open");
    }

    /// Changes the size, as a window manager does.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.keyboard, rows, columns);
    }

    /// Returns everything that was shown.
    pub fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Waits until `text` is shown.
    pub fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        while !self.screen().contains(text) {
            assert!(
                begun.elapsed() < WAIT_LIMIT,
                "{text:?} is not shown: {:?}",
                self.screen()
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Returns whether the terminal itself shows what is typed, line by line, as
    /// it does for a shell.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).expect("it is a terminal");
        let cooked = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        modes.local_modes.contains(cooked)
    }

    /// Waits for the command to end and returns its exit code.
    pub fn exit_code(mut self) -> i32 {
        let child = Mutex::new(&mut self.child);
        let status = || {
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            child.try_wait().expect("a child can be waited for")
        };
        wait_until("the command ends", || status().is_some());
        assert!(self.is_cooked(), "the terminal is left as it was found");
        let status = self.child.wait().expect("it has ended");
        status.code().unwrap_or(-1)
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("it is a terminal");
}

/// Starts the command in a session of its own, which the terminal controls, so
/// that it hears of a new size.
fn on_terminal(command: &Command, keyboard: &File) -> Child {
    let name = ptsname(keyboard, Vec::new()).expect("a terminal has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let side = rustix::fs::open(&name, flags, Mode::empty()).expect("it can be opened");
    let stream = |side: &OwnedFd| Stdio::from(side.try_clone().expect("a descriptor is free"));
    let mut session = Command::new("setsid");
    session
        .args(["--ctty", "--wait"])
        .arg(command.get_program());
    session.args(command.get_args()).env_clear();
    let variables = command.get_envs();
    session.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    session
        .stdin(stream(&side))
        .stdout(stream(&side))
        .stderr(stream(&side));
    session.spawn().expect("setsid is part of util-linux")
}

/// Reads what is shown, until nobody has the other side open.
fn watch(mut reader: File, screen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.extend_from_slice(&buffer[..length]);
    }
}
