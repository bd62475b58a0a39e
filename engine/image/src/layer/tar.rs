//! Reads a tar archive entry by entry from a stream; writes nothing.
//!
//! Understands what the builders of images write: POSIX, PAX and GNU headers,
//! long names, sparse files, extended attributes. Every size is checked before
//! it is believed, and an archive that ends early is an error.

use std::io::{self, BufRead, Read as _};

use super::header::{BLOCK, Header};
use super::pax::Pax;
use super::sparse::{SparseMap, map_in_data, old_segments};

/// More bytes than one extended header may have.
const MAX_PAX: u64 = 1 << 20;
/// More bytes than a GNU long name may have: longer ones no kernel takes.
const MAX_LONG_NAME: u64 = 64 << 10;
/// More extension headers than may stand before one entry.
const MAX_EXTENSIONS: usize = 16;

/// Says why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The stream ended within an entry.
    #[error("the archive ends within an entry")]
    Truncated,
    /// A block is not a header.
    #[error("invalid archive header")]
    Header,
    /// A field of a header holds something impossible.
    #[error("invalid {field} in the archive's header of {path:?}")]
    Field {
        /// Which field.
        field: &'static str,
        /// The entry.
        path: String,
    },
    /// A kind of entry that no layer has.
    #[error("unsupported kind {kind:?} of archive entry {path:?}")]
    Kind {
        /// The type flag.
        kind: char,
        /// The entry.
        path: String,
    },
    /// An extension header longer than any real one.
    #[error("an extension header of the archive is too long")]
    Extension,
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Read(error),
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// One entry; its data, if any, is next in the stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<SparseMap>,
    /// Bytes of data in the archive.
    pub(crate) stored: u64,
}

impl Entry {
    /// Returns the size of the file this entry becomes.
    pub(crate) fn size(&self) -> u64 {
        self.sparse.as_ref().map_or(self.stored, |s| s.real_size)
    }
}

/// An archive being read.
pub(crate) struct TarReader<R> {
    inner: R,
    /// Data and padding of the current entry that were not read yet.
    data_left: u64,
    padding: u64,
}

/// What extension headers said of the entry after them.
#[derive(Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            data_left: 0,
            padding: 0,
        }
    }

    /// Returns the next entry, `None` at the end; data not read is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip(self.data_left + self.padding)?;
        (self.data_left, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        for _ in 0..MAX_EXTENSIONS {
            let Some(block) = self.header_block()? else {
                return Ok(None);
            };
            let header = Header::parse(&block).ok_or(TarError::Header)?;
            match header.kind() {
                b'x' => {
                    let data = self.extension(&header, MAX_PAX)?;
                    extensions.pax = Pax::parse(&data).ok_or(TarError::Header)?;
                }
                b'L' => extensions.long_name = Some(self.long_text(&header)?),
                b'K' => extensions.long_link = Some(self.long_text(&header)?),
                // Global headers carry comments (git archive); Docker skips them too.
                b'g' => drop(self.extension(&header, MAX_PAX)?),
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
        Err(TarError::Extension)
    }

    /// Returns the next piece of the current entry's data, empty at its end.
    pub(crate) fn data(&mut self) -> Result<&[u8], TarError> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        let buffer = self.inner.fill_buf()?;
        if buffer.is_empty() {
            return Err(TarError::Truncated);
        }
        let length = self.data_left.min(buffer.len() as u64);
        Ok(&buffer[..usize::try_from(length).expect("no longer than the buffer")])
    }

    /// Says that `length` bytes of what [`Self::data`] returned are used.
    pub(crate) fn consume(&mut self, length: usize) {
        self.inner.consume(length);
        self.data_left -= length as u64;
    }

    /// Reads to the end of the stream, since a digest covers all of it.
    pub(crate) fn drain(&mut self) -> Result<(), TarError> {
        loop {
            let length = self.inner.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.inner.consume(length);
        }
    }

    /// Returns the next header block, `None` at two zero blocks or a clean end of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        if self.inner.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.inner.read_exact(&mut block)?;
        // One zero block is the end as well: some writers leave out the second.
        Ok(block.iter().any(|b| *b != 0).then_some(block))
    }

    fn skip(&mut self, mut length: u64) -> Result<(), TarError> {
        while length > 0 {
            let there = self.inner.fill_buf()?.len() as u64;
            if there == 0 {
                return Err(TarError::Truncated);
            }
            let step = there.min(length);
            self.inner
                .consume(usize::try_from(step).expect("no longer than the buffer"));
            length -= step;
        }
        Ok(())
    }

    fn extension(&mut self, header: &Header<'_>, limit: u64) -> Result<Vec<u8>, TarError> {
        let size = header.size().and_then(|s| u64::try_from(s).ok());
        let size = size.filter(|s| *s <= limit).ok_or(TarError::Extension)?;
        let mut data = vec![0; usize::try_from(size).expect("under the limit")];
        self.inner.read_exact(&mut data)?;
        self.skip(padding(size))?;
        Ok(data)
    }

    fn long_text(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let mut text = self.extension(header, MAX_LONG_NAME)?;
        text.truncate(text.iter().position(|b| *b == 0).unwrap_or(text.len()));
        Ok(text)
    }

    fn entry(&mut self, header: &Header<'_>, extra: Extensions) -> Result<Entry, TarError> {
        let mut path = Vec::with_capacity(100);
        header.name_into(&mut path);
        let path = extra.pax.path.clone().or(extra.long_name).unwrap_or(path);
        let fields = Fields {
            header,
            pax: &extra.pax,
            path: &path,
        };
        let kind = kind(header.kind(), &path)?;
        let link = extra.pax.link.clone().or(extra.long_link);
        let mut entry = Entry {
            link: link.unwrap_or_else(|| header.link().to_vec()),
            kind,
            mode: fields.mode()?,
            uid: fields.id("uid", extra.pax.uid, header.uid())?,
            gid: fields.id("gid", extra.pax.gid, header.gid())?,
            mtime: fields.mtime()?,
            device: fields.device(kind)?,
            attributes: Vec::new(),
            sparse: None,
            stored: fields.stored(kind)?,
            path,
        };
        (self.data_left, self.padding) = (entry.stored, padding(entry.stored));
        self.read_sparse(header, &extra.pax, &mut entry)?;
        entry.attributes = extra.pax.attributes;
        Ok(entry)
    }

    fn read_sparse(
        &mut self,
        header: &Header<'_>,
        pax: &Pax,
        entry: &mut Entry,
    ) -> Result<(), TarError> {
        let bad = || TarError::Field {
            field: "sparse map",
            path: super::printable(&entry.path),
        };
        let mut segments = Vec::new();
        let real_size = if header.kind() == b'S' {
            self.read_old_sparse(header, &mut segments)?
                .ok_or_else(bad)?
        } else if pax.sparse.map_in_data {
            let mut data = (&mut self.inner).take(self.data_left);
            let used = map_in_data(&mut data, &mut segments)?.ok_or_else(bad)?;
            self.data_left -= used;
            entry.stored -= used;
            pax.sparse.real_size.ok_or_else(bad)?
        } else if pax.sparse.in_header {
            segments.clone_from(&pax.sparse.segments);
            pax.sparse.real_size.ok_or_else(bad)?
        } else {
            return Ok(());
        };
        let map = SparseMap::checked(segments, real_size, entry.stored).ok_or_else(bad)?;
        entry.sparse = Some(map);
        Ok(())
    }

    fn read_old_sparse(
        &mut self,
        header: &Header<'_>,
        segments: &mut Vec<super::sparse::Segment>,
    ) -> Result<Option<u64>, TarError> {
        let mut parsed = old_segments(header.sparse_segments(), segments);
        let mut extended = header.sparse_is_extended();
        while extended && parsed.is_some() {
            let mut block = [0; BLOCK];
            self.inner.read_exact(&mut block)?;
            parsed = old_segments(&block[..504], segments);
            extended = block[504] != 0;
        }
        let real_size = header
            .sparse_real_size()
            .and_then(|s| u64::try_from(s).ok());
        Ok(parsed.and(real_size))
    }
}

