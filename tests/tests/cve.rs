//! What has gone wrong in other engines, end to end; each test is named after the CVE.
//! Tests of one part are named so where that part is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use base::file::{FileMode, replace};
use serde_json::json;
use tests::{Installation, ROOT, Served, wait_until, words, words_and};

/// Runs a command with `input` and returns its exit code and what it said.
fn feed(command: &mut Command, input: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    // A refusal may come before all has been read.
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input).unwrap_or_default();
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), done.stdout, errors)
}

/// Programs of the container's were run on the host to take an archive apart.
#[test]
fn cve_2026_41567_nothing_of_a_container_is_run_to_unpack_into_it() {
    let host = Installation::new();
    let script = "for p in xz unxz gzip gunzip unpigz pigz zstd tar bzip2; do for d in /bin /usr/bin /sbin; do \
                  mkdir -p $d; rm -f $d/$p; printf '#!/bin/busybox sh\\ntouch /ran\\n' >$d/$p; chmod 755 $d/$p; \
                  done; done; touch /ready; sleep 600";
    host.ok(&words_and("run -d --name web busybox:1 sh -c", script));
    tests::wait_until("the programs are there", || {
        host.engine(&["exec", "web", "test", "-e", "/ready"]).code == 0
    });
    let page = "web:/www/index.html";
    let (_, plain, said) = feed(&mut host.command(&["cp", page, "-"]), b"");
    assert!(plain.len() > 512, "{said}");
    let (_, packed, _) = feed(&mut Command::new("gzip"), &plain);
    let (code, _, said) = feed(&mut host.command(&["cp", "-", "web:/tmp"]), &packed);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        host.ok(&["exec", "web", "cat", "/tmp/index.html"]),
        "from the image\n"
    );
    let xz = [&[0xfd, b'7', b'z', b'X', b'Z', 0][..], &[0; 64]].concat();
    let (code, _, said) = feed(&mut host.command(&["cp", "-", "web:/tmp"]), &xz);
    assert!(code != Some(0) && said.contains("xz"), "{said}");
    assert_eq!(host.engine(&["exec", "web", "test", "-e", "/ran"]).code, 1);
    assert!(!std::path::Path::new("/ran").exists(), "run on the host");
    host.finish();
}

/// A directory above a volume became a link to the host while files were copied; the
/// repair broke links like that of /var/run.
#[test]
fn cve_2026_41568_and_cve_2026_42306_a_volumes_place_that_becomes_a_link_leads_no_copy_astray() {
    let host = Installation::new();
    let victim = host.scratch().join("victim");
    fs::create_dir_all(victim.join("b")).unwrap();
    let file = host.scratch().join("file");
    replace(&file, b"from outside\n", FileMode::Public).unwrap();
    let script = format!(
        "mv /a /c; ln -s {} /a; touch /ready; sleep 600",
        victim.display()
    );
    host.ok(&words_and(
        "run -d --name web -v data:/a/b busybox:1 sh -c",
        &script,
    ));
    tests::wait_until("the link is there", || {
        host.engine(&["exec", "web", "test", "-e", "/ready"]).code == 0
    });
    let source = file.display().to_string();
    for state in ["running", "stopped"] {
        // It may find nothing there; it must not write beyond the container.
        host.engine(&["cp", &source, "web:/a/b/file"]);
        host.engine(&["cp", &source, "web:/a/file"]);
        let names = fs::read_dir(&victim).unwrap().count();
        assert_eq!(names, 1, "{state}");
        assert_eq!(
            fs::read_dir(victim.join("b")).unwrap().count(),
            0,
            "{state}"
        );
        host.ok(&words("stop -t 0 web"));
    }
    let script = "mkdir -p /run /var; rm -rf /var/run; ln -s /run /var/run";
    host.ok(&words_and("run --name good busybox:1 sh -c", script));
    host.ok(&["cp", &source, "good:/var/run/file"]);
    let back = host.scratch().join("back");
    host.ok(&["cp", "good:/run/file", &back.display().to_string()]);
    assert_eq!(fs::read_to_string(back).unwrap(), "from outside\n");
    host.finish();
}

