//! A compressed file of a log: what it was made of, and its bytes in order.
//!
//! It is gzip with the [`Origin`] as the header's comment and the modification
//! time of the file it was made of, so that readers know the two for one.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use flate2::read::MultiGzDecoder;

/// The beginning of a header that says nothing but a comment.
const MAGIC: [u8; 4] = [0x1f, 0x8b, 8, 0x10];
/// Where the comment begins.
const COMMENT: usize = 10;
/// Enough for a header with an [`Origin`].
pub(super) const HEADER_LIMIT_BYTES: usize = 64;

/// What a compressed file was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    pub inode: u64,
    /// The file's number in the log, of a format that numbers files.
    pub number: Option<u64>,
}

impl Origin {
    /// Returns the comment that says so.
    pub fn comment(self) -> String {
        let number = self.number.unwrap_or(0);
        format!("inode={} file={number}", self.inode)
    }

    /// Reads the beginning of a compressed file; one that is not ours says nothing.
    pub fn parse(beginning: &[u8]) -> Option<Self> {
        let comment = beginning
            .strip_prefix(&MAGIC)?
            .get(COMMENT - MAGIC.len()..)?;
        let end = comment.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&comment[..end]).ok()?;
        let (inode, number) = text.strip_prefix("inode=")?.split_once(" file=")?;
        let number = number.parse().ok().filter(|number| *number != 0);
        Some(Self {
            inode: inode.parse().ok()?,
            number,
        })
    }
}

/// The bytes of a compressed file; memory does not grow with what it holds.
#[derive(Debug)]
pub(super) struct Compressed {
    decoder: MultiGzDecoder<File>,
    /// Nothing more can be read.
    pub(super) damaged: bool,
}

impl Compressed {
    pub(super) fn new(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        Ok(Self {
            decoder: MultiGzDecoder::new(file),
            damaged: false,
        })
    }

    /// Begins anew.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        *self = Self::new(self.decoder.get_ref().try_clone()?)?;
        Ok(())
    }

    /// Reads on; zero bytes are the end, or where the damage begins.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        if self.damaged {
            return 0;
        }
        loop {
            match self.decoder.read(buffer) {
                Ok(length) => return length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.damaged = true;
                    return 0;
                }
            }
        }
    }
}
