//! Performing plans. It decides nothing: each operation is one or a few calls,
//! and where one fails the plan says how to take the earlier ones back.

use std::io;
use std::path::{Path, PathBuf};

use std::sync::{Mutex, PoisonError, RwLockReadGuard};

use base::PathError;
use netd_api::{Parent, ParentOrigin};

use crate::family::Family;
use crate::firewall::{Element, Firewall};
use crate::forwarding::{self, Forwarding};
use crate::namespace::{self, Namespace, NamespaceError};
use crate::netlink::NetlinkError;
use crate::netlink::route::{RouteSocket, VethSpec};
use crate::netlink::sublink::SubLinkSpec;
use crate::plan::{Bridge, Interface, Operation, Port, Uplink, has_ipv6};
use crate::sysctl;
use base::Steps;

/// More sockets than this are not kept for later plans.
const KEPT_LIMIT: usize = 16;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error("the container has an interface {0:?} that is not netd's")]
    NameInUse(String),
}

/// A plan that was not performed, and what of it could not be taken back.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}{}", undo_text(.undo))]
pub struct ApplyError {
    pub step: &'static str,
    #[source]
    pub source: OperationError,
    /// Undo steps that failed too, with their messages.
    pub undo: Vec<String>,
}

fn undo_text(undo: &[String]) -> String {
    if undo.is_empty() {
        return String::new();
    }
    format!(" (and not taken back: {})", undo.join("; "))
}

/// Sockets for elements of our table that later plans use again. The kernel lets
/// whoever closes one after elements were removed wait until every processor has
/// taken notice, and a release is not to wait.
#[derive(Debug, Default)]
pub struct KeptFirewalls(Mutex<Vec<Firewall>>);

impl KeptFirewalls {
    fn take(&self, table: &str) -> Result<Firewall, NetlinkError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.map_or_else(|| Firewall::open(table), Ok)
    }

    fn keep(&self, firewall: Firewall) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_LIMIT {
            kept.push(firewall);
        }
    }
}

/// The host as plans act on it; one for each plan, cheap to make.
#[derive(Debug)]
pub struct Host<'a> {
    table: &'a str,
    /// What the installation's interfaces begin with.
    prefix: &'a str,
    steps: &'a Steps,
    forwarding: &'a Forwarding,
    route: RouteSocket,
    firewall: Option<Firewall>,
    kept: &'a KeptFirewalls,
    /// The namespace that is being worked on.
    namespace: Option<(PathBuf, Namespace)>,
    /// Keeps the rules from being repaired while the plan is performed.
    _acting: Option<RwLockReadGuard<'a, ()>>,
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        if let Some(firewall) = self.firewall.take() {
            self.kept.keep(firewall);
        }
    }
}

impl<'a> Host<'a> {
    /// Returns a handle on the host.
    ///
    /// # Errors
    /// When no netlink socket can be opened.
    pub fn open(
        (table, prefix): (&'a str, &'a str),
        steps: &'a Steps,
        forwarding: &'a Forwarding,
        kept: &'a KeptFirewalls,
    ) -> Result<Self, NetlinkError> {
        Ok(Self {
            table,
            prefix,
            steps,
            forwarding,
            route: RouteSocket::open()?,
            firewall: None,
            kept,
            namespace: None,
            _acting: None,
        })
    }

    /// Keeps a guard for as long as there are plans to perform.
    pub fn holding(mut self, acting: RwLockReadGuard<'a, ()>) -> Self {
        self._acting = Some(acting);
        self
    }

    /// Returns the socket for questions about links, addresses and routes.
    pub fn route(&mut self) -> &mut RouteSocket {
        &mut self.route
    }

