//! The command line: runc's commands and flags, and what becomes of errors.
//!
//! It is written anew because liboci-cli 0.7 misses or misparses about twenty
//! flags (`docs/RUNTIME.md`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{self, Context, Failure, Speaker};
use crate::create::CgroupDriver;
use crate::log::{LogFormat, Logger, Verbosity};
use crate::seal;
use crate::state::Store;

/// What `--version` prints after the name; engines look for "commit" and "spec".
const VERSION: &str = concat!(
    "version ",
    env!("CARGO_PKG_VERSION"),
    "\ncommit: v",
    env!("CARGO_PKG_VERSION"),
    "\nspec: 1.2.1"
);

/// An OCI runtime.
#[derive(Debug, Parser)]
#[command(name = "runc-rs", version = VERSION, disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What stands before a command, where the rest cannot be read.
#[derive(Debug, Parser)]
#[command(name = "runc-rs", version = VERSION, disable_version_flag = true)]
struct Options {
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Directory of the containers' state
    #[arg(long, default_value = "/run/runc-rs")]
    root: PathBuf,
    /// File to append log lines to
    #[arg(long)]
    log: Option<PathBuf>,
    /// Form of the log lines
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Log steps too
    #[arg(long)]
    debug: bool,
    /// For tests: kills itself at this step
    #[arg(long, hide = true)]
    die_at_step: Option<u32>,
    /// Have systemd make control groups; cgroupsPath is then slice:prefix:name
    #[arg(long)]
    systemd_cgroup: bool,
    /// Tolerate missing privilege: true, false or auto
    #[arg(long, value_parser = ["true", "false", "auto"], default_value = "auto")]
    rootless: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Dump a running container to files
    Checkpoint(commands::checkpoint::Args),
    /// Create a container
    Create(commands::create::Args),
    /// Remove a container and what belongs to it
    Delete(commands::delete::Args),
    /// Print what a container uses, and when it runs out of memory
    Events(commands::events::Args),
    /// Run another process in a container
    Exec(commands::exec::Args),
    /// Print what this runtime can do
    Features,
    /// Send a signal to a container's init
    Kill(commands::kill::Args),
    /// List containers
    List(commands::list::Args),
    /// Suspend all processes of a container
    Pause(commands::pause::Args),
    /// List the processes of a container
    Ps(commands::ps::Args),
    /// Make a container from what was dumped
    Restore(commands::restore::Args),
    /// Resume all processes of a container
    Resume(commands::resume::Args),
    /// Create and start a container
    Run(commands::run::Args),
    /// Write a specification to begin with
    Spec(commands::spec::Args),
    /// Start a created container
    Start(commands::start::Args),
    /// Print the state of a container
    State(commands::state::Args),
    /// Change limits of a container
    Update(commands::update::Args),
}

/// Runs the program with the arguments of a process.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return report_usage(&error, &arguments),
    };
    // Before anything is opened: the numbers the caller passed on are then
    // still his own.
    let preserved = check_preserved_descriptors(&cli.command);
    let log = match open_log(&cli.global) {
        Ok(log) => log,
        Err(failure) => {
            eprintln!("runc-rs: {}", failure.message());
            return failure.exit_code();
        }
    };
    if let Some(fatal) = cli.global.die_at_step {
        log.die_at(fatal);
    }
    let result = preserved.and_then(|()| dispatch(cli, &log));
    result.unwrap_or_else(|failure| {
        match failure.speaker() {
            Speaker::Runtime => log.error(&failure.message()),
            Speaker::Program => log.error_of_program(&failure.message()),
        }
        failure.exit_code()
    })
}

fn open_log(global: &Global) -> Result<Logger, Failure> {
    let verbosity = match global.debug {
        true => Verbosity::Debug,
        false => Verbosity::Normal,
    };
    Ok(Logger::open(
        global.log.as_deref(),
        global.log_format,
        verbosity,
    )?)
}

/// Says how the program was called wrongly, in the log as well where the options
/// before the command name one, or shows the help that was asked for.
fn report_usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // Printing may fail on a closed pipe, which is the caller's wish.
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let options = Options::command()
        .ignore_errors(true)
        .try_get_matches_from(arguments);
    let options = options.and_then(|matches| Options::from_arg_matches(&matches));
    if let Some(log) = options
        .ok()
        .and_then(|options| open_log(&options.global).ok())
    {
        let text = error.to_string();
        log.error_shown(text.lines().next().unwrap_or_default());
    }
    ExitCode::FAILURE
}

fn check_preserved_descriptors(command: &Command) -> Result<(), Failure> {
    let count = match command {
        Command::Create(args) => args.container.preserve_fds,
        Command::Run(args) => args.container.preserve_fds,
        Command::Exec(args) => args.preserve_fds,
        _ => 0,
    };
    commands::check_preserved_descriptors(count)
}

fn dispatch(cli: Cli, log: &Logger) -> Result<ExitCode, Failure> {
    let enters = matches!(
        cli.command,
        Command::Create(_) | Command::Run(_) | Command::Exec(_)
    );
    if enters {
        seal::ensure_sealed()?;
    }
    let root = std::path::absolute(&cli.global.root)
        .map_err(|_| Failure::usage("--root is not a usable path"))?;
    let context = Context {
        store: Store::new(root),
        log,
        cgroup_driver: match cli.global.systemd_cgroup {
            true => CgroupDriver::Systemd,
            false => CgroupDriver::Files,
        },
        // What is neither is `auto`.
        rootless: cli.global.rootless.parse().ok(),
    };
    match cli.command {
        Command::Checkpoint(args) => commands::checkpoint::run(&context, args),
        Command::Create(args) => commands::create::run(&context, args),
        Command::Delete(args) => commands::delete::run(&context, &args),
        Command::Events(args) => commands::events::run(&context, &args),
        Command::Exec(args) => commands::exec::run(&context, args),
        Command::Features => commands::features::run(),
        Command::Kill(args) => commands::kill::run(&context, &args),
        Command::List(args) => commands::list::run(&context, &args),
        Command::Pause(args) => commands::pause::run(&context, &args),
        Command::Ps(args) => commands::ps::run(&context, &args),
        Command::Restore(args) => commands::restore::run(&context, args),
        Command::Resume(args) => commands::resume::run(&context, &args),
        Command::Run(args) => commands::run::run(&context, args),
        Command::Spec(args) => commands::spec::run(&args),
        Command::Start(args) => commands::start::run(&context, &args),
        Command::State(args) => commands::state::run(&context, &args),
        Command::Update(args) => commands::update::run(&context, &args),
    }
}
