//! What the next engine knows of execs that were started: a file for each beside its
//! run's shim, which goes with the run or when the exec is forgotten.
//!
//! It holds no environment. It is written before the process exists and whenever an
//! event tells more; what came after the last engine's cursor is told again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base::file::{FileMode, read_bounded, remove_if_there, replace};
use base::{PathContext as _, RunId};
use engine_api::exec::ExecCreateBody;
use engine_model::container::ProcessConfig;
use engine_model::plan::ResolvedUser;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Exec, ExecStatus, Execs, lock};
use crate::error::{OrFail as _, Result};

const PREFIX: &str = "exec-";
const SUFFIX: &str = ".record";
/// A request is no larger.
const LIMIT_BYTES: u64 = 16 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    process: ProcessConfig,
    privileged: bool,
    requested: ExecCreateBody,
    status: ExecStatus,
}

/// Returns where an exec of the run with this shim is written down.
pub(super) fn path(shim: &Path, id: &str) -> PathBuf {
    shim.join(format!("{PREFIX}{id}{SUFFIX}"))
}

/// Returns where its process is described until it has started.
pub(super) fn process_file(shim: &Path, id: &str) -> PathBuf {
    shim.join(format!("{PREFIX}{id}.json"))
}

/// Writes an exec down. Without that it runs all the same: an engine that is
/// restarted does not know it.
pub(super) fn write(exec: &Exec) {
    let _recording = lock(&exec.recording);
    let mut process = exec.process.clone();
    process.environment.clear();
    let record = Record {
        process,
        privileged: exec.privileged,
        requested: ExecCreateBody {
            env: None,
            ..exec.requested.clone()
        },
        status: exec.status(),
    };
    let written = serde_json::to_vec(&record)
        .or_internal()
        .and_then(|content| replace(&exec.record, &content, FileMode::Private).or_internal());
    if let Err(error) = written {
        tracing::debug!(exec = exec.id, %error, "cannot write an exec down");
    }
}

/// Takes away what was written of an exec.
pub(super) fn forget(exec: &Exec) {
    if let Err(error) = remove_if_there(&exec.record) {
        let error = base::failure::chain(&error);
        tracing::debug!(exec = exec.id, error, "the record of an exec stays");
    }
}

impl Execs {
    /// Learns the execs of a run that an earlier engine started.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn restore(&self, shim: &Path, run: &RunId) -> Result<()> {
        let entries = match std::fs::read_dir(shim) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.at("list", shim).or_internal()?,
        };
        for entry in entries {
            let name = entry.at("list", shim).or_internal()?.file_name();
            let name = name.to_string_lossy();
            let id = name.strip_prefix(PREFIX);
            if let Some(id) = id.and_then(|it| it.strip_suffix(SUFFIX)) {
                self.add(Arc::new(read(shim, run, id)?))?;
            }
        }
        Ok(())
    }
}

fn read(shim: &Path, run: &RunId, id: &str) -> Result<Exec> {
    let path = path(shim, id);
    let content = read_bounded(&path, LIMIT_BYTES).or_internal()?;
    let record: Record = serde_json::from_slice(&content).or_internal()?;
    if record.status.pid.is_some() {
        // The last engine may not have lived to take it away.
        remove_if_there(&process_file(shim, id)).or_internal()?;
    }
    Ok(Exec {
        id: id.to_owned(),
        run: run.clone(),
        process: record.process,
        // It is started once, hence not looked up again.
        user: ResolvedUser::default(),
        privileged: record.privileged,
        requested: record.requested,
        record: path,
        recording: Mutex::default(),
        status: watch::Sender::new(record.status),
    })
}
