//! Keeps the DNS child alive and told: opens the sockets it answers on, starts
//! it without privilege, sends it every change, starts it again when it ends.
//! Only the child has the sockets: another child gets others.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::file::make_directories;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::table::{Asker, Table};
use super::{Names, News, control, place};
use crate::sys;

/// How often the child is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// How soon a child that is missing is looked for.
const SOON: Duration = Duration::from_millis(50);
/// A child that ends at once is not started again sooner.
const START_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Running {
    child: Child,
    control: OwnedFd,
}

/// The child and what it was told.
#[derive(Debug)]
pub struct Supervisor {
    jail: PathBuf,
    /// Runs that the child answers.
    answered: BTreeSet<String>,
    /// Runs it cannot answer, complained about once.
    refused: BTreeSet<String>,
    running: Option<Running>,
    started: Option<Instant>,
    known: Table,
    /// Whether the child knows it too.
    is_told: bool,
}

impl Supervisor {
    /// Returns a supervisor whose child lives in the empty directory `jail`.
    pub fn new(jail: PathBuf) -> Self {
        Self {
            jail,
            answered: BTreeSet::new(),
            refused: BTreeSet::new(),
            running: None,
            started: None,
            known: Table::default(),
            is_told: false,
        }
    }

    /// Follows `names` until it is closed; `table` tells what there is to know.
    pub fn run(mut self, names: &Names, table: impl Fn() -> Table) {
        let mut wait = LOOK_AFTER;
        loop {
            let news = names.wait(wait);
            match news {
                News::Closed => break,
                News::Changed(_) => self.learn(table()),
                News::Nothing => {}
            }
            self.look_after();
            self.listen();
            self.tell();
            if let News::Changed(change) = news {
                names.told(change);
            }
            wait = if self.is_missing() { SOON } else { LOOK_AFTER };
        }
        self.end();
    }

    fn is_missing(&self) -> bool {
        self.running.is_none() && !self.known.askers.is_empty()
    }

    fn learn(&mut self, table: Table) {
        if table != self.known {
            self.known = table;
            self.is_told = false;
        }
    }

    /// Opens sockets for runs that come, and withdraws those of runs that went.
    fn listen(&mut self) {
        let askers = self.known.askers.iter();
        let asking: BTreeSet<String> = askers.map(|asker| asker.run.clone()).collect();
        self.refused.retain(|run| asking.contains(run));
        let gone: Vec<String> = self.answered.difference(&asking).cloned().collect();
        for run in gone {
            self.answered.remove(&run);
            self.send(|control| control::send_forget(control, &run));
        }
        let is_new = |asker: &&Asker| !self.answered.contains(&asker.run);
        let new: Vec<Asker> = self.known.askers.iter().filter(is_new).cloned().collect();
        for asker in new {
            if self.running.is_some() {
                self.answer(&asker);
            }
        }
    }

    fn answer(&mut self, asker: &Asker) {
        let run = &asker.run;
        match place::open(&asker.namespace) {
            Ok(sockets) => {
                self.refused.remove(run.as_str());
                self.answered.insert(run.clone());
                let both = [sockets.udp.as_fd(), sockets.tcp.as_fd()];
                self.send(|control| control::send_listen(control, run, both));
            }
            Err(error) => {
                if self.refused.insert(run.clone()) {
                    let error = base::failure::chain(&error);
                    tracing::warn!(%run, %error, "cannot answer names there yet");
                }
            }
        }
    }

    fn tell(&mut self) {
        if self.is_told || self.running.is_none() {
            return;
        }
        let table = std::mem::take(&mut self.known);
        self.send(|control| control::send_table(control, &table));
        self.is_told = self.running.is_some();
        self.known = table;
    }

    fn look_after(&mut self) {
        if let Some(running) = &mut self.running {
            match running.child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => tracing::error!(%status, "the DNS process ended"),
                Err(error) => tracing::error!(%error, "cannot wait for the DNS process"),
            }
            self.forget_child();
        }
        let recent = self
            .started
            .is_some_and(|started| started.elapsed() < START_AGAIN);
        if self.known.askers.is_empty() || recent {
            return;
        }
        self.started = Some(Instant::now());
        match start(&self.jail) {
            Ok(running) => self.running = Some(running),
            Err(error) => tracing::error!(%error, "cannot start the DNS process"),
        }
    }

    /// Another child has nothing of what this one had.
    fn forget_child(&mut self) -> Option<Running> {
        self.answered.clear();
        self.is_told = false;
        self.running.take()
    }

    fn send(&mut self, send: impl FnOnce(rustix::fd::BorrowedFd<'_>) -> io::Result<()>) {
        let sent = self
            .running
            .as_ref()
            .map(|running| send(running.control.as_fd()));
        self.check(sent);
    }

    /// A child that cannot be told is started again and told everything.
    fn check(&mut self, sent: Option<io::Result<()>>) {
        if let Some(Err(error)) = sent {
            tracing::error!(%error, "cannot tell the DNS process");
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(mut running) = self.forget_child() {
            drop(running.control); // it ends by itself then
            let ended = running.child.kill().and_then(|()| running.child.wait());
            if let Err(error) = ended {
                tracing::error!(%error, "cannot end the DNS process");
            }
        }
    }
}

fn start(jail: &Path) -> io::Result<Running> {
    make_directories(jail, 0o555).map_err(io::Error::other)?;
    let kind = SocketType::SEQPACKET;
    let (control, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // The whole of a large change is sent before the child reads the first.
    rustix::net::sockopt::set_socket_timeout(
        &control,
        rustix::net::sockopt::Timeout::Send,
        Some(START_AGAIN),
    )?;
    let child = Command::new(sys::OWN_BINARY)
        .arg("dns")
        .arg(jail)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Running { child, control })
}
