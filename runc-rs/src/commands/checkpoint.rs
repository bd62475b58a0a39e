//! `checkpoint`: dumps a running container to files, by CRIU.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{CommandError, Context, Failure, absolute, delete, find};
use crate::checkpoint::{self, CgroupMode, CriuOptions, DumpRequest};
use crate::state::Status;

/// Where the image goes where nothing is said.
const IMAGE: &str = "checkpoint";
const END_LIMIT: Duration = Duration::from_secs(10);

/// Options that a checkpoint and a restore have both.
#[derive(Debug, clap::Args)]
pub struct CriuArgs {
    /// Directory of the image
    #[arg(long, default_value = IMAGE)]
    image_path: PathBuf,
    /// Directory of logs and working files; the image's by default
    #[arg(long)]
    work_path: Option<PathBuf>,
    /// Allow open TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Allow unix sockets whose other end is outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow a terminal and a session from outside
    #[arg(long)]
    shell_job: bool,
    /// Allow file locks
    #[arg(long)]
    file_locks: bool,
    /// What becomes of control groups
    #[arg(long, value_enum, default_value_t)]
    manage_cgroups_mode: CgroupMode,
    /// Make this namespace anew and empty
    #[arg(long, value_parser = ["network"])]
    empty_ns: Option<String>,
    /// Keep no memory page twice
    #[arg(long)]
    auto_dedup: bool,
    /// Bring memory pages when they are asked for
    #[arg(long)]
    lazy_pages: bool,
}

impl CriuArgs {
    /// Returns the same with absolute paths.
    pub(super) fn options(self) -> Result<CriuOptions, CommandError> {
        Ok(CriuOptions {
            image: absolute(Some(self.image_path))?.expect("a path was given"),
            work: absolute(self.work_path)?,
            tcp_established: self.tcp_established,
            external_unix_sockets: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            cgroup_mode: self.manage_cgroups_mode,
            empty_network: self.empty_ns.is_some(),
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
        })
    }
}

/// Arguments of `checkpoint`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    criu: CriuArgs,
    /// Earlier image with memory pages, relative to the new one
    #[arg(long)]
    parent_path: Option<PathBuf>,
    /// Do not end the container
    #[arg(long)]
    leave_running: bool,
    /// Leave TCP connections out that are being made
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Link removed files again where that can be
    #[arg(long)]
    link_remap: bool,
    /// Descriptor that is told by a zero byte that pages can be asked for
    #[arg(long)]
    status_fd: Option<RawFd>,
    /// Server of memory pages, ADDRESS:PORT
    #[arg(long, value_parser = page_server)]
    page_server: Option<(String, u16)>,
    /// Dump memory only, and do not end the container
    #[arg(long)]
    pre_dump: bool,
    /// The container's id
    id: String,
}

fn page_server(text: &str) -> Result<(String, u16), String> {
    let (address, port) = text.rsplit_once(':').ok_or("ADDRESS:PORT is needed")?;
    let port = port.parse().map_err(|_| format!("{port} is no port"))?;
    Ok((address.to_owned(), port))
}

/// Dumps a container and, unless it is to go on, removes it.
///
/// # Errors
/// When it does not run, or cannot be dumped; it goes on then.
pub fn run(context: &Context<'_>, args: Args) -> Result<ExitCode, Failure> {
    let (directory, record) = find(context, &args.id)?;
    let status = directory.status(&record);
    if !matches!(status, Status::Running | Status::Paused) {
        let (action, id) = ("checkpoint", record.id.clone());
        return Err(CommandError::WrongStatus { action, id, status }.into());
    }
    let goes_on = args.leave_running || args.pre_dump;
    let request = DumpRequest {
        options: args.criu.options()?,
        parent: args.parent_path,
        leave_running: args.leave_running,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        pre_dump: args.pre_dump,
        page_server: args.page_server,
        status_fd: args.status_fd.filter(|number| *number >= 0),
    };
    checkpoint::dump(&directory, &record, &request)?;
    if !goes_on {
        if let Some(init) = record.live_init() {
            // CRIU has ended it; whoever waits for it has yet to hear of that.
            init.wait_end(END_LIMIT)
                .map_err(|error| CommandError::Signal(record.id.clone(), error))?;
        }
        delete::remove(context, &directory, &record)?;
    }
    Ok(ExitCode::SUCCESS)
}
