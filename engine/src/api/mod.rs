//! Docker's Engine API, versions 1.24 to 1.51, on a unix socket.
//!
//! [`server`] accepts, [`router`] finds the handler, `routes/` has one file per
//! area, `view/` builds what clients see, [`stream`] moves bytes of hijacked
//! connections, `websocket` those of websockets, [`response`] makes answers. Decisions are made elsewhere.

mod prune;
pub mod request;
pub mod response;
mod router;
mod routes;
pub mod server;
pub mod stream;
mod view;
mod websocket;
