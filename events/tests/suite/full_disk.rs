//! A full disk, on a small tmpfs in a mount namespace of its own. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use events::{AppendError, Draft, Log, LogOptions, Position};
use rustix::mount::{MountFlags, mount, unmount};

use crate::common::{draft, read_all};

const DIRECTORY: &str = "EVENTS_TEST_TMPFS";
const SEGMENT: u64 = 256 * 1024;

#[test]
fn a_full_disk_refuses_loses_nothing_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "full_disk::child_fills_a_disk", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("disk was full and recovered"), "{text}");
}

#[test]
fn child_fills_a_disk() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    mount(
        "tmpfs",
        &directory,
        "tmpfs",
        MountFlags::empty(),
        Some(c"size=2m"),
    )
    .unwrap();
    fill_and_recover(&directory);
    unmount(&directory, rustix::mount::UnmountFlags::DETACH).unwrap();
    println!("disk was full and recovered");
}

fn fill_and_recover(directory: &Path) {
    let options = LogOptions {
        segment_bytes: SEGMENT,
        ..LogOptions::default()
    };
    let log = Log::open_with(&directory.join("events"), &options).unwrap();
    log.append(&[draft(0)]).unwrap();
    let ballast = directory.join("ballast");
    fill(&ballast);

    let (recorded, error) = append_until_full(&log);
    println!("recorded {recorded} on a full disk, then {error}");
    // The rest of the active segment and all of the next one were kept for us.
    assert!(recorded * 1500 > SEGMENT * 3 / 2, "only {recorded} records");
    let (total, _) = append_until_full(&log);
    assert!(total - recorded <= 5, "{total} records on a full disk");
    let other = Log::open_with(&directory.join("events"), &options).unwrap();
    assert_gapless(&other, total);

    std::fs::remove_file(&ballast).unwrap();
    log.append(&[draft(1)]).unwrap();
    other.append(&[draft(2)]).unwrap();
    log.append_durable(&[draft(3)]).unwrap();
    assert_gapless(&log, total + 3);
}

fn assert_gapless(log: &Log, count: u64) {
    let records = read_all(log, Position::default());
    assert_eq!(records.len() as u64, count);
    let seqs = records.iter().map(|record| record.position.seq);
    assert!(seqs.eq(1..=count));
}

/// Writes until there is not one block left.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
}

/// Appends batches of one to five until the disk is full; returns how many
/// records the log has then.
fn append_until_full(log: &Log) -> (u64, AppendError) {
    let large = Draft::new("test", "test.large", "s", &"x".repeat(1500)).unwrap();
    for number in 0_u64.. {
        assert!(number < 100_000, "the disk never gets full");
        let batch = vec![large.clone(); 1 + number as usize % 5];
        if let Err(error) = log.append(&batch) {
            let partial = match &error {
                AppendError::Partial { recorded, .. } => recorded.len() as u64,
                _ => 0,
            };
            assert!(partial < 5);
            return (log.last().unwrap().seq, error);
        }
    }
    unreachable!("the loop returns");
}
