//! The frames that carry stdout and stderr over one connection: eight bytes,
//! stream, three zeros and a big-endian length, then that many bytes.
//!
//! The decoder hands payload on as it comes and keeps only a header, so that a
//! frame of any length costs no memory.

/// Bytes in a frame's header.
pub const HEADER_SIZE: usize = 8;

/// The content type of an answer that is a terminal's bytes, without frames.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// The content type of an answer in frames.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

/// Bytes of a daemon's own error that are kept.
const ERROR_LIMIT_BYTES: usize = 64 * 1024;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// Why a stream of frames cannot be read on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StdcopyError {
    #[error("unrecognized stream {0} in the output of the daemon")]
    UnknownStream(u8),
    #[error("error from daemon in stream: {0}")]
    Daemon(String),
    #[error("the output of the daemon ends within a frame")]
    Truncated,
}

/// Returns the header of a frame with `length` bytes of payload.
pub fn header(stream: Stream, length: u32) -> [u8; HEADER_SIZE] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream.number(), 0, 0, 0, a, b, c, d]
}

/// Appends `payload` to `out`, framed.
pub fn encode(stream: Stream, payload: &[u8], out: &mut Vec<u8>) {
    for part in payload.chunks(u32::MAX as usize) {
        out.extend_from_slice(&header(
            stream,
            u32::try_from(part.len()).unwrap_or(u32::MAX),
        ));
        out.extend_from_slice(part);
    }
}

impl Stream {
    fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// What the frame being read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Data(Stream),
    /// Stream 3, the daemon's own error.
    Error,
}

/// Takes a stream of frames apart, whatever pieces it comes in.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_SIZE],
    header_length: usize,
    /// The frame that is being read and its bytes still to come.
    frame: Option<(Frame, usize)>,
    error: Vec<u8>,
}

impl Decoder {
    /// Returns a decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `input` and returns its pieces of payload in order.
    ///
    /// # Errors
    /// When a header names an unknown stream, or the daemon sent its own error.
    pub fn feed<'a>(
        &mut self,
        mut input: &'a [u8],
    ) -> Result<Vec<(Stream, &'a [u8])>, StdcopyError> {
        let mut pieces = Vec::new();
        while !input.is_empty() {
            let Some((frame, remaining)) = self.frame else {
                input = self.read_header(input)?;
                continue;
            };
            let (piece, rest) = input.split_at(remaining.min(input.len()));
            input = rest;
            match frame {
                Frame::Data(stream) => pieces.push((stream, piece)),
                Frame::Error => self.keep_error(piece),
            }
            self.advance(frame, remaining - piece.len())?;
        }
        Ok(pieces)
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// When it ends within a frame.
    pub fn finish(self) -> Result<(), StdcopyError> {
        match self.frame.is_none() && self.header_length == 0 {
            true => Ok(()),
            false => Err(StdcopyError::Truncated),
        }
    }

    fn read_header<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], StdcopyError> {
        let wanted = HEADER_SIZE - self.header_length;
        let (part, rest) = input.split_at(wanted.min(input.len()));
        self.header[self.header_length..][..part.len()].copy_from_slice(part);
        self.header_length += part.len();
        if self.header_length < HEADER_SIZE {
            return Ok(rest);
        }
        self.header_length = 0;
        let [stream, _, _, _, a, b, c, d] = self.header;
        let frame = match stream {
            0 => Frame::Data(Stream::Stdin),
            1 => Frame::Data(Stream::Stdout),
            2 => Frame::Data(Stream::Stderr),
            3 => Frame::Error,
            other => return Err(StdcopyError::UnknownStream(other)),
        };
        self.advance(frame, u32::from_be_bytes([a, b, c, d]) as usize)?;
        Ok(rest)
    }

    fn advance(&mut self, frame: Frame, remaining: usize) -> Result<(), StdcopyError> {
        self.frame = (remaining > 0).then_some((frame, remaining));
        if remaining == 0 && frame == Frame::Error {
            let text = String::from_utf8_lossy(&self.error).into_owned();
            return Err(StdcopyError::Daemon(text));
        }
        Ok(())
    }

    fn keep_error(&mut self, piece: &[u8]) {
        let room = ERROR_LIMIT_BYTES - self.error.len();
        self.error
            .extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], piece_size: usize) -> Result<(Vec<u8>, Vec<u8>), StdcopyError> {
        let mut decoder = Decoder::new();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for piece in input.chunks(piece_size) {
            for (stream, bytes) in decoder.feed(piece)? {
                match stream {
                    Stream::Stderr => err.extend_from_slice(bytes),
                    Stream::Stdin | Stream::Stdout => out.extend_from_slice(bytes),
                }
            }
        }
        decoder.finish()?;
        Ok((out, err))
    }

    #[test]
    fn a_frame_has_the_bytes_docker_writes() {
        let mut out = Vec::new();
        encode(Stream::Stderr, b"hi", &mut out);
        assert_eq!(out, [2, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']);
    }

    #[test]
    fn frames_read_back_from_pieces_of_any_size() {
        let mut input = Vec::new();
        encode(Stream::Stdout, b"one", &mut input);
        encode(Stream::Stderr, b"two", &mut input);
        input.extend_from_slice(&header(Stream::Stdout, 0));
        encode(Stream::Stdout, &[b'x'; 300], &mut input);
        let mut stdout = b"one".to_vec();
        stdout.extend_from_slice(&[b'x'; 300]);
        for piece_size in 1..=input.len() {
            let got = decode(&input, piece_size).unwrap();
            assert_eq!(got, (stdout.clone(), b"two".to_vec()), "{piece_size}");
        }
    }

    #[test]
    fn a_cut_stream_is_noticed_at_every_byte() {
        let mut input = Vec::new();
        encode(Stream::Stdout, b"four", &mut input);
        for length in 1..input.len() {
            assert_eq!(
                decode(&input[..length], 64),
                Err(StdcopyError::Truncated),
                "{length}"
            );
        }
    }

    #[test]
    fn a_huge_frame_is_passed_on_without_being_collected() {
        let mut decoder = Decoder::new();
        decoder.feed(&header(Stream::Stdout, u32::MAX)).unwrap();
        assert_eq!(
            decoder.feed(b"abc").unwrap(),
            [(Stream::Stdout, &b"abc"[..])]
        );
    }

    #[test]
    fn the_daemons_own_error_and_unknown_streams_end_the_stream() {
        let daemon = [&[3, 0, 0, 0, 0, 0, 0, 4][..], b"lost"].concat();
        assert_eq!(
            decode(&daemon, 3),
            Err(StdcopyError::Daemon("lost".to_owned()))
        );
        assert_eq!(decode(&[9; 8], 8), Err(StdcopyError::UnknownStream(9)));
    }
}
