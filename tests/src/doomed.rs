//! A daemon that kills itself, or one of its helpers, at a given step.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::{Installation, WAIT_LIMIT};

/// Which daemon dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Engine,
    Netd,
    Volumed,
}

impl Victim {
    /// Every daemon.
    pub const ALL: [Self; 3] = [Self::Engine, Self::Netd, Self::Volumed];

    /// Returns the name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Netd => "netd",
            Self::Volumed => "volumed",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Engine => "--fault-step",
            Self::Netd => "--netd-fault-step",
            Self::Volumed => "--volumed-fault-step",
        }
    }
}

/// A running engine, started so that the victim dies at one step.
#[derive(Debug)]
pub struct Doomed {
    victim: Victim,
    engine: Child,
    log: PathBuf,
}

impl Doomed {
    /// Starts it in place of daemons that run, which are killed too, and returns
    /// when it answers or is dead. A step is `N`, or `NAME#N` as daemons take it.
    pub fn start(host: &Installation, victim: Victim, fault: &str) -> Self {
        kill_all(host);
        let log = host.scratch().join("doomed.log");
        let file = File::create(&log).expect("the log can be made");
        let arguments = [
            "daemon",
            "--foreground",
            "--own-session",
            victim.option(),
            fault,
        ];
        let engine = host
            .command(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the engine can be started");
        let mut doomed = Self {
            victim,
            engine,
            log,
        };
        doomed.wait_up(host);
        doomed
    }

    /// Ends it and its helpers, so that nothing dies at its step any more.
    pub fn disarm(mut self, host: &Installation) {
        kill_all(host);
        self.engine.wait().expect("a child can be waited for");
    }

    fn wait_up(&mut self, host: &Installation) {
        let begun = Instant::now();
        while !is_answering(host) && self.killed_at().is_none() {
            let ended = self.engine.try_wait().expect("a child can be waited for");
            let is_broken = ended.is_some() && self.killed_at().is_none();
            assert!(!is_broken, "{ended:?}: {}", self.said());
            assert!(
                begun.elapsed() < WAIT_LIMIT,
                "it does not answer: {}",
                self.said()
            );
            std::thread::sleep(crate::POLL);
        }
    }

    /// Returns the name of the step at which the victim was killed.
    pub fn killed_at(&mut self) -> Option<String> {
        let log = self.said();
        let fatal = log
            .lines()
            .find(|line| line.contains("killed at this step"))?;
        if self.victim == Victim::Engine {
            // It says so a moment before.
            self.engine.wait().expect("a child can be waited for");
        }
        name_in(fatal)
    }

    /// Waits until the victim is dead.
    pub fn wait_dead(&mut self) {
        let begun = Instant::now();
        while self.killed_at().is_none() {
            let said = self.said();
            assert!(begun.elapsed() < WAIT_LIMIT, "it lives on: {said}");
            std::thread::sleep(crate::POLL);
        }
    }

    /// Returns the names of the steps that the victim has reached.
    pub fn steps(&self) -> Vec<String> {
        let mark = format!(" step daemon=\"{}\"", self.victim.program());
        let log = self.said();
        let lines = log.lines().filter(|line| line.contains(&mark));
        lines.filter_map(name_in).collect()
    }

    /// Returns what the engine and its helpers logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn kill_all(host: &Installation) {
    for victim in Victim::ALL {
        host.kill_daemon(victim);
    }
}

fn name_in(line: &str) -> Option<String> {
    let (_, name) = line.split_once("name=\"")?;
    Some(name.split('"').next()?.to_owned())
}

fn is_answering(host: &Installation) -> bool {
    let socket = host.instance.run().join("engine.sock");
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
