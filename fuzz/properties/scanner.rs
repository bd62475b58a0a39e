//! What must hold for the scanner of the event log whatever a segment's bytes
//! are. The fuzz target and the test that replays the corpus share this file.

use events::Position;
use events::scan::{Scan, Tail, scan_segment};

/// Panics if the scanner's verdict on `bytes` contradicts itself.
pub(crate) fn check(bytes: &[u8]) {
    let first = Position { epoch: 1, seq: 1 };
    for name in [None, Some(first)] {
        let scan = scan_segment(bytes, name);
        check_prefix(bytes, name, &scan);
        check_tail(bytes, &scan);
    }
}

/// What is called good is good by itself, and ends with a whole line.
fn check_prefix(bytes: &[u8], name: Option<Position>, scan: &Scan) {
    assert!(scan.end <= bytes.len());
    let good = &bytes[..scan.end];
    assert!(good.is_empty() || good.ends_with(b"\n"));
    let again = scan_segment(good, name);
    assert_eq!(again.tail, Tail::Clean);
    assert_eq!(again.end, scan.end);
    assert_eq!(again.records, scan.records);
}

/// A clean segment is good to its end; a torn one is clean once it is cut;
/// damage means that something valid was seen.
fn check_tail(bytes: &[u8], scan: &Scan) {
    match scan.tail {
        Tail::Clean => assert_eq!(scan.end, bytes.len()),
        Tail::Torn => assert!(scan.end < bytes.len()),
        Tail::Corrupt { .. } => assert!(scan.last_seq.is_some()),
    }
}
