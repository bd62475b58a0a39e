//! Removing a volume with its data.
//!
//! One rename to `<root>/volumes/.removing/<request>` takes it away; then its data
//! is deleted and the reply is written down there. A request that is repeated
//! after a crash finds its own directory and goes on, or repeats the reply. What
//! stays is deleted once no such repetition can come any more.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use base::file::{FileMode, read_bounded, replace, sync_directory};
use base::{PathContext as _, PathError, RequestId, RunId, Timestamp, VolumeName};
use volumed_api::{VolumeRemoved, query};

use super::{CONFIG, DATA, REMOVING, VolumeError, Volumes};
use crate::purge;

const REPLY: &str = "reply.json";
const REPLY_LIMIT_BYTES: u64 = 4096;
/// No request lives longer.
const KEEP_FOR: Duration = Duration::from_secs(3600);

impl Volumes {
    /// Removes a volume with its data; `users` tells the runs that hold it.
    ///
    /// # Errors
    /// When there is no such volume, somebody uses it, or something of it cannot
    /// be deleted.
    pub fn remove(
        &self,
        name: &VolumeName,
        request: &RequestId,
        users: impl FnOnce() -> Vec<RunId>,
    ) -> Result<VolumeRemoved, VolumeError> {
        self.forget_old_removals();
        let removing = self.directory().join(REMOVING).join(request.as_str());
        if !removing.exists() {
            self.with(name, || self.take_away(name, &removing, users()))?;
        }
        self.finish_removal(&removing, name)
    }

    fn take_away(
        &self,
        name: &VolumeName,
        removing: &Path,
        users: Vec<RunId>,
    ) -> Result<(), VolumeError> {
        if query::volume(&self.instance, name)?.is_none() {
            return Err(VolumeError::Missing(name.clone()));
        }
        if !users.is_empty() {
            let name = name.clone();
            return Err(VolumeError::InUse { name, users });
        }
        self.steps.reached("volume.remove");
        let directory = self.instance.volume(name);
        fs::rename(&directory, removing).at("rename to", removing)?;
        Ok(sync_directory(&self.directory())?)
    }

    /// Deletes the data of a volume that was taken away, or repeats the reply.
    fn finish_removal(
        &self,
        removing: &Path,
        name: &VolumeName,
    ) -> Result<VolumeRemoved, VolumeError> {
        let json = |source| VolumeError::Json {
            name: name.clone(),
            source,
        };
        let reply = removing.join(REPLY);
        if let Ok(content) = read_bounded(&reply, REPLY_LIMIT_BYTES) {
            return serde_json::from_slice(&content).map_err(json);
        }
        self.steps.reached("volume.delete");
        let purged = purge::purge_with_root(&removing.join(DATA))?;
        let removed = VolumeRemoved {
            size_bytes: purged.size_bytes,
        };
        let content = serde_json::to_vec(&removed).map_err(json)?;
        self.steps.reached("volume.reply");
        replace(&reply, &content, FileMode::Private)?;
        self.steps.reached("volume.forget");
        base::file::remove_if_there(&removing.join(CONFIG))?;
        Ok(removed)
    }

    /// Deletes what finished removals left, once nobody can ask again. A failure
    /// costs a few hundred bytes, hence is only logged.
    fn forget_old_removals(&self) {
        let directory = self.directory().join(REMOVING);
        if let Err(error) = forget_old(&directory) {
            tracing::warn!(error = %base::failure::chain(&error), "old removals stay");
        }
    }
}

fn forget_old(directory: &Path) -> Result<(), PathError> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        let path = entry.at("list", directory)?.path();
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.at("examine", &path)?,
        };
        use std::os::unix::fs::MetadataExt as _;
        let changed = Timestamp::from_seconds(metadata.mtime());
        if Timestamp::now().since(changed) > KEEP_FOR {
            purge::purge_with_root(&path)?;
        }
    }
    Ok(())
}
