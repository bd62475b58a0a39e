//! The file a download grows in, with the digest of what it holds.
//!
//! A file of an earlier attempt, even of an earlier process, is hashed once and
//! continued. What it holds is believed only once the whole digest is right.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base::digest::Digester;
use base::{Digest, PathContext as _, PathError};

use crate::store::Turn;

const BUFFER: usize = 1 << 20;

/// A download in progress.
#[derive(Debug)]
pub(crate) struct Ingest {
    file: File,
    path: PathBuf,
    digester: Digester,
    length: u64,
    /// Nobody else writes the file as long as this lives.
    _turn: Option<Turn>,
}

impl Ingest {
    /// Opens the file of a download of `size` bytes and hashes what it holds.
    pub(crate) fn open(path: &Path, size: u64, turn: Option<Turn>) -> Result<Self, PathError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .at("open", path)?;
        let mut ingest = Self {
            file,
            path: path.to_owned(),
            digester: Digester::new(),
            length: 0,
            _turn: turn,
        };
        let there = ingest.file.metadata().at("examine", path)?.len();
        if there > size {
            ingest.restart()?;
        }
        ingest.hash_prefix().at("read", path)?;
        Ok(ingest)
    }

    fn hash_prefix(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.file.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.digester.update(&buffer[..length]);
            self.length += length as u64;
        }
    }

    /// Returns how many bytes are there.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Begins anew.
    pub(crate) fn restart(&mut self) -> Result<(), PathError> {
        self.file.set_len(0).at("cut", &self.path)?;
        self.file
            .seek(SeekFrom::Start(0))
            .at("seek in", &self.path)?;
        (self.digester, self.length) = (Digester::new(), 0);
        Ok(())
    }

    /// Appends `bytes`.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), PathError> {
        self.file.write_all(bytes).at("write", &self.path)?;
        self.digester.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Returns the digest of all bytes.
    pub(crate) fn digest(&self) -> Digest {
        self.digester.clone().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_goes_on_where_it_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        Ingest::open(&path, 6, None)
            .unwrap()
            .append(b"abc")
            .unwrap();
        let mut again = Ingest::open(&path, 6, None).unwrap();
        assert_eq!(again.length(), 3);
        again.append(b"def").unwrap();
        assert_eq!(again.digest(), Digest::of(b"abcdef"));
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
        again.restart().unwrap();
        again.append(b"x").unwrap();
        assert_eq!((again.length(), again.digest()), (1, Digest::of(b"x")));
    }

    #[test]
    fn a_file_longer_than_the_blob_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        Ingest::open(&path, 6, None)
            .unwrap()
            .append(b"abcdef")
            .unwrap();
        assert_eq!(Ingest::open(&path, 5, None).unwrap().length(), 0);
    }
}
