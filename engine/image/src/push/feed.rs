//! Reads a blob for a request's body, as it is or compressed on the way.
//!
//! A few pieces are ahead of the network, never more; whoever sends drops its end
//! to stop the reading.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use base::digest::Digester;
use base::{Digest, PathContext as _};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;

use super::PushError;
use crate::manifest::{DOCKER_LAYER, Descriptor};

/// Bytes of a piece.
const PIECE: usize = 128 << 10;
/// Pieces that wait for the network.
pub(super) const PIECES_AHEAD: usize = 8;

/// Told how many bytes of the blob have been read.
pub(super) type Meter<'a> = &'a dyn Fn(u64);

/// Sends the content of a file until its end, or until nobody wants it.
pub(super) fn as_it_is(
    path: &Path,
    pieces: &mpsc::Sender<Bytes>,
    meter: Meter<'_>,
) -> Result<(), PushError> {
    let mut file = File::open(path).at("open", path)?;
    let mut current = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let length = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
        let length = length.at("read", path)?;
        if length == 0 || pieces.blocking_send(piece.into()).is_err() {
            return Ok(());
        }
        current += length as u64;
        meter(current);
    }
}

/// Sends what gzip makes of a file, which must hash to `expected`; returns it. The
/// same file gives the same bytes.
pub(super) fn packed(
    path: &Path,
    expected: Digest,
    pieces: &mpsc::Sender<Bytes>,
    meter: Meter<'_>,
) -> Result<Descriptor, PushError> {
    let mut file = File::open(path).at("open", path)?;
    let mut encoder = GzEncoder::new(Pieces::new(pieces), Compression::default());
    let (mut digester, mut current) = (Digester::new(), 0);
    let mut buffer = vec![0; PIECE];
    loop {
        let length = file.read(&mut buffer).at("read", path)?;
        if length == 0 {
            break;
        }
        digester.update(&buffer[..length]);
        encoder
            .write_all(&buffer[..length])
            .map_err(PushError::Pack)?;
        current += length as u64;
        meter(current);
    }
    let actual = digester.finish();
    if actual != expected {
        return Err(PushError::Damaged { expected, actual });
    }
    let sink = encoder.finish().map_err(PushError::Pack)?;
    sink.finish().map_err(PushError::Pack)
}

/// Cuts a stream into pieces and hashes it.
struct Pieces<'a> {
    to: &'a mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
    digester: Digester,
    size: u64,
}

impl<'a> Pieces<'a> {
    fn new(to: &'a mpsc::Sender<Bytes>) -> Self {
        Self {
            to,
            buffer: Vec::with_capacity(PIECE),
            digester: Digester::new(),
            size: 0,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.digester.update(&piece);
        self.size += piece.len() as u64;
        let sent = self.to.blocking_send(piece.into());
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(mut self) -> io::Result<Descriptor> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        let digest = self.digester.finish();
        Ok(Descriptor::new(DOCKER_LAYER, digest, self.size))
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        if self.buffer.len() == PIECE {
            self.send()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is sent and what is said of it.
    fn pack(path: &Path, expected: Digest) -> (Vec<u8>, Result<Descriptor, PushError>) {
        let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || packed(path, expected, &sender, &|_| {}));
            let mut all = Vec::new();
            while let Some(piece) = receiver.blocking_recv() {
                assert!(piece.len() <= PIECE);
                all.extend_from_slice(&piece);
            }
            (all, packing.join().unwrap())
        })
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn packing_is_repeatable_and_describes_what_it_sent() {
        let content: Vec<u8> = (0..3 * PIECE as u32).flat_map(u32::to_le_bytes).collect();
        let file = file(&content);
        let expected = Digest::of(&content);
        let (bytes, descriptor) = pack(file.path(), expected);
        let descriptor = descriptor.unwrap();
        assert_eq!(descriptor.digest, Digest::of(&bytes));
        assert_eq!(descriptor.size, bytes.len() as u64);
        let mut back = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
        decoder.read_to_end(&mut back).unwrap();
        assert!(back == content);
        assert_eq!(pack(file.path(), expected).0, bytes);
    }

    #[test]
    fn a_damaged_blob_is_not_packed() {
        let file = file(b"damaged");
        let (_, refused) = pack(file.path(), Digest::of(b"whole"));
        assert!(
            matches!(refused, Err(PushError::Damaged { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn reading_ends_when_nobody_wants_it() {
        let file = file(&vec![1; 64 * PIECE]);
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        drop(receiver);
        as_it_is(file.path(), &sender, &|_| {}).unwrap();
        let digest = Digest::of(&vec![1; 64 * PIECE]);
        // Compressed it is a single piece, which is sent at the end.
        let refused = packed(file.path(), digest, &sender, &|_| {});
        assert!(matches!(refused, Err(PushError::Pack(_))), "{refused:?}");
    }
}
