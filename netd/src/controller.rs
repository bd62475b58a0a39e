//! Attach and release: decides under the lock, writes the intent, acts without
//! the lock. Networks are made and removed in `networks`.

mod connect;
mod default_bridge;
mod ground;
pub mod networks;
mod over;
mod rename;
mod repair;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base::{Failure, FailureKind, Instance, NetworkId, RunId};
use netd_api::{Attach, Attached, Dns, Lease, NetworkConfig, PublishedPort};

use crate::apply::{ApplyError, Host, KeptFirewalls};
use crate::config::NetworkSection;
use crate::dns::supervisor::Supervisor;
use crate::dns::{self, Names};
use crate::firewall::base::LoadError;
use crate::forwarding::Forwarding;
use crate::ipam::IpamError;
use crate::netlink::NetlinkError;
use crate::plan::attach::{Networks, plan_attach, plan_dismantle, plan_unpublish};
use crate::plan::network::plan_create;
use crate::ports::{PortError, Reservation};
use crate::resolver;
use crate::state::{LeaseError, Phase, Run, State};
use crate::store::{Store, StoreError};
use crate::teardown::Teardown;
use base::Steps;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// A run may publish this many ports.
const PORT_LIMIT: usize = 4096;
/// How long an attach waits for the DNS process to be told.
const NAMES_LIMIT: Duration = Duration::from_millis(100);
/// How long something that is being released is waited for.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("a container may publish at most {PORT_LIMIT} ports")]
    TooManyPorts,
    #[error("run {0} holds other networks already")]
    Different(RunId),
    #[error("run {0} is being attached or released")]
    Busy(RunId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("cannot take away all of run {run}: {errors}")]
    Release { run: RunId, errors: String },
    #[error(transparent)]
    Rules(#[from] LoadError),
    #[error(transparent)]
    Network(#[from] networks::NetworkError),
}

impl ControlError {
    /// Returns the failure that the requester is told.
    pub fn failure(&self) -> Failure {
        Failure::from_error(self.kind(), self)
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::Lease(error) => match error {
                LeaseError::NoNetwork(_) => FailureKind::NotFound,
                LeaseError::NoInterfaceName | LeaseError::Address(IpamError::Exhausted { .. }) => {
                    FailureKind::Exhausted
                }
                LeaseError::NotAttached(_) => FailureKind::Conflict,
                LeaseError::Address(IpamError::InUse { .. })
                | LeaseError::Joined { .. }
                | LeaseError::Template => FailureKind::Forbidden,
                LeaseError::Address(IpamError::Outside { .. } | IpamError::NoSubnet { .. })
                | LeaseError::NotJoinable(_)
                | LeaseError::InterfaceName(..)
                | LeaseError::InterfaceTaken(_)
                | LeaseError::Twice(_)
                | LeaseError::TooMany
                | LeaseError::Mac(_) => FailureKind::Invalid,
            },
            Self::Port(error) => match error {
                PortError::Allocated { .. } | PortError::AllAllocated { .. } => {
                    FailureKind::Conflict
                }
                PortError::NoSuchAddress { .. }
                | PortError::OtherFamily { .. }
                | PortError::Invalid(_) => FailureKind::Invalid,
                PortError::Deaf { .. } => FailureKind::Unsupported,
                PortError::Bind { .. } => FailureKind::Internal,
            },
            Self::TooManyPorts => FailureKind::Invalid,
            Self::Different(_) | Self::Busy(_) => FailureKind::Conflict,
            Self::Network(error) => error.kind(),
            Self::Store(_)
            | Self::Apply(_)
            | Self::Netlink(_)
            | Self::Rules(_)
            | Self::Release { .. } => FailureKind::Internal,
        }
    }
}

