//! `spec`: writes a config.json to begin with.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use base::file::PathContext as _;
use oci_spec::runtime::Spec;

use super::Failure;

/// Arguments of `spec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to write to; the working directory by default
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// Write one for a caller who is not root
    #[arg(long)]
    rootless: bool,
}

/// Writes the file; an existing one is left alone.
///
/// # Errors
/// When it exists or cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let bundle = args.bundle.clone().unwrap_or_else(|| PathBuf::from("."));
    let path = bundle.join("config.json");
    let spec = match args.rootless {
        true => {
            let uid = rustix::process::geteuid().as_raw();
            let gid = rustix::process::getegid().as_raw();
            Spec::rootless(uid, gid)
        }
        false => Spec::default(),
    };
    let text = serde_json::to_string_pretty(&spec).expect("a specification serializes") + "\n";
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .at("create", &path)?;
    file.write_all(text.as_bytes()).at("write", &path)?;
    Ok(ExitCode::SUCCESS)
}
