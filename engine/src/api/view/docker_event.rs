//! Docker's events as a projection of the durable log: its types, actions and
//! attributes (`api/types/events` of API 1.51).

mod membership;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use base::{RunId, Timestamp};
use engine_api::event::{EventActor, EventMessage};
use engine_api::filters::Filters;
use engine_image::Reference;
use engine_shim_api::{ExecExited, ExecStarted, ExitRecord};
use events::Record;
use netd_api::{NetworkConfig, NetworkRemoved};
use volumed_api::{RootfsMounted, VolumeConfig};

use self::membership::Memberships;
use crate::Engine;
use crate::event::{
    self, Committed, ContainerNamed, ExecCreated, Health, ImageNamed, Killed, Renamed,
};

/// Containers whose names are remembered while history is read.
const NAMES_LIMIT: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// Turns records into Docker's events; learns containers' names on the way.
#[derive(Debug)]
pub(in crate::api) struct Projection {
    engine: Arc<Engine>,
    names: BTreeMap<String, ContainerNamed>,
    /// When containers began to run whose ends were not told yet.
    starts: BTreeMap<String, Timestamp>,
    memberships: Memberships,
}

/// Returns the action of a fact about a container that says nothing more.
fn plain_action(kind: &str) -> Option<&'static str> {
    Some(match kind {
        event::CONTAINER_STOPPED => "stop",
        event::CONTAINER_RESTARTED => "restart",
        event::CONTAINER_PAUSED => "pause",
        event::CONTAINER_RESUMED => "unpause",
        event::CONTAINER_UPDATED => "update",
        event::CONTAINER_ARCHIVED => "archive-path",
        event::CONTAINER_EXTRACTED => "extract-to-dir",
        event::CONTAINER_EXPORTED => "export",
        event::CONTAINER_ATTACHED => "attach",
        _ => return None,
    })
}

