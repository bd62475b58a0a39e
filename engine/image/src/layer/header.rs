//! One 512-byte block of a tar archive: numbers, names, checksum.
//!
//! Reads old (v7), POSIX (ustar) and GNU headers; interprets no entry kind.

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// A header block whose checksum is right.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

/// Which rules a header's fields follow.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Format {
    Old,
    Posix,
    Gnu,
}

impl<'a> Header<'a> {
    /// Returns the header in `block`, `None` if its checksum is wrong.
    pub(super) fn parse(block: &'a [u8; BLOCK]) -> Option<Self> {
        let stored = number(&block[148..156])?;
        // The field itself counts as eight spaces; old archives summed signed bytes.
        let rest = || block[..148].iter().chain(&block[156..]);
        let unsigned: i64 = 256 + rest().map(|b| i64::from(*b)).sum::<i64>();
        let signed: i64 = 256 + rest().map(|b| i64::from(b.cast_signed())).sum::<i64>();
        (stored == unsigned || stored == signed).then_some(Self(block))
    }

    fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar") => Format::Posix,
            _ => Format::Old,
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Writes the name, with the prefix that POSIX headers have, into `name`.
    pub(super) fn name_into(&self, name: &mut Vec<u8>) {
        name.clear();
        let prefix = text(&self.0[345..500]);
        if self.format() == Format::Posix && !prefix.is_empty() {
            name.extend_from_slice(prefix);
            name.push(b'/');
        }
        name.extend_from_slice(text(&self.0[..100]));
    }

    pub(super) fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(super) fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<i64> {
        number(&self.0[124..136])
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// Returns the device numbers; old headers have none.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        if self.format() == Format::Old {
            return Some((0, 0));
        }
        Some((number(&self.0[329..337])?, number(&self.0[337..345])?))
    }

    /// Returns the four segments of an old GNU sparse header.
    pub(super) fn sparse_segments(&self) -> &'a [u8] {
        &self.0[386..482]
    }

    pub(super) fn sparse_is_extended(&self) -> bool {
        self.0[482] != 0
    }

    pub(super) fn sparse_real_size(&self) -> Option<i64> {
        number(&self.0[483..495])
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// Returns the number in `field`: octal digits, or binary if the top bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field),
    }
}

/// Two's complement, big-endian, the top bit of the first byte left out.
fn binary(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let start: i64 = if negative { -1 } else { 0 };
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let mut value = start << 8 | i64::from(first);
    for byte in &field[1..] {
        let shifted = value.checked_mul(256)?;
        value = shifted | i64::from(*byte);
    }
    Some(value)
}

fn octal(field: &[u8]) -> Option<i64> {
    let field = text(field).trim_ascii();
    let mut value: i64 = 0;
    for digit in field {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b" 644 \0\0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777777 ", Some(0o77_777_777_777)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000009\0", None),
            (b"-000001\0", None),
        ];
        for (field, expected) in cases {
            assert_eq!(number(field), *expected, "{field:?}");
        }
    }
}
