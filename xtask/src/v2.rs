//! One container on cgroup v2 and an old kernel: the part of `xtask test` in the VM.
//!
//! First the runtime alone with a bundle, then the whole engine with an image that
//! is imported, since there is no registry in there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::commands::vm;
use crate::images;
use crate::vm::Job;
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(600);
const PROGRAMS: &[&str] = &["engine", "engine-shim", "netd", "runc-rs", "volumed"];
/// Fails at the first line that does; `$1` is not used, nothing is asked.
const SCRIPT: &str = r#"
set -e
fail() { echo "FAILED: $*"; exit 1; }
test "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs || fail not cgroup v2

echo "runc-rs:"
mkdir -p /tmp/bundle && tar -C /tmp/bundle --one-top-level=rootfs -xf web.tar
cd /tmp/bundle
runc-rs spec
sed -i 's/"terminal": *true/"terminal": false/; s/"sh"/"cat", "\/proc\/self\/cgroup"/' config.json
runc-rs run vm-test | tee /tmp/cgroup
grep -q '^0::/' /tmp/cgroup || fail no cgroup v2 in the container
test -z "$(runc-rs list --quiet)" || fail a container is left

echo "engine:"
engine import /xtask/web.tar web:1
engine run --rm --network none --memory 32m web:1 sh -c 'echo inside; grep Seccomp: /proc/self/status' | tee /tmp/out
grep -q '^inside' /tmp/out && grep -q 'Seccomp:.2' /tmp/out || fail the container printed something else
test -z "$(engine ps --all --quiet)" || fail a container is left
engine daemon stop --containers
"#;

/// Boots the VM with the programs of a folder and runs one container there.
///
/// # Errors
/// Fails when anything in there does.
pub(crate) fn run_one_container(programs: &Path) -> Result<()> {
    let work = workspace::scratch("v2")?;
    let folder = work.join("dist");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let tar = images::busybox_archive(&work)?;
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for program in PROGRAMS {
        std::fs::copy(programs.join(program), folder.join(program))
            .with_context(|| format!("copy {program}; is it built?"))?;
    }
    let job = Job {
        machine: vm::machine()?,
        command: SCRIPT.into(),
        files: vec![folder, tar],
        limit: LIMIT,
    };
    let status = job.run()?.status;
    std::fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    ensure!(status == 0, "the container of the VM failed");
    Ok(())
}