/// What the daemon's parts share.
#[derive(Debug)]
pub struct Controller {
    pub(crate) instance: Instance,
    pub(crate) store: Store,
    pub(crate) steps: Steps,
    pub(crate) table: String,
    pub(crate) prefix: String,
    pub(crate) forwarding: Forwarding,
    kept_firewalls: KeptFirewalls,
    pub(crate) config: NetworkSection,
    pub(crate) names: Names,
    state: Mutex<State>,
    /// The sockets that hold the published ports.
    held: Mutex<BTreeMap<RunId, Vec<Reservation>>>,
    released: Condvar,
    teardown: Teardown,
    /// Read while the host is changed, written while its rules are repaired: what is
    /// leased and what is there agree then.
    acting: RwLock<()>,
}

impl Controller {
    /// Returns a controller that knows nothing yet; `reconcile` fills it.
    ///
    /// # Errors
    /// When netd's directories cannot be made.
    pub fn new(
        instance: Instance,
        steps: Steps,
        config: NetworkSection,
        names: Names,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            store: Store::open(instance.clone())?,
            steps,
            table: instance.firewall_table(),
            prefix: instance.interface_prefix(),
            forwarding: Forwarding::new(&instance.netd()),
            kept_firewalls: KeptFirewalls::default(),
            config,
            names,
            state: Mutex::new(State::new(instance.interface_prefix())),
            held: Mutex::default(),
            released: Condvar::new(),
            teardown: Teardown::default(),
            acting: RwLock::new(()),
            instance,
        })
    }

    /// Returns what is known. Not to be held while acting on the host.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn host(&self) -> Result<Host<'_>, NetlinkError> {
        let acting = self.acting.read().unwrap_or_else(PoisonError::into_inner);
        Ok(self.open_host()?.holding(acting))
    }

    /// The same, while nobody else changes the host.
    fn open_host(&self) -> Result<Host<'_>, NetlinkError> {
        let ours = (&*self.table, &*self.prefix);
        Host::open(ours, &self.steps, &self.forwarding, &self.kept_firewalls)
    }

    /// Holds ports on behalf of a run, beside those that are held for it already.
    pub(crate) fn hold(&self, run: &RunId, ports: Vec<Reservation>) {
        let mut held = self.held();
        if !ports.is_empty() {
            held.entry(run.clone()).or_default().extend(ports);
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<RunId, Vec<Reservation>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_go(&self, run: &RunId) {
        self.keep_held(run, &[]);
    }

    /// Holds no other ports for a run any more than these.
    fn keep_held(&self, run: &RunId, ports: &[PublishedPort]) {
        let mut held = self.held();
        if let Some(its) = held.get_mut(run) {
            its.retain(|reservation| ports.contains(&reservation.port));
            if its.is_empty() {
                held.remove(run);
            }
        }
        drop(held);
        // Whoever waits has looked at what is held under this lock.
        drop(self.state());
        self.released.notify_all();
    }

    /// Gives a run its namespace, interfaces and ports. Repeated for a run that
    /// has them, it answers the same.
    ///
    /// # Errors
    /// When the request makes no sense or a step fails; nothing is left then.
    pub fn attach(&self, request: &Attach) -> Result<Attached, ControlError> {
        if let Some(attached) = self.already(request)? {
            return Ok(attached);
        }
        if request.ports.len() > PORT_LIMIT {
            return Err(ControlError::TooManyPorts);
        }
        let host_dns = self.host_dns();
        let reserved = self.reserve_ports(request)?;
        self.wait_for_addresses(&request.endpoints);
        let (lease, networks) = self.register(request, &reserved, &host_dns)?;
        let run = &request.run;
        if let Err(error) = self.put_in_place(&lease, &networks) {
            self.abandon(&lease);
            return Err(error);
        }
        self.hold(run, reserved);
        self.state().runs.set_phase(run, Phase::Attached);
        self.publish_names_of(&lease);
        Ok(lease.attached)
    }

    fn already(&self, request: &Attach) -> Result<Option<Attached>, ControlError> {
        let run = &request.run;
        match self.state().runs.get(run) {
            None => Ok(None),
            Some(known) if known.phase != Phase::Attached => Err(ControlError::Busy(run.clone())),
            Some(known) if known.lease.request != *request => {
                Err(ControlError::Different(run.clone()))
            }
            Some(known) => Ok(Some(known.lease.attached.clone())),
        }
    }

    fn host_dns(&self) -> Dns {
        resolver::read(Path::new(RESOLV_CONF)).unwrap_or_else(|error| {
            tracing::warn!(
                error = base::failure::chain(&error),
                "no name servers of the host"
            );
            Dns::default()
        })
    }

    /// Ports are published on a network that reaches the outside; without one
    /// they are not, as in Docker.
    fn reserve_ports(&self, request: &Attach) -> Result<Vec<Reservation>, ControlError> {
        let reach = {
            let state = self.state();
            let endpoints = state.in_order(&request.endpoints);
            state.reach(endpoints.into_iter().map(|it| &it.network))
        };
        if !reach.families.any() {
            return Ok(Vec::new());
        }
        Ok(self.reserve(&request.ports, reach)?)
    }

    /// Takes note of what a run is about to get.
    fn register(
        &self,
        request: &Attach,
        reserved: &[Reservation],
        host_dns: &Dns,
    ) -> Result<(Lease, Networks), ControlError> {
        let run = &request.run;
        let namespace = self.instance.network_namespace(run);
        let ports = reserved
            .iter()
            .map(|reservation| reservation.port.clone())
            .collect();
        let mut state = self.state();
        if state.runs.contains_key(run) {
            return Err(ControlError::Busy(run.clone()));
        }
        let lease = state.plan_lease(request, namespace, ports, host_dns)?;
        let known = Run {
            lease: lease.clone(),
            phase: Phase::Attaching,
            is_ending: false,
        };
        state.runs.insert(known);
        let joined = |id: &NetworkId| lease.attached.endpoints.iter().any(|e| e.network == *id);
        let networks = state.networks.iter().filter(|(id, _)| joined(id));
        let networks = networks
            .map(|(id, network)| (id.clone(), network.clone()))
            .collect();
        Ok((lease, networks))
    }

    fn put_in_place(&self, lease: &Lease, networks: &Networks) -> Result<(), ControlError> {
        self.steps.reached("write intent");
        self.store.write_intent(lease)?;
        let mut host = self.host()?;
        for network in networks.values() {
            self.ensure_network(&mut host, network)?;
        }
        host.apply(&plan_attach(lease, networks))?;
        self.steps.reached("complete intent");
        self.store.complete_intent(&lease.request.run)?;
        self.steps.reached("attached");
        Ok(())
    }

    /// Puts a network's bridge in place if it is not.
    pub(crate) fn ensure_network(
        &self,
        host: &mut Host<'_>,
        network: &NetworkConfig,
    ) -> Result<(), ControlError> {
        let parent = network.parent.as_ref().map(|parent| &parent.interface);
        let Some(interface) = network.interface.as_ref().or(parent) else {
            return Ok(());
        };
        let there = host.route().link(interface)?.is_some();
        if there && self.state().ready.contains(interface) {
            return Ok(());
        }
        host.apply(&plan_create(network))?;
        self.state().ready.insert(interface.clone());
        Ok(())
    }

    /// Forgets a run whose attach failed; the host was undone by `apply`.
    fn abandon(&self, lease: &Lease) {
        let run = &lease.request.run;
        if let Err(error) = self.dismantle(lease) {
            tracing::error!(%run, error = base::failure::chain(&error), "left behind");
        }
    }

    /// Takes everything away that a run holds, and returns once it is gone; a
    /// run that holds nothing is no error.
    ///
    /// # Errors
    /// When something could not be taken away; the next start tries again.
    pub fn detach(&self, run: &RunId) -> Result<(), ControlError> {
        match self.begin_release(run)? {
            Some(lease) => self.dismantle(&lease),
            None if self.wait_released(|state| !state.runs.contains_key(run)) => Ok(()),
            None => Err(ControlError::Busy(run.clone())),
        }
    }

    /// Frees a run's ports and names at once, and its interfaces, addresses and
    /// namespace soon after.
    ///
    /// # Errors
    /// When the release cannot be recorded.
    pub fn release(self: &Arc<Self>, run: &RunId) -> Result<(), ControlError> {
        let Some(lease) = self.begin_release(run)? else {
            return Ok(());
        };
        let controller = Arc::clone(self);
        self.teardown.run(Box::new(move || {
            if let Err(error) = controller.dismantle(&lease) {
                let error = base::failure::chain(&error);
                tracing::error!(%error, "the next start will try again");
            }
        }));
        Ok(())
    }

    /// Takes note of a release that is still to come.
    pub(crate) fn note_ending(&self, run: &RunId) {
        self.state().runs.note_ending(run);
    }

    /// Records the release and frees ports and names; returns what is left to do.
    fn begin_release(&self, run: &RunId) -> Result<Option<Lease>, ControlError> {
        let (lease, networks) = {
            let mut state = self.state();
            let networks = state.networks.clone();
            let known = state.runs.get(run);
            let Some(known) = known.filter(|known| known.phase == Phase::Attached) else {
                // Somebody is at it; the subject's order says it is a release.
                return Ok(None);
            };
            let lease = known.lease.clone();
            state.runs.set_phase(run, Phase::Releasing);
            (lease, networks)
        };
        self.steps.reached("begin release");
        if let Err(error) = self.store.begin_release(run) {
            self.state().runs.set_phase(run, Phase::Attached);
            return Err(error.into());
        }
        let errors = self.host()?.dismantle(&plan_unpublish(&lease, &networks));
        self.steps.reached("let ports go");
        self.let_go(run);
        self.publish_names();
        for error in errors {
            tracing::error!(%run, %error, "cannot unpublish");
        }
        Ok(Some(lease))
    }

    /// Takes interfaces and namespace away. Ports are unpublished before, or,
    /// after a crash, by the comparison of elements that follows.
    pub(crate) fn dismantle(&self, lease: &Lease) -> Result<(), ControlError> {
        let run = &lease.request.run;
        let networks = self.state().networks.clone();
        let errors = self.host()?.dismantle(&plan_dismantle(lease, &networks));
        if !errors.is_empty() {
            let errors = errors.join("; ");
            return Err(ControlError::Release {
                run: run.clone(),
                errors,
            });
        }
        self.steps.reached("forget lease");
        self.store.forget(run)?;
        self.state().runs.remove(run);
        self.released.notify_all();
        self.publish_names();
        Ok(())
    }

    /// Waits a bounded time until a condition holds; returns whether it does.
    pub(crate) fn wait_released(&self, done: impl Fn(&State) -> bool) -> bool {
        let state = self.state();
        let result = self
            .released
            .wait_timeout_while(state, RELEASE_LIMIT, |state| !done(state));
        let (state, _) = result.unwrap_or_else(PoisonError::into_inner);
        done(&state)
    }

    /// Tells the DNS child who is called what.
    pub(crate) fn publish_names(&self) {
        self.names.changed();
    }

    /// The same, and waits until it knows: a container may ask at once.
    fn publish_names_of(&self, lease: &Lease) {
        let change = self.names.changed();
        if dns::is_asked_by(lease) && !self.names.wait_told(change, NAMES_LIMIT) {
            tracing::warn!(run = %lease.request.run, "its names are not known yet");
        }
    }

    /// Keeps the DNS process alive and told until `names` is closed.
    pub fn supervise_dns(&self) {
        let supervisor = Supervisor::new(self.instance.netd().join("jail"));
        supervisor.run(&self.names, || {
            let host = self.host_dns();
            dns::table(&self.state(), &host)
        });
    }

    /// Waits until everything that is being released is.
    pub fn finish(&self) {
        self.teardown.finish();
    }
}
