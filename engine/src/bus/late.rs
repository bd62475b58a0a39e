//! The undo of what a helper did after its caller had given up.
//!
//! A network is removed again: its id was made for that one request, so nobody
//! else can have it. A volume stays, since a request for one that is there is
//! granted too, and its content may be older than the request. What a run got is
//! undone by the start that gave up, which asks for the release of its run.

use std::time::Duration;

use events::{CallError, Record, RequestBody as _, Requester};
use netd_api::{CreateNetwork, NetworkRemoved, RemoveNetwork};

/// How long the undo may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks for the undo of what `record` grants, if there is one.
pub(super) fn undo(requester: &Requester, record: &Record) {
    if record.kind != CreateNetwork::REPLY {
        return;
    }
    let Ok(id) = record.subject.parse() else {
        return tracing::warn!(subject = record.subject, "a late reply about no network");
    };
    let subject = record.subject.clone();
    let told = move |removed: Result<NetworkRemoved, CallError>| match removed {
        Ok(network) => tracing::info!(network.name, "removed a network nobody waited for"),
        Err(error) => warn(&subject, &error),
    };
    let sent = requester.send(&record.subject, &RemoveNetwork { id }, LIMIT, told);
    if let Err(error) = sent {
        warn(&record.subject, &error);
    }
}

fn warn(network: &str, error: &CallError) {
    tracing::warn!(
        network,
        error = base::failure::chain(error),
        "cannot remove a network nobody waited for"
    );
}

#[cfg(test)]
mod tests {
    use events::{Draft, Log};
    use netd_api::NetworkDriver;
    use serde_json::json;

    use super::*;
    use crate::bus::Bus;

    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    /// Returns the types of all records about the network.
    fn recorded(log: &Log) -> Vec<String> {
        let mut reader = log.read_after(Default::default()).unwrap();
        let records = reader.read_batch().unwrap().into_iter();
        records
            .filter(|record| record.subject == ID)
            .map(|record| record.kind.clone())
            .collect()
    }

    #[test]
    fn a_network_that_comes_too_late_is_removed_again() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path()).unwrap();
        let bus = Bus::new(log.clone());
        let body = CreateNetwork {
            id: ID.parse().unwrap(),
            name: "late".into(),
            driver: NetworkDriver::Bridge,
            ipv4: Default::default(),
            without_ipv4: false,
            ipv6: None,
            unused: Vec::new(),
            internal: false,
            labels: Default::default(),
            options: Default::default(),
            attachable: false,
            template: None,
            config_from: None,
            ipam_options: Default::default(),
        };
        let request = bus.requester.send(ID, &body, LIMIT, |_| {}).unwrap();
        bus.requester.cancel(&request).unwrap();
        let reply = Draft::new("netd", CreateNetwork::REPLY, ID, &json!({})).unwrap();
        log.append(&[reply.with_request(request)]).unwrap();
        let mut reader = log.read_after(Default::default()).unwrap();
        for record in reader.read_batch().unwrap() {
            bus.requester.observe(&record);
        }
        let expected = [
            "network.create",
            "request.cancelled",
            "network.created",
            "network.remove",
        ];
        assert_eq!(recorded(&log), expected);
    }
}
