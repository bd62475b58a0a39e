//! Opens a compressed stream by what its first bytes say: gzip, zstd or plain.
//!
//! Media types are not trusted to name the compression: builders have got them
//! wrong, and every other engine looks at the bytes.

use std::io::{self, BufRead, Read};

use super::LayerError;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// zstd's frames that carry no data have the magic 0x184D2A50 to 0x184D2A5F.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    /// Returns the compression of a stream that begins with `start`.
    pub(crate) fn of(start: &[u8]) -> Result<Self, LayerError> {
        match start {
            start if start.starts_with(GZIP) => Ok(Self::Gzip),
            start if start.starts_with(ZSTD) => Ok(Self::Zstd),
            start if start.get(1..4) == Some(ZSTD_SKIPPABLE) && start[0] & 0xf0 == 0x50 => {
                Ok(Self::Zstd)
            }
            start if start.starts_with(BZIP2) => Err(LayerError::Compression("bzip2")),
            start if start.starts_with(XZ) => Err(LayerError::Compression("xz")),
            _ => Ok(Self::Plain),
        }
    }
}

/// Returns a reader of what `stream` expands to.
pub(crate) fn inflating<'a>(
    mut stream: impl BufRead + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, LayerError> {
    let start = stream.fill_buf().map_err(LayerError::Inflate)?;
    Ok(match Compression::of(start)? {
        Compression::Plain => Box::new(stream),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
        Compression::Zstd => Box::new(zstd_reader(stream).map_err(LayerError::Inflate)?),
    })
}

fn zstd_reader<R: BufRead>(stream: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    zstd::stream::read::Decoder::with_buffer(stream)
}
