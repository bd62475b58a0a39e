//! netd's requests and the facts it acts on, as the event log's server calls it.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use base::{ContainerId, Failure, FailureKind, RunId};
use engine_shim_api::event::{CLEANED, EXITED};
use events::{Record, Reply, Request, RequestBody, Service};
use netd_api::{
    Attach, CONTAINER_RENAMED, Connect, CreateNetwork, Detach, Detached, Disconnect, RemoveNetwork,
    Renamed, SOURCE,
};

use crate::controller::{ControlError, Controller};

/// Answers requests with a controller.
#[derive(Debug)]
pub struct NetworkService {
    controller: Arc<Controller>,
}

impl NetworkService {
    /// Returns the service of `controller`.
    pub fn new(controller: Arc<Controller>) -> Self {
        Self { controller }
    }
}

impl Service for NetworkService {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn is_request(&self, record: &Record) -> bool {
        matches!(
            record.kind.as_str(),
            Attach::KIND
                | Detach::KIND
                | Connect::KIND
                | Disconnect::KIND
                | CreateNetwork::KIND
                | RemoveNetwork::KIND
        )
    }

    fn is_observed(&self, record: &Record) -> bool {
        matches!(record.kind.as_str(), EXITED | CLEANED | CONTAINER_RENAMED)
    }

    fn is_teardown(&self, record: &Record) -> bool {
        matches!(record.kind.as_str(), Detach::KIND | RemoveNetwork::KIND)
    }

    fn perform(&self, record: &Record) -> Result<Reply, Failure> {
        let it = &self.controller;
        match record.kind.as_str() {
            Attach::KIND => answer(record, |body: &Attach| it.attach(body)),
            Detach::KIND => answer(record, |body: &Detach| {
                it.detach(&body.run).map(|()| Detached {})
            }),
            Connect::KIND => answer(record, |body: &Connect| it.connect(body)),
            Disconnect::KIND => answer(record, |body: &Disconnect| it.disconnect(body)),
            CreateNetwork::KIND => answer(record, |body: &CreateNetwork| it.create_network(body)),
            RemoveNetwork::KIND => answer(record, |body: &RemoveNetwork| {
                it.remove_network(&body.id, record.request.as_ref())
            }),
            other => Err(Failure::new(
                FailureKind::Unsupported,
                format_args!("netd does not know the request {other}"),
            )),
        }
    }

    fn failed_kind(&self, request_kind: &str) -> &'static str {
        match request_kind {
            Detach::KIND => Detach::FAILED,
            Connect::KIND => Connect::FAILED,
            Disconnect::KIND => Disconnect::FAILED,
            CreateNetwork::KIND => CreateNetwork::FAILED,
            RemoveNetwork::KIND => RemoveNetwork::FAILED,
            _ => Attach::FAILED,
        }
    }

    fn observe(&self, record: &Record) -> Result<(), Failure> {
        let observed = match record.kind.as_str() {
            CONTAINER_RENAMED => {
                let container: ContainerId = subject(record)?;
                let renamed: Renamed = record
                    .payload()
                    .map_err(|error| Failure::from_error(FailureKind::Invalid, &error))?;
                self.controller.rename(&container, &renamed.name)
            }
            _ => self.controller.release(&subject::<RunId>(record)?),
        };
        observed.map_err(|error| error.failure())
    }

    fn notice(&self, record: &Record) {
        let ends = matches!(record.kind.as_str(), EXITED | CLEANED | Detach::KIND);
        // A subject that is no run is refused by whoever acts on the record.
        if ends && let Ok(run) = record.subject.parse() {
            self.controller.note_ending(&run);
        }
    }

    fn resync(&self) -> Result<(), Failure> {
        self.controller
            .release_exited()
            .map_err(|error| error.failure())
    }
}

fn subject<T: FromStr<Err: Display>>(record: &Record) -> Result<T, Failure> {
    let parsed = record.subject.parse();
    parsed.map_err(|error| Failure::new(FailureKind::Invalid, error))
}

fn answer<B: RequestBody>(
    record: &Record,
    perform: impl FnOnce(&B) -> Result<B::Reply, ControlError>,
) -> Result<Reply, Failure> {
    let request: Request<B> = record
        .payload()
        .map_err(|error| Failure::from_error(FailureKind::Invalid, &error))?;
    let reply = perform(&request.body).map_err(|error| error.failure())?;
    Reply::new(B::REPLY, &reply).map_err(|error| Failure::from_error(FailureKind::Internal, &error))
}
