//! Our one nf_tables table, `inet <instance>`: a constant number of rules over
//! sets and maps. `base` is the text of the rules, loaded once when the daemon
//! starts; everything later is set elements (`element`), sent over netlink
//! (`batch`) without a process and at a cost that does not grow with the number
//! of containers. `foreign` looks at what other firewalls would do to us, `watch`
//! hears when they change.

pub mod base;
pub mod batch;
pub mod element;
pub mod foreign;
pub mod watch;

pub use batch::Firewall;
pub use element::Element;

/// The link group of every bridge of every engine on this host ("eng"): the
/// forwarding guard of one instance lets the bridges of another alone.
pub const LINK_GROUP: u32 = 0x65_6e67;
