//! What netd is asked for, what it answers, and the state files it keeps:
//! `<root>/networks/<id>.json` (a [`NetworkConfig`] each) and
//! `<run>/netd/leases/<id>.<run>.json` (a [`Lease`] each).
//!
//! Requests and replies travel as events; queries read the files.
#![forbid(unsafe_code)]

pub mod attach;
pub mod config;
pub mod connect;
pub mod interface;
pub mod network;
pub mod query;
pub mod renamed;

pub use attach::{
    Attach, Attached, Detach, Detached, Dns, Endpoint, EndpointRequest, HostPorts, Lease,
    PortRequest, Protocol, PublishedPort,
};
pub use connect::{Connect, Disconnect, NetworksChanged};
pub use interface::{InterfaceOptionError, InterfaceOptions, InterfaceSysctl};
pub use network::{
    Chosen, CreateNetwork, NetworkConfig, NetworkDriver, NetworkRemoved, PREDEFINED, Parent,
    ParentOrigin, Pool, PoolRequest, Reconciled, RemoveNetwork, Template,
};

pub use renamed::{CONTAINER_RENAMED, Renamed};

use events::{Class, EventType};

/// The name netd's events carry as their source.
pub const SOURCE: &str = "netd";

/// netd started and has reconciled the host with its files.
pub const RECONCILED: &str = "network.reconciled";

const fn request(kind: &'static str, payload: &'static str) -> EventType {
    EventType {
        kind,
        class: Class::Request,
        writer: "engine",
        payload,
        readers: "netd",
    }
}

const fn reply(kind: &'static str, payload: &'static str) -> EventType {
    EventType {
        kind,
        class: Class::Reply,
        writer: "netd",
        payload,
        readers: "engine",
    }
}

/// Every type of event that netd reads as a request or writes.
pub const EVENTS: &[EventType] = &[
    request("network.attach", "Attach"),
    reply("network.attached", "Attached"),
    reply("network.attach_failed", "Failure"),
    request("network.detach", "Detach"),
    reply("network.detached", "Detached"),
    reply("network.detach_failed", "Failure"),
    request("network.connect", "Connect"),
    EventType {
        kind: "network.connected",
        class: Class::Fact,
        writer: "netd",
        payload: "NetworksChanged",
        readers: "engine",
    },
    reply("network.connect_failed", "Failure"),
    request("network.disconnect", "Disconnect"),
    EventType {
        kind: "network.disconnected",
        class: Class::Fact,
        writer: "netd",
        payload: "NetworksChanged",
        readers: "engine",
    },
    reply("network.disconnect_failed", "Failure"),
    request("network.create", "CreateNetwork"),
    EventType {
        kind: "network.created",
        class: Class::Fact,
        writer: "netd",
        payload: "NetworkConfig",
        readers: "engine",
    },
    reply("network.create_failed", "Failure"),
    request("network.remove", "RemoveNetwork"),
    EventType {
        kind: "network.removed",
        class: Class::Fact,
        writer: "netd",
        payload: "NetworkRemoved",
        readers: "engine",
    },
    reply("network.remove_failed", "Failure"),
    EventType {
        kind: RECONCILED,
        class: Class::Fact,
        writer: "netd",
        payload: "Reconciled",
        readers: "engine",
    },
];
