//! Containers in a user namespace: `userns-remap`, its opt-out, and how their
//! files look from inside, on disk and in archives.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use base::file::{FileMode, replace};
use tests::{Installation, Said, run};

/// An installation whose host has Docker's default user with 65,536 ids.
struct Remapped {
    host: Installation,
}

impl Remapped {
    fn new() -> Self {
        let host = Installation::new();
        host.ok(&["daemon", "stop"]);
        host.have_subordinate_ids();
        let config = host.scratch().join("config.toml");
        replace(&config, b"userns-remap = \"default\"\n", FileMode::Private)
            .expect("a file can be written");
        // As /run/engine: others may pass, not look.
        fs::set_permissions(host.scratch(), fs::Permissions::from_mode(0o711)).expect("it is ours");
        Self { host }
    }

    fn engine(&self, arguments: &[&str]) -> Said {
        let config = self.host.scratch().join("config.toml");
        let mut command: Command = self.host.command(&[]);
        command.arg("--config").arg(config).args(arguments);
        run(command.stdin(Stdio::null()))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let said = self.engine(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}\n{}", self.host.log());
        said.stdout
    }

    #[track_caller]
    fn fails(&self, text: &str, arguments: &[&str]) {
        let said = self.engine(arguments);
        assert!(
            said.code == 125 && said.stderr.contains(text),
            "{arguments:?}: {said:?}"
        );
    }

    fn shell(&self, script: &str) -> String {
        self.ok(&["run", "--rm", "busybox:1", "sh", "-c", script])
    }
}

