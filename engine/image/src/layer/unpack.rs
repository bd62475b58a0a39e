//! Runs the threads of one layer and judges the outcome.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use base::digest::Digester;
use base::{Digest, PathContext as _};
use rustix::fs::{CWD, Mode, OFlags};

use super::apply::{Applier, failed};
use super::inflate::inflating;
use super::pipe::{CHUNK, Chunk, ChunkReader, channel};
use super::tar::{Entry, TarReader};
use super::{LayerError, Limits, TarError};

/// Free space is looked at every so many bytes.
const SPACE_CHECK_INTERVAL: u64 = 32 << 20;
const READ_BUFFER: usize = 256 << 10;

/// What to unpack and where.
pub(crate) struct UnpackRequest<'a> {
    /// The compressed archive.
    pub(crate) blob: &'a Path,
    /// A directory that exists; `root` and `buried` are made in it.
    pub(crate) target: &'a Path,
    /// What the uncompressed archive must hash to, if that is known.
    pub(crate) expected: Option<Digest>,
    pub(crate) limits: Limits,
    /// Once set, the work ends with [`LayerError::Cancelled`].
    pub(crate) cancel: &'a AtomicBool,
    /// Called with the compressed bytes used so far.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

/// A layer on disk that nobody sees yet.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) root: PathBuf,
    pub(crate) diff_id: Digest,
    /// Bytes of its files.
    pub(crate) size_bytes: u64,
    /// Directories that had to be made but have no entry.
    pub(crate) implied: Vec<PathBuf>,
}

/// Unpacks a layer and verifies it; on an error the caller removes `target`.
pub(crate) fn unpack(request: &UnpackRequest<'_>) -> Result<Unpacked, LayerError> {
    let root = request.target.join("root");
    let applier = Applier::new(
        new_directory(&root)?,
        new_directory(&request.target.join("buried"))?,
    );
    let (to_writer, for_writer) = channel();
    let (to_hasher, for_hasher) = channel();
    let (inflated, hashed, written) = std::thread::scope(|scope| {
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let inflater = thread("layer-inflate")
            .spawn_scoped(scope, || inflate(request, to_writer, to_hasher))
            .map_err(LayerError::Thread)?;
        let hasher = thread("layer-hash")
            .spawn_scoped(scope, move || hash(&for_hasher))
            .map_err(LayerError::Thread)?;
        let written = write_entries(applier, for_writer, request.limits);
        // Only a bug can make these panic; it goes on in the caller's thread.
        let inflated = inflater
            .join()
            .unwrap_or_else(|p| std::panic::resume_unwind(p));
        let hashed = hasher
            .join()
            .unwrap_or_else(|p| std::panic::resume_unwind(p));
        Ok::<_, LayerError>((inflated, hashed, written))
    })?;
    judge(request, inflated, hashed, written).map(|written| Unpacked {
        root,
        diff_id: hashed,
        size_bytes: written.size_bytes,
        implied: written.implied,
    })
}

/// How the inflating thread ended without an error of its own.
enum Inflated {
    Whole,
    /// The writer went away, so its error counts.
    WriterGone,
}

struct Written {
    size_bytes: u64,
    implied: Vec<PathBuf>,
}

fn judge(
    request: &UnpackRequest<'_>,
    inflated: Result<Inflated, LayerError>,
    actual: Digest,
    written: Result<Written, LayerError>,
) -> Result<Written, LayerError> {
    // A damaged stream looks to the writer like an archive that ends early.
    let inflated = inflated?;
    let written = written?;
    debug_assert!(matches!(inflated, Inflated::Whole));
    match request.expected {
        Some(expected) if expected != actual => Err(LayerError::DiffId { expected, actual }),
        _ => Ok(written),
    }
}

fn new_directory(path: &Path) -> Result<std::os::fd::OwnedFd, LayerError> {
    rustix::fs::mkdirat(CWD, path, Mode::from(0o755)).at("make directory", path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)?;
    rustix::fs::fchmod(&descriptor, Mode::from(0o755)).at("change the mode of", path)?;
    Ok(descriptor)
}

