//! The line between the runtime and the init it is making: a socket pair on
//! which each packet is one word, some with a little after it.
//!
//! `execve` closes init's end, so that the end of the line tells of success,
//! and a runtime that dies is noticed by init.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::handover::{self, HandoverError};

/// A longer message is cut.
const PACKET_LIMIT_BYTES: usize = 16 * 1024;

/// What is said on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// From the stage: init's process id.
    Pid(i32),
    /// To init: its user namespace has its maps.
    Mapped,
    /// To init: it is in its control groups.
    Grouped,
    /// From init: its mounts are there, hooks of the runtime may run.
    Mounted,
    /// To init: the hooks have run.
    Hooked,
    /// From init: the source of this mount is to be opened, which comes as the
    /// answer.
    Source(i32),
    /// From init: it has this descriptor of its seccomp filter's listener.
    Listener(i32),
    /// To init: the listener has been taken.
    Taken,
    /// From init: nothing is left to do but to be started.
    Ready,
    /// To init: its process id is written down.
    Recorded,
    /// From init: what went wrong.
    Failed(String),
}

/// One end of the line.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

/// Makes both ends.
///
/// # Errors
/// When the kernel has no more descriptors.
pub(super) fn pair() -> io::Result<(Line, Line)> {
    let (one, other) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((Line(one), Line(other)))
}

impl Line {
    /// Says a word.
    ///
    /// # Errors
    /// When nobody is at the other end.
    pub(super) fn say(&self, word: &Word) -> io::Result<()> {
        let packet = encode(word);
        // Plain calls: under a filter of the container's nothing else may be
        // allowed. A peer that is gone raises SIGPIPE, which Rust ignores.
        loop {
            match rustix::io::write(&self.0, &packet) {
                Err(Errno::INTR) => {}
                written => return Ok(written.map(drop)?),
            }
        }
    }

    /// Waits for a word; `None` at the end of the line.
    ///
    /// # Errors
    /// When the line fails, or what came is no word.
    pub(super) fn hear(&self) -> io::Result<Option<Word>> {
        let mut packet = [0; PACKET_LIMIT_BYTES];
        let length = loop {
            match rustix::io::read(&self.0, &mut packet) {
                // The other end was closed with something unread in it. That
                // is told once, before the words that were still said there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                read => break read?,
            }
        };
        if length == 0 {
            return Ok(None);
        }
        let word = decode(&packet[..length]);
        word.map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns this end's descriptor.
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Hands over a descriptor.
    ///
    /// # Errors
    /// When nobody is at the other end.
    pub(super) fn give(&self, descriptor: BorrowedFd<'_>) -> Result<(), HandoverError> {
        handover::send(self.0.as_fd(), "descriptor", descriptor)
    }

    /// Waits for a descriptor.
    ///
    /// # Errors
    /// When none comes.
    pub(super) fn take(&self) -> Result<OwnedFd, HandoverError> {
        handover::receive(self.0.as_fd())
    }

    /// Waits until `expected` is said.
    ///
    /// # Errors
    /// A message, when something else is said or the runtime has died.
    pub(super) fn expect(&self, expected: &Word) -> Result<(), String> {
        match self.hear() {
            Ok(Some(word)) if word == *expected => Ok(()),
            Ok(None) => Err("the runtime ended before the container was made".to_owned()),
            Ok(Some(word)) => Err(format!("the runtime said {word:?} instead of {expected:?}")),
            Err(error) => Err(format!("cannot hear the runtime: {error}")),
        }
    }
}

fn encode(word: &Word) -> Vec<u8> {
    let with = |letter: u8, rest: &[u8]| [&[letter], rest].concat();
    match word {
        Word::Pid(pid) => with(b'P', &pid.to_ne_bytes()),
        Word::Mapped => vec![b'm'],
        Word::Grouped => vec![b'g'],
        Word::Mounted => vec![b'M'],
        Word::Hooked => vec![b'h'],
        Word::Source(index) => with(b'S', &index.to_ne_bytes()),
        Word::Listener(descriptor) => with(b'L', &descriptor.to_ne_bytes()),
        Word::Taken => vec![b't'],
        Word::Ready => vec![b'R'],
        Word::Recorded => vec![b'r'],
        Word::Failed(text) => {
            let end = text.floor_char_boundary(PACKET_LIMIT_BYTES - 1);
            with(b'E', &text.as_bytes()[..end])
        }
    }
}

fn decode(packet: &[u8]) -> Option<Word> {
    let (letter, rest) = packet.split_first()?;
    let number = || rest.try_into().ok().map(i32::from_ne_bytes);
    Some(match letter {
        b'P' => Word::Pid(number()?),
        b'm' => Word::Mapped,
        b'g' => Word::Grouped,
        b'M' => Word::Mounted,
        b'h' => Word::Hooked,
        b'S' => Word::Source(number()?),
        b'L' => Word::Listener(number()?),
        b't' => Word::Taken,
        b'R' => Word::Ready,
        b'r' => Word::Recorded,
        b'E' => Word::Failed(String::from_utf8_lossy(rest).into_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_arrives_as_it_was_said() {
        let (one, other) = pair().unwrap();
        for word in [
            Word::Pid(77),
            Word::Mapped,
            Word::Grouped,
            Word::Mounted,
            Word::Hooked,
            Word::Source(3),
            Word::Listener(9),
            Word::Taken,
            Word::Ready,
            Word::Failed("no such thing".to_owned()),
        ] {
            one.say(&word).unwrap();
            assert_eq!(other.hear().unwrap(), Some(word));
        }
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let (one, other) = pair().unwrap();
        one.say(&Word::Failed("ä".repeat(PACKET_LIMIT_BYTES)))
            .unwrap();
        let Some(Word::Failed(text)) = other.hear().unwrap() else {
            panic!("another word");
        };
        assert!(text.len() < PACKET_LIMIT_BYTES && text.chars().all(|letter| letter == 'ä'));
    }

    #[test]
    fn last_words_are_heard_though_others_went_unheard() {
        let (one, other) = pair().unwrap();
        one.say(&Word::Grouped).unwrap();
        let last = Word::Failed("no such mount".to_owned());
        other.say(&last).unwrap();
        drop(other);
        assert_eq!(one.hear().unwrap(), Some(last));
        assert_eq!(one.hear().unwrap(), None);
    }

    #[test]
    fn the_end_of_the_line_is_told() {
        let (one, other) = pair().unwrap();
        drop(one);
        assert_eq!(other.hear().unwrap(), None);
        assert!(other.expect(&Word::Mapped).unwrap_err().contains("ended"));
    }
}
