//! Names of containers on user networks.
//!
//! What containers send is read by a child process (`server`, `tcp`, `message`)
//! that has given up every privilege (`sandbox`) and knows only the table it is
//! sent (`control`, `table`). The daemon's part (`supervisor`) binds sockets,
//! starts the child and tells it what changed.

pub mod control;
pub mod message;
pub mod sandbox;
pub mod server;
pub mod supervisor;
pub mod table;
mod tcp;

use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use table::{Member, Table, Zone};

use crate::state::{DEFAULT_NETWORK, Phase, State};

/// Why the DNS process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    #[error("cannot answer names")]
    Serve(#[from] std::io::Error),
}

/// The whole life of the DNS process: its standard input is the control socket.
///
/// # Errors
/// When privilege cannot be given up or events cannot be waited for.
pub fn run_child(jail: &Path) -> Result<(), DnsError> {
    sandbox::enter(jail)?;
    Ok(server::serve(rustix::stdio::stdin().as_fd())?)
}

/// Says that names have changed; the supervisor's thread takes it from there.
#[derive(Debug, Default)]
pub struct Names {
    news: Mutex<Pending>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    /// Counts changes.
    wanted: u64,
    /// The change the supervisor has taken on, and the one the process was told.
    taken: u64,
    told: u64,
    closed: bool,
}

/// What the supervisor woke up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The number is to be given back to [`Names::told`].
    Changed(u64),
    Closed,
    /// The time is over.
    Nothing,
}

impl Names {
    /// Says that who is called what has changed; returns the change's number.
    pub fn changed(&self) -> u64 {
        let mut news = self.lock();
        news.wanted += 1;
        self.arrived.notify_all();
        news.wanted
    }

    /// Says that the process was told everything up to a change.
    pub fn told(&self, change: u64) {
        self.lock().told = change;
        self.arrived.notify_all();
    }

    /// Ends the supervisor.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Waits for news, at most `limit`.
    pub fn wait(&self, limit: Duration) -> News {
        let idle = |news: &mut Pending| news.wanted == news.taken && !news.closed;
        let result = self.arrived.wait_timeout_while(self.lock(), limit, idle);
        let (mut news, _) = result.unwrap_or_else(PoisonError::into_inner);
        if news.closed {
            return News::Closed;
        }
        if news.wanted == news.taken {
            return News::Nothing;
        }
        news.taken = news.wanted;
        News::Changed(news.taken)
    }

    /// Waits until the process was told of a change, at most `limit`; returns
    /// whether it was.
    pub fn wait_told(&self, change: u64, limit: Duration) -> bool {
        let untold = |news: &mut Pending| news.told < change && !news.closed;
        let result = self.arrived.wait_timeout_while(self.lock(), limit, untold);
        let (news, _) = result.unwrap_or_else(PoisonError::into_inner);
        news.told >= change
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the DNS process is to know: the networks whose bridges are in
/// place. The default network has no names; it is among them only where
/// containers need its gateway to reach the host's name servers.
pub fn table(state: &State, host: &netd_api::Dns) -> Table {
    let loopback_only = host.servers.iter().all(|server| server.is_loopback());
    let answered = state.networks.values().filter(|network| {
        let ready = network
            .interface
            .as_ref()
            .is_some_and(|it| state.ready.contains(it));
        ready && (network.name != DEFAULT_NETWORK || loopback_only)
    });
    let zones = answered.filter_map(|network| {
        let gateway = network.pools().next()?.gateway;
        let live = state
            .members(&network.id)
            .filter(|run| run.phase == Phase::Attached);
        let members = live.flat_map(|run| {
            let lease = &run.lease;
            let endpoints = lease.attached.endpoints.iter();
            let here = endpoints.filter(|endpoint| endpoint.network == network.id);
            here.map(|endpoint| Member {
                run: lease.request.run.to_string(),
                addresses: endpoint.addresses().collect(),
                names: endpoint.dns_names.clone(),
                servers: lease.request.dns.servers.clone(),
            })
        });
        Some(Zone {
            network: network.name.clone(),
            gateway,
            subnets: network.pools().map(|pool| pool.subnet).collect(),
            internal: network.internal,
            members: members.collect(),
        })
    });
    Table {
        zones: zones.collect(),
        upstream: host.servers.clone(),
    }
}
