//! Bytes between processes, clients and the log.

use std::time::Instant;

use engine_shim_api::AttachHello;
use rustix::event::PollFlags;

use super::Supervisor;
use crate::attach::{Client, Received};
use crate::directory::accept;
use crate::log::LogWriter;
use crate::process::{EXECS_LIMIT, INIT, Process, Stage};
use crate::stdio::{OUTPUTS, ReadOutcome, Stream};

impl Supervisor {
    /// Returns whether output may be read: nobody it goes to is behind.
    pub(super) fn may_read(&self, process: &Process, stream: Stream) -> bool {
        let ended = process.has_ended();
        let mut readers = self
            .clients
            .iter()
            .filter(|client| client.wants_output(process.key, stream));
        let log = self.log.as_ref().filter(|_| process.key == INIT);
        process.is_readable()
            && readers.all(|client| client.has_room(ended))
            && log.is_none_or(LogWriter::has_room)
    }

    /// Reads one chunk of output and hands it to the log and every client.
    pub(super) fn read_output(&mut self, key: u32, stream: Stream) {
        self.pass_output(key, stream);
    }

    fn pass_output(&mut self, key: u32, stream: Stream) -> ReadOutcome {
        let mut processes = self.processes.iter_mut();
        let Some(process) = processes.find(|process| process.key == key) else {
            return ReadOutcome::End;
        };
        let outcome = process.streams.read(stream, &mut self.scratch);
        let ReadOutcome::Bytes(length) = outcome else {
            return outcome;
        };
        let chunk = &self.scratch[..length];
        if let Some(log) = self.log.as_mut().filter(|_| key == INIT) {
            log.write(stream, chunk);
        }
        let framing = process.framing;
        for client in &mut self.clients {
            if client.wants_output(key, stream) {
                client.output(framing, stream, chunk);
            }
        }
        self.report_of_log();
        outcome
    }

    /// Reads what is left without waiting for anybody, then gives up.
    pub(super) fn drain_at_once(&mut self, key: u32) {
        for stream in OUTPUTS {
            // A pipe holds 64 KiB by default and a megabyte at most.
            for _ in 0..64 {
                if !matches!(self.pass_output(key, stream), ReadOutcome::Bytes(_)) {
                    break;
                }
            }
        }
        if let Some(process) = self.process_mut(key) {
            process.streams.close_outputs();
        }
    }

    /// Returns the runtime's own messages in a process's streams.
    pub(super) fn take_messages(&mut self, key: u32) -> Vec<u8> {
        let mut messages = Vec::new();
        let mut processes = self.processes.iter_mut();
        if let Some(process) = processes.find(|process| process.key == key) {
            let outcome = process.streams.read(Stream::Stderr, &mut self.scratch);
            if let ReadOutcome::Bytes(length) = outcome {
                messages.extend(&self.scratch[..length.min(4096)]);
            }
            process.streams.close_outputs();
            process.streams.input.close();
        }
        messages
    }

