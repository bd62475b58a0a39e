//! Images that containers see beside their own (`--mount type=image`): what they
//! see, that nobody writes there, who keeps an image, and what a crash leaves.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base::file::{FileMode, replace};
use serde_json::{Value, json};
use tests::api::{User, send};
use tests::layout::{Entry, Layer, archive_of, write_layout};
use tests::{Installation, Said, run, wait_until, words, words_and};

const PAGE: &str = "from the image\n";

/// Loads an image of two layers, the upper of which hides and replaces, with links
/// that lead out of it.
fn load(host: &Installation, name: &str, top: &str) {
    let directory = host.scratch().join("layout");
    let low = Layer::of(&[
        Entry::file("gone", "x"),
        Entry::file("top", "low\n"),
        Entry::file("dir/file", "below\n"),
        Entry::symlink("out", "/etc"),
        Entry::symlink("dir/up", "../../../.."),
        Entry::symlink("inside", "dir"),
    ]);
    let high = Layer::of(&[Entry::file(".wh.gone", ""), Entry::file("top", top)]);
    write_layout(&directory, name, &[low, high]);
    let archive = archive_of(&directory).display().to_string();
    host.ok(&["load", "-q", "-i", &archive]);
    fs::remove_dir_all(directory).expect("it is ours");
}

fn mounted(host: &Installation, options: &str, script: &str) -> Said {
    let line =
        format!("run --rm --mount type=image,source=tools:1,target=/t{options} busybox:1 sh -c");
    host.engine(&words_and(&line, script))
}

/// Returns the traces of a host that has what the first run makes and leaves.
fn settled(host: &Installation) -> Vec<String> {
    let files = host.files();
    let said = host.ok(&words("run --rm busybox:1 cat /www/index.html"));
    assert_eq!(said, PAGE);
    host.settled_traces(&files)
}

