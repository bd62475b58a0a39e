//! Hears what others do to the host's rules: somebody who flushes the ruleset
//! takes ours with it, and a firewall that is loaded later may drop what we forward.

use std::io::{self, PipeReader};
use std::time::Duration;

use super::base;
use super::batch::{Message, attributes};
use crate::netlink::{NetlinkContext as _, NetlinkError};
use ::base::netlink::{Family, Socket};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use rustix::event::{PollFd, PollFlags};

/// The multicast group of nf_tables' changes, `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
const NFT_MSG_NEWTABLE: u16 = 0x0a00;
const NFT_MSG_DELTABLE: u16 = 0x0a02;
const NFT_MSG_NEWCHAIN: u16 = 0x0a03;
const NFT_MSG_DELCHAIN: u16 = 0x0a05;
const NFT_MSG_GETRULE: u16 = 0x0a07;
const NFT_MSG_DELRULE: u16 = 0x0a08;
/// The table's name is the first attribute of each of them.
const NFTA_TABLE: u16 = 1;
const NFPROTO_INET: u8 = 1;
/// Bytes of the netlink header and nf_tables' own.
const HEADERS: usize = 20;
/// A ruleset is loaded in many messages; this long without one it is complete.
const QUIET: Duration = Duration::from_millis(50);
/// Whoever never stops changing rules does not keep us from ours.
const MESSAGES_AT_ONCE: usize = 1_000;

/// What has been heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Something of our table is gone.
    pub ours: bool,
    /// Others have other tables or chains.
    pub others: bool,
}

/// Listens to the changes in the calling thread's network namespace.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    table: String,
    /// Ends the watch when the other end is closed.
    over: PipeReader,
}

impl Watch {
    /// Returns a watch over `inet <table>` that ends when the other end of `over` is
    /// closed.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn open(table: &str, over: PipeReader) -> Result<Self, NetlinkError> {
        let socket = Socket::listen(Family::Netfilter, GROUP);
        Ok(Self {
            socket: socket.doing(|| "listen to changes of the firewall".to_owned())?,
            table: table.to_owned(),
            over,
        })
    }

    /// Waits for a change, and then until it is complete; `None` when it is over.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn hear(&mut self) -> io::Result<Option<Heard>> {
        if !self.wait()? {
            return Ok(None);
        }
        let mut heard = Heard::default();
        for _ in 0..MESSAGES_AT_ONCE {
            let table = &self.table;
            let mut each = |message: &[u8]| note(&mut heard, table, message);
            match self.socket.hear(QUIET, &mut each) {
                Ok(true) => {}
                Ok(false) => break,
                // More came than was read: anything may have changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    heard = Heard {
                        ours: true,
                        others: true,
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(heard))
    }

    fn wait(&self) -> io::Result<bool> {
        let mut both = [
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
            PollFd::new(&self.over, PollFlags::IN),
        ];
        loop {
            match rustix::event::poll(&mut both, None) {
                Ok(_) => return Ok(both[1].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn note(heard: &mut Heard, table: &str, message: &[u8]) {
    let (Some(kind), Some(family)) = (message.get(4..6), message.get(16)) else {
        return;
    };
    let kind = u16::from_ne_bytes([kind[0], kind[1]]);
    let body = message.get(HEADERS..).unwrap_or_default();
    let name = attributes(body).find(|(kind, _)| *kind == NFTA_TABLE);
    let name = name.map(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name));
    let is_ours = *family == NFPROTO_INET && name == Some(table.as_bytes());
    match kind {
        NFT_MSG_DELTABLE | NFT_MSG_DELCHAIN | NFT_MSG_DELRULE if is_ours => heard.ours = true,
        NFT_MSG_NEWTABLE | NFT_MSG_DELTABLE | NFT_MSG_NEWCHAIN | NFT_MSG_DELCHAIN if !is_ours => {
            heard.others = true;
        }
        _ => {}
    }
}

/// Returns whether our table has all its rules.
///
/// # Errors
/// When the kernel refuses to list them.
pub fn is_intact(table: &str) -> Result<bool, NetlinkError> {
    let doing = || format!("list the rules of table inet {table}");
    let mut socket = Socket::open(Family::Netfilter).doing(doing)?;
    let build = |sequence| {
        let mut message = Message(Vec::new());
        let kind = [NFT_MSG_GETRULE, NLM_F_REQUEST | NLM_F_DUMP];
        message.whole(kind, sequence, [NFPROTO_INET, 0, 0, 0], |body| {
            body.text(NFTA_TABLE, table);
        });
        message.0
    };
    let mut count = 0;
    match socket.query(build, &mut |_| count += 1) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
        other => other.doing(doing)?,
    }
    let rules = base::rules(table);
    let expected = rules.lines().filter(|line| line.starts_with("add rule"));
    Ok(count == expected.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, family: u8, table: &str) -> Vec<u8> {
        let mut message = Message(Vec::new());
        message.whole([kind, 0], 0, [family, 0, 0, 0], |body| {
            body.text(NFTA_TABLE, table);
        });
        message.0
    }

    #[test]
    fn only_what_concerns_us_is_heard() {
        let heard = |kind, family, table: &str| {
            let mut heard = Heard::default();
            note(&mut heard, "engine", &message(kind, family, table));
            (heard.ours, heard.others)
        };
        assert_eq!(
            heard(NFT_MSG_DELTABLE, NFPROTO_INET, "engine"),
            (true, false)
        );
        assert_eq!(heard(NFT_MSG_DELTABLE, 2, "engine"), (false, true));
        assert_eq!(heard(NFT_MSG_NEWCHAIN, 2, "filter"), (false, true));
        assert_eq!(
            heard(NFT_MSG_NEWTABLE, NFPROTO_INET, "engine"),
            (false, false)
        );
        assert_eq!(heard(0x0a0c, NFPROTO_INET, "engine"), (false, false));
        note(&mut Heard::default(), "engine", &[0; 3]);
    }
}
