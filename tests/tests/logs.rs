//! Log drivers: what is kept and how it is read back, and what others are sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use tests::{Installation, finish, wait_until, words, words_and};

/// Nothing is waited for longer.
const LIMIT: Duration = Duration::from_secs(20);

/// Prints 20000 numbered lines in bursts, then `end`, and goes on living.
const BURSTS: &str = "i=0; while [ $i -lt 100 ]; do seq $((i*200+1)) $((i*200+200)); \
    usleep 10000; i=$((i+1)); done; echo end; exec sleep 1000";
const LINES: usize = 20_000;

fn numbers(text: &str) -> Vec<usize> {
    let lines = text.lines().filter(|line| *line != "end");
    lines.map(|line| line.parse().expect(line)).collect()
}

fn log_path(host: &Installation, name: &str) -> PathBuf {
    let path = host.ok(&["inspect", "--format", "{{.LogPath}}", name]);
    PathBuf::from(path.trim_end())
}

/// How many files of a log there are, compressed ones apart.
fn files(directory: &Path) -> (usize, usize) {
    let entries = std::fs::read_dir(directory).expect("the directory is there");
    let names: Vec<String> = entries
        .map(|entry| entry.expect("it can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.contains(".log"))
        .collect();
    let compressed = names.iter().filter(|name| name.ends_with(".gz")).count();
    (names.len() - compressed, compressed)
}

/// What `GET /system/df` answers.
fn disk_usage(host: &Installation) -> String {
    let socket = host.instance.run().join("engine.sock");
    let mut stream = UnixStream::connect(socket).expect("the engine listens");
    let request = b"GET /system/df HTTP/1.0\r\nHost: engine\r\n\r\n";
    stream.write_all(request).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Follows from the first line to the one that says `end`.
fn follow(host: &Installation, name: &str) -> Vec<usize> {
    let mut follower = host
        .command(&["logs", "-f", name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be run");
    let stdout = follower.stdout.take().expect("it is a pipe");
    let lines = BufReader::new(stdout).lines();
    let lines = lines.map(|line| line.expect("lines are text"));
    let text: Vec<String> = lines.take_while(|line| line != "end").collect();
    follower.kill().expect("it follows on");
    let said = finish(follower);
    assert_eq!(said.stderr, "", "nothing was missed");
    numbers(&text.join("\n"))
}

#[test]
fn a_follower_misses_nothing_while_files_are_rotated_and_compressed() {
    let host = Installation::new();
    let all: Vec<usize> = (1..=LINES).collect();
    let options = "--log-opt max-size=30k --log-opt max-file=200 --log-opt compress=true";
    for driver in ["local", "json-file"] {
        let run = format!("run -d --name {driver} --log-driver {driver} {options} busybox:1 sh -c");
        let id = host.ok(&words_and(&run, BURSTS));
        let directory = host.instance.root().join("containers").join(id.trim_end());
        let directory = match driver {
            "local" => directory.join("log"),
            _ => directory,
        };
        assert!(follow(&host, driver) == all, "{driver}: followed");
        wait_until("all but the current file are compressed", || {
            let (plain, compressed) = files(&directory);
            plain == 1 && compressed > 20
        });
        // With another engine, and with another run of the container.
        host.kill_9("engine");
        let read = || numbers(&host.ok(&["logs", driver]));
        assert!(read() == all, "{driver}: read");
        let tail = words("logs -n 12345");
        let last = host.ok(&[&tail[..], &[driver]].concat());
        assert!(numbers(&last) == all[LINES - 12344..], "{driver}: tail");
        host.ok(&["restart", "-t", "0", driver]);
        wait_until("the next run has written", || {
            host.ok(&["logs", "-n", "1", driver]) == "end\n"
        });
        assert!(read() == [&all[..], &all[..]].concat(), "{driver}: twice");
        host.ok(&["rm", "-f", driver]);
        wait_until("the log is gone", || !directory.exists());
    }
    host.finish();
}

/// Whoever was told of the end, by `wait` or by the end of what is attached, reads all.
#[test]
fn the_log_of_what_has_ended_is_whole() {
    let host = Installation::new();
    let script = "i=0; while [ $i -lt 300 ]; do echo line$i; i=$((i+1)); done; printf last";
    for round in 0..20 {
        let name = format!("box{round}");
        let run = ["run", "--name", &name];
        let program = ["busybox:1", "sh", "-c", script];
        if round % 2 == 0 {
            host.ok(&[&run[..], &["-d"], &program].concat());
            host.ok(&["wait", &name]);
        } else {
            host.ok(&[&run[..], &program].concat());
        }
        let log = host.ok(&["logs", &name]);
        assert_eq!(log.lines().count(), 301, "{round}");
        assert!(log.ends_with("last"), "{round}");
    }
    host.finish();
}

#[test]
fn a_log_is_bounded_whatever_is_written() {
    let host = Installation::new();
    let options = "--log-opt max-size=10k --log-opt max-file=3";
    let run = format!("run --name box {options} busybox:1 sh -c");
    host.ok(&words_and(&run, "seq 100000"));
    let path = log_path(&host, "box");
    let sizes: Vec<u64> = ["", ".1", ".2", ".3"]
        .iter()
        .filter_map(|end| std::fs::metadata(format!("{}{end}", path.display())).ok())
        .map(|file| file.len())
        .collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size <= 10_000), "{sizes:?}");
    let counted = format!("\"SizeLog\":{}", sizes.iter().sum::<u64>());
    let usage = disk_usage(&host);
    assert!(usage.contains(&counted), "{counted} in {usage}");
    // Neither Docker nor we count the log with what a container has written.
    assert!(
        host.ok(&["ps", "-as", "--format", "{{.Size}}"])
            .starts_with("0B (virtual ")
    );
    let kept = numbers(&host.ok(&["logs", "box"]));
    let expected: Vec<usize> = (100_001 - kept.len()..=100_000).collect();
    assert!(
        kept == expected && kept.len() > 200,
        "{} are kept",
        kept.len()
    );
    host.finish();
}

#[test]
fn json_file_is_that_of_docker() {
    let host = Installation::new();
    let script = "echo 'a<b'; sleep 0.1; printf 'no end' >&2";
    let run = "run --name box --label l1=v1 -e E1=a=b --log-driver json-file --log-opt labels=l1 \
        --log-opt env-regex=^E --log-opt tag={{.Name}}/{{.ImageName}} busybox:1 sh -c";
    host.ok(&words_and(run, script));
    let path = log_path(&host, "box");
    let id = host.ok(&words("ps -aq --no-trunc"));
    let place = host.instance.root().join("containers").join(id.trim_end());
    assert_eq!(path, place.join(format!("{}-json.log", id.trim_end())));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let attributes = r#""attrs":{"E1":"a=b","l1":"v1","tag":"box/busybox:1"},"time":""#;
    let first = format!(r#"{{"log":"a\u003cb\n","stream":"stdout",{attributes}"#);
    let second = format!(r#"{{"log":"no end","stream":"stderr",{attributes}"#);
    assert!(lines[0].starts_with(&first), "{text}");
    assert!(lines[1].starts_with(&second), "{text}");
    assert_eq!(lines.len(), 2);
    let said = host.engine(&words("logs --details box"));
    assert_eq!(said.stdout, "E1=a%3Db,l1=v1,tag=box%2Fbusybox%3A1 a<b\n");
    assert_eq!(said.stderr, "E1=a%3Db,l1=v1,tag=box%2Fbusybox%3A1 no end");
    let stamped = host.ok(&words("logs -t -n 2 box"));
    let (time, line) = stamped.split_once(' ').unwrap();
    assert_eq!((time.len(), line), (30, "a<b\n"));
    let until = host.ok(&["logs", "--until", time, "box"]);
    assert_eq!(until, "a<b\n");
    assert_eq!(
        host.engine(&["logs", "--since", "1h", "--until", time, "box"])
            .stderr,
        ""
    );
    assert_eq!(host.ok(&["logs", "--since", time, "box"]), "a<b\n");
    host.ok(&["rm", "box"]);
    wait_until("the log is gone", || !path.exists());
    host.finish();
}

#[test]
fn parts_of_a_line_are_one_line_of_text() {
    let host = Installation::new();
    let script = "head -c 40000 /dev/zero | tr '\\0' a; echo; printf z";
    for driver in ["local", "json-file"] {
        let run = format!("run --name {driver} --log-driver {driver} busybox:1 sh -c");
        let written = host.ok(&words_and(&run, script));
        assert_eq!(host.ok(&["logs", driver]), written);
        let stamped = host.ok(&["logs", "-t", driver]);
        // Docker stamps each of its three parts too.
        assert_eq!(stamped.len(), written.len() + 4 * 31, "{driver}");
        assert_eq!(host.ok(&["logs", "-n", "1", driver]), "z");
        assert_eq!(host.ok(&["logs", "-n", "2", driver]), written);
        assert_eq!(host.ok(&["logs", "-n", "0", driver]), "");
        let detailed = host.ok(&["logs", "-n", "1", "--details", driver]);
        assert_eq!(detailed, " z");
    }
    assert_eq!(log_path(&host, "local"), PathBuf::new());
    host.finish();
}

#[test]
fn without_a_log_nothing_is_read() {
    let host = Installation::new();
    let said = host.ok(&words("run --name box --log-driver none busybox:1 echo hi"));
    assert_eq!(said, "hi\n");
    let refused = "configured logging driver does not support reading";
    host.fails(1, refused, &["logs", "box"]);
    assert_eq!(log_path(&host, "box"), PathBuf::new());
    host.fails(
        125,
        "plugin \"nonsense\" not found",
        &words("run --log-driver nonsense busybox:1 true"),
    );
    host.fails(
        125,
        "unknown log opt 'bogus' for json-file log driver",
        &words("run --log-opt bogus=1 busybox:1 true"),
    );
    host.fails(
        125,
        "invalid logging opts for driver none",
        &words("run --log-driver none --log-opt max-size=1m busybox:1 true"),
    );
    host.finish();
}

#[test]
fn the_configuration_has_the_default() {
    let host = Installation::new();
    host.ok(&["daemon", "stop"]);
    let file = host.scratch().join("config.toml");
    let text = "log-driver = \"local\"\n[log-opts]\nmax-size = \"1m\"\nmax-file = \"3\"\n";
    base::file::replace(&file, text.as_bytes(), base::file::FileMode::Public).unwrap();
    let said = tests::run(
        host.command(&words(
            "run --name box --log-opt max-file=2 busybox:1 echo hi",
        ))
        .env("ENGINE_CONFIG", &file)
        .stdin(Stdio::null()),
    );
    assert_eq!((said.code, said.stdout.as_str()), (0, "hi\n"), "{said:?}");
    let of_box = host.ok(&["inspect", "-f", "{{json .HostConfig.LogConfig}}", "box"]);
    assert_eq!(
        of_box.trim_end(),
        r#"{"Config":{"max-file":"2","max-size":"1m"},"Type":"local"}"#
    );
    let of_engine = host.ok(&["info", "--format", "{{.LoggingDriver}}"]);
    assert_eq!(of_engine, "local\n");
    host.finish();
}

/// Reads messages until one ends with `end`; returns how each ends.
fn messages(stream: &TcpStream, end: &str) -> Vec<String> {
    let limited = stream.set_read_timeout(Some(LIMIT));
    limited.expect("a limit can be set");
    let mut seen = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.expect("messages come");
        let (head, message) = line.split_once("]: ").expect("a tag stands before it");
        assert!(head.contains(" box["), "{line}");
        seen.push(message.to_owned());
        if message == end {
            break;
        }
    }
    seen
}

#[test]
fn a_syslog_server_may_die_and_return() {
    let host = Installation::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = format!(
        "--log-driver syslog --log-opt syslog-address=tcp://{address} \
         --log-opt tag={{{{.Name}}}} --log-opt syslog-facility=local0"
    );
    let run = format!("run -d -i --name box {options} busybox:1 cat");
    host.ok(&words(&run));
    let (stream, _) = listener.accept().unwrap();
    let say = |text: &str| {
        let script = format!("echo {text} >/proc/1/fd/1");
        host.ok(&["exec", "box", "sh", "-c", &script]);
    };
    say("one");
    assert_eq!(messages(&stream, "one"), ["one"]);
    drop((stream, listener));
    for text in ["two", "three"] {
        say(text);
    }
    host.kill_9("engine");
    let listener = TcpListener::bind(address).unwrap();
    let (stream, _) = listener.accept().unwrap();
    say("four");
    assert_eq!(messages(&stream, "four"), ["two", "three", "four"]);
    // What was sent can be read here as well.
    assert_eq!(host.ok(&["logs", "box"]), "one\ntwo\nthree\nfour\n");
    drop((stream, listener));
    let refused = format!(
        "failed to create task for container: failed to initialize logging driver: \
         dial tcp {address}: connect: connection refused"
    );
    let run = format!("run --name late {options} --log-opt cache-disabled=true busybox:1 true");
    host.fails(125, &refused, &words(&run));
    let refused = "configured logging driver does not support reading";
    host.fails(1, refused, &["logs", "late"]);
    host.finish();
}

#[test]
fn a_server_that_reads_nothing_holds_nobody_up_if_asked() {
    let host = Installation::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let run = format!(
        "run --name box --log-driver syslog --log-opt syslog-address=tcp://{address} \
         --log-opt mode=non-blocking --log-opt max-buffer-size=100k busybox:1 sh -c"
    );
    let script = "yes 0123456789012345678901234567890123456789 | head -c 30000000 >/dev/stderr";
    let said = host.engine(&words_and(&run, script));
    assert_eq!(said.code, 0);
    assert_eq!(said.stderr.len(), 30_000_000);
    drop(listener);
    host.finish();
}

#[test]
fn a_server_that_is_slow_holds_the_container_back_and_gets_everything() {
    const COUNT: usize = 300_000;
    let host = Installation::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let run = format!(
        "run -d --name box --log-driver syslog --log-opt syslog-address=tcp://{address} \
         --log-opt tag=box busybox:1 seq {COUNT}"
    );
    host.ok(&words(&run));
    let (stream, _) = listener.accept().unwrap();
    let last = || host.ok(&words("logs -n 1 box"));
    wait_until("the container is held back", || {
        let before = last();
        std::thread::sleep(Duration::from_millis(300));
        !before.is_empty() && before == last()
    });
    assert_eq!(
        host.ok(&words("inspect -f {{.State.Running}} box")),
        "true\n"
    );
    let sent = messages(&stream, &COUNT.to_string());
    let expected: Vec<String> = (1..=COUNT).map(|number| number.to_string()).collect();
    assert!(sent == expected, "{} messages", sent.len());
    assert_eq!(host.ok(&["wait", "box"]), "0\n");
    host.finish();
}

#[test]
fn the_journal_gets_the_fields_that_docker_writes() {
    let host = Installation::new();
    let refused = "journald is not enabled on this host";
    let run = "run --name box --log-driver journald --label my.label=1 --log-opt labels=my.label \
        busybox:1 sh -c";
    // Where the journal is of the host, this test has its own in its namespace.
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), c"").unwrap();
    std::fs::create_dir_all("/run/systemd/journal").unwrap();
    host.ok(&["daemon", "stop"]);
    host.fails(125, refused, &words_and(run, "true"));
    host.ok(&["rm", "box"]);
    let journal = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
    journal.set_read_timeout(Some(LIMIT)).unwrap();
    host.ok(&words_and(run, "echo out; sleep 0.1; printf err >&2"));
    let mut buffer = [0; 4096];
    let mut entry = || {
        let length = journal.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let id = host.ok(&words("ps -aq --no-trunc"));
    let id = id.trim_end();
    let out = entry();
    let beginning = format!(
        "PRIORITY=6\nMESSAGE=out\nCONTAINER_ID={}\nCONTAINER_ID_FULL={id}\nCONTAINER_NAME=box\n\
         CONTAINER_TAG={}\nIMAGE_NAME=busybox:1\nMY_LABEL=1\nSYSLOG_IDENTIFIER={}\n",
        &id[..12],
        &id[..12],
        &id[..12]
    );
    assert!(out.starts_with(&beginning), "{out}");
    let err = entry();
    assert!(err.starts_with("PRIORITY=3\nMESSAGE=err\n"), "{err}");
    assert!(err.contains("\nCONTAINER_PARTIAL_MESSAGE=true\n"), "{err}");
    let said = host.engine(&["logs", "box"]);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("out\n", "err")
    );
    host.finish();
}
