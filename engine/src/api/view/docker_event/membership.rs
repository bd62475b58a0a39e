//! Which networks the runs of containers are on, as the log tells it: the ends of
//! runs do not name them again.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_api::event::EventMessage;
use engine_model::container::NetworkMode;
use events::Record;
use netd_api::{Attached, Endpoint, NetworkConfig, NetworksChanged};

use super::{NAMES_LIMIT, actor, container_id, message};
use crate::Engine;
use crate::api::view::network::driver;
use crate::container::network::find;

/// A network that a container is on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    id: String,
    name: String,
    driver: &'static str,
}

/// The networks of containers that run, as far as the log was read.
#[derive(Debug)]
pub(super) struct Memberships {
    engine: Arc<Engine>,
    known: BTreeMap<String, Vec<Member>>,
}

impl From<&Endpoint> for Member {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.network.to_string(),
            name: endpoint.network_name.clone(),
            driver: driver(endpoint.driver),
        }
    }
}

impl From<NetworkConfig> for Member {
    fn from(network: NetworkConfig) -> Self {
        Self {
            id: network.id.to_string(),
            name: network.name,
            driver: driver(network.driver),
        }
    }
}

impl Memberships {
    /// Returns those of the containers that run now: the log may have told of
    /// them before it is read.
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        let leases = netd_api::query::leases(&engine.instance).unwrap_or_else(|error| {
            let error = base::failure::chain(&error);
            tracing::warn!(%error, "cannot read which networks containers are on");
            Vec::new()
        });
        let mut all = Self {
            engine: engine.clone(),
            known: BTreeMap::new(),
        };
        for lease in leases {
            let container = lease.request.run.container.to_string();
            all.keep(container, &lease.attached);
        }
        all
    }

    /// Takes note of what netd did; what it did to a run that lives is an event.
    ///
    /// # Errors
    /// When the payload cannot be read.
    pub(super) fn learn(
        &mut self,
        record: &Record,
    ) -> Result<Vec<EventMessage>, serde_json::Error> {
        let container = container_id(&record.subject);
        match record.kind.as_str() {
            "network.attached" => {
                self.keep(container, &record.payload()?);
                Ok(Vec::new())
            }
            kind @ ("network.connected" | "network.disconnected") => {
                let changed: NetworksChanged = record.payload()?;
                self.keep(container, &changed.attached);
                let action = match kind {
                    "network.connected" => "connect",
                    _ => "disconnect",
                };
                let member = Member {
                    id: changed.network.to_string(),
                    name: changed.network_name,
                    driver: driver(changed.driver),
                };
                Ok(vec![tell(record, action, &member)])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns that a container joins its networks.
    pub(super) fn joined(&mut self, record: &Record) -> Vec<EventMessage> {
        let container = container_id(&record.subject);
        let members = self.known.get(&container).cloned();
        let members = members.unwrap_or_else(|| self.configured(&container));
        let told = members.iter();
        let told = told.map(|it| tell(record, "connect", it)).collect();
        self.insert(container, members);
        told
    }

    /// Returns that a container leaves its networks, and forgets them.
    pub(super) fn left(&mut self, record: &Record) -> Vec<EventMessage> {
        let container = container_id(&record.subject);
        let members = self.known.remove(&container);
        let members = members.unwrap_or_else(|| self.configured(&container));
        let told = members.iter().rev();
        told.map(|it| tell(record, "disconnect", it)).collect()
    }

    fn keep(&mut self, container: String, attached: &Attached) {
        let mut members: Vec<Member> = attached.endpoints.iter().map(Member::from).collect();
        if members.is_empty() {
            members.extend(self.configured(&container));
        }
        self.insert(container, members);
    }

    fn insert(&mut self, container: String, members: Vec<Member>) {
        if self.known.len() >= NAMES_LIMIT.get() {
            self.known.pop_first();
        }
        self.known.insert(container, members);
    }

    /// The networks that a container is to join, where netd did not tell: it has
    /// no part in `host` and gives nothing in `none`.
    fn configured(&self, container: &str) -> Vec<Member> {
        let known = container.parse().ok();
        let known = known.and_then(|id| self.engine.containers.by_id(&id));
        let Some(known) = known else {
            return Vec::new();
        };
        let names = match &known.config().network {
            NetworkMode::None => vec!["none".to_owned()],
            NetworkMode::Host => vec!["host".to_owned()],
            NetworkMode::Container(_) => Vec::new(),
            NetworkMode::Networks(endpoints) => {
                endpoints.iter().map(|it| it.network.clone()).collect()
            }
        };
        let found = names
            .iter()
            .filter_map(|name| find(&self.engine.instance, name).ok());
        found.map(Member::from).collect()
    }
}

/// Tells that the container of a run has joined a network, or left it.
fn tell(record: &Record, action: &str, member: &Member) -> EventMessage {
    let container = container_id(&record.subject);
    let pairs = [
        ("container", container.as_str()),
        ("name", member.name.as_str()),
        ("type", member.driver),
    ];
    message(record, "network", action, actor(&member.id, &pairs))
}
