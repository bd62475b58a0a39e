//! The durable event log of an installation: one directory of append-only JSON
//! Lines, one total order, any number of writers and readers in any process.
//!
//! The byte format, its crash cases and every rule of recovery stand in
//! `docs/formats/events.md`. The modules, from the bottom up:
//!
//! - [`position`], [`record`]: where a record stands and what it holds.
//! - [`log`]: opening, repair, append, rotation, durability.
//! - [`maintain`]: retention, compaction, repair of damage.
//! - [`reader`]: following the log from a position; [`cursor`]: where a consumer stands.
//! - [`request`]: what a request carries; [`client`]: asking; [`server`]: answering.
#![forbid(unsafe_code)]

mod active;
pub mod client;
pub mod cursor;
mod durable;
mod find;
mod format;
pub mod log;
pub mod maintain;
mod meta;
mod open;
pub mod position;
pub mod reader;
pub mod record;
pub mod request;
mod rewrite;
pub mod scan;
mod segment;
pub mod server;
mod watch;
mod writer;

pub use client::{CallError, Requester};
pub use cursor::Cursor;
pub use format::RECORD_LIMIT_BYTES;
pub use log::{AppendError, Log, LogOptions, OpenError, Verify};
pub use maintain::{MaintainError, Repair, Retained, RetentionPolicy};
pub use position::Position;
pub use reader::{ReadError, Reader};
pub use record::{Class, Draft, EventType, Record};
pub use request::{Request, RequestBody};
pub use server::{Reply, Server, ServerConfig, Service};
pub use writer::REPAIRED;

/// Every type of event that belongs to the log itself.
pub const EVENTS: &[EventType] = &[
    EventType {
        kind: REPAIRED,
        class: Class::Fact,
        writer: "log",
        payload: "Repaired",
        readers: "people",
    },
    EventType {
        kind: request::CANCELLED,
        class: Class::Request,
        writer: "engine",
        payload: "null",
        readers: "netd, volumed",
    },
];
