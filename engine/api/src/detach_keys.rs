//! The keys that leave a container running, `ctrl-p,ctrl-q` by default.

use std::str::FromStr;

/// What is used when nothing else is asked for.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// Says that a text names no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid detach keys ({0}) provided")]
pub struct DetachKeysError(String);

/// Reads `ctrl-p,ctrl-q`: letters, or `ctrl-` and one of `a-z@[\]^_`.
impl FromStr for DetachKeys {
    type Err = DetachKeysError;
    fn from_str(text: &str) -> Result<Self, DetachKeysError> {
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self)
            .ok_or_else(|| DetachKeysError(text.to_owned()))
    }
}

impl Default for DetachKeys {
    fn default() -> Self {
        DEFAULT.parse().expect("the default is a sequence")
    }
}

impl DetachKeys {
    /// Returns what the engine is to be told; it knows its default.
    pub fn to_tell(&self) -> Option<String> {
        (*self != Self::default()).then(|| self.to_string())
    }
}

impl std::fmt::Display for DetachKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match key {
                1..=26 => write!(f, "{comma}ctrl-{}", char::from(key - 1 + b'a'))?,
                0..=31 => write!(f, "{comma}ctrl-{}", char::from(key | 0x40))?,
                _ => write!(f, "{comma}{}", char::from(*key))?,
            }
        }
        Ok(())
    }
}

fn key(text: &str) -> Option<u8> {
    if let &[byte] = text.as_bytes() {
        return byte.is_ascii_graphic().then_some(byte);
    }
    match *text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign & 0x1f),
        _ => None,
    }
}

/// Looks for the sequence in what is typed, and holds back its beginning.
#[derive(Debug)]
pub struct Detector {
    keys: Vec<u8>,
    matched: usize,
}

/// What becomes of a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// To be passed on.
    Input(Vec<u8>),
    /// To be passed on, before leaving.
    Detach(Vec<u8>),
}

impl Detector {
    /// Returns a detector of `keys`.
    pub fn new(keys: DetachKeys) -> Self {
        Self {
            keys: keys.0,
            matched: 0,
        }
    }

    /// Takes what was typed. A beginning of the sequence that goes on
    /// otherwise is passed on late, but whole.
    pub fn feed(&mut self, typed: &[u8]) -> Typed {
        let mut out = Vec::with_capacity(typed.len());
        for &byte in typed {
            self.step(byte, &mut out);
            if self.matched == self.keys.len() {
                return Typed::Detach(out);
            }
        }
        Typed::Input(out)
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == self.keys[self.matched] {
            self.matched += 1;
            return;
        }
        // The longest end of what was held back that begins the sequence anew
        // stays, the rest goes out.
        let mut held = self.keys[..self.matched].to_vec();
        held.push(byte);
        let keeps = |length: &usize| held.ends_with(&self.keys[..*length]);
        let kept = (0..=self.matched).rev().find(keeps).unwrap_or(0);
        out.extend_from_slice(&held[..held.len() - kept]);
        self.matched = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detector(keys: &str) -> Detector {
        Detector::new(keys.parse().unwrap())
    }

    #[test]
    fn keys_are_letters_and_control_letters() {
        let parse = |text: &str| text.parse::<DetachKeys>();
        assert_eq!(DetachKeys::default().0, [0x10, 0x11]);
        assert_eq!(parse("ctrl-@,ctrl-[,a").unwrap().0, [0, 0x1b, b'a']);
        for text in [DEFAULT, "ctrl-@,ctrl-[,a", "x", "ctrl-_,ctrl-^"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "ctrl-", "ctrl-A", "ctrl-pp", "alt-x", "a,", "ä"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_sequence_detaches_whatever_pieces_it_comes_in() {
        let mut keys = detector(DEFAULT);
        assert_eq!(keys.feed(b"ls\n\x10"), Typed::Input(b"ls\n".to_vec()));
        assert_eq!(keys.feed(b"\x11rest"), Typed::Detach(Vec::new()));
    }

    #[test]
    fn a_beginning_that_goes_on_otherwise_is_passed_on() {
        let mut keys = detector(DEFAULT);
        assert_eq!(keys.feed(b"\x10x"), Typed::Input(b"\x10x".to_vec()));
        assert_eq!(keys.feed(b"\x10\x10"), Typed::Input(b"\x10".to_vec()));
        assert_eq!(keys.feed(b"\x11"), Typed::Detach(Vec::new()));
    }

    #[test]
    fn a_sequence_that_repeats_itself_is_found() {
        let mut keys = detector("a,a,b");
        assert_eq!(keys.feed(b"aaab"), Typed::Detach(b"a".to_vec()));
    }
}
