//! Boots: a new epoch each, and no number twice.

use std::time::{Duration, Instant};

use crate::common::{boot_id, draft, numbers, open_in_boot, read_all, segments};
use events::{Log, LogOptions, OpenError, Position};

const SEGMENT: u64 = 1 << 20;

#[test]
fn each_boot_begins_an_epoch_and_readers_cross_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut reader = None;
    for boot in 0..4 {
        let log = open_in_boot(directory.path(), &format!("boot {boot}"), SEGMENT);
        assert_eq!(log.epoch(), boot + 1);
        let positions = log.append(&[draft(boot as usize)]).unwrap();
        let expected = Position {
            epoch: boot + 1,
            seq: boot + 1,
        };
        assert_eq!(positions, [expected]);
        let reader = reader.get_or_insert_with(|| log.read_after(Position::default()).unwrap());
        assert_eq!(numbers(&reader.read_batch().unwrap()), [boot as usize]);
        assert_eq!(reader.position(), expected);
    }
    assert_eq!(segments(directory.path()).len(), 4);
}

#[test]
fn the_same_boot_goes_on_in_its_epoch() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..5 {
        let log = open_in_boot(directory.path(), "boot", SEGMENT);
        let position = log.append(&[draft(number)]).unwrap()[0];
        assert_eq!((position.epoch, position.seq), (1, number as u64 + 1));
    }
    assert_eq!(segments(directory.path()).len(), 1);
}

#[test]
fn a_boot_without_any_record_leaves_no_segment() {
    let directory = tempfile::tempdir().unwrap();
    for boot in ["one", "two", "three"] {
        open_in_boot(directory.path(), boot, SEGMENT);
        assert_eq!(segments(directory.path()).len(), 1);
    }
}

/// Records that were not synced vanish in a power cut, but a consumer had read
/// and noted them: their numbers stay used.
#[test]
fn numbers_seen_by_a_cursor_or_a_state_file_are_not_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", SEGMENT);
    let positions = log.append(&[draft(1), draft(2), draft(3)]).unwrap();
    log.cursor("netd").unwrap().store(positions[2]).unwrap();
    drop(log);
    let segment = directory.path().join(&segments(directory.path())[0]);
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.set_len(0).unwrap();

    let log = open_in_boot(directory.path(), "two", SEGMENT);
    let position = log.append(&[draft(4)]).unwrap()[0];
    assert_eq!((position.epoch, position.seq), (2, 4));
    assert_eq!(numbers(&read_all(&log, positions[2])), [4]);
    drop(log);

    let options = LogOptions {
        boot_id: Some(boot_id("three")),
        floor: 1000,
        ..LogOptions::default()
    };
    let log = Log::open_with(directory.path(), &options).unwrap();
    assert_eq!(log.append(&[draft(5)]).unwrap()[0].seq, 1001);
}

/// The log was removed in mid-boot while state files live on.
#[test]
fn a_floor_above_the_last_record_begins_an_epoch_within_a_boot() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", SEGMENT);
    log.append(&[draft(1)]).unwrap();
    let options = LogOptions {
        boot_id: Some(boot_id("one")),
        floor: 50,
        ..LogOptions::default()
    };
    let reopened = Log::open_with(directory.path(), &options).unwrap();
    let position = reopened.append(&[draft(2)]).unwrap()[0];
    assert_eq!((position.epoch, position.seq), (2, 51));
    let followed = log.append(&[draft(3)]).unwrap()[0];
    assert_eq!(
        (followed.epoch, followed.seq),
        (2, 52),
        "an open writer follows"
    );
}

#[test]
fn an_opener_that_died_before_it_made_the_segment_is_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", SEGMENT);
    log.append(&[draft(1), draft(2)]).unwrap();
    drop(log);
    open_in_boot(directory.path(), "two", SEGMENT);
    let newest = segments(directory.path()).pop().unwrap();
    std::fs::remove_file(directory.path().join(newest)).unwrap();

    let log = open_in_boot(directory.path(), "two", SEGMENT);
    let position = log.append(&[draft(3)]).unwrap()[0];
    assert_eq!((position.epoch, position.seq), (2, 3));
    assert_eq!(numbers(&read_all(&log, Position::default())), [1, 2, 3]);
}

