//! Changing the networks of a run that lives.

use base::{NetworkId, RunId};
use events::RequestBody;
use serde::{Deserialize, Serialize};

use crate::attach::{Attached, EndpointRequest};
use crate::network::NetworkDriver;

/// Gives an attached run one more interface. One that is on the network already,
/// or a run that is not attached: conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    pub run: RunId,
    pub endpoint: EndpointRequest,
}

/// Takes a run's interface on a network away, and what was published on it; a
/// run that is not on the network is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    pub run: RunId,
    pub network: NetworkId,
}

/// The run's networks have changed by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworksChanged {
    /// The network that was joined or left.
    pub network: NetworkId,
    pub network_name: String,
    #[serde(default)]
    pub driver: NetworkDriver,
    /// What the run has now.
    pub attached: Attached,
}

impl RequestBody for Connect {
    const KIND: &'static str = "network.connect";
    const REPLY: &'static str = "network.connected";
    const FAILED: &'static str = "network.connect_failed";
    type Reply = NetworksChanged;
}

impl RequestBody for Disconnect {
    const KIND: &'static str = "network.disconnect";
    const REPLY: &'static str = "network.disconnected";
    const FAILED: &'static str = "network.disconnect_failed";
    type Reply = NetworksChanged;
}
