//! netd's requests and the facts it acts on, as the event log's server calls it.

use std::sync::Arc;

use base::{Failure, FailureKind, RunId};
use engine_shim_api::event::{CLEANED, EXITED};
use events::{Record, Reply, Request, RequestBody, Service};
use netd_api::{Attach, CreateNetwork, Detach, Detached, RemoveNetwork, SOURCE};

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
            Attach::KIND | Detach::KIND | CreateNetwork::KIND | RemoveNetwork::KIND
        )
    }

    fn is_observed(&self, record: &Record) -> bool {
        matches!(record.kind.as_str(), EXITED | CLEANED)
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
            CreateNetwork::KIND => CreateNetwork::FAILED,
            RemoveNetwork::KIND => RemoveNetwork::FAILED,
            _ => Attach::FAILED,
        }
    }

    fn observe(&self, record: &Record) -> Result<(), Failure> {
        let run: RunId = record
            .subject
            .parse()
            .map_err(|error| Failure::new(FailureKind::Invalid, error))?;
        self.controller
            .release(&run)
            .map_err(|error| error.failure())
    }

    fn resync(&self) -> Result<(), Failure> {
        self.controller
            .release_exited()
            .map_err(|error| error.failure())
    }
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
