//! The lower bound of `bench start`: namespaces, an overlay, an exec, and nothing else.
//!
//! No cgroup, no seccomp filter, no record of anything; what a container engine
//! takes beyond this it takes for its own work. Usage: `floor FOLDER PROGRAM ARG...`,
//! where FOLDER/lower is a root filesystem.

#![forbid(unsafe_code)]

use std::error::Error;
use std::ffi::{CString, OsString};
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::UnshareFlags;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(folder), Some(program)) = (args.next(), args.next()) else {
        eprintln!("usage: floor FOLDER PROGRAM ARG...");
        return ExitCode::from(125);
    };
    match run(Path::new(&folder), &program, args.collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::from(125)
        }
    }
}

fn run(folder: &Path, program: &OsString, args: Vec<OsString>) -> Result<ExitCode, Box<dyn Error>> {
    enter_namespaces()?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let merged = folder.join("merged");
    mount_overlay(folder, &merged)?;
    mount(
        "proc",
        merged.join("proc"),
        "proc",
        MountFlags::NOSUID,
        None,
    )?;
    rustix::process::chdir(&merged)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    let status = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/bin")
        .status()?;
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(255),
    ))
}

#[expect(
    deprecated,
    reason = "no descriptor table is unshared, which is what is unsafe about it"
)]
fn enter_namespaces() -> rustix::io::Result<()> {
    rustix::thread::unshare(
        UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS,
    )
}

fn mount_overlay(folder: &Path, merged: &Path) -> Result<(), Box<dyn Error>> {
    let upper = run_folder(folder)?;
    std::fs::create_dir_all(merged)?;
    let options = format!(
        "lowerdir={},upperdir={1}/upper,workdir={1}/work,volatile",
        folder.join("lower").display(),
        upper.display()
    );
    let options = CString::new(options)?;
    mount(
        "overlay",
        merged,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )?;
    Ok(())
}

/// Returns a folder with upper and work; the next run of the same process id reuses it.
fn run_folder(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    let made = folder.join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(made.join("upper"))?;
    std::fs::create_dir_all(made.join("work"))?;
    Ok(made)
}
