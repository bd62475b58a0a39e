//! `cargo xtask dist`: what a package ships, in dist/.
//!
//! The daemons are dynamic; runc-rs and engine-shim are static and built small,
//! since they run where no library can be found and once per container. Sizes
//! are asserted, so that a dependency which doubles one is noticed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::elf;
use crate::host;
use crate::notices;
use crate::process::Cmd;
use crate::workspace::{self, TARGET, cargo};

const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);
const MIB: u64 = 1 << 20;

/// A program that ships.
#[derive(Debug)]
struct Program {
    name: &'static str,
    linking: Linking,
    ceiling_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linking {
    Dynamic,
    Static,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "engine",
        linking: Linking::Dynamic,
        ceiling_bytes: 16 * MIB,
    },
    Program {
        name: "netd",
        linking: Linking::Dynamic,
        ceiling_bytes: 8 * MIB,
    },
    Program {
        name: "volumed",
        linking: Linking::Dynamic,
        ceiling_bytes: 6 * MIB,
    },
    Program {
        name: "runc-rs",
        linking: Linking::Static,
        ceiling_bytes: 3 * MIB,
    },
    Program {
        name: "engine-shim",
        linking: Linking::Static,
        ceiling_bytes: 3 * MIB / 2,
    },
];

/// Returns the folder that everything goes to.
pub(crate) fn folder() -> PathBuf {
    workspace::path("dist")
}

/// Builds and checks everything.
///
/// # Errors
/// Fails when a build fails or a program is too large or not linked as it should be.
pub(crate) fn run() -> Result<()> {
    programs()?;
    copy_units()?;
    write_help()?;
    copy_file(&workspace::path("LICENSE"), &folder().join("LICENSE"))?;
    let names: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
    workspace::write_file(
        &folder().join("THIRD-PARTY-NOTICES"),
        notices::collect(&names)?,
    )
}

/// Builds and checks the programs only; what benches and the demo need.
///
/// # Errors
/// Fails like `run`.
pub(crate) fn programs() -> Result<()> {
    host::ensure_packages(host::BUILD_PACKAGES)?;
    build_dynamic()?;
    build_static()?;
    for program in PROGRAMS {
        let built = built(program);
        check(program, &built)?;
        copy_file(&built, &folder().join(program.name))?;
    }
    link_dockerd()
}

/// By this name the engine takes the options of Docker's daemon.
fn link_dockerd() -> Result<()> {
    let link = folder().join("dockerd");
    if link.is_symlink() {
        return Ok(());
    }
    std::os::unix::fs::symlink("engine", &link)
        .with_context(|| format!("make the link {}", link.display()))
}

fn build_dynamic() -> Result<()> {
    cargo("build")
        .args(["--release", "--locked"])
        .args(packages(Linking::Dynamic))
        .timeout(BUILD_LIMIT)
        .run()
}

fn build_static() -> Result<()> {
    cargo_small()
        .args(packages(Linking::Static))
        .timeout(BUILD_LIMIT)
        .run()
}

/// Returns a build of static programs that abort.
///
/// Relocations are packed (glibc 2.36), and nothing is said on how to unwind:
/// a program that traces a call back, for an error say, ends with that.
fn cargo_small() -> Cmd {
    let script = workspace::path("runc-rs/no-unwinding.ld");
    cargo_static(&[
        "-Cforce-unwind-tables=no",
        "-Clink-arg=-Wl,-z,pack-relative-relocs,--no-eh-frame-hdr",
        "-Clink-arg=-T",
        &format!("-Clink-arg={}", script.display()),
    ])
}

/// Returns a build of static programs with more flags. Naming the target keeps
/// them from build scripts and macros, which cannot be static.
pub(crate) fn cargo_static(more: &[&str]) -> Cmd {
    let flags = [&["-Ctarget-feature=+crt-static"], more].concat();
    cargo("build")
        .args(["--profile", "small", "--locked", "--target", TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
}

fn packages(linking: Linking) -> impl Iterator<Item = String> {
    let of_kind = PROGRAMS
        .iter()
        .filter(move |program| program.linking == linking);
    of_kind.map(|program| format!("--package={}", program.name))
}

fn built(program: &Program) -> PathBuf {
    let folder = match program.linking {
        Linking::Dynamic => workspace::path("target/release"),
        Linking::Static => workspace::path("target").join(TARGET).join("small"),
    };
    folder.join(program.name)
}

fn check(program: &Program, file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let (name, size) = (program.name, bytes.len() as u64);
    if size > program.ceiling_bytes {
        bail!(
            "{name} has {size} bytes, {} are the ceiling",
            program.ceiling_bytes
        );
    }
    let interpreted = elf::has_interpreter(&bytes).with_context(|| format!("look into {name}"))?;
    if interpreted != (program.linking == Linking::Dynamic) {
        bail!("{name} should be {:?} and is not", program.linking);
    }
    eprintln!(
        "{name}: {:.2} MiB, {:?}",
        size as f64 / MIB as f64,
        program.linking
    );
    Ok(())
}

fn copy_units() -> Result<()> {
    let packaging = workspace::path("packaging");
    for entry in std::fs::read_dir(&packaging).context("read packaging/")? {
        let path = entry.context("read packaging/")?.path();
        let name = path.file_name().context("name a unit")?.to_owned();
        copy_file(&path, &folder().join("systemd").join(name))?;
    }
    Ok(())
}

/// The command line describes itself: completions by shell, and man pages.
fn write_help() -> Result<()> {
    let engine = folder().join("engine");
    for shell in ["bash", "zsh", "fish"] {
        let script = Cmd::new(&engine).args(["completion", shell]).read()?;
        let file = folder().join("completions").join(format!("engine.{shell}"));
        workspace::write_file(&file, script + "\n")?;
    }
    let man = folder().join("man");
    std::fs::create_dir_all(&man).with_context(|| format!("create {}", man.display()))?;
    Cmd::new(&engine).arg("man").arg(&man).read().map(|_| ())
}

/// Replaces by rename: the old file may be running.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().expect("a file in dist/ has a parent");
    let temporary = to.with_extension("new");
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::copy(from, &temporary))
        .and_then(|_| std::fs::rename(&temporary, to))
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}
