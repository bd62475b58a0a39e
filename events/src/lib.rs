//! The durable event log of an installation: one directory of append-only JSON
//! Lines, one total order, any number of writers and readers in any process.
//!
//! The byte format, its crash cases and every rule of recovery stand in
//! `docs/formats/events.md`. The modules, from the bottom up:
//!
//! - [`position`], [`record`]: where a record stands and what it holds.
//! - [`log`]: opening, repair, append, rotation, durability.
//! - [`reader`]: following the log from a position; [`cursor`]: where a consumer stands.
//! - [`request`]: what a request carries; [`client`]: asking; [`server`]: answering.
#![forbid(unsafe_code)]

pub mod client;
pub mod cursor;
pub mod log;
pub mod position;
pub mod reader;
pub mod record;
pub mod request;
pub mod server;

pub use client::{CallError, Requester};
pub use cursor::Cursor;
pub use log::{AppendError, Log, OpenError};
pub use position::Position;
pub use reader::{ReadError, Reader};
pub use record::{Class, Draft, EventType, Record};
pub use request::{Request, RequestBody};
pub use server::{Reply, Server, ServerConfig, Service};