    /// Returns the socket for elements of our table.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn firewall(&mut self) -> Result<&mut Firewall, NetlinkError> {
        match &mut self.firewall {
            Some(firewall) => Ok(firewall),
            none => Ok(none.insert(self.kept.take(self.table)?)),
        }
    }

    /// Performs `plan`; if an operation fails, takes back it and all before it.
    ///
    /// # Errors
    /// The operation that failed, and the undo steps that failed too.
    pub fn apply(&mut self, plan: &[Operation]) -> Result<(), ApplyError> {
        for (index, operation) in plan.iter().enumerate() {
            if let Err(source) = self.perform(operation) {
                let undo: Vec<_> = plan[..=index]
                    .iter()
                    .rev()
                    .filter_map(Operation::undo)
                    .collect();
                return Err(ApplyError {
                    step: operation.name(),
                    source,
                    undo: self.dismantle(&undo),
                });
            }
        }
        Ok(())
    }

    /// Performs all of `plan`, also after an error; returns the errors' texts.
    pub fn dismantle(&mut self, plan: &[Operation]) -> Vec<String> {
        let mut errors = Vec::new();
        for operation in plan {
            if let Err(error) = self.perform(operation) {
                errors.push(format!(
                    "{}: {}",
                    operation.name(),
                    base::failure::chain(&error)
                ));
            }
        }
        errors
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), OperationError> {
        self.steps.reached(operation.name());
        tracing::debug!(%operation, "perform");
        match operation {
            Operation::EnsureBridge(bridge) => self.ensure_bridge(bridge),
            Operation::CreateNamespace(path) => {
                self.namespace = Some((path.clone(), namespace::create(path)?));
                Ok(())
            }
            Operation::CreateOwnedNamespace { path, mappings } => {
                self.namespace = Some((path.clone(), namespace::create_owned(path, mappings)?));
                Ok(())
            }
            Operation::CreateInterface(interface) => self.create_interface(interface),
            Operation::JoinBridge { interface, port } => {
                let index = self.route.index(&port.bridge)?;
                self.route.join_bridge(interface, index)?;
                self.set_up_port(interface, port)
            }
            Operation::SetDefaultRoute { namespace, way } => {
                let namespace = entered(&mut self.namespace, namespace)?;
                Ok(namespace.route.set_default_route(way)?)
            }
            Operation::EnsureParent(parent) => self.ensure_parent(parent),
            Operation::LeaveBridge(bridge) => self.leave_bridge(bridge),
            Operation::RemoveInner { namespace, name } => {
                if !namespace::is_bound(namespace) {
                    return Ok(());
                }
                let namespace = entered(&mut self.namespace, namespace)?;
                Ok(namespace.route.delete_link(name)?)
            }
            Operation::AddElements(elements) => Ok(self.firewall()?.add(elements)?),
            Operation::RemoveElements(elements) => Ok(self.firewall()?.remove(elements)?),
            Operation::RemoveLink(name) => Ok(self.route.delete_link(name)?),
            Operation::ReleaseNamespace(path) => {
                self.namespace = None;
                Ok(namespace::release(path)?)
            }
        }
    }

    fn ensure_bridge(&mut self, bridge: &Bridge) -> Result<(), OperationError> {
        let name = &bridge.interface;
        if !bridge.adopted {
            self.route.create_bridge(name, bridge.mac, bridge.mtu)?;
            self.mark(name)?;
        }
        // Answers to ports that are published on the host's loopback come back
        // this way; chain `guard` keeps everything else away from 127/8.
        sysctl::write(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        let has_ipv6 = has_ipv6(&bridge.addresses);
        sysctl::set_ipv6(name, has_ipv6)?;
        let index = self.route.index(name)?;
        if bridge.adopted {
            self.route.set_up(index)?;
        }
        for address in &bridge.addresses {
            self.route.add_address(index, *address)?;
        }
        self.steps.reached("turn forwarding on");
        let firewall = match &mut self.firewall {
            Some(firewall) => firewall,
            none => none.insert(self.kept.take(self.table)?),
        };
        if bridge.addresses.iter().any(|net| net.addr().is_ipv4()) {
            forwarding::ensure_on(self.forwarding, firewall)?;
        }
        if has_ipv6 {
            self.steps.reached("turn IPv6 forwarding on");
            forwarding::ensure_ipv6_on(self.forwarding, firewall)?;
            self.route.add_loopback_route(index)?;
            let deaf = [Element::Deaf(Family::V6)];
            match sysctl::do_bridges_filter_ipv6() {
                true => firewall.add(&deaf)?,
                false => firewall.remove(&deaf)?,
            }
        }
        Ok(())
    }

    /// Says whose a link is that is called as the user wants.
    fn mark(&mut self, name: &str) -> Result<(), OperationError> {
        match name.starts_with(self.prefix) {
            true => Ok(()),
            false => Ok(self.route.mark(name, self.prefix)?),
        }
    }

    fn ensure_parent(&mut self, parent: &Parent) -> Result<(), OperationError> {
        let name = &parent.interface;
        match &parent.origin {
            ParentOrigin::Host => return Ok(()),
            ParentOrigin::Dummy => self.route.create_dummy(name)?,
            ParentOrigin::Vlan { on, id } => {
                let on = self.route.index(on)?;
                self.route.create_vlan(name, on, *id)?;
            }
        }
        self.mark(name)
    }

    fn leave_bridge(&mut self, bridge: &Bridge) -> Result<(), OperationError> {
        let Some(link) = self.route.link(&bridge.interface)? else {
            return Ok(());
        };
        for address in &bridge.addresses {
            self.route.remove_address(link.index, *address)?;
        }
        Ok(())
    }

    /// Where bridges hand frames to the firewall, it keeps those on one bridge apart
    /// that are to be, and lets them through that were translated: an isolated port
    /// would drop these too. A port needs no IPv6 of its own, and the routes of all
    /// ports are gone through whenever one goes up or down.
    fn set_up_port(&mut self, name: &str, port: &Port) -> Result<(), OperationError> {
        sysctl::set_ipv6(name, false)?;
        let isolated = port.isolated && !sysctl::do_bridges_filter();
        Ok(self.route.set_up_port(name, isolated)?)
    }

    fn create_interface(&mut self, interface: &Interface) -> Result<(), OperationError> {
        match self.make(interface) {
            // Made before a crash; what follows is repeated.
            Err(OperationError::Netlink(error)) if error.errno() == libc::EEXIST => {
                self.check_ours(interface)?;
            }
            other => other?,
        }
        self.steps.reached("configure interface");
        if let Uplink::Bridge(port) = &interface.uplink {
            self.set_up_port(&interface.host_name, port)?;
        }
        let route = &mut self.route;
        let namespace = entered(&mut self.namespace, &interface.namespace)?;
        if has_ipv6(&interface.addresses) {
            namespace.enable_ipv6(&interface.name)?;
        }
        namespace.set(&interface.name, &interface.sysctls)?;
        let index = namespace.route.index(&interface.name)?;
        for address in &interface.addresses {
            namespace.route.add_address(index, *address)?;
        }
        namespace.route.set_up(index)?;
        namespace.route.settle(&interface.name)?;
        if let Uplink::Bridge(port) = &interface.uplink {
            route.settle(&interface.host_name)?;
            route.settle(&port.bridge)?;
        }
        for way in &interface.default_routes {
            namespace.route.set_default_route(way)?;
        }
        Ok(())
    }

    /// Tells an interface that was made before from one of the same name that the
    /// container has of somebody else.
    fn check_ours(&mut self, interface: &Interface) -> Result<(), OperationError> {
        let is_ours = match &interface.uplink {
            Uplink::Bridge(_) => self.route.link(&interface.host_name)?.is_some(),
            Uplink::Macvlan { .. } | Uplink::Ipvlan { .. } => {
                let namespace = entered(&mut self.namespace, &interface.namespace)?;
                let link = namespace.route.link(&interface.name)?;
                link.is_some_and(|link| link.is_of(self.prefix))
            }
        };
        match is_ours {
            true => Ok(()),
            false => Err(OperationError::NameInUse(interface.name.clone())),
        }
    }

    fn make(&mut self, interface: &Interface) -> Result<(), OperationError> {
        let on = self.route.index(interface.uplink.host_interface())?;
        let namespace = entered(&mut self.namespace, &interface.namespace)?;
        let namespace = rustix::fd::AsFd::as_fd(&*namespace);
        let made = match &interface.uplink {
            Uplink::Bridge(_) => self.route.create_veth(&VethSpec {
                host_name: &interface.host_name,
                bridge: on,
                peer_name: &interface.name,
                peer_mac: interface.mac,
                namespace,
                mtu: interface.mtu,
            }),
            Uplink::Macvlan { .. } | Uplink::Ipvlan { .. } => {
                self.route.create_sublink(&SubLinkSpec {
                    uplink: &interface.uplink,
                    parent: on,
                    name: &interface.name,
                    mac: interface.mac,
                    namespace,
                })
            }
        };
        Ok(made?)
    }
}

/// Returns the namespace at `path`, opening it if it is not the one at hand.
fn entered<'n>(
    current: &'n mut Option<(PathBuf, Namespace)>,
    path: &Path,
) -> Result<&'n mut Namespace, OperationError> {
    if current.as_ref().is_none_or(|(at, _)| at != path) {
        *current = Some((path.to_owned(), namespace::open(path)?));
    }
    let missing = || NamespaceError::Enter {
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    };
    let (_, namespace) = current.as_mut().ok_or_else(missing)?;
    Ok(namespace)
}
