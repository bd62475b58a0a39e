//! What must hold for the decoder of frames whatever a daemon sends, in whatever pieces.

use engine_api::stdcopy::{Decoder, StdcopyError, Stream, encode};

type Read = (Vec<(Stream, u8)>, Result<(), StdcopyError>);

/// Panics if the pieces change what is read, or what is framed reads back otherwise.
pub(crate) fn check(bytes: &[u8]) {
    let Some((size, input)) = bytes.split_first() else {
        return;
    };
    let whole = read(input, input.len().max(1));
    let pieces = read(input, usize::from(*size) + 1);
    assert_eq!(whole.1, pieces.1);
    // At an error, what came in the same piece before it is lost.
    let shorter = whole.0.len().min(pieces.0.len());
    assert_eq!(whole.0[..shorter], pieces.0[..shorter]);
    if whole.1.is_ok() {
        assert_eq!(whole.0, pieces.0);
    }
    assert!(whole.0.len() <= input.len(), "nothing is made up");

    let mut framed = Vec::new();
    encode(Stream::Stdout, input, &mut framed);
    encode(Stream::Stderr, input, &mut framed);
    let (read_back, end) = read(&framed, usize::from(*size) + 1);
    assert_eq!(end, Ok(()));
    let expected = [Stream::Stdout, Stream::Stderr]
        .into_iter()
        .flat_map(|stream| input.iter().map(move |byte| (stream, *byte)));
    assert!(read_back.into_iter().eq(expected));
}

fn read(input: &[u8], size: usize) -> Read {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    for piece in input.chunks(size) {
        match decoder.feed(piece) {
            Ok(parts) => {
                for (stream, part) in parts {
                    out.extend(part.iter().map(|byte| (stream, *byte)));
                }
            }
            Err(error) => return (out, Err(error)),
        }
    }
    (out, decoder.finish())
}
