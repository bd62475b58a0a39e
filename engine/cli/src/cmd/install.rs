//! `engine install` and `engine uninstall`: units, group and links of this host.

use std::path::{Path, PathBuf};
use std::process::Command;

use base::file::PathContext as _;
use base::instance::{DEFAULT_ROOT, DEFAULT_RUN};
use clap::Args;

use crate::context::Context;
use crate::error::CliError;
use crate::install::{self, InstallError, Options, Plan, Step};

/// There where systemd runs.
const SYSTEMD: &str = "/run/systemd/system";
const UNIT: &str = "engine.service";
/// What has to lie beside the program.
const SIBLINGS: &[&str] = &["engine-shim", "netd", "runc-rs", "volumed"];

/// Sets this host up.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Link /run/docker.sock to the daemon's socket
    #[arg(long)]
    docker_socket: bool,
    /// Link docker and dockerd in /usr/local/bin to engine
    #[arg(long)]
    docker_names: bool,
    /// Only set up, do not start the daemon
    #[arg(long)]
    no_start: bool,
    /// Where the programs are, as seen from the prefix [default: where this one is]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Takes away what install made.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The host's root directory; with another one nothing is started or stopped
    #[arg(long, value_name = "DIR", default_value = "/")]
    prefix: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Common {
    fn prefix(&self) -> Result<PathBuf, CliError> {
        Ok(self.prefix.canonicalize().at("find", &self.prefix)?)
    }

    /// Whether services are to be started and stopped.
    fn is_live(&self, prefix: &Path) -> bool {
        !self.dry_run && prefix == Path::new("/")
    }
}

impl Install {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let daemon = context.global.daemon_options();
        let is_usual = daemon.root == Path::new(DEFAULT_ROOT)
            && daemon.run == Path::new(DEFAULT_RUN)
            && daemon.instance.is_none()
            && daemon.config.is_none();
        if !is_usual {
            return Err(CliError::Usage(
                "the unit is that of the usual installation: --root, --run-dir, --instance and \
                 --config cannot be given"
                    .to_owned(),
            ));
        }
        let prefix = self.common.prefix()?;
        let plan = Plan::new(&Options {
            program: self.program(&prefix)?,
            docker_socket: self.docker_socket,
            docker_names: self.docker_names,
            prefix: prefix.clone(),
        })?;
        tell(context, &install::install(&plan, self.common.dry_run)?)?;
        if !self.common.is_live(&prefix) {
            return Ok(());
        }
        if !has_systemd() {
            context.warn("systemd does not run here: the daemon was not started, no group made");
            return Ok(());
        }
        call("systemd-sysusers", &["engine.conf"])?;
        call("systemctl", &["daemon-reload"])?;
        match self.no_start {
            true => Ok(()),
            false => call("systemctl", &["start", UNIT]),
        }
    }

    /// Returns the program as it is called from the prefix; all programs must be there
    /// if this one is.
    fn program(&self, prefix: &Path) -> Result<PathBuf, CliError> {
        if let Some(directory) = &self.bin_dir {
            return Ok(directory.join("engine"));
        }
        let own = std::env::current_exe().at("find", "/proc/self/exe")?;
        for name in SIBLINGS {
            let path = own.with_file_name(name);
            if !path.is_file() {
                return Err(InstallError::Incomplete { path }.into());
            }
        }
        Ok(match own.strip_prefix(prefix) {
            Ok(below) => Path::new("/").join(below),
            Err(_) => own,
        })
    }
}

impl Uninstall {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let prefix = self.common.prefix()?;
        let is_live = self.common.is_live(&prefix) && has_systemd();
        let planned = install::uninstall(&prefix, true)?;
        let is_unit = |step: &Step| matches!(step, Step::Removed(path) if path.ends_with(UNIT));
        if is_live && planned.iter().any(is_unit) {
            call("systemctl", &["stop", UNIT])?;
        }
        tell(context, &install::uninstall(&prefix, self.common.dry_run)?)?;
        match is_live {
            true => call("systemctl", &["daemon-reload"]),
            false => Ok(()),
        }
    }
}

fn has_systemd() -> bool {
    Path::new(SYSTEMD).is_dir()
}

fn tell(context: &Context, steps: &[Step]) -> Result<(), CliError> {
    for step in steps {
        let (what, path) = match step {
            Step::Made(path) => ("made", path),
            Step::Unchanged(path) => ("unchanged", path),
            Step::Removed(path) => ("removed", path),
            Step::Left(path) => ("left, it was changed", path),
        };
        context.print_line(&format!("{what}: {}", path.display()))?;
    }
    Ok(())
}

/// Runs a program of systemd; what it says is the error.
fn call(program: &str, words: &[&str]) -> Result<(), CliError> {
    let output = Command::new(program).args(words).output();
    let output = output.at("run", program)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CliError::Usage(format!(
        "{program} {}: {}",
        words.join(" "),
        said.trim()
    )))
}
