//! netd, the networking daemon: bridges, interfaces, addresses, published
//! ports and names of an installation's containers.
//!
//! It is asked through the event log (`service`), decides under one lock
//! (`controller`, `state`, `ipam`, `pools`), writes what it is about to do
//! (`store`), plans (`plan`, pure) and acts (`apply`) over netlink
//! (`netlink`, `firewall`) and in namespaces (`namespace`). `reconcile` makes
//! host and files agree when the daemon starts; `dns` answers names in a child
//! process without privilege. No process is started per container.
#![deny(unsafe_code)]

pub mod apply;
pub mod config;
pub mod controller;
pub mod daemon;
pub mod dns;
pub mod family;
pub mod firewall;
pub mod forwarding;
pub mod ipam;
pub mod mac;
pub mod namespace;
pub mod netlink;
pub mod options;
pub mod plan;
pub mod pools;
pub mod ports;
pub mod reconcile;
pub mod resolver;
pub mod service;
pub mod state;
pub mod store;
pub mod sys;
pub mod sysctl;
pub mod teardown;
