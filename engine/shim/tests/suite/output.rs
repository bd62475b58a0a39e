//! Output is complete, whatever happens around it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use engine_shim_api::LogPlace;
use engine_shim_api::log_reader::{LogContent, LogReader, LogStart, LogStream};

use crate::support::host::{is_held, runc, runtimes};
use crate::support::{Fixture, eventually, unframe};

#[test]
fn a_process_that_ends_at_once_has_its_output_logged_and_sent_every_time() {
    let runtimes = runtimes();
    for runtime in &runtimes {
        for round in 0..200 / runtimes.len() {
            let mut fixture = Fixture::shell(runtime, "echo out; echo err >&2; exit 9");
            fixture.start_shim();
            let client = fixture.attach(None);
            fixture.start();
            let [out, err] = unframe(&crate::support::read_all(&client));
            let record = fixture.wait();
            assert_eq!(record.exit_code, 9, "round {round}");
            assert_eq!(
                (&*out, &*err),
                (&b"out\n"[..], &b"err\n"[..]),
                "round {round}"
            );
            assert_eq!(fixture.output(LogStream::Stdout), out, "round {round}");
            assert_eq!(fixture.output(LogStream::Stderr), err, "round {round}");
        }
    }
}

#[test]
fn a_terminal_loses_nothing_at_the_end() {
    for runtime in runtimes() {
        for round in 0..20 {
            let mut fixture = Fixture::new(&runtime);
            fixture.config.terminal = true;
            let script = "seq 1 2000; echo end";
            crate::support::bundle::write(&fixture.config, &["/bin/sh", "-c", script]);
            fixture.run();
            fixture.wait();
            let output = fixture.stdout();
            assert!(output.ends_with("2000\r\nend\r\n"), "round {round}");
            assert_eq!(output.lines().count(), 2001, "round {round}");
        }
    }
}

#[test]
fn a_hundred_megabytes_through_rotation_reach_a_follower_whole_and_in_order() {
    let lines = 1_100_000_u64;
    let script = format!(
        "yes {} | head -n {lines} | awk '{{print NR, $0}}'",
        "x".repeat(80)
    );
    let mut fixture = Fixture::shell(&runc(), &script);
    let log = fixture.log_files_mut();
    (log.max_size_bytes, log.max_files) = (4 << 20, 40);
    let directory = log.place.directory.clone();
    let (sender, receiver) = sync_channel(1);
    let follower = {
        let directory = directory.clone();
        std::thread::spawn(move || sender.send(follow(&directory, lines)).unwrap())
    };
    fixture.run();
    let read = receiver.recv_timeout(Duration::from_secs(120)).unwrap();
    follower.join().unwrap();
    fixture.wait();
    assert!(read > 90 << 20, "{read}");
    let files = std::fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap());
    let sizes: Vec<u64> = files.map(|file| file.metadata().unwrap().len()).collect();
    assert!(
        sizes.len() > 30 && sizes.iter().all(|size| *size <= 4 << 20),
        "{sizes:?}"
    );
}

fn place(directory: &Path) -> LogPlace {
    LogPlace {
        directory: directory.to_owned(),
        name: "container.log".to_owned(),
    }
}

/// Follows until the line numbered `last`; returns the bytes of all lines.
fn follow(directory: &Path, last: u64) -> usize {
    let mut reader = LogReader::open(&place(directory), &LogStart::default()).unwrap();
    let (mut expected, mut total) = (1, 0);
    while expected <= last {
        let Some(entry) = reader.next_entry().unwrap() else {
            reader.wait(Duration::from_secs(1));
            continue;
        };
        let LogContent::Output { bytes, .. } = entry.content else {
            panic!("dropped: {entry:?}");
        };
        let text = String::from_utf8(bytes).unwrap();
        let number = text.split(' ').next().unwrap().parse();
        assert_eq!(number, Ok(expected), "{text:?}");
        assert!(text.ends_with("x\n"));
        total += text.len();
        expected += 1;
    }
    total
}

