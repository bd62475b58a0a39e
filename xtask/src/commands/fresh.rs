//! `cargo xtask fresh CMD`: runs a command on a Debian that has nothing yet.
//!
//! Makes a bare tree of the host's suite, brings the Rust toolchain with its
//! linker and a clone of the checkout, and enters it; nothing installed earlier
//! can hide a missing step. The tree is removed at the end.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::debian;
use crate::enter::{Access, Bind, Entry, Network};
use crate::host;
use crate::process::Cmd;
use crate::workspace;

/// What a Rust toolchain cannot do without.
const PACKAGES: &[&str] = &["ca-certificates", "gcc", "libc6-dev"];
const CHECKOUT: &str = "checkout";
const COPY_LIMIT: Duration = Duration::from_secs(600);
const SCRIPT: &str = "update-ca-certificates >/dev/null \
    && cd /checkout && PATH=/root/.cargo/bin:$PATH exec \"$@\"";
/// Authorities that this host trusts beside Debian's, as behind a proxy.
const AUTHORITIES: &str = "usr/local/share/ca-certificates";

/// What to run in the fresh tree.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The command, with the checkout as its working folder
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Makes the tree, runs the command in it, and removes it.
///
/// Returns the command's exit code.
///
/// # Errors
/// Fails when the tree cannot be made, entered or removed.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    host::ensure_root("a fresh tree")?;
    let tree = workspace::scratch("")?.join(format!("fresh-{}", std::process::id()));
    let code = prepare(&tree).and_then(|()| entry(&tree, &arguments.command)?.run());
    std::fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
    Ok(ExitCode::from(u8::try_from(code?).unwrap_or(1)))
}

fn prepare(tree: &Path) -> Result<()> {
    debian::Tree::new(&debian::suite()?, PACKAGES).unpack(tree)?;
    Cmd::new("git")
        .args(["clone", "--quiet", "--no-hardlinks"])
        .arg(workspace::root())
        .arg(tree.join(CHECKOUT))
        .timeout(COPY_LIMIT)
        .read()?;
    if !Cmd::new("git")
        .args(["status", "--porcelain"])
        .directory(workspace::root())
        .read()?
        .is_empty()
    {
        eprintln!("what is not committed does not come along");
    }
    let authorities = Path::new("/").join(AUTHORITIES);
    if authorities.is_dir() {
        copy(&authorities, &tree.join("usr/local/share"))?;
    }
    // cargo writes into its own folder; the compiler's is only read.
    copy(&home().join(".cargo"), &tree.join("root"))
}

fn entry(tree: &Path, command: &[String]) -> Result<Entry> {
    let words = ["sh", "-c", SCRIPT, "sh"].map(str::to_owned);
    let words = words.into_iter().chain(command.iter().cloned()).collect();
    let toolchain = Bind::new(home().join(".rustup"), "root/.rustup", Access::ReadOnly);
    let mut entry = Entry::new(tree, Network::Host, words)
        .with_hybrid_cgroups()
        .bind(toolchain);
    for file in ["etc/hosts", "etc/resolv.conf"] {
        entry = entry.bind(Bind::new(Path::new("/").join(file), file, Access::ReadOnly));
    }
    Ok(entry)
}

fn home() -> std::path::PathBuf {
    std::env::var_os("HOME").map_or_else(|| "/root".into(), Into::into)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    Cmd::new("cp")
        .arg("--archive")
        .arg(from)
        .arg(to)
        .timeout(COPY_LIMIT)
        .read()
        .map(|_| ())
}
