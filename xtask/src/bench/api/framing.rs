//! Where the bytes of a body lie among those of a connection, and the bytes of a
//! stream among its frames. Nothing is copied and nothing is read here.

use anyhow::{Context, Result, bail, ensure};

/// How the body of an answer ends.
#[derive(Debug)]
pub(super) enum Framing {
    Length(u64),
    Chunked(Chunk),
    UntilClosed,
}

/// Where in a chunked body the next byte is.
#[derive(Debug)]
pub(super) enum Chunk {
    /// In the line that says a size, of which this has been seen.
    Size(Vec<u8>),
    Data(u64),
    /// In what ends a chunk: so many bytes of it are left.
    End(usize),
    /// In what ends the last one.
    LastEnd(usize),
    Over,
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes before it that are none of the body.
    pub(super) before: usize,
    pub(super) length: usize,
}

impl Framing {
    pub(super) fn length(bytes: u64) -> Self {
        Self::Length(bytes)
    }

    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size(Vec::new()))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Over))
    }

    /// Returns the next part of the body in `bytes`; one of no length where they end
    /// before it.
    ///
    /// # Errors
    /// Fails for what is no chunk.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Found> {
        let (before, left) = match self {
            Self::UntilClosed => (0, u64::MAX),
            Self::Length(left) => (0, *left),
            Self::Chunked(chunk) => {
                let before = chunk.skip(bytes)?;
                match chunk {
                    Chunk::Data(left) => (before, *left),
                    _ => (before, 0),
                }
            }
        };
        let length = clip(left, bytes.len() - before);
        match self {
            Self::UntilClosed => {}
            Self::Length(left) => *left -= length as u64,
            Self::Chunked(chunk) => chunk.pass(length as u64),
        }
        Ok(Found { before, length })
    }
}

impl Chunk {
    /// Passes over what stands before data; returns its length.
    fn skip(&mut self, bytes: &[u8]) -> Result<usize> {
        for (index, byte) in bytes.iter().enumerate() {
            match self {
                Self::Data(_) | Self::Over => return Ok(index),
                Self::Size(line) => {
                    ensure!(line.len() < 32, "a chunk's size has no end");
                    line.push(*byte);
                    if *byte == b'\n' {
                        *self = after_size(line)?;
                    }
                }
                Self::End(1) => *self = Self::Size(Vec::new()),
                Self::LastEnd(1) => *self = Self::Over,
                Self::End(left) | Self::LastEnd(left) => *left -= 1,
            }
        }
        Ok(bytes.len())
    }

    fn pass(&mut self, length: u64) {
        if let Self::Data(left) = self {
            *left -= length;
            if *left == 0 {
                *self = Self::End(2);
            }
        }
    }
}

fn after_size(line: &[u8]) -> Result<Chunk> {
    let text = std::str::from_utf8(line).context("read a chunk's size")?;
    let size = u64::from_str_radix(text.trim_end(), 16);
    Ok(
        match size.with_context(|| format!("read a chunk's size {text:?}"))? {
            0 => Chunk::LastEnd(2),
            size => Chunk::Data(size),
        },
    )
}

/// Takes Docker's frames off the output of a process.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Vec<u8>,
    left: u64,
    /// Bytes of standard output so far.
    pub(super) stdout: u64,
}

impl Frames {
    /// Passes over bytes, handing on those of standard output.
    ///
    /// # Errors
    /// Fails for a frame of any other stream.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (header, rest) = bytes.split_at(bytes.len().min(8 - self.header.len()));
                self.header.extend_from_slice(header);
                bytes = rest;
                if self.header.len() == 8 {
                    self.left = frame_length(&self.header)?;
                    self.header.clear();
                }
                continue;
            }
            let (payload, rest) = bytes.split_at(clip(self.left, bytes.len()));
            self.left -= payload.len() as u64;
            self.stdout += payload.len() as u64;
            sink(payload)?;
            bytes = rest;
        }
        Ok(())
    }
}

fn frame_length(header: &[u8]) -> Result<u64> {
    let [1, 0, 0, 0, length @ ..] = header else {
        bail!("{header:?} begins no frame of standard output");
    };
    Ok(length
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn clip(wanted: u64, there: usize) -> usize {
    usize::try_from(wanted).map_or(there, |wanted| wanted.min(there))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(mut framing: Framing, mut bytes: &[u8], at_once: usize) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        while !bytes.is_empty() && !framing.is_over() {
            let found = framing.next(&bytes[..at_once.min(bytes.len())]).unwrap();
            let (begin, end) = (found.before, found.before + found.length);
            body.extend_from_slice(&bytes[begin..end]);
            bytes = &bytes[end..];
        }
        (body, framing.is_over())
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let text = b"5\r\nhello\r\n1\r\n \r\n3\r\nyou\r\n0\r\n\r\n";
        for at_once in 1..=text.len() {
            let found = body(Framing::chunked(), text, at_once);
            assert_eq!(found, (b"hello you".to_vec(), true), "{at_once}");
        }
    }

    #[test]
    fn a_length_is_kept() {
        assert_eq!(body(Framing::length(2), b"abc", 3), (b"ab".to_vec(), true));
        assert_eq!(
            body(Framing::UntilClosed, b"abc", 2),
            (b"abc".to_vec(), false)
        );
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in ["x\r\n", "\r\n", "00000000000000000000000000000000000000"] {
            assert!(Framing::chunked().next(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn frames_of_standard_output_are_counted_wherever_they_are_cut() {
        let text = b"\x01\0\0\0\0\0\0\x02ab\x01\0\0\0\0\0\0\x01c";
        for at_once in 1..=text.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for bytes in text.chunks(at_once) {
                let mut sink = |piece: &[u8]| {
                    seen.extend_from_slice(piece);
                    Ok(())
                };
                frames.feed(bytes, &mut sink).unwrap();
            }
            assert_eq!((frames.stdout, seen.as_slice()), (3, &b"abc"[..]));
        }
    }

    #[test]
    fn a_frame_of_another_stream_fails_the_bench() {
        let error = Frames::default().feed(b"\x02\0\0\0\0\0\0\x02ab", &mut |_| Ok(()));
        assert!(error.is_err());
    }
}
