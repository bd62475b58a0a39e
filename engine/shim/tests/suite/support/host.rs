//! What a test looks at and cleans up on the host.

use std::path::{Path, PathBuf};
use std::process::Command;

use base::lock::FileLock;
use engine_shim_api::runtime_id;

use super::Fixture;

/// The runtimes that are tested with: Debian's runc, and ours where it is built.
pub(crate) fn runtimes() -> Vec<PathBuf> {
    let ours = Path::new(env!("CARGO_BIN_EXE_engine-shim")).with_file_name("runc-rs");
    let mut runtimes = vec![runc()];
    if ours.exists() && std::env::var_os("SHIM_TEST_RUNC_ONLY").is_none() {
        runtimes.push(ours);
    }
    runtimes
}

pub(crate) fn runc() -> PathBuf {
    let paths = ["/usr/sbin/runc", "/usr/bin/runc"];
    let path = paths.iter().map(Path::new).find(|path| path.exists());
    path.expect("runc is installed").to_owned()
}

/// One event, as far as tests look at it.
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) data: String,
}

pub(crate) fn events(directory: &Path) -> Vec<Event> {
    let log = events::Log::open_read_only(directory).unwrap();
    let mut reader = log.read_after(events::Position::default()).unwrap();
    let mut events = Vec::new();
    loop {
        let batch = reader.read_batch().unwrap();
        if batch.is_empty() {
            return events;
        }
        events.extend(batch.into_iter().map(|record| Event {
            kind: record.kind,
            subject: record.subject,
            data: record.data.get().to_owned(),
        }));
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Whether a shim holds the lock of the run.
pub(crate) fn is_held(fixture: &Fixture) -> bool {
    FileLock::is_held(&fixture.file("lock")).unwrap()
}

/// Removes what a test that failed may have left of its container.
pub(crate) fn end_container(fixture: &Fixture) {
    let config = &fixture.config;
    if config
        .runtime
        .state_root
        .join(runtime_id(&config.run))
        .exists()
    {
        let mut delete = Command::new(&config.runtime.path);
        delete.arg("--root").arg(&config.runtime.state_root);
        delete.args(["delete", "--force", &runtime_id(&config.run)]);
        delete.status().unwrap();
    }
    remove_cgroups(&config.cgroup);
}

/// Removes the cgroup in every hierarchy. It has no parent in common with other
/// tests: removing that could meet the moment in which another test fills it.
fn remove_cgroups(cgroup: &str) {
    let cgroup = Path::new(cgroup.trim_start_matches('/'));
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let path = hierarchy.unwrap().path().join(cgroup);
        // Most are not there.
        std::fs::remove_dir(&path).ok();
    }
}
