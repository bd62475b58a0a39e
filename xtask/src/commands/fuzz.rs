//! `cargo xtask fuzz NAME`: fuzz targets of fuzz/, on the stable toolchain.
//!
//! libFuzzer needs coverage counters, which LLVM gives with plain codegen flags;
//! only its address sanitizer would need another toolchain. New inputs go to
//! target/xtask/corpus-NAME; what is worth keeping is copied to fuzz/corpus/NAME by
//! hand, which `cargo xtask test` replays.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::host;
use crate::process::Cmd;
use crate::workspace::{self, TARGET, cargo};

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Cdebug-assertions";
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
/// A target may go this long beyond its seconds before it counts as hanging.
const GRACE: Duration = Duration::from_secs(120);
const REPLAY_LIMIT: Duration = Duration::from_secs(300);

/// Which target, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A target of fuzz/fuzz_targets
    name: String,
    /// How long to look for new inputs
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
}

/// Fuzzes one target for a while.
///
/// # Errors
/// Fails when there is no such target, or an input breaks it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let targets = targets()?;
    if !targets.contains(&arguments.name) {
        bail!(
            "there is no fuzz target {}; there are: {}",
            arguments.name,
            targets.join(", ")
        );
    }
    let corpus = workspace::path("fuzz/corpus").join(&arguments.name);
    let found = workspace::scratch(&format!("corpus-{}", arguments.name))?;
    let artifacts = workspace::path("fuzz/artifacts").join(&arguments.name);
    std::fs::create_dir_all(&artifacts)?;
    build(&["--release", "--bin", &arguments.name])?;
    Cmd::new(program("release", &arguments.name))
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(found)
        .arg(corpus)
        .timeout(Duration::from_secs(arguments.seconds) + GRACE)
        .run()
}

/// Runs every target once over its committed corpus. Nothing new is looked for, so the
/// programs need not be fast: what is quickly built is quickly done.
///
/// # Errors
/// Fails when an input breaks its target.
pub(crate) fn replay_all() -> Result<()> {
    build(&["--bins"])?;
    for name in targets()? {
        let corpus = workspace::path("fuzz/corpus").join(&name);
        if !corpus.is_dir() {
            bail!("fuzz/corpus/{name} is missing");
        }
        Cmd::new(program("debug", &name))
            .arg("-runs=0")
            .arg(corpus)
            .timeout(REPLAY_LIMIT)
            .read()?;
        eprintln!("replayed the corpus of {name}");
    }
    Ok(())
}

fn build(what: &[&str]) -> Result<()> {
    host::ensure_packages(&["g++"])?;
    cargo("build")
        .args(["--target", TARGET])
        .args(what)
        .directory(workspace::path("fuzz"))
        .env("RUSTFLAGS", FLAGS)
        .timeout(BUILD_LIMIT)
        .run()
}

/// Returns where a program is that was built by a profile.
fn program(profile: &str, name: &str) -> PathBuf {
    let built = workspace::path("fuzz/target").join(TARGET);
    built.join(profile).join(name)
}

fn targets() -> Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(workspace::path("fuzz/fuzz_targets")) else {
        return Ok(Vec::new()); // No target yet.
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}