#[test]
fn a_full_disk_drops_records_counts_them_and_stops_nobody() {
    let script = "seq 1 100000; read more; seq 1 10; read end; exit 2";
    let mut fixture = Fixture::shell(&runc(), script);
    fixture.config.stdin = engine_shim_api::StdinMode::Open;
    fixture.log_files_mut().max_files = 1;
    let disk = SmallDisk::under(&mut fixture);
    fixture.start_shim();
    let mut client = fixture.attach(None);
    let inside = disk.directory(&mut fixture);
    fixture.start();
    let mut output = Vec::new();
    read_until(&client, &mut output, b"\n100000\n");
    let full = std::fs::metadata(inside.join("container.log"))
        .unwrap()
        .len();
    assert!(full > 900 << 10 && full <= 1 << 20, "{full}");
    disk.grow(&mut fixture);
    std::io::Write::write_all(&mut client, b"more\n").unwrap();
    eventually("the log goes on", || records(&inside).0.ends_with(&[9, 10]));
    let (numbers, dropped) = records(&inside);
    assert!(dropped > 0);
    assert_eq!(numbers.len() as u64 + dropped, 100_010);
    let distinct: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(distinct.len(), numbers.len() - 10, "no line twice");
    std::io::Write::write_all(&mut client, b"end\n").unwrap();
    drop(client);
    assert_eq!(fixture.wait().exit_code, 2);
    assert!(fixture.shim_log().contains("No space left on device"));
}

/// Reads until the text has come.
fn read_until(mut stream: &std::os::unix::net::UnixStream, seen: &mut Vec<u8>, text: &[u8]) {
    let mut buffer = [0; 65536];
    while !unframe(&whole_frames(seen))[0].ends_with(text) {
        let length = std::io::Read::read(&mut stream, &mut buffer).unwrap();
        assert!(length > 0);
        seen.extend(&buffer[..length]);
    }
}

/// Leaves a frame out that has not come whole.
fn whole_frames(bytes: &[u8]) -> Vec<u8> {
    let mut end = 0;
    while let Some(header) = bytes.get(end..end + 8) {
        let next = end + 8 + u32::from_be_bytes(header[4..].try_into().unwrap()) as usize;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    bytes[..end].to_vec()
}

/// The numbers that are logged, and how many records were dropped.
fn records(directory: &Path) -> (Vec<u32>, u64) {
    let mut reader = LogReader::open(&place(directory), &LogStart::default()).unwrap();
    let (mut numbers, mut dropped) = (Vec::new(), 0);
    while let Some(entry) = reader.next_entry().unwrap() {
        match entry.content {
            LogContent::Dropped { records } => dropped += records,
            LogContent::Missed { .. } | LogContent::Damaged => panic!("{entry:?}"),
            LogContent::Output { bytes, .. } => {
                let text = String::from_utf8(bytes).unwrap();
                numbers.push(text.trim().parse().unwrap());
            }
        }
    }
    (numbers, dropped)
}

/// A tmpfs of one megabyte for the log, in a mount namespace of the shim's own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(fixture: &mut Fixture) -> Self {
        let directory = fixture.log_files().place.directory.clone();
        let script = format!(
            "mount -t tmpfs -o size=1m tmpfs '{}' && exec \"$0\" \"$@\"",
            directory.display()
        );
        fixture.wrapper = ["unshare", "-m", "sh", "-c", &script]
            .map(str::to_owned)
            .to_vec();
        Self(directory)
    }

    /// Where the shim's directory is for us.
    fn directory(&self, fixture: &mut Fixture) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", fixture.shim().id()));
        root.join(self.0.strip_prefix("/").unwrap())
    }

    fn grow(&self, fixture: &mut Fixture) {
        let status = Command::new("nsenter")
            .args(["-m", "-t", &fixture.shim().id().to_string()])
            .args(["mount", "-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

#[test]
fn a_container_out_of_memory_is_recorded_as_such() {
    for runtime in runtimes() {
        let script = "head -c 100000000 /dev/zero | tail >/dev/null & wait $!; exit 1";
        let mut fixture = Fixture::shell(&runtime, script);
        let limit = serde_json::json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}});
        crate::support::bundle::change(&fixture.config.bundle, |spec| {
            spec["linux"]["resources"] = limit;
        });
        fixture.run();
        let record = fixture.wait();
        assert!(record.oom_killed, "{record:?}");
    }
}

#[test]
fn a_shim_outlives_whoever_started_it() {
    let mut fixture = Fixture::shell(&runc(), "read go; echo went");
    fixture.config.stdin = engine_shim_api::StdinMode::Open;
    fixture.write_config();
    // A parent that ends as soon as the shim is ready.
    let status = Command::new("/bin/sh")
        .args([
            "-c",
            "setsid \"$0\" \"$1\" >\"$2\" 2>&1 & until grep -q ready \"$2\"; do :; done",
        ])
        .arg(env!("CARGO_BIN_EXE_engine-shim"))
        .arg(fixture.directory())
        .arg(fixture.root.path().join("said"))
        .status();
    assert!(status.unwrap().success());
    fixture.start();
    let mut client = fixture.attach(None);
    std::io::Write::write_all(&mut client, b"go\n").unwrap();
    eventually("the shim ends", || !is_held(&fixture));
    assert_eq!(fixture.exit_record().exit_code, 0);
    assert_eq!(fixture.stdout(), "went\n");
}
