//! Dumping a container: its processes are frozen and written to files, and then
//! ended unless they are to go on.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use base::file::{FileMode, PathContext as _, replace};

use super::external;
use super::rpc::{Criu, ExternalMount, Kind, Notified, Options, PageServer, Surroundings};
use super::{CheckpointError, CriuOptions, DESCRIPTORS, open_folder};
use crate::cgroup::Directories;
use crate::create;
use crate::state::{ContainerDirectory, Record};
use crate::sys;

const LOG: &str = "dump.log";
/// Names a file with more options, as for runc.
const CONFIG_ANNOTATION: &str = "org.criu.config";
const CONFIG: &str = "/etc/criu/runc.conf";

/// What is asked of a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpRequest {
    pub options: CriuOptions,
    /// An earlier image, as seen from the new one's folder.
    pub parent: Option<PathBuf>,
    pub leave_running: bool,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    /// Only memory, while the container goes on.
    pub pre_dump: bool,
    pub page_server: Option<(String, u16)>,
    /// Told by a zero byte that pages can be asked for.
    pub status_fd: Option<RawFd>,
}

/// Dumps a container that runs.
///
/// # Errors
/// When CRIU fails; the container goes on then.
pub fn dump(
    directory: &ContainerDirectory,
    record: &Record,
    request: &DumpRequest,
) -> Result<(), CheckpointError> {
    request.options.make_folders()?;
    check(request)?;
    let pid = record.init.map_or(0, |init| init.pid);
    let image = open_folder(&request.options.image)?;
    let work = open_folder(request.options.work())?;
    let mut options = options(directory, record, request)?;
    options.images_dir_fd = image.as_raw_fd();
    options.work_dir_fd = Some(work.as_raw_fd());
    options.pid = Some(pid);
    if !request.pre_dump {
        write_descriptors(pid, &request.options.image)?;
    }
    let kind = match request.pre_dump {
        true => Kind::PreDump,
        false => Kind::Dump,
    };
    let criu = Criu::start(Surroundings {
        kept: &[],
        log: request.options.work().join(LOG),
    })?;
    criu.ask(kind, options, &mut Status(request.status_fd))
}

/// Refuses what CRIU would tell of too late.
fn check(request: &DumpRequest) -> Result<(), CheckpointError> {
    if let Some(parent) = &request.parent {
        let wrong = |why: &str| Err(CheckpointError::ParentPath(why.to_owned()));
        if parent.is_absolute() {
            return wrong("it must be relative to --image-path");
        }
        if !request.options.image.join(parent).is_dir() {
            return wrong("there is no such directory");
        }
    }
    match request.status_fd {
        Some(number) if !sys::is_open(number) => Err(CheckpointError::StatusFd(number)),
        _ => Ok(()),
    }
}

fn options(
    directory: &ContainerDirectory,
    record: &Record,
    request: &DumpRequest,
) -> Result<Options, CheckpointError> {
    let spec = directory.load_spec()?;
    let (plan, facts) = create::rootfs_again(&spec, record)?;
    let mut options = request.options.to_rpc(LOG);
    options.root = Some(record.rootfs.display().to_string());
    options.leave_running = Some(request.leave_running);
    options.tcp_skip_in_flight = Some(request.tcp_skip_in_flight);
    options.link_remap = Some(request.link_remap);
    options.parent_img = request
        .parent
        .as_ref()
        .map(|path| path.display().to_string());
    options.track_mem = request.pre_dump.then_some(true);
    options.ps = request
        .page_server
        .as_ref()
        .map(|(address, port)| PageServer {
            address: Some(address.clone()),
            port: Some(i32::from(*port)),
        });
    options.freeze_cgroup = freezer(record).map(|path| path.display().to_string());
    options.config_file = config_file(record);
    for (destination, _) in external::mounts(&plan, &facts)? {
        let name = destination.display().to_string();
        options.ext_mnt.push(ExternalMount {
            key: name.clone(),
            val: name,
        });
    }
    if let Some(init) = record.live_init() {
        options
            .ext_mnt
            .extend(external::devices(&init.path("mountinfo"))?);
    }
    for namespace in external::namespaces(&spec)? {
        let inode = rustix::fs::fstat(&namespace.file)
            .map_err(|error| CheckpointError::Kernel("look at a namespace", error.into()))?;
        let (word, inode, name) = (namespace.word, inode.st_ino, namespace.name);
        options.external.push(format!("{word}[{inode}]:{name}"));
    }
    Ok(options)
}

fn freezer(record: &Record) -> Option<PathBuf> {
    let group = match &record.cgroup.directories {
        Directories::Unified(group) => group,
        Directories::Split(groups) => groups.get("freezer")?,
    };
    Some(group.clone())
}

/// Returns the file with options beside those of the command line.
pub(super) fn config_file(record: &Record) -> Option<String> {
    let named = record.annotations.get(CONFIG_ANNOTATION);
    let named = named.filter(|path| !path.is_empty()).cloned();
    named.or_else(|| Path::new(CONFIG).exists().then(|| CONFIG.to_owned()))
}

/// Writes what the standard streams are, for the restore to put others there.
fn write_descriptors(pid: i32, image: &Path) -> Result<(), CheckpointError> {
    let mut links = Vec::new();
    for number in 0..3 {
        let path = PathBuf::from(format!("/proc/{pid}/fd/{number}"));
        let link = match std::fs::read_link(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => PathBuf::new(),
            link => link.at("read link", &path)?,
        };
        links.push(link.display().to_string());
    }
    let text = serde_json::to_vec(&links).expect("texts serialize");
    Ok(replace(&image.join(DESCRIPTORS), &text, FileMode::Private)?)
}

/// Whoever waits for pages to be there.
struct Status(Option<RawFd>);

impl Notified for Status {
    fn notified(
        &mut self,
        script: &str,
        _: i32,
        _: Option<OwnedFd>,
    ) -> Result<(), CheckpointError> {
        let Some(number) = self.0.filter(|_| script == "status-ready") else {
            return Ok(());
        };
        let status = sys::caller_descriptor(number);
        let told = rustix::io::write(status as BorrowedFd<'_>, &[0]);
        told.map(drop)
            .map_err(|_| CheckpointError::StatusFd(number))
    }
}
