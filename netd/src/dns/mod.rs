//! Names of containers on user networks.
//!
//! What containers send is read by a child process (`server`, `tcp`, `message`)
//! that has given up every privilege (`sandbox`) and knows only the table it is
//! sent (`control`, `table`). The daemon's part (`supervisor`) starts the child,
//! gives it sockets in the containers' own namespaces (`place`), where 127.0.0.11
//! port 53 leads to them, and tells it what changed.

pub mod control;
pub mod message;
mod place;
pub mod sandbox;
pub mod server;
pub mod supervisor;
pub mod table;
mod tcp;

use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netd_api::Lease;
use table::{Asker, Member, Table, Zone};

use crate::resolver::EMBEDDED;
use crate::state::{DEFAULT_NETWORK, Phase, Run, State};

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

/// Returns whether a run's resolv.conf names the DNS process.
pub fn is_asked_by(lease: &Lease) -> bool {
    lease.attached.resolver.servers.contains(&EMBEDDED.into())
}

/// Returns what the DNS process is to know: who asks it, and who is on the networks
/// that have names, which the default one has not.
pub fn table(state: &State, host: &netd_api::Dns) -> Table {
    let attached = |run: &&Run| run.phase == Phase::Attached;
    let askers = state.runs.values().filter(attached).map(|run| &run.lease);
    let askers = askers.filter(|lease| is_asked_by(lease)).map(|lease| {
        let endpoints = &lease.attached.endpoints;
        let networks = endpoints.iter().map(|it| &it.network);
        let links = lease.request.endpoints.iter().flat_map(|it| &it.links);
        Asker {
            run: lease.request.run.to_string(),
            namespace: lease.attached.namespace.clone(),
            forwards: state.leads_out(networks),
            servers: lease.request.dns.servers.clone(),
            links: links.cloned().collect(),
        }
    });
    let named = state.networks.values();
    let named = named.filter(|network| network.name != DEFAULT_NETWORK);
    let zones = named.map(|network| {
        let members = state.members(&network.id).filter(attached);
        let members = members.filter_map(|run| {
            let endpoint = run.lease.attached.endpoint_on(&network.id)?;
            Some(Member {
                run: run.lease.request.run.to_string(),
                addresses: endpoint.addresses().collect(),
                names: endpoint.dns_names.clone(),
            })
        });
        Zone {
            network: network.name.clone(),
            subnets: network.pools().map(|pool| pool.subnet).collect(),
            members: members.collect(),
        }
    });
    Table {
        askers: askers.collect(),
        zones: zones.collect(),
        upstream: host.servers.clone(),
    }
}