/// Rotation seals first: if its maker dies then, the next append finishes it.
#[test]
fn a_rotation_that_stopped_after_the_seal_is_finished() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", SEGMENT);
    let mut reader = log.read_after(Position::default()).unwrap();
    log.append(&[draft(1)]).unwrap();
    let segment = directory.path().join(&segments(directory.path())[0]);
    std::fs::set_permissions(segment, std::fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(numbers(&reader.read_batch().unwrap()), [1]);
    log.append(&[draft(2)]).unwrap();
    let other = open_in_boot(directory.path(), "one", SEGMENT);
    other.append(&[draft(3)]).unwrap();
    assert_eq!(numbers(&reader.read_batch().unwrap()), [2, 3]);
    assert_eq!(segments(directory.path()).len(), 2);
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open_in_boot(directory.path(), "one", SEGMENT);
    let meta = directory.path().join("meta.json");
    let text = std::fs::read_to_string(&meta).unwrap();
    let text = text.replace("\"version\":1", "\"version\":2");
    base::file::replace(&meta, text.as_bytes(), base::file::FileMode::Private).unwrap();
    let error = Log::open(directory.path()).unwrap_err();
    assert!(
        matches!(error, OpenError::Version { found: 2, .. }),
        "{error}"
    );
    assert_eq!(segments(directory.path()).len(), 1, "nothing was changed");
}

#[test]
fn openers_of_a_new_boot_at_once_begin_one_epoch() {
    let directory = tempfile::tempdir().unwrap();
    open_in_boot(directory.path(), "one", SEGMENT);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let directory = directory.path();
            scope.spawn(move || {
                let log = open_in_boot(directory, "two", SEGMENT);
                log.append(&[draft(number)]).unwrap();
            });
        }
    });
    let log = open_in_boot(directory.path(), "two", SEGMENT);
    assert_eq!(log.epoch(), 2);
    assert_eq!(read_all(&log, Position::default()).len(), 8);
}

#[test]
fn a_consumer_s_name_is_checked_and_its_cursor_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", SEGMENT);
    for bad in ["", "..", "a/b", ".x"] {
        assert!(log.cursor(bad).is_err(), "{bad:?}");
    }
    let position = Position { epoch: 1, seq: 7 };
    log.cursor("netd").unwrap().store(position).unwrap();
    assert_eq!(log.cursor("netd").unwrap().position(), position);
    log.cursor("netd").unwrap().forget().unwrap();
    assert_eq!(log.cursor("netd").unwrap().position(), Position::default());
}

/// A copy made without file modes has no seals.
#[test]
fn segments_that_lost_their_seals_are_read_through_and_appended_after() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let log = open_in_boot(directory.path(), "one", 64 * 1024);
    let mut reader = log.read_after(Position::default()).unwrap();
    assert!(reader.read_batch().unwrap().is_empty());
    for number in 0..1000 {
        log.append(&[draft(number)]).unwrap();
    }
    for name in segments(directory.path()) {
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(directory.path().join(name), mode).unwrap();
    }
    assert_eq!(read_all(&log, Position::default()).len(), 1000);
    let reopened = open_in_boot(directory.path(), "one", 64 * 1024);
    reopened.append(&[draft(1000)]).unwrap();
    assert_eq!(read_all(&reopened, Position::default()).len(), 1001);

    // A reader that was in the first segment finds on by its slow poll.
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut seen = Vec::new();
    while seen.len() < 1001 {
        assert!(Instant::now() < deadline, "only {}", seen.len());
        seen.extend(reader.read_batch().unwrap());
        reader.wait(Duration::from_millis(10)).unwrap();
    }
}
