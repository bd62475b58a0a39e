//! Containers on cgroup v2 and an old kernel: the part of `xtask test` in the VM.
//!
//! First the runtime alone with a bundle, then netd's tests of networks whose drivers
//! the kernels of test machines lack, then the whole engine with an image that is imported, since there is no registry in there; it is set up as a service by
//! `engine install`. Then the machine boots again on the same disk, and what is to be
//! restarted is back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::commands::vm;
use crate::images;
use crate::process::Cmd;
use crate::vm::{Job, REBOOT};
use crate::workspace;

/// On the disk once the first boot has done its part.
const MARK: &str = "/var/lib/second-boot";
const LIMIT: Duration = Duration::from_secs(600);
const PROGRAMS: &[&str] = &["engine", "engine-shim", "netd", "runc-rs", "volumed"];
/// netd's tests of networks on an interface of the host, which look for netd where it
/// was built. Nothing is to skip itself here.
const PARENTS: &str = r#"
echo "netd:"
mkdir -p "$(dirname "$NETD")" && cp /xtask/dist/netd "$NETD"
modprobe -a dummy ipvlan macvlan 8021q
/xtask/netd-blackbox parents:: --test-threads 1 --nocapture > /tmp/parents 2>&1 || fail "$(cat /tmp/parents)"
tail -n 2 /tmp/parents
! grep '^skipped' /tmp/parents || fail a kernel that has the drivers is said to have none
grep -q '^test result: ok. [1-9]' /tmp/parents || fail no test ran
rm "$NETD"
"#;
/// The first boot. Fails at the first line that does.
const SCRIPT: &str = r#"
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

echo "service:"
engine daemon stop
cp /xtask/dist/* /usr/local/bin/
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
engine install --docker-socket --docker-names
systemctl is-active engine || fail the service does not run
getent group engine || fail no group
test "$(curl -s --unix-socket /run/docker.sock http://d/_ping)" = OK || fail no docker.sock
engine install --docker-socket --docker-names | tee /tmp/again
! grep -q '^made' /tmp/again || fail the second install made something
for policy in no always unless-stopped; do
    engine run -d --name web-$policy --restart $policy -p 80 web:1 \
        sh -c 'echo answer >/tmp/index.html; httpd -f -p 80 -h /tmp'
done
for policy in always unless-stopped; do
    engine run -d --name stopped-$policy --restart $policy --network none web:1 sleep 1000
    engine stop -t 0 stopped-$policy
done
answers web-always || fail web-always does not answer
"#;
/// What both boots know.
const FUNCTIONS: &str = r#"
set -e
fail() { echo "FAILED: $*"; engine ps --all || true; journalctl -u engine -n 50 || true; exit 1; }
answers() {
    address=$(docker port "$1" 80 | head -1)
    test "$(curl -s --max-time 20 "http://$address/")" = answer
}
"#;
/// The second boot, in which systemd has started the daemon.
const SECOND: &str = r#"
echo "second boot:"
for turn in $(seq 60); do
    test "$(curl -s --unix-socket /run/docker.sock http://d/_ping)" != OK || break
    sleep 1
done
for web in web-always web-unless-stopped; do
    for turn in $(seq 30); do
        ! answers $web || break
        sleep 1
    done
    answers $web || fail $web does not answer
done
state() { docker inspect --format '{{.State.Status}}' "$1"; }
test "$(state web-no)" = exited || fail web-no is "$(state web-no)"
# Docker starts it with the daemon, although it was stopped by hand.
test "$(state stopped-always)" = running || fail stopped-always is "$(state stopped-always)"
test "$(state stopped-unless-stopped)" = exited || fail stopped-unless-stopped came back
docker rm -f $(docker ps -aq) >/dev/null
engine uninstall
! systemctl is-active engine || fail the service still runs
test ! -L /run/docker.sock && test ! -e /usr/local/bin/docker || fail a link is left
"#;

/// Boots the VM twice with the programs of a folder and runs containers there.
///
/// # Errors
/// Fails when anything in there does.
pub(crate) fn run_containers(programs: &Path) -> Result<()> {
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
    let suite = work.join("netd-blackbox");
    let built = netd_tests()?;
    std::fs::copy(&built, &suite).with_context(|| format!("copy {}", built.display()))?;
    let netd = workspace::path("target/debug/netd");
    let first = format!("NETD={}\n{PARENTS}\n{SCRIPT}", netd.display());
    let job = Job {
        machine: vm::machine()?,
        command: format!(
            "{FUNCTIONS}\nif test -e {MARK}; then\n{SECOND}\nelse\n{first}\ntouch {MARK}; {REBOOT}\nfi\n"
        ),
        files: vec![folder, suite, tar],
        limit: LIMIT,
    };
    let status = job.run()?.status;
    std::fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    ensure!(status == 0, "the containers of the VM failed");
    Ok(())
}

/// Builds netd's black-box tests and returns their program.
fn netd_tests() -> Result<PathBuf> {
    let told = Cmd::new("cargo")
        .args(["test", "--no-run", "--quiet", "--package=netd"])
        .args(["--test=blackbox", "--message-format=json"])
        .timeout(LIMIT)
        .read()?;
    let messages = told
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let program = |message: Value| {
        let is_test = message["profile"]["test"] == true && message["target"]["name"] == "blackbox";
        let path = message["executable"].as_str().filter(|_| is_test)?;
        Some(PathBuf::from(path))
    };
    let mut programs = messages.filter_map(program);
    programs.next().context("netd's tests were not built")
}
