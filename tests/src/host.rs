//! What an installation shows on the host at the moment, in a form that two
//! moments can be compared by.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Installation, leftovers};

/// The programs that are started anew after a fault; `exe` is netd's for DNS.
const RESTARTED: [&str; 4] = ["engine", "netd", "volumed", "exe"];

impl Installation {
    /// Returns everything of this installation that the kernel and the file
    /// system show, sorted; daemons without their process ids, rules included.
    pub fn traces(&self) -> Vec<String> {
        let mut all = leftovers::all(&self.instance);
        all.retain(|line| !line.starts_with("process "));
        all.extend(self.processes().into_iter().map(process));
        all.extend(lines(&["nft", "-s", "list", "ruleset"]));
        // The kernel's own IPv6 addresses come and go with carriers.
        all.extend(lines(&["ip", "-4", "-o", "address", "show"]));
        all.extend(lines(&["ip", "-4", "route", "show", "table", "all"]));
        all.sort();
        all
    }

    /// Returns the files of containers and runs, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut all = leftovers::files(&self.instance);
        all.sort();
        all
    }

    /// Returns the traces once no other files than these are left.
    pub fn settled_traces(&self, files: &[String]) -> Vec<String> {
        crate::wait_until("removals are done", || self.files() == files);
        self.traces()
    }

    /// Waits until the host looks as it did: removals end behind their answers.
    pub fn wait_until_traces(&self, expected: &[String], context: &str) {
        self.wait_for_traces(expected, context, crate::WAIT_LIMIT);
    }

    /// The same with a limit of one's own.
    pub fn wait_for_traces(&self, expected: &[String], context: &str, limit: Duration) {
        let begun = Instant::now();
        loop {
            let now = self.traces();
            if now == expected {
                return;
            }
            if begun.elapsed() > limit {
                let added: Vec<_> = now.iter().filter(|line| !expected.contains(line)).collect();
                let lost: Vec<_> = expected.iter().filter(|line| !now.contains(line)).collect();
                panic!(
                    "{context}: more: {added:#?}, less: {lost:#?}\n{}",
                    self.log()
                );
            }
            std::thread::sleep(crate::POLL);
        }
    }
}

/// Leaves the process id away where a new one is expected.
fn process((pid, program): (i32, String)) -> String {
    if RESTARTED.contains(&program.as_str()) {
        return format!("process {program}");
    }
    format!("process {program} {pid}")
}

fn lines(command: &[&str]) -> Vec<String> {
    let said = crate::run(Command::new(command[0]).args(&command[1..]));
    assert_eq!(said.code, 0, "{command:?}: {said:?}");
    said.stdout
        .lines()
        // A bridge without members goes down a moment after the last has left.
        .map(|line| line.trim().replace(" linkdown", ""))
        .map(|line| format!("{}: {line}", command[0]))
        .collect()
}
