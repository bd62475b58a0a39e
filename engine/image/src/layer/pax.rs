//! Records of a PAX extended header: `"<length> <key>=<value>\n"`.

use super::sparse::Segment;

/// What the records of one extended header say of the next entry.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

/// The three ways PAX archives of GNU tar describe holes.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    /// 1.0: the map is at the start of the data.
    pub(super) map_in_data: bool,
    /// 0.0 and 0.1: the map is in the header.
    pub(super) segments: Vec<Segment>,
    pub(super) in_header: bool,
    pub(super) real_size: Option<u64>,
    pending_offset: Option<u64>,
}

const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Parses all records of `data`; `None` if any is broken.
    pub(super) fn parse(mut data: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data)?;
            pax.take(key, value)?;
            data = rest;
        }
        Some(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            key if key.starts_with(ATTRIBUTE) => {
                let name = name(&key[ATTRIBUTE.len()..])?;
                self.attributes.push((name, value.to_vec()));
            }
            key if key.starts_with(b"GNU.sparse.") => self.take_sparse(&key[11..], value)?,
            // Other keys (atime, comment, hdrcharset, vendors') say nothing we use.
            _ => {}
        }
        Some(())
    }

    fn take_sparse(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let sparse = &mut self.sparse;
        match key {
            b"name" => self.path = Some(name(value)?),
            b"major" => sparse.map_in_data = value == b"1",
            b"realsize" | b"size" => sparse.real_size = Some(decimal(value)?),
            b"numblocks" => sparse.in_header = true,
            b"offset" => sparse.pending_offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset = sparse.pending_offset.take()?;
                sparse.segments.push(Segment::new(offset, decimal(value)?)?);
            }
            b"map" => sparse.segments = map(value)?,
            _ => {}
        }
        Some(())
    }
}

fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &data[length..]))
}

/// A name holds no NUL, which the kernel would cut it at.
fn name(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty() && !value.contains(&0)).then(|| value.to_vec())
}

pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    let all_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    all_digits
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// Parses seconds with a fraction, perhaps negative, to seconds and nanoseconds ≥ 0.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let negative = value.first() == Some(&b'-');
    let value = value.strip_prefix(b"-").unwrap_or(value);
    let dot = value.iter().position(|b| *b == b'.');
    let (whole, fraction) = value.split_at(dot.unwrap_or(value.len()));
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let mut nanoseconds = 0;
    let digits = fraction.get(1..).unwrap_or_default();
    for position in 0..9 {
        let digit = digits.get(position).copied().unwrap_or(b'0');
        nanoseconds = nanoseconds * 10 + char::from(digit).to_digit(10)?;
    }
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

fn map(value: &[u8]) -> Option<Vec<Segment>> {
    let numbers: Vec<u64> = value
        .split(|b| *b == b',')
        .map(decimal)
        .collect::<Option<_>>()?;
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Segment::new(pair[0], pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = body.len() + 1;
        while length != body.len() + length.to_string().len() {
            length += 1;
        }
        [length.to_string().as_bytes(), &body].concat()
    }

    #[test]
    fn records_are_read() {
        let mut data = record_of("path", b"a/b");
        data.extend(record_of("mtime", b"12.000000345"));
        data.extend(record_of("SCHILY.xattr.user.x", b"a\n=\0bcdefg"));
        let pax = Pax::parse(&data).unwrap();
        assert_eq!(pax.path.as_deref(), Some(b"a/b".as_slice()));
        assert_eq!(pax.mtime, Some((12, 345)));
        assert_eq!(
            pax.attributes,
            [(b"user.x".to_vec(), b"a\n=\0bcdefg".to_vec())]
        );
    }

    #[test]
    fn broken_records_are_refused() {
        for bad in [
            b"12 path=a/bx".as_slice(),
            b"99 path=a\n",
            b"0 a=b\n",
            b"3 \n",
            b"x path=a\n",
            b"7 path\n",
            b"11 path=\0b\n",
            b"8 uid=-1\n",
            b"-5 a=b\n",
        ] {
            assert!(Pax::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn times_before_1970_have_positive_nanoseconds() {
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time(b"1.x"), None);
    }
}
