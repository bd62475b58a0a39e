//! `fs-idmap`: tells by its error whether a file system takes id mapped mounts.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::arguments::Arguments;
use crate::sys;

const UNSHARE_LIMIT: Duration = Duration::from_secs(5);
const MAP: &str = "0 65536 65536";

/// # Errors
/// When it does not, with the kernel's reason last.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let path = Path::new(arguments.word(0)?);
    let tree = open_tree(CWD, path, flags).context("error calling open_tree")?;
    let mut holder = Command::new("unshare")
        .args(["--user", "sleep", "5"])
        .spawn()
        .context("run unshare")?;
    let namespace = user_namespace(&holder);
    let mapped = namespace.and_then(|namespace| {
        sys::map_ids(tree.as_fd(), namespace.as_fd()).context("error calling mount_setattr")
    });
    holder.kill().context("end the helper")?;
    holder.wait().context("wait for the helper")?;
    mapped
}

/// Returns the user namespace of `holder`, once it has one of its own, mapped.
fn user_namespace(holder: &Child) -> Result<File> {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/user"));
    let (own, begun) = (of("self")?, Instant::now());
    let process = holder.id().to_string();
    while of(&process)? == own {
        if begun.elapsed() > UNSHARE_LIMIT {
            bail!("the helper has no user namespace");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for map in ["uid_map", "gid_map"] {
        let file = File::options()
            .write(true)
            .open(format!("/proc/{process}/{map}"));
        file.and_then(|mut file| file.write_all(MAP.as_bytes()))
            .context(map)?;
    }
    File::open(format!("/proc/{process}/ns/user")).context("open the user namespace")
}
