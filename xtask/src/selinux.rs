//! A container with SELinux's labels: `cargo xtask vm selinux`.
//!
//! Debian's kernel has SELinux; the machine is told to use it, and loads Debian's
//! policy. It is permissive: who may do what is the policy's business, which
//! labels there are is the runtime's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::commands::dist;
use crate::debian;
use crate::host;
use crate::images;
use crate::vm::{Job, Machine};
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(600);
const PACKAGES: &[&str] = &["attr", "jq", "policycoreutils", "selinux-policy-default"];
const SCRIPT: &str = r#"
set -e
fail() { echo "FAILED: $*"; exit 1; }
mkdir -p /etc/selinux
printf 'SELINUX=permissive\nSELINUXTYPE=default\n' >/etc/selinux/config
mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux
load_policy

process=system_u:system_r:unconfined_t:s0
mount=system_u:object_r:tmp_t:s0:c1,c2
mkdir -p /tmp/bundle && tar -C /tmp/bundle --one-top-level=rootfs -xf web.tar
cd /tmp/bundle
runc-rs spec
jq --arg process $process --arg mount $mount '.process.terminal = false
  | .linux.maskedPaths += ["/proc/tty"]
  | .process.args = ["sh", "-c", "cat /proc/self/attr/current; echo; grep -E \" /(dev|dev/pts|proc|proc/tty) \" /proc/mounts; exec sleep 600"]
  | .process.selinuxLabel = $process | .linux.mountLabel = $mount' config.json >labelled.json
mv labelled.json config.json
runc-rs run --detach labelled >/tmp/out 2>&1 || { cat /tmp/out; fail it does not start; }
for _ in $(seq 100); do grep -q /dev/pts /tmp/out && break; sleep 0.1; done
tr -d '\0' </tmp/out >/tmp/said; cat /tmp/said
grep -qx "$process" /tmp/said || fail the first process has another label
for place in /dev /dev/pts /proc/tty; do
    grep " $place " /tmp/said | grep -qF "context=\"$mount\"" || grep " $place " /tmp/said | grep -qF "context=$mount" \
        || fail $place has another label
done
queues=/proc/$(runc-rs state labelled | jq .pid)/root/dev/mqueue
test "$(getfattr --only-values -n security.selinux $queues | tr -d '\0')" = $mount \
    || fail the message queues have another label
grep ' /proc ' /tmp/said | grep -qF "context=" && fail proc is labelled
of() { runc-rs exec "$@" cat /proc/self/attr/current | tr -d '\0'; }
test "$(of labelled)" = "$process" || fail a later process has another label
other=system_u:system_r:initrc_t:s0
test "$(of --process-label $other labelled)" = $other || fail --process-label does nothing
runc-rs exec --process-label no-such-label labelled true && fail a label that is none is taken
runc-rs delete --force labelled
"#;

/// Boots the machine and runs labelled containers there.
///
/// # Errors
/// Fails when a process or a mount has another label than it was to have.
pub(crate) fn run() -> Result<()> {
    host::ensure_root("xtask vm selinux")?;
    dist::programs()?;
    let work = workspace::scratch("selinux")?;
    let tar = images::busybox_archive(&work)?;
    let job = Job {
        machine: Machine {
            name: "vm-selinux",
            suite: debian::suite()?,
            packages: PACKAGES.to_vec(),
            sources: &[],
            parameters: "security=selinux selinux=1 enforcing=0",
        },
        command: SCRIPT.into(),
        files: vec![dist::folder(), tar],
        limit: LIMIT,
    };
    let status = job.run()?.status;
    std::fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    ensure!(status == 0, "a label is wrong");
    Ok(())
}
