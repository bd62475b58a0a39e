//! The ordinary user of the tests without root. Made only in a machine that is
//! thrown away afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cgroups;
use crate::process::Cmd;
use crate::workspace::{read_text, write_file};

const USER: &str = "rootless";
const UID: u32 = 2000;
/// First subordinate user and group id, and how many.
const UIDS: (u32, u32) = (100_000, 65_536);
const GIDS: (u32, u32) = (200_000, 65_536);
/// A folder that a test wants, of a user inside of the container.
const FOREIGN_FOLDER: &str = "/tmp/runc-bats-foreign";
const FOREIGN_USER: u32 = 1024;
/// The container's user id that the subordinate ones begin with.
const FIRST_INSIDE: u32 = 1000;
/// The suite's name for the group it may use.
const CGROUP: &str = "/sys/fs/cgroup/runc-cgroups-integration-test";
const MANAGER_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

/// Makes the user, who may write to `output`.
///
/// # Errors
/// Fails when it cannot be made.
pub(super) fn make_user(output: &Path) -> Result<()> {
    std::os::unix::fs::chown(output, Some(UID), Some(UID)).context("give away the output")?;
    if Path::new(FOREIGN_FOLDER).exists() {
        // An earlier run of this machine made all of it.
        return Ok(());
    }
    let uid = UID.to_string();
    Cmd::new("useradd")
        .args(["--create-home", "--uid", &uid, USER])
        .read()?;
    let line = |(first, count): (u32, u32)| format!("{USER}:{first}:{count}\n");
    write_file(Path::new("/etc/subuid"), line(UIDS))?;
    write_file(Path::new("/etc/subgid"), line(GIDS))?;
    std::fs::create_dir(FOREIGN_FOLDER).context("make a foreign folder")?;
    let owner = UIDS.0 - FIRST_INSIDE + FOREIGN_USER;
    std::os::unix::fs::chown(FOREIGN_FOLDER, Some(owner), None).context("give it away")
}

/// Gives the user the group of the tests, by its group as the suite does.
///
/// # Errors
/// Fails when it cannot be made.
pub(super) fn give_cgroup() -> Result<()> {
    let top = Path::new("/sys/fs/cgroup");
    let controllers = read_text(&top.join("cgroup.controllers"))?;
    for controller in controllers.split_whitespace() {
        let file = top.join("cgroup.subtree_control");
        let enabled = cgroups::write_value(&file, &format!("+{controller}"));
        // Some cannot be passed on.
        if let Err(error) = enabled {
            println!("{controller}: {error:#}");
        }
    }
    let group = Path::new(CGROUP);
    std::fs::create_dir_all(group).context("make the group")?;
    let files = ["cgroup.subtree_control", "cgroup.procs"].map(|name| group.join(name));
    let files = files.into_iter().chain([top.join("cgroup.procs")]);
    for path in files.chain([group.to_owned()]) {
        std::os::unix::fs::chown(&path, None, Some(UID))
            .with_context(|| format!("give away {}", path.display()))?;
        let mode = if path.is_dir() { "g+rwx" } else { "g+rw" };
        Cmd::new("chmod").arg(mode).arg(&path).read()?;
    }
    Ok(())
}

/// Starts the user's systemd.
///
/// # Errors
/// Fails when it does not come up in time.
pub(super) fn start_manager() -> Result<()> {
    Cmd::new("loginctl").args(["enable-linger", USER]).read()?;
    let bus = format!("/run/user/{UID}/bus");
    let begun = Instant::now();
    while !Path::new(&bus).exists() {
        ensure!(begun.elapsed() < MANAGER_LIMIT, "there is no {bus}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Returns the beginning of a command of the user's.
pub(super) fn as_user() -> Cmd {
    Cmd::new("sudo").args(["--set-home", "--user", USER, "--"])
}

/// Returns the beginning of a command below the user's systemd.
pub(super) fn in_session() -> Cmd {
    let manager = format!("--machine={USER}@.host");
    Cmd::new("systemd-run").args(["--user", &manager, "--quiet", "--wait", "--pipe", "--"])
}

/// Adds what the suite is to know of the user.
pub(super) fn with_features(command: Cmd, features: &str) -> Cmd {
    let variables = [
        ("ROOTLESS_FEATURES", features.to_owned()),
        ("ROOTLESS_UIDMAP_START", UIDS.0.to_string()),
        ("ROOTLESS_UIDMAP_LENGTH", UIDS.1.to_string()),
        ("ROOTLESS_GIDMAP_START", GIDS.0.to_string()),
        ("ROOTLESS_GIDMAP_LENGTH", GIDS.1.to_string()),
        ("AUX_UID", FOREIGN_USER.to_string()),
        ("AUX_DIR", FOREIGN_FOLDER.to_owned()),
    ];
    variables
        .into_iter()
        .fold(command, |command, (name, value)| {
            command.arg(format!("{name}={value}"))
        })
}
