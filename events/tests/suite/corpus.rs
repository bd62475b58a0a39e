//! Replays the corpus of the `scanner` fuzz target.

#[path = "../../../fuzz/properties/scanner.rs"]
mod scanner;

use std::path::Path;

use events::Position;
use events::scan::{Tail, scan_segment};
use proptest::prelude::*;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/scanner")
}

#[test]
fn every_corpus_file_satisfies_the_scanner_s_properties() {
    let mut files = 0;
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        scanner::check(&std::fs::read(path).unwrap());
        files += 1;
    }
    assert!(files >= 20, "only {files} files");
}

#[test]
fn known_corpus_files_get_known_verdicts() {
    let corrupt = |what| (Tail::Corrupt { what }, 1);
    let cases = [
        ("empty", (Tail::Clean, 0)),
        ("three", (Tail::Clean, 3)),
        ("torn", (Tail::Torn, 3)),
        ("zeros", (Tail::Torn, 3)),
        ("flipped", corrupt("wrong checksum")),
        ("gap", corrupt("gap in the sequence")),
        ("twice", corrupt("gap in the sequence")),
        ("other-epoch", corrupt("record of another epoch")),
        ("compacted", (Tail::Clean, 2)),
        ("compacted-late", corrupt("compaction mark out of place")),
    ];
    for (name, expected) in cases {
        let bytes = std::fs::read(corpus().join(name)).unwrap();
        let scan = scan_segment(&bytes, Some(Position { epoch: 1, seq: 1 }));
        assert_eq!((scan.tail, scan.records), expected, "{name}");
    }
}

proptest! {
    /// Splices of good segments reach further into the scanner than noise.
    #[test]
    fn spliced_segments_satisfy_the_scanner_s_properties(
        from in 0_usize..600,
        length in 0_usize..600,
        at in 0_usize..600,
        flip in proptest::option::of((0_usize..600, 0_u32..8)),
    ) {
        let mut bytes = std::fs::read(corpus().join("three")).unwrap();
        let piece: Vec<u8> = bytes.iter().copied().skip(from).take(length).collect();
        let at = at.min(bytes.len());
        bytes.splice(at..at, piece);
        if let Some((place, bit)) = flip {
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
        }
        scanner::check(&bytes);
    }

    #[test]
    fn noise_satisfies_the_scanner_s_properties(bytes: Vec<u8>) {
        scanner::check(&bytes);
    }
}