fn fields(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn root_inside_is_a_subordinate_id_and_the_layer_keeps_plain_owners() {
    let remapped = Remapped::new();
    let maps = remapped.shell("cat /proc/self/uid_map /proc/self/gid_map");
    assert_eq!(
        fields(&maps),
        ["0", "100000", "65536", "0", "200000", "65536"]
    );
    let script = "echo w > /u && chown 7:8 /u && echo e > /dev/stderr && echo z > /dev/shm/z \
        && echo 127.0.0.2 more >> /etc/hosts && stat -c %u:%g /bin /u /etc/hosts && sleep 300";
    let id = remapped.ok(&[
        "run",
        "-d",
        "--name",
        "own",
        "busybox:1",
        "sh",
        "-c",
        script,
    ]);
    let seen = "until [ -f /u ]; do :; done; id -u; stat -c %u:%g /u /etc/hosts; ls /sys/class/net";
    let seen = remapped.ok(&["exec", "own", "sh", "-c", seen]);
    assert_eq!(fields(&seen)[..3], ["0", "7:8", "0:0"], "{seen}");
    assert!(fields(&seen).contains(&"eth0"), "{seen}");
    let id = id.trim().parse().expect("an id");
    let upper = remapped.host.instance.container(&id).join("upper/u");
    let stat = fs::metadata(upper).expect("it was written");
    assert_eq!((stat.uid(), stat.gid()), (7, 8));
    archives_have_the_owners_of_the_inside(&remapped);
    namespaces_are_shared_within_one_user_namespace(&remapped);
    remapped.ok(&["rm", "-f", "own"]);
    remapped.host.finish();
}

fn archives_have_the_owners_of_the_inside(remapped: &Remapped) {
    let into = remapped.host.scratch().join("into");
    replace(&into, b"x", FileMode::Private).expect("a file can be written");
    remapped.ok(&["cp", &into.display().to_string(), "own:/into"]);
    let owner = remapped.ok(&["exec", "own", "stat", "-c", "%u:%g", "/into"]);
    assert_eq!(owner.trim(), "0:0");
    remapped.ok(&["commit", "own", "kept:1"]);
    let list = ["kept:1", "stat", "-c", "%u:%g", "/u"];
    let owner = remapped.ok(&[&["run", "--rm", "--userns", "host"][..], &list].concat());
    assert_eq!(owner.trim(), "7:8");
    let options = remapped.ok(&["info", "--format", "{{json .SecurityOptions}}"]);
    assert!(options.contains("\"name=userns\""), "{options}");
}

fn namespaces_are_shared_within_one_user_namespace(remapped: &Remapped) {
    let shared = [
        "run",
        "--rm",
        "--net",
        "container:own",
        "busybox:1",
        "id",
        "-u",
    ];
    assert_eq!(remapped.ok(&shared).trim(), "0");
    let other = [
        "run",
        "--userns",
        "host",
        "--net",
        "container:own",
        "busybox:1",
        "true",
    ];
    remapped.fails("in another user namespace", &other);
}

#[test]
fn a_volume_is_given_to_the_root_inside() {
    let remapped = Remapped::new();
    let script = "echo w > /v/w && stat -c %u:%g /v /v/w";
    let owners = remapped.ok(&[
        "run",
        "--rm",
        "-v",
        "data:/v",
        "busybox:1",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(fields(&owners), ["0:0", "0:0"]);
    let on_disk = remapped.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]);
    let stat = fs::metadata(on_disk.trim()).expect("the volume is there");
    assert_eq!((stat.uid(), stat.gid()), (100_000, 200_000));
    // What is in a volume is its users' own, be it a file or an empty folder.
    let script = "touch /v/file && mkdir /v/folder";
    let plain = [
        "run",
        "--rm",
        "--userns",
        "host",
        "-v",
        "data:/v",
        "busybox:1",
    ];
    remapped.ok(&[&plain[..], &["sh", "-c", script]].concat());
    for part in ["file", "folder"] {
        let mount = format!("type=volume,source=data,target=/part,volume-subpath={part}");
        let stat = ["busybox:1", "stat", "-c", "%u:%g", "/part"];
        let owner = remapped.ok(&[&["run", "--rm", "--mount", &mount][..], &stat].concat());
        assert_eq!(owner.trim(), "65534:65534", "{part}");
    }
    remapped.ok(&["volume", "rm", "data"]);
    remapped.host.finish();
}

#[test]
fn an_image_that_is_mounted_has_the_owners_of_the_inside() {
    let remapped = Remapped::new();
    let script =
        "stat -c %u:%g /box/bin /part /part/busybox && /part/busybox echo ran && ! touch /box/x";
    let run = [
        "run",
        "--rm",
        "--mount",
        "type=image,source=busybox:1,target=/box",
        "--mount",
        "type=image,source=busybox:1,target=/part,image-subpath=bin",
    ];
    let inside = ["busybox:1", "sh", "-c", script];
    for more in [&[][..], &["--read-only"], &["--userns", "host"]] {
        let said = remapped.ok(&[&run[..], more, &inside].concat());
        assert_eq!(fields(&said), ["0:0", "0:0", "0:0", "ran"], "{more:?}");
    }
    // Another's user namespace is as good as one's own.
    remapped.ok(&["run", "-d", "--name", "own", "busybox:1", "sleep", "1000"]);
    let said = remapped.ok(&[&run[..], &["--net", "container:own"], &inside].concat());
    assert_eq!(fields(&said)[..1], ["0:0"]);
    remapped.ok(&["rm", "-f", "own"]);
    remapped.host.finish();
}

#[test]
fn what_needs_the_hosts_user_namespace_is_refused_with_dockers_sentences() {
    let remapped = Remapped::new();
    let refused = [
        (
            "--privileged",
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        ),
        (
            "--network=host",
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            "--pid=host",
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ];
    for (option, text) in refused {
        remapped.fails(text, &["run", "--rm", option, "busybox:1", "true"]);
        remapped.ok(&["run", "--rm", "--userns=host", option, "busybox:1", "true"]);
    }
    let maps = [
        "run",
        "--rm",
        "--userns=host",
        "busybox:1",
        "cat",
        "/proc/self/uid_map",
    ];
    assert_eq!(fields(&remapped.ok(&maps)), ["0", "0", "4294967295"]);
    remapped.host.finish();
}
