//! Keeps the DNS child alive and told: binds the sockets it answers on, starts
//! it without privilege, sends it every change, starts it again when it ends.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::file::make_directories;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::control;
use super::server::PORT;
use super::table::Table;
use super::{Names, News};
use crate::sys;

/// How often the child is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// How often a socket is tried again that an ending child still holds.
const BIND_AGAIN: Duration = Duration::from_millis(50);
/// A child that ends at once is not started again sooner.
const START_AGAIN: Duration = Duration::from_secs(1);

/// The sockets of one gateway.
#[derive(Debug)]
struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

#[derive(Debug)]
struct Running {
    child: Child,
    control: OwnedFd,
}

/// The child and what it was told.
#[derive(Debug)]
pub struct Supervisor {
    jail: PathBuf,
    sockets: BTreeMap<IpAddr, Sockets>,
    /// Gateways whose sockets somebody else has, complained about once.
    refused: BTreeMap<IpAddr, io::ErrorKind>,
    running: Option<Running>,
    started: Option<Instant>,
    told: Table,
}

impl Supervisor {
    /// Returns a supervisor whose child lives in the empty directory `jail`.
    pub fn new(jail: PathBuf) -> Self {
        Self {
            jail,
            sockets: BTreeMap::new(),
            refused: BTreeMap::new(),
            running: None,
            started: None,
            told: Table::default(),
        }
    }

    /// Follows `names` until it is closed; `table` tells what there is to know.
    pub fn run(mut self, names: &Names, table: impl Fn() -> Table) {
        let mut wait = LOOK_AFTER;
        loop {
            let news = names.wait(wait);
            match news {
                News::Closed => break,
                News::Changed(_) => {
                    let table = table();
                    self.listen(&table);
                    self.tell(table);
                }
                News::Nothing => {
                    let table = self.told.clone();
                    self.listen(&table);
                }
            }
            self.look_after();
            if let News::Changed(change) = news {
                names.told(change);
            }
            let waits = self.refused.is_empty() && !self.is_missing();
            wait = if waits { LOOK_AFTER } else { BIND_AGAIN };
        }
        self.end();
    }

    fn is_missing(&self) -> bool {
        self.running.is_none() && !self.sockets.is_empty()
    }

    /// Binds and unbinds as the table's zones come and go.
    fn listen(&mut self, table: &Table) {
        let wanted = |gateway: &IpAddr| table.zones.iter().any(|zone| zone.gateway == *gateway);
        self.refused.retain(|gateway, _| wanted(gateway));
        let gone: Vec<IpAddr> = self
            .sockets
            .keys()
            .copied()
            .filter(|gateway| !wanted(gateway))
            .collect();
        for gateway in gone {
            self.sockets.remove(&gateway);
            self.send(|control| control::send_forget(control, gateway));
        }
        for gateway in table.zones.iter().map(|zone| zone.gateway) {
            if self.sockets.contains_key(&gateway) {
                continue;
            }
            match bind(gateway) {
                Ok(sockets) => {
                    self.refused.remove(&gateway);
                    let both = [sockets.udp.as_fd(), sockets.tcp.as_fd()];
                    let sent = self.running.as_ref().map(|running| {
                        control::send_listen(running.control.as_fd(), gateway, both)
                    });
                    self.check(sent);
                    self.sockets.insert(gateway, sockets);
                }
                Err(error) => {
                    if self.refused.insert(gateway, error.kind()).is_none() {
                        tracing::warn!(%gateway, %error, "cannot answer names there yet");
                    }
                }
            }
        }
    }

    fn tell(&mut self, table: Table) {
        if table != self.told {
            self.send(|control| control::send_table(control, &table));
            self.told = table;
        }
    }

    fn look_after(&mut self) {
        if let Some(running) = &mut self.running {
            match running.child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => tracing::error!(%status, "the DNS process ended"),
                Err(error) => tracing::error!(%error, "cannot wait for the DNS process"),
            }
            self.running = None;
        }
        let recent = self
            .started
            .is_some_and(|started| started.elapsed() < START_AGAIN);
        if self.sockets.is_empty() || recent {
            return;
        }
        self.started = Some(Instant::now());
        match start(&self.jail) {
            Ok(running) => self.running = Some(running),
            Err(error) => return tracing::error!(%error, "cannot start the DNS process"),
        }
        let table = self.told.clone();
        self.send(|control| control::send_table(control, &table));
        let sockets = std::mem::take(&mut self.sockets);
        for (gateway, both) in &sockets {
            let both = [both.udp.as_fd(), both.tcp.as_fd()];
            self.send(|control| control::send_listen(control, *gateway, both));
        }
        self.sockets = sockets;
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
        if let Some(mut running) = self.running.take() {
            drop(running.control); // it ends by itself then
            let ended = running.child.kill().and_then(|()| running.child.wait());
            if let Err(error) = ended {
                tracing::error!(%error, "cannot end the DNS process");
            }
        }
    }
}

fn bind(gateway: IpAddr) -> io::Result<Sockets> {
    let address = SocketAddr::new(gateway, PORT);
    Ok(Sockets {
        udp: UdpSocket::bind(address)?,
        tcp: TcpListener::bind(address)?,
    })
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
