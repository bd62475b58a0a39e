//! Tests of the log writer, read back with the log reader.

use std::collections::BTreeMap;

use super::*;
use engine_shim_api::log_reader::{LogContent, LogReader, LogStart};
use engine_shim_api::{LogFilesConfig, LogFormat, LogPlace};
use std::path::Path;

fn place(directory: &Path) -> LogPlace {
    LogPlace {
        directory: directory.to_owned(),
        name: "container.log".to_owned(),
    }
}

fn files(directory: &Path, max_size_bytes: u64, max_files: u32) -> LogFilesConfig {
    LogFilesConfig {
        place: place(directory),
        format: LogFormat::Local,
        max_size_bytes,
        max_files,
        compress: false,
        attributes: BTreeMap::new(),
    }
}

fn config(directory: &Path, max_size_bytes: u64, max_files: u32) -> LogConfig {
    LogConfig {
        files: Some(files(directory, max_size_bytes, max_files)),
        destination: None,
    }
}

fn read(directory: &Path) -> Vec<(Stream, Vec<u8>)> {
    let mut reader = LogReader::open(&place(directory), &LogStart::default()).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        match entry.content {
            LogContent::Output { stream, bytes } => entries.push((stream, bytes)),
            LogContent::Dropped { .. } | LogContent::Missed { .. } | LogContent::Damaged => {
                panic!("{entry:?}")
            }
        }
    }
    entries
}

#[test]
fn lines_are_put_together_across_chunks_and_streams() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(&config(directory.path(), 1 << 20, 1)).unwrap();
    log.write(Stream::Stdout, b"one\ntw");
    log.write(Stream::Stderr, b"err\n");
    log.write(Stream::Stdout, b"o\nthree");
    log.finish();
    let expected = [
        (Stream::Stdout, b"one\n".to_vec()),
        (Stream::Stderr, b"err\n".to_vec()),
        (Stream::Stdout, b"two\n".to_vec()),
        (Stream::Stdout, b"three".to_vec()),
    ];
    assert_eq!(read(directory.path()), expected);
}

#[test]
fn a_record_is_the_documented_bytes() {
    let mut batch = Vec::new();
    record::encode(&mut batch, Stream::Stdout, b"a\"\x1b\xc3\xa9\n", "T");
    record::encode(&mut batch, Stream::Stderr, b"\xff\xfe\n", "T");
    batch.extend(record::dropped(3, "T"));
    batch.extend(record::head(4, "T"));
    let expected = "{\"log\":\"a\\\"\\u001bé\\n\",\"stream\":\"stdout\",\"time\":\"T\"}\n\
        {\"bytes\":\"//4K\",\"stream\":\"stderr\",\"time\":\"T\"}\n\
        {\"dropped\":3,\"time\":\"T\"}\n\
        {\"file\":4,\"time\":\"T\"}\n";
    assert_eq!(String::from_utf8(batch).unwrap(), expected);
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(&config(directory.path(), 1 << 20, 1)).unwrap();
    let line = format!("x{}\n", "é".repeat(LINE_LIMIT_BYTES));
    for chunk in line.as_bytes().chunks(1000) {
        log.write(Stream::Stdout, chunk);
    }
    let entries = read(directory.path());
    assert_eq!(entries.len(), 3);
    assert!(
        entries
            .iter()
            .all(|(_, text)| std::str::from_utf8(text).is_ok())
    );
    assert!(entries[0].1.len() <= LINE_LIMIT_BYTES);
    let joined: Vec<u8> = entries.into_iter().flat_map(|(_, text)| text).collect();
    assert_eq!(joined, line.as_bytes());
}

#[test]
fn every_byte_comes_back_whatever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(&config(directory.path(), 1 << 20, 1)).unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
    log.write(Stream::Stdout, &bytes);
    log.finish();
    let joined: Vec<u8> = read(directory.path())
        .into_iter()
        .flat_map(|(_, text)| text)
        .collect();
    assert_eq!(joined, bytes);
}

#[test]
fn rotation_keeps_the_newest_within_the_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(&config(directory.path(), 1000, 3)).unwrap();
    for number in 0..200 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    let files: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(files.len(), 3);
    assert!(
        files
            .iter()
            .all(|file| file.metadata().unwrap().len() <= 1000)
    );
    let entries = read(directory.path());
    assert!(entries.len() > 20);
    for (index, (_, text)) in entries.iter().rev().enumerate() {
        assert_eq!(*text, format!("line {}\n", 199 - index).into_bytes());
    }
}

#[test]
fn a_torn_record_is_cut_by_the_next_writer() {
    let directory = tempfile::tempdir().unwrap();
    let settings = config(directory.path(), 1 << 20, 2);
    let path = directory.path().join("container.log");
    LogWriter::open(&settings)
        .unwrap()
        .write(Stream::Stdout, b"whole\n");
    let whole = std::fs::read(&path).unwrap();
    for cut in 1..whole.len() {
        let torn = [&whole[..], &whole[..cut - 1]].concat();
        base::file::replace(&path, &torn, base::file::FileMode::Private).unwrap();
        let mut log = LogWriter::open(&settings).unwrap();
        log.write(Stream::Stdout, b"next\n");
        let texts: Vec<_> = read(directory.path())
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            texts,
            [b"whole\n".to_vec(), b"next\n".to_vec()],
            "cut at {cut}"
        );
    }
}

