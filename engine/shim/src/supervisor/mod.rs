//! The loop of a shim and everything it holds.
//!
//! One turn: advance what needs no event, wait, handle what became ready. What
//! is watched follows from the state alone: a stream that must not be read, for
//! a client that is behind, is left out of the wait.

mod commands;
mod ends;
mod phases;
mod requests;
mod streams;

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use base::Timestamp;
use engine_shim_api::{ATTACH_SOCKET, CONTROL_SOCKET, ShimConfig};
use rustix::event::PollFlags;

use crate::attach::{CLIENTS_LIMIT, Client};
use crate::control::{ControlServer, ReplyTo};
use crate::diagnostics::Diagnostics;
use crate::directory::Directory;
use crate::log::LogWriter;
use crate::outbox::Outbox;
use crate::phase::Phase;
use crate::poll::{PollSet, Token};
use crate::process::{INIT, Process};
use crate::runtime::Environment;
use crate::stdio::OUTPUTS;
use commands::{Job, SerialCommand};

/// Every read of output and input goes through one buffer of this size.
const SCRATCH_BYTES: usize = 64 * 1024;
/// How long a shim whose run is over waits for clients to read the rest.
const LINGER_LIMIT: Duration = Duration::from_secs(10);

/// What a shim begins with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: ShimConfig,
    pub(crate) environment: Environment,
    pub(crate) directory: Directory,
    pub(crate) children: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) attach: OwnedFd,
    pub(crate) log: Option<LogWriter>,
    pub(crate) outbox: Outbox,
}

/// A shim at work.
#[derive(Debug)]
pub(crate) struct Supervisor {
    config: ShimConfig,
    environment: Environment,
    directory: Directory,
    children: OwnedFd,
    control: ControlServer,
    attach: OwnedFd,
    log: Option<LogWriter>,
    outbox: Outbox,
    diagnostics: Diagnostics,
    phase: Phase,
    /// Init first, then execs.
    processes: Vec<Process>,
    clients: Vec<Client>,
    /// The runtime command that runs, of those that run one at a time.
    serial: Option<SerialCommand>,
    jobs: VecDeque<Job>,
    start_reply: Option<ReplyTo>,
    start_failure: Option<String>,
    started: Option<Timestamp>,
    paused: bool,
    deletion: Deletion,
    linger: Option<Instant>,
    next_key: u32,
    scratch: Box<[u8]>,
}

/// How the removal of the container goes.
#[derive(Debug, Default)]
struct Deletion {
    attempts: u32,
    retry: Option<Instant>,
    failure: Option<String>,
}