/// The file of users in an image was opened whatever it was.
#[test]
fn cve_2024_9676_a_file_of_users_that_is_none_is_not_waited_for() {
    let host = Installation::new();
    for (name, make) in [
        (
            "fifo",
            "rm /etc/passwd /etc/group; mkfifo /etc/passwd /etc/group",
        ),
        (
            "link",
            "rm /etc/passwd; ln -s /../../../../proc/kmsg /etc/passwd",
        ),
    ] {
        host.ok(&words_and(
            &format!("run --name {name} busybox:1 sh -c"),
            make,
        ));
        host.ok(&["commit", name, &format!("{name}:1")]);
        let begun = Instant::now();
        let said = host.engine(&[
            "run",
            "--rm",
            "-u",
            "somebody",
            &format!("{name}:1"),
            "true",
        ]);
        assert!(said.code == 125 || said.code == 126, "{name}: {said:?}");
        assert!(begun.elapsed().as_secs() < 10, "{name}");
    }
    host.finish();
}

/// An id beyond 31 bits became root.
#[test]
fn cve_2024_40635_an_id_that_is_too_large_is_nobody() {
    let host = Installation::new();
    host.ok(&words("create --name box busybox:1 id -u"));
    for id in [
        "4294967296",
        "2147483648",
        "-1",
        "0x0",
        "4294967295:4294967295",
    ] {
        let said = host.engine(&["run", "--rm", "-u", id, "busybox:1", "id", "-u"]);
        assert!(said.code != 0, "{id}: {said:?}");
        let change = format!("USER {id}");
        host.ok(&["commit", "--change", &change, "box", "large:1"]);
        let said = host.engine(&["run", "--rm", "large:1", "id", "-u"]);
        assert!(said.code != 0, "{id} of an image: {said:?}");
    }
    host.finish();
}

/// Directories of the daemon's could be read by everybody.
#[test]
fn cve_2024_25621_what_the_daemon_keeps_is_for_root() {
    let host = Installation::new();
    host.ok(&words(
        "run -d --name web -v data:/data busybox:1 sleep 600",
    ));
    let root = host.instance.root();
    let mode = fs::metadata(root).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    for entry in fs::read_dir(host.instance.run()).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            assert_eq!(mode & 0o067, 0, "{} {mode:o}", path.display());
        }
    }
    host.finish();
}

/// Labels of an image became labels that a program obeyed.
#[test]
fn cve_2026_53488_an_image_does_not_say_whose_its_containers_are() {
    const ALICE: u32 = 61_001;
    let rules = "[api]\nrules = [{ uid = 61001, policy = \"own-containers\" }]\n";
    let served = Served::new(rules);
    served.host.ok(&words("create --name box busybox:1 true"));
    let change = "LABEL engine.owner=uid:61001";
    served
        .host
        .ok(&["commit", "--change", change, "box", "labelled:1"]);
    let body = json!({"Image": "labelled:1", "Cmd": ["sleep", "600"]});
    let answer = served.post(ROOT, "/containers/create?name=theirs", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    served.expect(ALICE, "GET /containers/theirs/json", 404);
    assert_eq!(
        served
            .expect(ALICE, "GET /containers/json?all=1", 200)
            .json(),
        json!([])
    );
    served.finish();
}

/// Begins a hijacked stream and returns its connection once it is answered.
fn hijacked(host: &Installation, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(host.instance.socket()).expect("the daemon listens");
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer comes");
    assert_eq!(&head, b"HTTP/1.1 101", "{path}");
    stream
}

/// Returns how many descriptors the daemon and the shims of an installation hold.
fn descriptors(host: &Installation) -> usize {
    let root = host.instance.root().display().to_string();
    let is_ours = |pid: &&PathBuf| {
        let line = fs::read(pid.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(&root) || line.contains(&host.instance.run().display().to_string())
    };
    let processes = fs::read_dir("/proc").expect("processes are listed");
    let processes: Vec<PathBuf> = processes.flatten().map(|entry| entry.path()).collect();
    let count = |pid: &PathBuf| fs::read_dir(pid.join("fd")).map_or(0, Iterator::count);
    processes.iter().filter(is_ours).map(count).sum()
}

/// Streams of clients that were gone were kept for ever.
#[test]
fn cve_2025_64329_and_cve_2026_53495_clients_that_are_gone_are_forgotten() {
    let host = Installation::new();
    host.ok(&words("run -d -i --name quiet busybox:1 sleep 600"));
    let attach = "/v1.51/containers/quiet/attach?stream=1&stdin=1&stdout=1&stderr=1";
    // What is made once, as caches, is made before it is counted.
    drop(hijacked(&host, attach, ""));
    let before = descriptors(&host);
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(hijacked(&host, attach, ""));
    }
    assert!(descriptors(&host) >= before + 40, "they are counted");
    drop(streams);
    let is_forgotten = || descriptors(&host) <= before + 2;
    wait_until("clients are forgotten", is_forgotten);
    host.finish();
}