#[test]
fn a_rotation_that_fails_drops_and_counts_and_keeps_the_bound() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(&config(directory.path(), 500, 2)).unwrap();
    // A directory with something in it cannot be renamed over.
    let obstacle = directory.path().join("container.log.1");
    std::fs::create_dir_all(obstacle.join("full")).unwrap();
    for number in 0..50 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    assert!(log.take_report().is_some());
    let path = directory.path().join("container.log");
    assert!(std::fs::metadata(&path).unwrap().len() <= 500);
    std::fs::remove_dir_all(&obstacle).unwrap();
    log.write(Stream::Stdout, b"after\n");
    let mut reader = LogReader::open(&place(directory.path()), &LogStart::default()).unwrap();
    let (mut lines, mut dropped) = (0, 0);
    let mut last = None;
    while let Some(entry) = reader.next_entry().unwrap() {
        match &entry.content {
            LogContent::Output { .. } => lines += 1,
            LogContent::Dropped { records } => dropped += records,
            LogContent::Missed { .. } | LogContent::Damaged => panic!("{entry:?}"),
        }
        last = Some(entry.content);
    }
    assert!(dropped > 0);
    assert_eq!(lines + dropped, 51);
    let bytes = b"after\n".to_vec();
    let stream = Stream::Stdout;
    assert_eq!(last, Some(LogContent::Output { stream, bytes }));
}

#[test]
fn a_reader_is_told_what_was_gone_before_it_came() {
    for (max_files, writers) in [(1, 1), (2, 1), (3, 4)] {
        let directory = tempfile::tempdir().unwrap();
        let settings = config(directory.path(), 1000, max_files);
        let mut log = LogWriter::open(&settings).unwrap();
        let mut slow = LogReader::open(&place(directory.path()), &LogStart::default()).unwrap();
        let mut quick = LogReader::open(&place(directory.path()), &LogStart::default()).unwrap();
        let (mut seen, mut told) = (0, 0);
        for number in 0..200 {
            if number % (200 / writers) == 0 {
                // What a run has written the next one goes on with.
                log = LogWriter::open(&settings).unwrap();
            }
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
            while let Some(entry) = quick.next_entry().unwrap() {
                assert!(
                    matches!(entry.content, LogContent::Output { .. }),
                    "{entry:?}"
                );
                seen += 1;
            }
            if number == 0 {
                assert!(slow.next_entry().unwrap().is_some());
            }
        }
        assert_eq!(seen, 200);
        while let Some(entry) = slow.next_entry().unwrap() {
            match entry.content {
                LogContent::Missed { files } => told += files,
                LogContent::Output { .. } => {}
                LogContent::Dropped { .. } | LogContent::Damaged => panic!("{entry:?}"),
            }
        }
        let current = std::fs::read(directory.path().join("container.log")).unwrap();
        let files = record::number_of(&current).unwrap();
        // All but the first, which it held, and those that are there.
        assert_eq!(told, files - 1 - u64::from(max_files), "{max_files}");
    }
}

#[test]
fn a_record_of_json_file_is_that_of_docker() {
    let attributes = [("E2", "a=b"), ("tag", "j1/\"x\"")];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let attributes = record::attributes(&BTreeMap::from(attributes));
    let mut batch = Vec::new();
    let time = &record::short("2026-11-27T06:48:14.977361670Z");
    let content = b"a<b>&\"\\\t\x1b\x7f\xff\xe2\x80\xa8\xe2\x82\xac\xc3\xa9\r\n";
    record::encode_json(&mut batch, Stream::Stdout, content, time, &attributes);
    let whole = &record::short("2026-11-27T06:48:14.000000000Z");
    record::encode_json(&mut batch, Stream::Stderr, b"\xff\xfe", whole, b"");
    let expected = concat!(
        r#"{"log":"a\u003cb\u003e\u0026\"\\\u0009\u001b"#,
        "\u{7f}",
        r#"\ufffd\u2028€é\r\n","stream":"stdout","attrs":{"E2":"a=b","tag":"j1/\"x\""},"#,
        r#""time":"2026-11-27T06:48:14.97736167Z"}"#,
        "\n",
        r#"{"log":"\ufffd\ufffd","stream":"stderr","time":"2026-11-27T06:48:14Z"}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(batch).unwrap(), expected);
}

#[test]
fn a_log_of_json_file_is_read_with_its_attributes() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = files(directory.path(), 2000, 3);
    settings.format = LogFormat::Json;
    settings.attributes = BTreeMap::from([("l1".to_owned(), "v 1".to_owned())]);
    let config = LogConfig {
        files: Some(settings),
        destination: None,
    };
    let mut log = LogWriter::open(&config).unwrap();
    for number in 0..50 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    let mut reader = LogReader::open(&place(directory.path()), &LogStart::default()).unwrap();
    let mut last = None;
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_eq!(entry.attributes["l1"], "v 1");
        last = Some(entry.content);
    }
    let bytes = b"line 49\n".to_vec();
    let stream = Stream::Stdout;
    assert_eq!(last, Some(LogContent::Output { stream, bytes }));
    let current = std::fs::read_to_string(place(directory.path()).file(0)).unwrap();
    assert!(current.starts_with("{\"log\":\"line "), "{current}");
}

