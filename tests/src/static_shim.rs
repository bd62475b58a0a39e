//! The programs with a static shim, as packages have it: only that can be the
//! init of a container that has no libraries.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Returns a directory with `programs`, the shim of which is built statically.
pub(crate) fn beside(programs: &Path) -> TempDir {
    let target = programs.parent().expect("target/<profile>");
    build(target);
    let directory = tempfile::Builder::new()
        .prefix("static-shim-")
        .tempdir_in(programs)
        .expect("a temporary directory");
    let shim = target.join(TARGET).join("debug/engine-shim");
    let others = ["engine", "netd", "volumed", "runc-rs"].map(|name| programs.join(name));
    for program in others.iter().chain([&shim]) {
        let name = program.file_name().expect("a program has a name");
        std::fs::hard_link(program, directory.path().join(name)).expect("on one file system");
    }
    directory
}

/// Naming the target keeps the flag from build scripts, which cannot be static.
fn build(target: &Path) {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "engine-shim"])
        .args(["--target", TARGET, "--manifest-path", manifest])
        .arg("--target-dir")
        .arg(target)
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the static shim cannot be built");
}
