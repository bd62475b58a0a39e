//! What volumed is asked for, what it answers, and the state files it keeps:
//! `<root>/volumes/<name>/volume.json` (a [`VolumeConfig`]; the data is in
//! `_data/` beside it) and `<run>/volumed/holders/<id>.<run>.json`.
//!
//! Requests and replies travel as events; queries read the files.
#![forbid(unsafe_code)]

pub mod config;
pub mod query;
pub mod rootfs;
pub mod volume;

pub use rootfs::{
    BindUse, FilesRemoved, Holder, ImageUse, MissingSource, MountRootfs, MountedVolume,
    RemoveFiles, ResolvedBind, RootfsMounted, RootfsUnmounted, UnmountRootfs, Upper, VolumeUse,
    image, image_part, part, parts, shared_memory,
};
pub use volume::{CreateVolume, RemoveVolume, VolumeConfig, VolumeRemoved};

use events::{Class, EventType};

/// The name volumed's events carry as their source.
pub const SOURCE: &str = "volumed";

const fn request(kind: &'static str, payload: &'static str) -> EventType {
    EventType {
        kind,
        class: Class::Request,
        writer: "engine",
        payload,
        readers: "volumed",
    }
}

const fn reply(kind: &'static str, payload: &'static str) -> EventType {
    EventType {
        kind,
        class: Class::Reply,
        writer: "volumed",
        payload,
        readers: "engine",
    }
}

const fn fact(kind: &'static str, payload: &'static str) -> EventType {
    EventType {
        kind,
        class: Class::Fact,
        writer: "volumed",
        payload,
        readers: "engine",
    }
}

/// Every type of event that volumed reads as a request or writes.
pub const EVENTS: &[EventType] = &[
    request("rootfs.mount", "MountRootfs"),
    reply("rootfs.mounted", "RootfsMounted"),
    reply("rootfs.mount_failed", "Failure"),
    request("rootfs.unmount", "UnmountRootfs"),
    reply("rootfs.unmounted", "RootfsUnmounted"),
    reply("rootfs.unmount_failed", "Failure"),
    request("rootfs.remove", "RemoveFiles"),
    reply("rootfs.removed", "FilesRemoved"),
    reply("rootfs.remove_failed", "Failure"),
    request("volume.create", "CreateVolume"),
    fact("volume.created", "VolumeConfig"),
    reply("volume.create_failed", "Failure"),
    request("volume.remove", "RemoveVolume"),
    fact("volume.removed", "VolumeRemoved"),
    reply("volume.remove_failed", "Failure"),
];
