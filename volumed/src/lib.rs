//! The storage daemon: volumes, bind sources, root filesystems of runs.
//!
//! It answers requests in the event log (`volumed_api`) and keeps its state in
//! files, described in `docs/formats/storage.md`; killed at any instant and started
//! again, it goes on. From the outside in:
//!
//! - [`daemon`]: its life; [`service`]: requests and facts; [`reconcile`]: putting
//!   right what a crash left.
//! - [`rootfs`]: plan and performance of a mount; [`overlay`], [`mounts`]: the
//!   kernel's part; [`holders`]: who holds what; [`bind`]: vetting bind sources.
//! - [`volume`]: named volumes; [`copy`], [`metadata`]: their first content.
//! - [`trash`], [`purge`]: deleting what containers wrote.
#![deny(unsafe_code)]

pub mod bind;
pub mod config;
pub mod copy;
pub mod daemon;
pub mod failure;
pub mod holders;
pub mod id_map;
pub mod keyed;
pub mod metadata;
pub mod mounts;
pub mod overlay;
pub mod purge;
pub mod reconcile;
pub mod rootfs;
pub mod service;
pub mod storage;
mod sys;
pub mod trash;
pub mod volume;