impl Projection {
    /// Returns a projection that knows the containers there are.
    pub(in crate::api) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: engine.clone(),
            names: BTreeMap::new(),
            starts: BTreeMap::new(),
            memberships: Memberships::new(engine),
        }
    }

    /// Returns the events a record stands for, usually one or none. A record
    /// whose payload cannot be read stands for none.
    pub(in crate::api) fn project(&mut self, record: &Record) -> Vec<EventMessage> {
        self.try_project(record).unwrap_or_else(|error| {
            tracing::warn!(position = %record.position, %error, "cannot read an event's payload");
            Vec::new()
        })
    }

    fn try_project(&mut self, record: &Record) -> Result<Vec<EventMessage>, serde_json::Error> {
        let area = record.kind.split('.').next().unwrap_or_default();
        let one = match area {
            "container" => return self.container_and_networks(record),
            "exec" => self.exec(record)?,
            "image" => image(record)?,
            "network" => return self.network(record),
            "volume" | "rootfs" => return self.volume(record),
            _ => None,
        };
        Ok(one.into_iter().collect())
    }

    /// As Docker has it, a container joins its networks just before it starts, and
    /// leaves them just before its end is told.
    fn container_and_networks(
        &mut self,
        record: &Record,
    ) -> Result<Vec<EventMessage>, serde_json::Error> {
        let mut all = match record.kind.as_str() {
            engine_shim_api::event::STARTED => self.memberships.joined(record),
            engine_shim_api::event::EXITED | event::CONTAINER_START_FAILED => {
                self.memberships.left(record)
            }
            _ => Vec::new(),
        };
        all.extend(self.container(record)?);
        Ok(all)
    }

    fn container(&mut self, record: &Record) -> Result<Option<EventMessage>, serde_json::Error> {
        let id = container_id(&record.subject);
        let mut more = BTreeMap::new();
        let action = match record.kind.as_str() {
            event::CONTAINER_CREATED => {
                self.learn(&id, record.payload()?);
                "create"
            }
            engine_shim_api::event::STARTED => {
                self.learn_start(&id, record.time);
                "start"
            }
            engine_shim_api::event::EXITED => {
                more = self.exit(&id, record)?;
                "die"
            }
            event::CONTAINER_KILLED => {
                let killed: Killed = record.payload()?;
                more.insert("signal".to_owned(), killed.signal.to_string());
                "kill"
            }
            event::CONTAINER_COMMITTED => {
                more = commit(record)?;
                "commit"
            }
            event::CONTAINER_RENAMED => {
                let renamed: Renamed = record.payload()?;
                let mut known = self.named(&id);
                known.name = renamed.name;
                self.learn(&id, known);
                more.insert("oldName".to_owned(), format!("/{}", renamed.old_name));
                "rename"
            }
            event::CONTAINER_REMOVED => {
                self.learn(&id, record.payload()?);
                "destroy"
            }
            event::CONTAINER_HEALTH => {
                let health: Health = record.payload()?;
                let action = format!("health_status: {}", health.status.as_str());
                return Ok(Some(self.of_container(record, &id, &action, more)));
            }
            kind => match plain_action(kind) {
                Some(action) => action,
                None => return Ok(None),
            },
        };
        Ok(Some(self.of_container(record, &id, action, more)))
    }

    fn exec(&mut self, record: &Record) -> Result<Option<EventMessage>, serde_json::Error> {
        use engine_shim_api::event::{EXEC_EXITED, EXEC_STARTED};
        let id = container_id(&record.subject);
        let mut more = BTreeMap::new();
        let (exec, action) = match record.kind.as_str() {
            event::EXEC_CREATED => {
                let created: ExecCreated = record.payload()?;
                let action = format!("exec_create: {}", self.arguments(&created.exec));
                (created.exec, action)
            }
            EXEC_STARTED => {
                let started: ExecStarted = record.payload()?;
                let action = format!("exec_start: {}", self.arguments(&started.exec));
                (started.exec, action)
            }
            EXEC_EXITED => {
                let exited: ExecExited = record.payload()?;
                more.insert("exitCode".to_owned(), exited.exit_code.to_string());
                (exited.exec, "exec_die".to_owned())
            }
            _ => return Ok(None),
        };
        more.insert("execID".to_owned(), exec);
        Ok(Some(self.of_container(record, &id, &action, more)))
    }

    /// The arguments are not in the log; they are known while the exec exists.
    fn arguments(&self, exec: &str) -> String {
        self.engine
            .execs
            .find(exec)
            .map(|exec| with_space(&exec.process.arguments))
            .unwrap_or_default()
    }

    fn network(&mut self, record: &Record) -> Result<Vec<EventMessage>, serde_json::Error> {
        match record.kind.as_str() {
            "network.created" => {
                let made: NetworkConfig = record.payload()?;
                let kind = super::network::driver(made.driver);
                Ok(vec![message(
                    record,
                    "network",
                    "create",
                    actor(made.id.as_str(), &[("name", &made.name), ("type", kind)]),
                )])
            }
            "network.removed" => {
                let gone: NetworkRemoved = record.payload()?;
                let kind = super::network::driver(gone.driver);
                Ok(vec![message(
                    record,
                    "network",
                    "destroy",
                    actor(&record.subject, &[("name", &gone.name), ("type", kind)]),
                )])
            }
            _ => self.memberships.learn(record),
        }
    }

    fn volume(&mut self, record: &Record) -> Result<Vec<EventMessage>, serde_json::Error> {
        match record.kind.as_str() {
            "volume.created" => {
                let made: VolumeConfig = record.payload()?;
                Ok(vec![message(
                    record,
                    "volume",
                    "create",
                    actor(made.name.as_str(), &[("driver", &made.driver)]),
                )])
            }
            "volume.removed" => Ok(vec![message(
                record,
                "volume",
                "destroy",
                actor(&record.subject, &[("driver", "local")]),
            )]),
            "rootfs.mounted" => {
                let mounted: RootfsMounted = record.payload()?;
                let container = container_id(&record.subject);
                let used = mounted.volumes.iter().map(|volume| {
                    let pairs = [("container", container.as_str()), ("driver", "local")];
                    message(
                        record,
                        "volume",
                        "mount",
                        actor(volume.name.as_str(), &pairs),
                    )
                });
                Ok(used.collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// What is told of an exit beside the container.
    fn exit(
        &mut self,
        id: &str,
        record: &Record,
    ) -> Result<BTreeMap<String, String>, serde_json::Error> {
        let exit: ExitRecord = record.payload()?;
        let mut more = BTreeMap::from([("exitCode".to_owned(), exit.exit_code.to_string())]);
        if let Some(started) = self.started(id) {
            let ran = record.time.since(started).as_secs();
            more.insert("execDuration".to_owned(), ran.to_string());
        }
        Ok(more)
    }

    fn learn_start(&mut self, id: &str, time: Timestamp) {
        if self.starts.len() >= NAMES_LIMIT.get() {
            self.starts.pop_first();
        }
        self.starts.insert(id.to_owned(), time);
    }

    /// When the run began whose end is told: told before, or known of the container.
    fn started(&mut self, id: &str) -> Option<Timestamp> {
        let known = || {
            let container = self.engine.containers.by_id(&id.parse().ok()?)?;
            container.state().started
        };
        self.starts.remove(id).or_else(known)
    }

    fn learn(&mut self, id: &str, named: ContainerNamed) {
        if self.names.len() >= NAMES_LIMIT.get() {
            self.names.pop_first();
        }
        self.names.insert(id.to_owned(), named);
    }

    fn named(&self, id: &str) -> ContainerNamed {
        if let Some(known) = self.names.get(id) {
            return known.clone();
        }
        let container = id
            .parse()
            .ok()
            .and_then(|id| self.engine.containers.by_id(&id));
        container.map_or_else(
            || ContainerNamed {
                name: String::new(),
                image: String::new(),
                labels: BTreeMap::new(),
            },
            |container| crate::container::remove::named(&container),
        )
    }

    fn of_container(
        &self,
        record: &Record,
        id: &str,
        action: &str,
        more: BTreeMap<String, String>,
    ) -> EventMessage {
        let named = self.named(id);
        let mut attributes = named.labels;
        attributes.insert("image".into(), named.image.clone());
        attributes.insert("name".into(), named.name);
        attributes.extend(more);
        let mut message = message(
            record,
            "container",
            action,
            EventActor {
                id: id.to_owned(),
                attributes,
            },
        );
        message.status = message.action.clone();
        message.id = id.to_owned();
        message.from = named.image;
        message
    }

    /// Returns whether an event passes the filters; of a name or an id the beginning
    /// is enough.
    pub(in crate::api) fn allows(&self, filters: &Filters, message: &EventMessage) -> bool {
        let attributes = &message.actor.attributes;
        let is = |kind: &str| message.kind == kind;
        let named = |text: &str| {
            message.actor.id.starts_with(text)
                || attributes
                    .get("name")
                    .is_some_and(|name| name.starts_with(text))
        };
        filters.allows("type", is)
            && filters.allows("scope", |scope| scope == message.scope)
            && filters.allows("daemon", |_| true)
            && filters.allows("event", |event| {
                message.action == event || message.action.split(':').next() == Some(event)
            })
            && filters.allows("container", |text| is("container") && named(text))
            && filters.allows("network", |text| is("network") && named(text))
            && filters.allows("volume", |text| is("volume") && named(text))
            && filters.allows("image", |text| {
                let image = if is("image") {
                    attributes.get("name")
                } else {
                    attributes.get("image")
                };
                image.is_some_and(|image| image == text || image.split(':').next() == Some(text))
                    || (is("image") && message.actor.id.starts_with(text))
            })
            && filters.allows_labels("label", attributes)
    }
}

/// What is told of a commit beside the container.
fn commit(record: &Record) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let committed: Committed = record.payload()?;
    let all = [
        ("comment", committed.comment),
        ("imageID", committed.image),
        ("imageRef", committed.reference),
    ];
    Ok(all.map(|(key, value)| (key.to_owned(), value)).into())
}

fn image(record: &Record) -> Result<Option<EventMessage>, serde_json::Error> {
    let action = match record.kind.as_str() {
        event::IMAGE_PULLED => "pull",
        event::IMAGE_PUSHED => "push",
        event::IMAGE_TAGGED => "tag",
        event::IMAGE_UNTAGGED => "untag",
        event::IMAGE_DELETED => "delete",
        event::IMAGE_LOADED => "load",
        event::IMAGE_SAVED => "save",
        event::IMAGE_IMPORTED => "import",
        _ => return Ok(None),
    };
    let named: ImageNamed = record.payload()?;
    let mut actor = match action {
        // Those are about a name, which has a registry.
        "pull" | "push" => {
            let reference = named.name.parse::<Reference>();
            let repository = reference.map_or_else(|_| named.name.clone(), |r| r.familiar_name());
            actor(&named.name, &[("name", &repository)])
        }
        _ => actor(&record.subject, &[("name", &named.name)]),
    };
    for (label, value) in named.labels {
        // The name is ours to say.
        actor.attributes.entry(label).or_insert(value);
    }
    let id = actor.id.clone();
    let mut message = message(record, "image", action, actor);
    message.status = action.to_owned();
    message.id = id;
    Ok(Some(message))
}

/// The container of a subject, be it a run's or a container's.
fn container_id(subject: &str) -> String {
    subject
        .parse::<RunId>()
        .map_or_else(|_| subject.to_owned(), |run| run.container.to_string())
}

fn actor(id: &str, attributes: &[(&str, &str)]) -> EventActor {
    let attributes = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    EventActor {
        id: id.to_owned(),
        attributes,
    }
}

fn message(record: &Record, kind: &str, action: &str, actor: EventActor) -> EventMessage {
    EventMessage {
        kind: kind.to_owned(),
        action: action.to_owned(),
        actor,
        scope: "local".into(),
        time: record.time.seconds(),
        time_nano: record.time.nanoseconds(),
        ..EventMessage::default()
    }
}
/// The program and, after a space that is always there, its arguments.
fn with_space(arguments: &[String]) -> String {
    let (program, rest) = arguments.split_first().unzip();
    format!(
        "{} {}",
        program.map_or("", String::as_str),
        rest.unwrap_or_default().join(" ")
    )
}
