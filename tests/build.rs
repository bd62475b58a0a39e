//! Builds the helper programs that run inside containers: static, each alone,
//! since cargo would link them against the host's libraries.

use std::path::PathBuf;
use std::process::Command;

const PROBE: &str = "support/syscall-probe";

fn main() {
    println!("cargo:rerun-if-changed={PROBE}");
    let variable = |name: &str| std::env::var_os(name).expect("cargo sets it");
    let output = PathBuf::from(variable("OUT_DIR")).join("syscall-probe");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition", "2024", "-O", "-C", "panic=abort"])
        .args(["-C", "target-feature=+crt-static", "-o"])
        .arg(&output)
        .arg(format!("{PROBE}/main.rs"))
        .status()
        .expect("the compiler can be started");
    assert!(status.success(), "cannot build {PROBE}");
    println!("cargo:rustc-env=SYSCALL_PROBE={}", output.display());
}