/// The numbers of one entry, from its header or the PAX records before it.
struct Fields<'a> {
    header: &'a Header<'a>,
    pax: &'a Pax,
    path: &'a [u8],
}

impl Fields<'_> {
    fn wrong(&self, field: &'static str) -> TarError {
        TarError::Field {
            field,
            path: super::printable(self.path),
        }
    }

    fn mode(&self) -> Result<u32, TarError> {
        let mode = self.header.mode().ok_or_else(|| self.wrong("mode"))?;
        Ok(u32::try_from(mode & 0o7777).expect("twelve bits"))
    }

    fn id(&self, name: &'static str, pax: Option<u64>, own: Option<i64>) -> Result<u32, TarError> {
        let value = pax.or_else(|| own.and_then(|v| u64::try_from(v).ok()));
        let value = value.and_then(|v| u32::try_from(v).ok());
        // The highest value means "unchanged" to chown.
        value
            .filter(|v| *v != u32::MAX)
            .ok_or_else(|| self.wrong(name))
    }

    fn mtime(&self) -> Result<(i64, u32), TarError> {
        let own = || self.header.mtime().map(|seconds| (seconds, 0));
        self.pax
            .mtime
            .or_else(own)
            .ok_or_else(|| self.wrong("mtime"))
    }

    fn device(&self, kind: Kind) -> Result<(u32, u32), TarError> {
        if !matches!(kind, Kind::Character | Kind::Block) {
            return Ok((0, 0));
        }
        let wrong = || self.wrong("device number");
        let (major, minor) = self.header.device().ok_or_else(wrong)?;
        let number = |value| u32::try_from(value).map_err(|_| wrong());
        Ok((number(major)?, number(minor)?))
    }

    /// Only files have data, whatever the header of another kind says.
    fn stored(&self, kind: Kind) -> Result<u64, TarError> {
        if kind != Kind::File {
            return Ok(0);
        }
        let own = || self.header.size().and_then(|size| u64::try_from(size).ok());
        let size = self.pax.size.or_else(own);
        size.filter(|size| i64::try_from(*size).is_ok())
            .ok_or_else(|| self.wrong("size"))
    }
}

fn padding(size: u64) -> u64 {
    let block = BLOCK as u64;
    (block - size % block) % block
}

fn kind(flag: u8, path: &[u8]) -> Result<Kind, TarError> {
    Ok(match flag {
        // Archives older than POSIX mark a directory by a slash at its end.
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            return Err(TarError::Kind {
                kind: char::from(other),
                path: super::printable(path),
            });
        }
    })
}