fn inspected(host: &Installation, format: &str, name: &str) -> Value {
    let said = host.ok(&["inspect", "-f", &format!("{{{{json {format}}}}}"), name]);
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn an_image_is_seen_and_written_to_by_nobody() {
    let host = Installation::new();
    load(&host, "tools:1", "high\n");
    let all = "cat /t/top /t/dir/file; test -e /t/gone || echo hidden";
    for options in ["", ",readonly", ",ro=false"] {
        let said = mounted(&host, options, all);
        assert_eq!(said.stdout, "high\nbelow\nhidden\n", "{options}: {said:?}");
        let said = mounted(&host, options, "echo x >/t/top");
        assert!(said.stderr.contains("Read-only file system"), "{said:?}");
    }
    for more in ["--read-only", "-u web", "--network none --cap-drop ALL"] {
        let line =
            format!("run --rm {more} --mount type=image,src=tools:1,dst=/t busybox:1 cat /t/top");
        assert_eq!(host.ok(&words(&line)), "high\n", "{more}");
    }
    // Not even by one that may mount.
    let line = "run --rm --privileged --mount type=image,src=tools:1,dst=/t busybox:1 sh -c";
    let script = "mount -o remount,bind,rw /t; mount -o remount,rw /t; echo x >/t/top; cat /t/top";
    let said = host.engine(&words_and(line, script));
    assert_eq!((said.code, said.stdout.as_str()), (0, "high\n"), "{said:?}");
    assert!(said.stderr.contains("Read-only file system"), "{said:?}");
    // Its programs run, here those of an image of one layer.
    let line = "run --rm --mount type=image,source=busybox:1,target=/opt/box busybox:1 /opt/box/bin/busybox echo ran";
    assert_eq!(host.ok(&words(line)), "ran\n");
    host.finish();
}

#[test]
fn it_is_told_of_as_docker_tells_of_it() {
    let host = Installation::new();
    load(&host, "tools:1", "high\n");
    host.ok(&words(
        "run -d --name box --mount type=image,source=tools:1,target=/t,image-subpath=dir busybox:1 sleep 1000",
    ));
    assert_eq!(
        inspected(&host, ".HostConfig.Mounts", "box"),
        json!([{"Type": "image", "Source": "tools:1", "Target": "/t", "ImageOptions": {"Subpath": "dir"}}])
    );
    let mut told = inspected(&host, ".Mounts", "box");
    let source = PathBuf::from(told[0]["Source"].take().as_str().expect("a path"));
    assert_eq!(
        told,
        json!([{"Type": "image", "Name": "tools:1", "Source": null, "Destination": "/t",
            "Mode": "", "RW": false, "Propagation": "rprivate"}])
    );
    let seen = fs::read_to_string(source.join("top")).expect("it is mounted there");
    assert_eq!(seen, "high\n");
    assert_eq!(host.ok(&["ps", "--format", "{{.Mounts}}"]), "tools:1\n");
    for filter in ["volume=tools:1", "volume=/t"] {
        let found = host.ok(&["ps", "--filter", filter, "--format", "{{.Names}}"]);
        assert_eq!(found, "box\n", "{filter}");
    }
    host.ok(&["stop", "-t", "0", "box"]);
    wait_until("it went with the run", || !source.exists());
    host.finish();
}

#[test]
fn a_part_is_a_folder_or_a_file_and_never_outside() {
    let host = Installation::new();
    load(&host, "tools:1", "high\n");
    let before = settled(&host);
    for (part, script, expected) in [
        ("dir", "cat /t/file", "below\n"),
        ("inside", "cat /t/file", "below\n"),
        ("a/../dir/./file", "cat /t", "below\n"),
        ("top", "cat /t", "high\n"),
        (".", "cat /t/top", "high\n"),
        ("", "cat /t/top", "high\n"),
    ] {
        let said = mounted(&host, &format!(",image-subpath={part}"), script);
        assert_eq!(said.stdout, expected, "{part}: {said:?}");
    }
    for (part, text) in [
        ("out", "escapes the volume or image"),
        ("out/passwd", "escapes the volume or image"),
        ("dir/up", "escapes the volume or image"),
        ("none", "no such file or directory"),
        ("gone", "no such file or directory"),
        ("../x", "subpath must be a relative path within the volume"),
        ("/dir", "subpath must be a relative path within the volume"),
    ] {
        let said = mounted(&host, &format!(",image-subpath={part}"), "true");
        assert!(said.code >= 125, "{part}: {said:?}");
        assert!(said.stderr.contains(text), "{part}: {said:?}");
    }
    host.wait_until_traces(&before, "nothing is left of what was refused");
    host.finish();
}

#[test]
fn what_cannot_be_mounted_is_one_error_with_dockers_status() {
    let host = Installation::new();
    // Nor is the container's own image looked for elsewhere.
    let said = host.engine(&words(
        "run --mount type=image,source=nothere,target=/t busybox:1 true",
    ));
    assert_eq!(said.code, 125);
    assert!(
        said.stderr
            .starts_with("engine: Error response from daemon: No such image: nothere:latest"),
        "{said:?}"
    );
    for (version, mount, status, text) in refusals() {
        let body = json!({"Image": "busybox:1", "HostConfig": {"Mounts": [mount]}});
        let line = format!("POST /{version}/containers/create");
        let answer = send(&host.instance.socket(), User::new(0), &line, Some(&body));
        assert_eq!(answer.status, status, "{version} {mount}: {answer:?}");
        assert_eq!(answer.json()["message"], text, "{version} {mount}");
    }
    assert_eq!(host.ok(&["ps", "-aq"]), "");
    host.finish();
}

/// Versions, mounts, and what dockerd answers.
fn refusals() -> Vec<(&'static str, Value, u16, &'static str)> {
    let with = |key: &str, value: Value| {
        let mut mount = json!({"Type": "image", "Source": "busybox:1", "Target": "/t"});
        mount[key] = value;
        mount
    };
    let mut volume = with("ImageOptions", json!({"Subpath": "a"}));
    volume["Type"] = json!("volume");
    vec![
        (
            "v1.51",
            with("Source", json!("nothere:1")),
            404,
            "No such image: nothere:1",
        ),
        (
            "v1.47",
            with("ReadOnly", json!(true)),
            400,
            r#"Mount type "Image" needs API v1.48 or newer"#,
        ),
        (
            "v1.48",
            with("Source", json!("")),
            400,
            r#"invalid mount config for type "image": field Source must not be empty"#,
        ),
        (
            "v1.51",
            with("Target", json!("t")),
            400,
            r#"invalid mount config for type "image": invalid mount path: 't' mount path must be absolute"#,
        ),
        (
            "v1.51",
            with("VolumeOptions", json!({"NoCopy": true})),
            400,
            r#"VolumeOptions must not be specified on mount type "image""#,
        ),
        (
            "v1.51",
            volume,
            400,
            r#"invalid mount config for type "volume": field ImageOptions must not be specified"#,
        ),
    ]
}

#[test]
fn an_image_that_is_mounted_is_kept_as_it_was() {
    let host = Installation::new();
    load(&host, "tools:1", "first\n");
    let id = inspected(&host, ".Id", "tools:1");
    let id = id.as_str().expect("an id");
    host.ok(&words_and(
        "create --name box --mount type=image,source=tools:1,target=/t busybox:1 sh -c",
        "cat /t/top; sleep 1000",
    ));
    let in_use = "is using its referenced image";
    host.fails(1, in_use, &["rmi", "tools:1"]);
    for force in [&[][..], &["-f"]] {
        let by_id = [&["rmi"], force, &[id]].concat();
        host.fails(1, "is mounted by stopped container", &by_id);
    }
    host.ok(&["start", "box"]);
    host.fails(1, in_use, &["rmi", "tools:1"]);
    host.fails(
        1,
        "image is being used by running container",
        &["rmi", "-f", id],
    );
    // The name moves on to another image; the container does not.
    load(&host, "tools:1", "second\n");
    let kept = |when: &str| {
        host.ok(&["image", "prune", "-f"]);
        host.ok(&["image", "prune", "-af"]);
        assert_eq!(inspected(&host, ".Id", id), id, "{when}");
    };
    kept("while it runs");
    host.ok(&["restart", "-t", "0", "box"]);
    wait_until("it has started twice", || {
        host.ok(&["logs", "box"]) == "first\nfirst\n"
    });
    host.ok(&["stop", "-t", "0", "box"]);
    kept("while it does not run");
    host.ok(&["start", "box"]);
    wait_until("it has started once more", || {
        host.ok(&["logs", "box"]) == "first\n".repeat(3)
    });
    host.ok(&["stop", "-t", "0", "box"]);
    a_name_goes_by_force_and_the_image_stays(&host);
    host.ok(&["rm", "-f", "box"]);
    host.ok(&["image", "prune", "-f"]);
    host.fails(1, "No such", &["inspect", "--type", "image", id]);
    host.finish();
}

fn a_name_goes_by_force_and_the_image_stays(host: &Installation) {
    load(host, "tools:1", "second\n");
    host.ok(&words(
        "create --name second --mount type=image,source=tools:1,target=/t busybox:1 cat /t/top",
    ));
    let said = host.ok(&["rmi", "-f", "tools:1"]);
    assert_eq!(said, "Untagged: tools:1\n");
    assert_eq!(host.ok(&["start", "-a", "second"]), "second\n");
    host.ok(&["rm", "second"]);
}

#[test]
fn containers_share_an_image_and_each_other_s_mounts() {
    let host = Installation::new();
    load(&host, "tools:1", "high\n");
    let start = |name: &str, line: &str| {
        host.ok(&words(&format!(
            "run -d --name {name} {line} busybox:1 sleep 1000"
        )));
    };
    start("one", "--mount type=image,source=tools:1,target=/t");
    // Twice in one, at two places.
    let twice = "--mount type=image,source=tools:1,target=/a --mount type=image,source=tools:1,target=/b,image-subpath=dir";
    start("two", twice);
    start("three", "--volumes-from one");
    host.ok(&["rm", "-f", "one"]);
    let seen = |name: &str, path: &str| host.ok(&["exec", name, "cat", path]);
    assert_eq!(seen("two", "/a/top"), "high\n");
    assert_eq!(seen("two", "/b/file"), "below\n");
    assert_eq!(seen("three", "/t/top"), "high\n");
    host.fails(1, "is using its referenced image", &["rmi", "tools:1"]);
    let copy = host.scratch().join("copied");
    let to = copy.display().to_string();
    let copied = || fs::read_to_string(&copy).expect("it was copied");
    host.ok(&["cp", "three:/t/top", &to]);
    assert_eq!(copied(), "high\n");
    replace(&copy, b"mine", FileMode::Private).expect("it is ours");
    host.fails(
        1,
        "mounted volume is marked read-only",
        &["cp", &to, "three:/t/new"],
    );
    host.ok(&["stop", "-t", "0", "three"]);
    host.fails(
        1,
        "mounted volume is marked read-only",
        &["cp", &to, "three:/t/new"],
    );
    host.ok(&["cp", "three:/t/dir/file", &to]);
    assert_eq!(copied(), "below\n");
    host.finish();
}

#[test]
fn a_crash_of_the_daemons_costs_a_container_nothing() {
    let host = Installation::new();
    load(&host, "tools:1", "high\n");
    let before = settled(&host);
    host.ok(&words_and(
        "run -d --name box --mount type=image,source=tools:1,target=/t,image-subpath=dir --mount type=image,source=tools:1,target=/all busybox:1 sh -c",
        "while :; do sleep 0.1; done",
    ));
    let sees = |when: &str| {
        let seen = host.ok(&["exec", "box", "cat", "/t/file", "/all/top"]);
        assert_eq!(seen, "below\nhigh\n", "{when}");
    };
    host.kill_9("engine");
    sees("the engine is another one");
    host.kill_9("volumed");
    wait_until("volumed is back", || host.pid_of("volumed").is_some());
    sees("volumed is another one");
    let id = inspected(&host, ".Id", "tools:1");
    host.fails(
        1,
        "running container",
        &["rmi", "-f", id.as_str().expect("an id")],
    );
    host.ok(&["restart", "-t", "0", "box"]);
    sees("it was restarted");
    // All at once, as on a machine that goes down with its containers.
    host.kill_9("volumed");
    host.kill_9("engine");
    host.ok(&["rm", "-f", "box"]);
    host.wait_until_traces(&before, "nothing is left of the container");
    assert_eq!(
        host.ok(&words("run --rm busybox:1 cat /www/index.html")),
        PAGE
    );
    host.finish();
}

/// The mounts of a container's process, as the kernel shows them.
#[test]
fn one_mount_is_made_for_each_place_and_it_is_private() {
    let host = Installation::new();
    load(&host, "tools:1", "high\n");
    host.ok(&words(
        "run -d --name box --mount type=image,source=tools:1,target=/t busybox:1 sleep 1000",
    ));
    let pid = host.ok(&["inspect", "-f", "{{.State.Pid}}", "box"]);
    let said = run(Command::new("cat").arg(format!("/proc/{}/mountinfo", pid.trim())));
    let lines: Vec<&str> = said
        .stdout
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/t"))
        .collect();
    let [line] = lines[..] else {
        panic!("{said:?}")
    };
    let (mount, file_system) = line.split_once(" - ").expect("a separator");
    assert!(mount.ends_with(" /t ro,relatime"), "{line}");
    assert!(file_system.starts_with("overlay overlay ro,"), "{line}");
    assert!(!file_system.contains("upperdir"), "{line}");
    host.finish();
}
