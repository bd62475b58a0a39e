//! `engine system`, and commands by their long names.

use tests::{Installation, words};

/// Returns the fields of a row of `system df`.
fn row(host: &Installation, kind: &str) -> Vec<String> {
    let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}";
    let text = host.ok(&["system", "df", "--format", format]);
    let rows = text.lines().map(|line| line.split('|').map(str::to_owned));
    let mut rows = rows.map(Iterator::collect::<Vec<_>>);
    rows.find(|row| row[0] == kind).expect("the kind has a row")
}

#[test]
fn room_is_told_by_kind_and_what_is_unused_goes() {
    let host = Installation::new();
    host.ok(&words(
        "container run -d --name web -v data:/d busybox:1 sleep 600",
    ));
    let write = "head -c 3000 /dev/zero >/f; head -c 2000 /dev/zero >/d/f; seq 500";
    host.ok(&["container", "exec", "web", "sh", "-c", write]);
    host.ok(&[
        "container",
        "run",
        "--name",
        "old",
        "busybox:1",
        "seq",
        "500",
    ]);
    host.ok(&words("network create back"));
    host.ok(&words("image tag busybox:1 kept:1"));
    assert_eq!(row(&host, "Containers")[1..3], ["2", "1"]);
    assert_eq!(row(&host, "Local Volumes")[1..], ["1", "1", "2kB"]);
    assert_ne!(row(&host, "Container Logs")[3], "0B");
    let details = host.ok(&words("system df --verbose"));
    for heading in ["Images space usage:", "LOG SIZE", "VOLUME NAME"] {
        assert!(details.contains(heading), "{details}");
    }
    let pruned = host.ok(&words("system prune --force"));
    for heading in [
        "Deleted Containers:",
        "Deleted Networks:\nback\n",
        "Total reclaimed space: ",
    ] {
        assert!(pruned.contains(heading), "{pruned}");
    }
    assert_eq!(row(&host, "Containers")[1..3], ["1", "1"]);
    // What has a name stays without --all, and what is used stays at all events.
    host.ok(&words("image inspect kept:1"));
    host.ok(&words("system prune --force --all --volumes"));
    host.ok(&words("volume inspect data"));
    assert_eq!(
        host.ok(&words("container exec web wc -c /f")).trim(),
        "3000 /f"
    );
    host.ok(&words("container rm --force web"));
    host.finish();
}

#[test]
fn an_image_of_another_platform_is_told_of() {
    let host = Installation::new();
    let archive = host.scratch().join("image.tar").display().to_string();
    host.ok(&["image", "save", "-o", &archive, "busybox:1"]);
    for command in [
        "image inspect --platform linux/s390x busybox:1",
        "image history --platform linux/s390x busybox:1",
        "image rm --platform linux/s390x busybox:1",
        "image save --platform linux/s390x busybox:1",
        "image push --platform linux/s390x busybox:1",
    ] {
        let said = "does not match the specified platform (linux/s390x)";
        host.fails(1, said, &words(command));
    }
    let other = ["image", "load", "--platform", "linux/s390x", "-i", &archive];
    host.fails(1, "the archive has no image for linux/s390x", &other);
    let loaded = host.ok(&["image", "load", "--platform", "linux/amd64", "-i", &archive]);
    assert!(loaded.contains("Loaded image"), "{loaded}");
    host.finish();
}
