//! CRIU's protocol: messages of protobuf over a socket, as its `rpc.proto` has
//! them. Only what is used is here; a field's number is what counts.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use prost::Message;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg, send,
};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::{CheckpointError, errors_of};
use crate::sys::{self, Fork};

/// Everything, since a failure is explained nowhere else.
pub(super) const LOG_LEVEL: i32 = 4;
/// A longer message is none of CRIU's.
const MESSAGE_LIMIT_BYTES: usize = 1 << 20;

#[derive(Clone, PartialEq, Message)]
pub(super) struct PageServer {
    #[prost(string, optional, tag = "1")]
    pub address: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExternalMount {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(string, required, tag = "2")]
    pub val: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InheritedDescriptor {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CgroupRoot {
    #[prost(string, optional, tag = "1")]
    pub ctrl: Option<String>,
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// `criu_opts`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Options {
    #[prost(int32, required, tag = "1")]
    pub images_dir_fd: i32,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub ext_unix_sk: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    #[prost(message, optional, tag = "11")]
    pub ps: Option<PageServer>,
    #[prost(bool, optional, tag = "12")]
    pub notify_scripts: Option<bool>,
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub parent_img: Option<String>,
    #[prost(bool, optional, tag = "15")]
    pub track_mem: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    pub auto_dedup: Option<bool>,
    #[prost(int32, optional, tag = "17")]
    pub work_dir_fd: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    #[prost(message, repeated, tag = "23")]
    pub ext_mnt: Vec<ExternalMount>,
    #[prost(bool, optional, tag = "24")]
    pub manage_cgroups: Option<bool>,
    #[prost(message, repeated, tag = "25")]
    pub cg_root: Vec<CgroupRoot>,
    #[prost(bool, optional, tag = "26")]
    pub rst_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub inherit_fd: Vec<InheritedDescriptor>,
    #[prost(int32, optional, tag = "34")]
    pub manage_cgroups_mode: Option<i32>,
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    #[prost(uint32, optional, tag = "38")]
    pub empty_ns: Option<u32>,
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    #[prost(bool, optional, tag = "48")]
    pub lazy_pages: Option<bool>,
    #[prost(bool, optional, tag = "50")]
    pub orphan_pts_master: Option<bool>,
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
}

/// `criu_req`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    opts: Option<Options>,
    #[prost(bool, optional, tag = "3")]
    notify_success: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Notification {
    #[prost(string, optional, tag = "1")]
    script: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pid: Option<i32>,
}

/// `criu_resp`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(bool, required, tag = "2")]
    success: bool,
    #[prost(message, optional, tag = "5")]
    notify: Option<Notification>,
    #[prost(int32, optional, tag = "7")]
    cr_errno: Option<i32>,
    #[prost(string, optional, tag = "9")]
    cr_errmsg: Option<String>,
}

/// What CRIU is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dump,
    Restore,
    PreDump,
}

const NOTIFY: i32 = 6;

impl Kind {
    fn number(self) -> i32 {
        match self {
            Self::Dump => 1,
            Self::Restore => 2,
            Self::PreDump => 4,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::PreDump => "PRE_DUMP",
        }
    }
}

/// What is done when CRIU tells how far it is.
pub(super) trait Notified {
    /// # Errors
    /// Which ends the request.
    fn notified(
        &mut self,
        script: &str,
        pid: i32,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), CheckpointError>;
}

/// A running `criu swrk`.
#[derive(Debug)]
pub(super) struct Criu {
    process: Pid,
    socket: OwnedFd,
    /// Where it says what went wrong.
    log: PathBuf,
}

/// What the process is given that becomes CRIU.
pub(super) struct Surroundings<'a> {
    /// Descriptors that it keeps, by their numbers.
    pub kept: &'a [BorrowedFd<'a>],
    pub log: PathBuf,
}