impl Supervisor {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            config: parts.config,
            environment: parts.environment,
            directory: parts.directory,
            children: parts.children,
            control: ControlServer::new(parts.control),
            attach: parts.attach,
            log: parts.log,
            outbox: parts.outbox,
            diagnostics: Diagnostics::default(),
            phase: Phase::Waiting,
            processes: vec![Process::new(INIT, None)],
            clients: Vec::new(),
            serial: None,
            jobs: VecDeque::new(),
            start_reply: None,
            start_failure: None,
            started: None,
            paused: false,
            deletion: Deletion::default(),
            linger: None,
            next_key: INIT + 1,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        }
    }

    /// Runs until the run is over or somebody shuts the shim down.
    pub(crate) fn run(&mut self) {
        loop {
            self.advance();
            if self.phase == Phase::Ended {
                return;
            }
            for (token, events) in self.watched().wait(self.deadline()) {
                self.dispatch(token, events);
            }
        }
    }

    /// Removes what nobody will answer on any more.
    pub(crate) fn remove_sockets(&self) {
        self.directory.remove(ATTACH_SOCKET);
        self.directory.remove(CONTROL_SOCKET);
    }

    /// Returns every descriptor that something is expected of.
    fn watched(&self) -> PollSet<'_> {
        let mut set = PollSet::default();
        set.add(Token::Children, self.children.as_fd(), PollFlags::IN);
        if let Some((descriptor, events)) = self.log.as_ref().and_then(LogWriter::watched) {
            set.add(Token::Log, descriptor, events);
        }
        self.watch_control(&mut set);
        self.watch_clients(&mut set);
        self.watch_commands(&mut set);
        for process in &self.processes {
            self.watch_process(&mut set, process);
        }
        set
    }

    fn watch_control<'a>(&'a self, set: &mut PollSet<'a>) {
        if let Some(listener) = self.control.listener() {
            set.add(Token::ControlListener, listener, PollFlags::IN);
        }
        for (key, socket, behind) in self.control.connections() {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, behind);
            set.add(Token::Control(key), socket, events);
        }
    }

    fn watch_clients<'a>(&'a self, set: &mut PollSet<'a>) {
        if self.clients.len() < CLIENTS_LIMIT {
            set.add(Token::AttachListener, self.attach.as_fd(), PollFlags::IN);
        }
        for client in &self.clients {
            let listened = client.is_listened_to() && self.takes_input_of(client);
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, listened);
            events.set(PollFlags::OUT, client.is_behind());
            // A client whose input waits for room in the process is left alone:
            // its hang-up comes after that input.
            let held = client.is_listened_to() && self.has_started(client);
            if !events.is_empty() || !held {
                set.add(Token::Client(client.key), client.descriptor(), events);
            }
        }
    }

    fn watch_process<'a>(&'a self, set: &mut PollSet<'a>, process: &'a Process) {
        for stream in OUTPUTS {
            if let Some(output) = process.streams.output(stream)
                && self.may_read(process, stream)
            {
                set.add(Token::Output(process.key, stream), output, PollFlags::IN);
            }
        }
        if let Some(input) = process.streams.input.blocked_on() {
            set.add(Token::Input(process.key), input, PollFlags::OUT);
        }
        if let Some(console) = &process.console {
            let token = Token::Console(process.key);
            set.add(token, console.descriptor(), PollFlags::IN);
        }
    }

    /// Returns when the next thing is due that no descriptor tells of.
    fn deadline(&self) -> Option<Instant> {
        let log = self.log.as_ref().and_then(LogWriter::deadline);
        let fixed = [
            self.outbox.deadline(),
            self.deletion.retry,
            self.linger,
            log,
        ];
        let processes = self.processes.iter().map(Process::deadline);
        let clients = self.clients.iter().map(Client::deadline);
        let serial = self.serial.iter().map(|serial| Some(serial.deadline()));
        let all = fixed.into_iter().chain(processes).chain(clients);
        all.chain(serial).flatten().min()
    }

    fn dispatch(&mut self, token: Token, events: PollFlags) {
        match token {
            Token::Children => self.reap(),
            Token::Log => self.serve_log(events),
            Token::ControlListener => self.control.accept(),
            Token::Control(key) => self.serve_control(key, events),
            Token::AttachListener => self.accept_client(),
            Token::Client(key) => self.serve_client(key, events),
            Token::Output(key, stream) => self.read_output(key, stream),
            Token::Input(key) => self.flush_input(key),
            Token::Console(key) => self.receive_terminal(key),
            Token::RuntimeOutput(key) => self.collect_messages(key),
        }
    }

    /// Does what is due without an event, until there is nothing more of it.
    fn advance(&mut self) {
        loop {
            let before = self.phase;
            self.advance_once(Instant::now());
            if self.phase == before {
                return;
            }
        }
    }

    fn advance_once(&mut self, now: Instant) {
        if self.outbox.deadline().is_some_and(|due| due <= now) {
            let flushed = self.outbox.flush();
            self.report(flushed);
        }
        self.advance_log(now);
        self.end_overdue_commands(now);
        self.settle_processes(now);
        self.sweep_clients(now);
        self.start_next_job(now);
        self.advance_phase(now);
        self.control.sweep();
    }

    /// Notes an error that nobody waits for.
    fn report<E: std::error::Error>(&mut self, result: Result<(), E>) {
        if let Err(error) = result {
            self.diagnostics.report(base::failure::chain(&error));
        }
    }

    fn process(&self, key: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process.key == key)
    }

    fn process_mut(&mut self, key: u32) -> Option<&mut Process> {
        let mut processes = self.processes.iter_mut();
        processes.find(|process| process.key == key)
    }

    fn exec(&self, exec: &str) -> Option<&Process> {
        let mut processes = self.processes.iter();
        processes.find(|process| process.exec.as_deref() == Some(exec))
    }

    /// Init is the first process, always.
    fn init(&mut self) -> &mut Process {
        &mut self.processes[0]
    }

    fn new_key(&mut self) -> u32 {
        let key = self.next_key;
        // After four billion connections keys of the long gone come again.
        self.next_key = self.next_key.checked_add(1).unwrap_or(INIT + 1);
        key
    }
}