    pub(super) fn finish_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.finish();
        }
        self.report_of_log();
    }

    /// Handles what became ready of the log's destination.
    pub(super) fn serve_log(&mut self, events: PollFlags) {
        if let Some(log) = &mut self.log {
            log.serve(events);
        }
        self.report_of_log();
    }

    /// Does what is due of the log.
    pub(super) fn advance_log(&mut self, now: Instant) {
        if let Some(log) = &mut self.log {
            log.advance(now);
        }
        self.report_of_log();
    }

    fn report_of_log(&mut self) {
        if let Some(report) = self.log.as_mut().and_then(LogWriter::take_report) {
            self.diagnostics.report(report);
        }
    }

    pub(super) fn flush_input(&mut self, key: u32) {
        if let Some(process) = self.process_mut(key) {
            process.streams.input.flush();
        }
    }

    /// Returns whether what a client sends can be handed on, or dropped.
    pub(super) fn takes_input_of(&self, client: &Client) -> bool {
        let process = client.process.and_then(|key| self.process(key));
        let process = process.filter(|_| client.gives_input());
        // Input waits in the socket until there is somebody to read it.
        process.is_none_or(|process| process.has_started() && process.streams.input.has_room())
    }

    /// Returns whether the process a client is attached to has been started.
    pub(super) fn has_started(&self, client: &Client) -> bool {
        let process = client.process.and_then(|key| self.process(key));
        process.is_none_or(Process::has_started)
    }

    pub(super) fn accept_client(&mut self) {
        if let Some(socket) = accept(&self.attach) {
            let key = self.new_key();
            self.clients.push(Client::new(key, socket));
        }
    }

    pub(super) fn serve_client(&mut self, key: u32, events: PollFlags) {
        let Some(index) = self.clients.iter().position(|client| client.key == key) else {
            return;
        };
        if events.contains(PollFlags::OUT) {
            self.clients[index].flush();
        }
        if events.contains(PollFlags::IN) {
            self.receive_from(index);
        } else if events.intersects(PollFlags::HUP | PollFlags::ERR) {
            self.hang_up(index);
        }
    }

    /// The other side has closed both ways and nothing of it is to be read now:
    /// it stays only if its last input waits for room in a process that runs.
    fn hang_up(&mut self, index: usize) {
        let client = &self.clients[index];
        let reads_on = client.is_listened_to() && client.gives_input();
        if !(reads_on && self.has_started(client)) {
            self.clients[index].hang_up();
        }
    }

    fn receive_from(&mut self, index: usize) {
        let client = &mut self.clients[index];
        match client.receive(&mut self.scratch) {
            Received::Nothing => {}
            Received::Hello(hello) => self.attach(index, &hello),
            Received::Refused(reason) => client.refuse(&reason),
            Received::Input(length) => {
                let process = client.process;
                let mut processes = self.processes.iter_mut();
                if let Some(process) = processes.find(|it| Some(it.key) == process) {
                    process.streams.input.offer(&self.scratch[..length]);
                }
            }
            Received::InputEnded => {
                let process = client.process;
                if let Some(process) = process.and_then(|key| self.process_mut(key)) {
                    process.streams.input.end();
                }
            }
        }
    }

    fn attach(&mut self, index: usize, hello: &AttachHello) {
        match self.attach_to(hello) {
            Ok(process) => self.clients[index].grant(hello, process),
            Err(reason) => self.clients[index].refuse(&reason),
        }
    }

    /// Returns the process a hello asks for. One for an exec that was not asked
    /// for yet makes room for it, so that no output can be missed.
    fn attach_to(&mut self, hello: &AttachHello) -> Result<u32, String> {
        if !self.phase.accepts_clients() {
            return Err("the container is not running".to_owned());
        }
        let Some(exec) = &hello.exec else {
            return Ok(INIT);
        };
        if let Some(process) = self.exec(exec) {
            let over = process.has_ended();
            return if over {
                Err(format!("exec {exec} has ended"))
            } else {
                Ok(process.key)
            };
        }
        self.add_exec(exec).map_err(|failure| failure.message)
    }

    /// Returns whether another exec can be held.
    pub(super) fn has_room_for_exec(&self) -> bool {
        self.processes.len() <= EXECS_LIMIT
    }

    /// Closes clients that are done or late, and forgets execs that are over.
    pub(super) fn sweep_clients(&mut self, now: Instant) {
        for client in &mut self.clients {
            if client.deadline().is_some_and(|due| due <= now) {
                client.refuse("no hello in time");
            }
        }
        let mut index = 0;
        while index < self.clients.len() {
            if self.clients[index].is_done() {
                self.close_client(index);
            } else {
                index += 1;
            }
        }
        self.forget_execs();
    }

    fn close_client(&mut self, index: usize) {
        let client = self.clients.swap_remove(index);
        let process = client.process.and_then(|key| self.process_mut(key));
        if let Some(process) = process.filter(|process| client.sends_input(process.key)) {
            process.streams.input.end();
        }
        client.close(&mut self.scratch);
    }

    fn forget_execs(&mut self) {
        let clients = &self.clients;
        self.processes.retain(|process| {
            let attached = clients.iter().any(|it| it.process == Some(process.key));
            let idle = matches!(process.stage, Stage::Waiting);
            process.key == INIT || attached || !(idle || process.is_over())
        });
    }
}
