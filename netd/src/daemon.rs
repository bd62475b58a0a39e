//! The daemon's life: single by a lock, rules loaded, host reconciled, requests
//! served until told to stop. A daemon that stops while nobody is attached
//! leaves nothing on the host; else everything stays as it is.

use std::io::PipeWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use base::lock::FileLock;
use base::{Instance, PathError};
use events::{AppendError, Draft, Log, OpenError, ReadError, Server, ServerConfig};
use netd_api::{RECONCILED, SOURCE};

use crate::config::NetworkSection;
use crate::controller::networks::NetworkError;
use crate::controller::{ControlError, Controller};
use crate::dns::Names;
use crate::firewall::base::LoadError;
use crate::firewall::{self, foreign};
use crate::namespace;
use crate::netlink::NetlinkError;
use crate::plan::network::plan_remove;
use crate::service::NetworkService;
use crate::store::StoreError;
use base::Steps;

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("another netd runs for this installation: {lock:?} is held")]
    Held { lock: PathBuf },
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Rules(#[from] LoadError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("cannot reconcile the host's networks")]
    Reconcile(#[source] ControlError),
    #[error("cannot take the host's networks away")]
    Dissolve(#[source] ControlError),
    #[error("cannot open the event log")]
    Log(#[from] OpenError),
    #[error("cannot append {RECONCILED}")]
    Append(#[from] AppendError),
    #[error("cannot write {RECONCILED} as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    #[error("cannot follow the event log")]
    Follow(#[from] ReadError),
}

/// Runs the daemon until `stop` is set.
///
/// # Errors
/// When it cannot start, or the event log cannot be followed.
pub fn run(
    instance: Instance,
    config: NetworkSection,
    steps: Steps,
    stop: &AtomicBool,
) -> Result<(), DaemonError> {
    let lock = instance.daemon_lock(SOURCE);
    let Some(held) = FileLock::try_acquire(&lock)? else {
        return Err(DaemonError::Held { lock });
    };
    held.record_holder(&lock, env!("CARGO_PKG_VERSION"))?;
    let log = Log::open(&instance.events())?;
    for directory in ["netns", namespace::OWNERS] {
        namespace::prepare(&instance.run().join(directory))?;
    }
    let table = instance.firewall_table();
    let others = foreign::script(&table, &instance.interface_prefix())?;
    firewall::base::load(&table, &others)?;
    let controller = Arc::new(Controller::new(instance, steps, config, Names::default())?);
    let counts = controller.reconcile().map_err(DaemonError::Reconcile)?;
    tracing::info!(?counts, "reconciled");
    log.append(&[Draft::new(SOURCE, RECONCILED, SOURCE, &counts)?])?;
    let dns = supervise_dns(&controller)?;
    let service = Arc::new(NetworkService::new(Arc::clone(&controller)));
    let (over, rules) = watch_rules(&controller)?;
    let served = Server::new(log, service, ServerConfig::default()).run(stop);
    drop(over);
    if rules.join().is_err() {
        tracing::error!("the thread that watches the rules panicked");
    }
    controller.finish();
    controller.names.close();
    if dns.join().is_err() {
        tracing::error!("the thread that supervises DNS panicked");
    }
    if controller.is_idle() {
        controller.dissolve().map_err(DaemonError::Dissolve)?;
    }
    Ok(served?)
}

fn supervise_dns(controller: &Arc<Controller>) -> Result<JoinHandle<()>, DaemonError> {
    let controller = Arc::clone(controller);
    let thread = std::thread::Builder::new().name("dns".to_owned());
    let work = move || controller.supervise_dns();
    thread.spawn(work).map_err(DaemonError::Thread)
}

/// Watches the rules until what is returned first is dropped.
fn watch_rules(controller: &Arc<Controller>) -> Result<(PipeWriter, JoinHandle<()>), DaemonError> {
    let (over, writer) = std::io::pipe().map_err(DaemonError::Thread)?;
    let controller = Arc::clone(controller);
    let thread = std::thread::Builder::new().name("rules".to_owned());
    let work = move || controller.watch_rules(over);
    let thread = thread.spawn(work).map_err(DaemonError::Thread)?;
    Ok((writer, thread))
}

impl Controller {
    fn is_idle(&self) -> bool {
        self.state().runs.is_empty()
    }

    /// Takes bridges, rules and the mount of the namespaces away.
    fn dissolve(&self) -> Result<(), ControlError> {
        let mut host = self.host()?;
        let networks: Vec<_> = self.state().networks.values().cloned().collect();
        for network in &networks {
            let errors = host.dismantle(&plan_remove(network));
            if !errors.is_empty() {
                return Err(NetworkError::Left(errors.join("; ")).into());
            }
        }
        let others = host.route().links()?.iter().any(|link| link.is_bridge);
        let forwarding = if others {
            // Another manager may have come to rely on it.
            self.forwarding.forget()
        } else {
            self.forwarding.restore()
        };
        forwarding.map_err(StoreError::from)?;
        host.firewall()?.delete_table()?;
        foreign::withdraw(&self.table, &self.instance.interface_prefix())?;
        for directory in ["netns", namespace::OWNERS] {
            namespace::dissolve(&self.instance.run().join(directory)).map_err(StoreError::from)?;
        }
        Ok(())
    }
}
