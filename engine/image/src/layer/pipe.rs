//! Chunks of a stream handed from the inflating thread to the others.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// Bytes of a chunk.
pub(super) const CHUNK: usize = 256 << 10;
/// Chunks that may wait between two threads of a layer.
pub(super) const CHUNKS_AHEAD: usize = 16;

/// A piece of the stream, shared by hasher and writer.
pub(super) type Chunk = Arc<Vec<u8>>;

pub(super) fn channel() -> (SyncSender<Chunk>, Receiver<Chunk>) {
    std::sync::mpsc::sync_channel(CHUNKS_AHEAD)
}

/// Reads the chunks as one stream, without copying them.
pub(super) struct ChunkReader {
    chunks: Receiver<Chunk>,
    current: Chunk,
    position: usize,
}

impl ChunkReader {
    pub(super) fn new(chunks: Receiver<Chunk>) -> Self {
        Self {
            chunks,
            current: Chunk::default(),
            position: 0,
        }
    }
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() {
            let Ok(next) = self.chunks.recv() else {
                return Ok(&[]);
            };
            (self.current, self.position) = (next, 0);
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        self.consume(length);
        Ok(length)
    }
}