/// Compresses as the child does, and what the shim does afterwards.
fn compress_file(place: &LogPlace, number: u32) {
    let source = std::fs::File::open(place.file(number)).unwrap();
    let target = std::fs::File::create(place.unfinished()).unwrap();
    compress::compress(source, target).unwrap();
    std::fs::rename(place.unfinished(), place.compressed(number)).unwrap();
}

#[test]
fn compressed_files_are_read_once_and_rotate_with_the_others() {
    for format in [LogFormat::Local, LogFormat::Json] {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = files(directory.path(), 1000, 5);
        settings.format = format;
        let config = LogConfig {
            files: Some(settings),
            destination: None,
        };
        let place = place(directory.path());
        let mut log = LogWriter::open(&config).unwrap();
        let mut follower = LogReader::open(&place, &LogStart::default()).unwrap();
        let mut seen = 0;
        for number in 0..200 {
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
            if place.file(1).exists() {
                compress_file(&place, 1);
                // Both are there for a moment.
                while let Some(entry) = follower.next_entry().unwrap() {
                    assert_line(&entry.content, &mut seen);
                }
                std::fs::remove_file(place.file(1)).unwrap();
            }
        }
        while let Some(entry) = follower.next_entry().unwrap() {
            assert_line(&entry.content, &mut seen);
        }
        assert_eq!(seen, 200);
        let kept: Vec<u32> = (1..9)
            .filter(|number| place.compressed(*number).exists())
            .collect();
        assert_eq!(kept, [1, 2, 3, 4]);
        assert_tails(&place, 200);
        // The next run goes on with the numbers.
        drop(log);
        std::fs::remove_file(place.file(0)).unwrap();
        let mut log = LogWriter::open(&config).unwrap();
        log.write(Stream::Stdout, b"next\n");
        if format == LogFormat::Local {
            let head = std::fs::read(place.file(0)).unwrap();
            let before = std::fs::read(place.compressed(1)).unwrap();
            let before = engine_shim_api::log_reader::Origin::parse(&before).unwrap();
            assert_eq!(
                record::number_of(&head),
                before.number.map(|number| number + 1)
            );
        }
    }
}

/// Whatever number of the last lines is asked for, it is given.
fn assert_tails(place: &LogPlace, end: usize) {
    let all = read(&place.directory).len();
    for tail in 0..=all + 2 {
        let start = LogStart {
            tail: Some(tail as u64),
            since: None,
        };
        let mut reader = LogReader::open(place, &start).unwrap();
        let mut next = end - tail.min(all);
        while let Some(entry) = reader.next_entry().unwrap() {
            assert_line(&entry.content, &mut next);
        }
        assert_eq!(next, end, "tail {tail}");
    }
}

#[track_caller]
fn assert_line(content: &LogContent, number: &mut usize) {
    let bytes = format!("line {number}\n").into_bytes();
    let stream = Stream::Stdout;
    assert_eq!(*content, LogContent::Output { stream, bytes });
    *number += 1;
}

#[test]
fn a_damaged_compressed_file_gives_what_can_be_read_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let mut log = LogWriter::open(&config(directory.path(), 4000, 3)).unwrap();
    for number in 0..100 {
        log.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    compress_file(&place, 1);
    std::fs::remove_file(place.file(1)).unwrap();
    let whole = std::fs::read(place.compressed(1)).unwrap();
    for length in 0..whole.len() {
        let mut torn = whole[..length].to_vec();
        if length % 2 == 0
            && let Some(byte) = torn.last_mut()
        {
            *byte ^= 0x55;
        }
        base::file::replace(&place.compressed(1), &torn, base::file::FileMode::Private).unwrap();
        for tail in [None, Some(60)] {
            let start = LogStart { tail, since: None };
            let mut reader = LogReader::open(&place, &start).unwrap();
            let mut damaged = 0;
            let mut last = None;
            while let Some(entry) = reader.next_entry().unwrap() {
                damaged += usize::from(entry.content == LogContent::Damaged);
                last = Some(entry.content);
            }
            assert!(damaged <= 1, "cut at {length}");
            let bytes = b"line 99\n".to_vec();
            let stream = Stream::Stdout;
            assert_eq!(last, Some(LogContent::Output { stream, bytes }));
        }
    }
}