fn inflate(
    request: &UnpackRequest<'_>,
    to_writer: SyncSender<Chunk>,
    to_hasher: SyncSender<Chunk>,
) -> Result<Inflated, LayerError> {
    let file = File::open(request.blob).at("open", request.blob)?;
    let counted = Counting {
        inner: file,
        report: request.progress,
        total: 0,
    };
    let mut stream = inflating(BufReader::with_capacity(READ_BUFFER, counted))?;
    let (mut total, mut next_check) = (0, 0);
    loop {
        if total >= next_check {
            check_space(request)?;
            next_check = total + SPACE_CHECK_INTERVAL;
        }
        if request.cancel.load(Ordering::Relaxed) {
            return Err(LayerError::Cancelled);
        }
        let chunk = read_chunk(&mut stream)?;
        if chunk.is_empty() {
            return Ok(Inflated::Whole);
        }
        total += chunk.len() as u64;
        if total > request.limits.layer_bytes {
            return Err(LayerError::TooLarge {
                limit: request.limits.layer_bytes,
            });
        }
        let chunk = Arc::new(chunk);
        if to_writer.send(Arc::clone(&chunk)).is_err() || to_hasher.send(chunk).is_err() {
            return Ok(Inflated::WriterGone);
        }
    }
}

fn read_chunk(stream: &mut impl Read) -> Result<Vec<u8>, LayerError> {
    let mut chunk = vec![0; CHUNK];
    let mut filled = 0;
    while filled < chunk.len() {
        match stream.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LayerError::Inflate(error)),
        }
    }
    chunk.truncate(filled);
    Ok(chunk)
}

fn check_space(request: &UnpackRequest<'_>) -> Result<(), LayerError> {
    let stat = rustix::fs::statvfs(request.target).at("examine", request.target)?;
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    let reserve = request.limits.reserve_bytes;
    if available < reserve {
        return Err(LayerError::NoSpace { available, reserve });
    }
    Ok(())
}

fn hash(chunks: &Receiver<Chunk>) -> Digest {
    let mut digester = Digester::new();
    for chunk in chunks {
        digester.update(&chunk);
    }
    digester.finish()
}

fn write_entries(
    mut applier: Applier,
    chunks: Receiver<Chunk>,
    limits: Limits,
) -> Result<Written, LayerError> {
    let mut archive = TarReader::new(ChunkReader::new(chunks));
    let (mut size_bytes, mut entries) = (0_u64, 0);
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        if entries > limits.layer_entries {
            return Err(LayerError::TooMany {
                limit: limits.layer_entries,
            });
        }
        size_bytes = size_bytes.saturating_add(entry.size());
        applier.apply(entry, &mut archive)?;
    }
    archive.drain()?;
    let implied = applier.finish()?;
    Ok(Written {
        size_bytes,
        implied,
    })
}

/// Copies an entry's data into `file`.
pub(super) fn write_data<R: BufRead>(
    mut file: &File,
    archive: &mut TarReader<R>,
    path: &Path,
) -> Result<(), LayerError> {
    loop {
        let data = archive.data()?;
        if data.is_empty() {
            return Ok(());
        }
        let length = data.len();
        file.write_all(data).map_err(failed("write", path))?;
        archive.consume(length);
    }
}

/// Copies an entry's data to where its map says, and leaves the holes.
pub(super) fn write_sparse<R: BufRead>(
    file: &File,
    entry: &Entry,
    archive: &mut TarReader<R>,
    path: &Path,
) -> Result<(), LayerError> {
    let Some(map) = &entry.sparse else {
        return Ok(());
    };
    file.set_len(map.real_size)
        .map_err(failed("set the size of", path))?;
    for segment in &map.segments {
        let (mut offset, mut left) = (segment.offset, segment.length);
        while left > 0 {
            let data = archive.data()?;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            if length == 0 {
                return Err(TarError::Truncated.into());
            }
            file.write_all_at(&data[..length], offset)
                .map_err(failed("write", path))?;
            archive.consume(length);
            (offset, left) = (offset + length as u64, left - length as u64);
        }
    }
    Ok(())
}

/// Reports how much was read.
struct Counting<'a, R> {
    inner: R,
    report: &'a (dyn Fn(u64) + Sync),
    total: u64,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.total += length as u64;
        (self.report)(self.total);
        Ok(length)
    }
}
