//! Docker's Engine API, versions 1.24 to 1.51, on a unix socket and where the
//! configuration says.
//!
//! [`listen`] binds, [`server`] accepts, [`peer`] knows who is there, [`origin`]
//! keeps browsers out, [`access`] lets a request through or not, [`router`] finds the handler, `routes/` has one file per
//! area, `view/` builds what clients see, [`stream`] moves bytes of hijacked
//! connections, `websocket` those of websockets, [`response`] makes answers. Decisions are made elsewhere.

mod access;
mod hangup;
pub mod listen;
mod origin;
pub mod peer;
mod places;
mod prune;
pub mod request;
pub mod response;
mod router;
mod routes;
pub mod server;
pub mod stream;
mod tls;
mod translate;
mod view;
mod websocket;

pub use access::audit::Audit;
