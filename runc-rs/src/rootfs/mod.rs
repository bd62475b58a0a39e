//! The container's root filesystem: everything between "in a new mount
//! namespace" and "the root is final".
//!
//! [`RootfsFacts`] is gathered and [`plan`] made by the parent, before there is
//! a child; [`perform`] is what the child does. For a child in a user namespace
//! the parent answers [`RootfsHooks::mount_source`] with [`open_source`].
//! [`console`] comes once the terminal is open. `options` is the table of mount
//! options that `features` lists as well.
//!
//! Not done here: namespaces, control groups, hooks, sysctls, labels.
//!
//! To keep: nothing in the root is named by a path of the host, and nothing is
//! mounted before it has all its attributes.

mod beneath;
mod bind;
mod console;
mod copy_up;
mod devices;
mod error;
mod facts;
mod filesystem;
mod guard;
mod kernel;
mod mounts;
pub mod options;
mod paths;
mod perform;
mod plan;
mod root;
mod sources;
mod steps;

pub use beneath::resolve;
pub use console::console;
pub use error::RootfsError;
pub use facts::{CgroupMounts, Hierarchy, RootfsFacts};
pub use perform::{RootfsFds, RootfsHooks, perform};
pub use plan::plan;
pub use sources::open_source;
pub use steps::{
    Bind, Content, Filesystem, IdMap, IdMappings, Link, MountStep, Node, NodeKind, NodeWay, Place,
    RootfsPlan, SourceRequest, Step,
};
