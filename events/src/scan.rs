//! Judges the bytes of a segment: how far they are good, and whether what
//! follows is a torn tail or damage. Pure: it reads no file and repairs nothing.

use crate::format::{Line, check_line};
use crate::position::Position;

/// What a segment's bytes hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The number of good records before any damage.
    pub records: u64,
    /// The highest seq accounted for by good lines, damage or not.
    pub last_seq: Option<u64>,
    /// The offset after the last good line before any damage.
    pub end: usize,
    pub tail: Tail,
}

/// What follows the last good line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    Clean,
    /// No valid record follows: the writer died, the bytes may be cut.
    Torn,
    /// A valid record follows a bad one: somebody damaged the file.
    Corrupt {
        what: &'static str,
    },
}

/// The order that lines of one segment must have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sequence {
    /// A line has been accepted, so that a compaction mark may not come.
    begun: bool,
    epoch: Option<u64>,
    /// The seq that must come next; unknown before the first line.
    next: Option<u64>,
    /// Seqs up to this one may be missing.
    hole_last: Option<u64>,
}

impl Sequence {
    /// Returns the sequence of a segment that begins at `first`.
    pub(crate) fn starting_at(first: Position) -> Self {
        Self {
            begun: false,
            epoch: Some(first.epoch),
            next: Some(first.seq),
            hole_last: None,
        }
    }

    /// Returns the sequence at an unknown place inside a segment of `epoch`.
    pub(crate) fn inside(epoch: u64, hole_last: Option<u64>) -> Self {
        Self {
            begun: true,
            epoch: Some(epoch),
            next: None,
            hole_last,
        }
    }

    /// Takes note of a line, or says what is wrong with its place.
    pub(crate) fn accept(&mut self, line: &Line<'_>) -> Result<(), &'static str> {
        match *line {
            Line::Compacted { first, last } => self.accept_mark(first, last),
            Line::Record(header) => self.accept_record(header.position),
        }?;
        self.begun = true;
        Ok(())
    }

    /// Returns the seq that the following segment must begin with.
    pub(crate) fn successor(&self) -> Option<u64> {
        let after_hole = self.hole_last.map(|last| last.saturating_add(1));
        self.next.max(after_hole)
    }

    fn accept_mark(&mut self, first: u64, last: u64) -> Result<(), &'static str> {
        if self.begun || self.next.is_some_and(|next| next != first) {
            return Err("compaction mark out of place");
        }
        self.next = Some(first);
        self.hole_last = Some(last);
        Ok(())
    }

    fn accept_record(&mut self, position: Position) -> Result<(), &'static str> {
        if *self.epoch.get_or_insert(position.epoch) != position.epoch {
            return Err("record of another epoch");
        }
        let seq = position.seq;
        let in_hole = |next| seq > next && self.hole_last.is_some_and(|last| seq <= last);
        match self.next {
            Some(next) if seq != next && !in_hole(next) => return Err("gap in the sequence"),
            _ => {}
        }
        self.next = Some(seq.saturating_add(1));
        Ok(())
    }
}

/// Scans a whole segment; `first` is what its name says, where it is known.
pub fn scan_segment(bytes: &[u8], first: Option<Position>) -> Scan {
    let sequence = first.map(Sequence::starting_at).unwrap_or_default();
    scan_from(bytes, sequence)
}

/// Scans the rest of a segment whose lines so far led to `sequence`.
pub(crate) fn scan_from(bytes: &[u8], mut sequence: Sequence) -> Scan {
    let mut scan = Scan {
        records: 0,
        last_seq: None,
        end: 0,
        tail: Tail::Clean,
    };
    for (start, line) in lines(bytes) {
        let checked = check_line(line).and_then(|parsed| {
            sequence.accept(&parsed)?;
            Ok(parsed)
        });
        match checked {
            Ok(parsed) => scan.take(&parsed, start + line.len() + 1),
            Err(what) => {
                scan.judge_rest(&bytes[start..], what);
                return scan;
            }
        }
    }
    if scan.end < bytes.len() {
        scan.tail = Tail::Torn;
    }
    scan
}

impl Scan {
    fn take(&mut self, line: &Line<'_>, end: usize) {
        self.end = end;
        self.records += u64::from(matches!(line, Line::Record(_)));
        self.reach(line);
    }

    fn reach(&mut self, line: &Line<'_>) {
        let seq = match line {
            Line::Record(header) => header.position.seq,
            Line::Compacted { last, .. } => *last,
        };
        self.last_seq = self.last_seq.max(Some(seq));
    }

    /// Decides between torn and corrupt; `rest` begins with the bad line.
    fn judge_rest(&mut self, rest: &[u8], what: &'static str) {
        self.tail = Tail::Torn;
        for (_, line) in lines(rest) {
            if let Ok(parsed) = check_line(line) {
                self.tail = Tail::Corrupt { what };
                self.reach(&parsed);
            }
        }
    }
}

/// Iterates over whole lines, without their newline, each with its offset.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let length = bytes[start..].iter().position(|b| *b == b'\n')?;
        let line = (start, &bytes[start..start + length]);
        start += length + 1;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::push_line;
    use base::Timestamp;

    fn segment(records: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for seq in 1..=records {
            let body = br#""source":"s","type":"t","subject":"x","data":null"#;
            let position = Position { epoch: 1, seq };
            push_line(&mut bytes, position, Timestamp::from_seconds(1), body);
        }
        bytes
    }

    const FIRST: Option<Position> = Some(Position { epoch: 1, seq: 1 });

    #[test]
    fn every_cut_is_clean_or_torn() {
        let bytes = segment(5);
        for cut in 0..=bytes.len() {
            let scan = scan_segment(&bytes[..cut], FIRST);
            let at_end = cut == 0 || bytes[cut - 1] == b'\n';
            let expected = if at_end { Tail::Clean } else { Tail::Torn };
            assert_eq!(scan.tail, expected, "cut at {cut}");
            assert_eq!(scan.last_seq.unwrap_or(0), scan.records);
        }
    }

    #[test]
    fn every_flip_before_the_last_record_is_corruption() {
        let bytes = segment(5);
        let record = bytes.len() / 5;
        for at in 0..3 * record {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let scan = scan_segment(&changed, FIRST);
                assert!(matches!(scan.tail, Tail::Corrupt { .. }), "{at} {bit}");
                assert_eq!(scan.end, at / record * record, "byte {at} bit {bit}");
                assert_eq!(scan.last_seq, Some(5));
            }
        }
    }

    #[test]
    fn a_missing_or_repeated_or_foreign_record_is_corruption() {
        let bytes = segment(5);
        let record = bytes.len() / 5;
        let missing = [&bytes[..record], &bytes[2 * record..]].concat();
        let repeated = [&bytes[..2 * record], &bytes[record..]].concat();
        for changed in [missing, repeated] {
            let scan = scan_segment(&changed, FIRST);
            assert!(matches!(scan.tail, Tail::Corrupt { .. }), "{scan:?}");
        }
        let other = Some(Position { epoch: 2, seq: 1 });
        let scan = scan_segment(&bytes, other);
        let what = "record of another epoch";
        assert_eq!(scan.tail, Tail::Corrupt { what });
    }
}
