//! The requests and facts of the event log, and what is done about each.

use std::sync::Arc;

use base::failure::chain;
use base::{Failure, FailureKind, RunId};
use engine_shim_api::event::{CLEANED, EXITED, ExitRecord};
use events::{Draft, Log, Record, Reply, Request, RequestBody, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use volumed_api::{
    CreateVolume, FilesRemoved, MountRootfs, RemoveFiles, RemoveVolume, RootfsMounted,
    RootfsUnmounted, SOURCE, UnmountRootfs, VolumeConfig,
};

use crate::failure::{AsFailure, internal};
use crate::reconcile;
use crate::rootfs;
use crate::storage::Storage;

/// Every request and its refusal.
const REQUESTS: [(&str, &str); 5] = [
    (MountRootfs::KIND, MountRootfs::FAILED),
    (UnmountRootfs::KIND, UnmountRootfs::FAILED),
    (RemoveFiles::KIND, RemoveFiles::FAILED),
    (CreateVolume::KIND, CreateVolume::FAILED),
    (RemoveVolume::KIND, RemoveVolume::FAILED),
];

/// Answers for one installation.
#[derive(Debug)]
pub struct VolumeService {
    storage: Arc<Storage>,
    log: Log,
}

impl VolumeService {
    /// Returns the service of `storage`, which tells of what it makes in `log`.
    pub fn new(storage: Arc<Storage>, log: Log) -> Self {
        Self { storage, log }
    }

    fn mount(&self, record: &Record) -> Result<RootfsMounted, Failure> {
        let request: MountRootfs = body(record)?;
        let mounted = rootfs::mount(&self.storage, &request).map_err(|e| e.as_failure())?;
        for volume in &mounted.made {
            self.tell(volume);
        }
        Ok(mounted.rootfs)
    }

    /// Tells of a volume that nobody asked for by itself. It is there whether or
    /// not this can be told, so a failure only costs the event.
    fn tell(&self, volume: &VolumeConfig) {
        let draft = Draft::new(SOURCE, CreateVolume::REPLY, volume.name.as_str(), volume);
        let told = draft.map_err(|error| chain(&error)).and_then(|draft| {
            let appended = self.log.append(&[draft]);
            appended.map_err(|error| chain(&error))
        });
        if let Err(error) = told {
            tracing::warn!(volume = %volume.name, error, "cannot tell of a new volume");
        }
    }

    fn unmount(&self, record: &Record) -> Result<RootfsUnmounted, Failure> {
        let request: UnmountRootfs = body(record)?;
        rootfs::release(&self.storage, &request.run).map_err(|e| e.as_failure())?;
        Ok(RootfsUnmounted {})
    }

    fn remove_files(&self, record: &Record) -> Result<FilesRemoved, Failure> {
        let request: RemoveFiles = body(record)?;
        let removed = rootfs::remove_files(&self.storage, &request.container);
        removed.map_err(|e| e.as_failure())?;
        Ok(FilesRemoved {})
    }

    fn create_volume(&self, record: &Record) -> Result<VolumeConfig, Failure> {
        let request: CreateVolume = body(record)?;
        let created = self.storage.volumes.create(&request);
        created.map_err(|e| e.as_failure())
    }

    fn remove_volume(&self, record: &Record) -> Result<volumed_api::VolumeRemoved, Failure> {
        let request: RemoveVolume = body(record)?;
        let id = record
            .request
            .as_ref()
            .ok_or_else(|| internal("a request without an id"))?;
        rootfs::release_users_over(&self.storage, &request.name).map_err(|e| e.as_failure())?;
        let users = || self.storage.holders.of_volume(&request.name);
        let removed = self.storage.volumes.remove(&request.name, id, users);
        removed.map_err(|e| e.as_failure())
    }
}

impl Service for VolumeService {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn is_request(&self, record: &Record) -> bool {
        REQUESTS.iter().any(|(kind, _)| record.kind == *kind)
    }

    fn is_observed(&self, record: &Record) -> bool {
        record.kind == CLEANED || record.kind == EXITED
    }

    fn is_teardown(&self, record: &Record) -> bool {
        let fast = [MountRootfs::KIND, CreateVolume::KIND];
        !fast.contains(&record.kind.as_str())
    }

    fn perform(&self, record: &Record) -> Result<Reply, Failure> {
        match record.kind.as_str() {
            MountRootfs::KIND => reply::<MountRootfs>(&self.mount(record)?),
            UnmountRootfs::KIND => reply::<UnmountRootfs>(&self.unmount(record)?),
            RemoveFiles::KIND => reply::<RemoveFiles>(&self.remove_files(record)?),
            CreateVolume::KIND => reply::<CreateVolume>(&self.create_volume(record)?),
            RemoveVolume::KIND => reply::<RemoveVolume>(&self.remove_volume(record)?),
            other => Err(internal(format!("{other} is no request to volumed"))),
        }
    }

    fn failed_kind(&self, request_kind: &str) -> &'static str {
        let found = REQUESTS.iter().find(|(kind, _)| *kind == request_kind);
        found.map_or(MountRootfs::FAILED, |(_, failed)| failed)
    }

    /// A run is released once it is cleaned up. Of a run whose shim was lost only
    /// the exit may be told, after the engine has ended what was left of it.
    fn observe(&self, record: &Record) -> Result<(), Failure> {
        if record.kind == EXITED {
            let exit: ExitRecord = record
                .payload()
                .map_err(|error| Failure::from_error(FailureKind::Invalid, &error))?;
            if !exit.shim_lost {
                return Ok(());
            }
        }
        let Ok(run) = record.subject.parse::<RunId>() else {
            return Ok(());
        };
        rootfs::release(&self.storage, &run).map_err(|e| e.as_failure())
    }

    fn resync(&self) -> Result<(), Failure> {
        reconcile::release_dead(&self.storage).map_err(|e| e.as_failure())
    }
}

fn body<B: DeserializeOwned>(record: &Record) -> Result<B, Failure> {
    let request: Result<Request<B>, _> = record.payload();
    let request = request.map_err(|error| {
        let text = format!("cannot read the request {}: {error}", record.kind);
        Failure::new(FailureKind::Invalid, text)
    })?;
    Ok(request.body)
}

fn reply<B: RequestBody>(data: &B::Reply) -> Result<Reply, Failure>
where
    B::Reply: Serialize,
{
    Reply::new(B::REPLY, data).map_err(|error| Failure::from_error(FailureKind::Internal, &error))
}