impl Criu {
    /// Starts CRIU, with this process's standard streams.
    ///
    /// # Errors
    /// When there is no process for it; that it cannot be executed is told by
    /// the request.
    pub(super) fn start(surroundings: Surroundings<'_>) -> Result<Self, CheckpointError> {
        let pair = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let (socket, theirs) =
            pair.map_err(|error| CheckpointError::Kernel("make a socket pair", error.into()))?;
        let forked = sys::fork().map_err(|error| CheckpointError::Kernel("fork", error))?;
        match forked {
            Fork::Parent(process) => Ok(Self {
                process,
                socket,
                log: surroundings.log,
            }),
            Fork::Child => {
                drop(socket);
                let message = become_criu(&surroundings, &theirs);
                // Whoever asks reads it in place of an answer.
                send(&theirs, message.as_bytes(), SendFlags::NOSIGNAL).ok();
                sys::exit_now(1)
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.as_raw_nonzero().get()
    }

    /// Makes a request and waits for its end.
    ///
    /// # Errors
    /// When CRIU fails, or what is done on its notifications.
    pub(super) fn ask(
        self,
        kind: Kind,
        options: Options,
        notified: &mut dyn Notified,
    ) -> Result<(), CheckpointError> {
        let answered = self.talk(kind, options, notified);
        drop(self.socket);
        // It ends with its side of the line; its status is in the answer.
        waitpid(Some(self.process), WaitOptions::empty()).ok();
        answered
    }

    fn talk(
        &self,
        kind: Kind,
        options: Options,
        notified: &mut dyn Notified,
    ) -> Result<(), CheckpointError> {
        self.say(&Request {
            kind: kind.number(),
            opts: Some(options),
            notify_success: None,
        })?;
        loop {
            let (response, descriptor) = self.hear()?;
            if response.kind != NOTIFY || !response.success {
                return self.judge(kind, &response);
            }
            let notification = response.notify.unwrap_or_default();
            let script = notification.script.as_deref().unwrap_or_default();
            let done = notified.notified(script, notification.pid.unwrap_or(0), descriptor);
            self.say(&Request {
                kind: NOTIFY,
                opts: None,
                notify_success: Some(done.is_ok()),
            })?;
            done?;
        }
    }

    fn judge(&self, kind: Kind, response: &Response) -> Result<(), CheckpointError> {
        if response.success && response.kind == kind.number() {
            return Ok(());
        }
        let message = response.cr_errmsg.as_deref().unwrap_or_default().trim();
        Err(CheckpointError::Criu {
            kind: kind.word(),
            errno: response.cr_errno.unwrap_or(0),
            message: match message.is_empty() {
                true => String::new(),
                false => format!(": {message}"),
            },
            lines: errors_of(&self.log),
            log: self.log.clone(),
        })
    }

    fn say(&self, request: &Request) -> Result<(), CheckpointError> {
        let sent = send(&self.socket, &request.encode_to_vec(), SendFlags::NOSIGNAL);
        match sent {
            // What it was that ended is heard next.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(CheckpointError::Talk(error.into())),
        }
    }

    fn hear(&self) -> Result<(Response, Option<OwnedFd>), CheckpointError> {
        let mut message = vec![0; MESSAGE_LIMIT_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut message)];
        let received = loop {
            match recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR | Errno::CONNRESET) => {}
                received => break received.map_err(|error| CheckpointError::Talk(error.into()))?,
            }
        };
        let mut descriptors: VecDeque<OwnedFd> = VecDeque::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(found) = part {
                descriptors.extend(found);
            }
        }
        let message = &message[..received.bytes];
        if let Some(why) = message.strip_prefix(NO_CRIU.as_bytes()) {
            let why = String::from_utf8_lossy(why).into_owned();
            return Err(CheckpointError::NoCriu(why));
        }
        if message.is_empty() {
            return Err(CheckpointError::NoCriu(
                "it ended without an answer".to_owned(),
            ));
        }
        let response = Response::decode(message).map_err(CheckpointError::Decode)?;
        Ok((response, descriptors.pop_front()))
    }
}

/// Begins the message of a process that could not become CRIU: a message of
/// protobuf begins with the number of a field, which is never zero.
const NO_CRIU: &str = "\0";

/// Becomes CRIU; returns only the message that says why not.
fn become_criu(surroundings: &Surroundings<'_>, socket: &OwnedFd) -> String {
    let failed = |why: String| format!("{NO_CRIU}{why}");
    for kept in surroundings.kept.iter().copied().chain([socket.as_fd()]) {
        if let Err(error) = rustix::io::fcntl_setfd(kept, rustix::io::FdFlags::empty()) {
            return failed(format!("keep a descriptor: {error}"));
        }
    }
    let words = ["criu", "swrk", &socket.as_raw_fd().to_string()];
    let words = words.map(|word| CString::new(word).expect("no word has a NUL byte"));
    let Err(error) = nix::unistd::execvp(&words[0], &words);
    failed(crate::sys::reason(error as i32))
}
