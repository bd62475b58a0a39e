//! A container's files from outside, and its limits and measures, through the
//! command line.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base::file::{FileMode, replace};
use tests::{Installation, run, wait_until, words, words_and};

fn write(path: &Path, text: &str) {
    let directory = path.parent().expect("a file is in a directory");
    fs::create_dir_all(directory).expect("make a directory");
    replace(path, text.as_bytes(), FileMode::Public).expect("write a file");
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Copies; both sides as on the command line.
fn cp(host: &Installation, from: &str, to: &str) {
    host.ok(&["cp", from, to]);
}

#[test]
fn files_go_in_and_out_of_a_container_that_runs() {
    let host = Installation::new();
    let place = host.scratch().join("cp");
    write(&place.join("site/index.html"), "page\n");
    write(&place.join("site/sub/more"), "more\n");
    symlink("index.html", place.join("site/link")).unwrap();
    let at = |name: &str| place.join(name).display().to_string();
    host.ok(&words(
        "run -d --name box -v data:/data busybox:1 sleep 1000",
    ));
    // A directory into one that is there, into a new name, and what is in it.
    cp(&host, &at("site"), "box:/tmp");
    cp(&host, &at("site"), "box:/srv");
    cp(&host, &at("site/."), "box:/data");
    let script = "cat /tmp/site/sub/more /srv/link /data/index.html";
    assert_eq!(
        host.ok(&words_and("exec box sh -c", script)),
        "more\npage\npage\n"
    );
    host.ok(&words_and(
        "exec box sh -c",
        "echo changed >/data/sub/more; ln -s /data/sub /way; ln -s /etc /data/out",
    ));
    cp(&host, "box:/way/more", &at("file"));
    assert_eq!(text(place.join("file")), "changed\n");
    cp(&host, "box:/data", &at("new"));
    assert_eq!(text(place.join("new/sub/more")), "changed\n");
    assert_eq!(
        fs::read_link(place.join("new/out")).unwrap(),
        Path::new("/etc")
    );
    fs::create_dir(place.join("there")).unwrap();
    cp(&host, "box:/data/sub", &at("there"));
    assert_eq!(text(place.join("there/sub/more")), "changed\n");
    host.fails(1, "Could not find the file", &["cp", "box:/nope", &at("x")]);
    host.fails(
        1,
        "cannot copy directory",
        &["cp", "box:/data", &at("file")],
    );
    host.fails(1, "must exist", &["cp", "box:/way/more", &at("nope/")]);
    host.fails(1, "No such container", &["cp", "nope:/x", &at("x")]);
    host.finish();
}

#[test]
fn files_go_in_and_out_of_a_container_that_does_not_run() {
    let host = Installation::new();
    let place = host.scratch().join("cp");
    write(&place.join("file"), "from outside\n");
    let at = |name: &str| place.join(name).display().to_string();
    let create = "create --name box --rm -v data:/data busybox:1 sh -c";
    host.ok(&words_and(create, "cat /tmp/file /data/file"));
    cp(&host, &at("file"), "box:/tmp");
    cp(&host, &at("file"), "box:/data");
    cp(&host, "box:/data/file", &at("back"));
    assert_eq!(text(place.join("back")), "from outside\n");
    let said = host.ok(&["start", "-a", "box"]);
    assert_eq!(said, "from outside\nfrom outside\n");
    host.ok(&words("create --name robox --read-only busybox:1 true"));
    host.fails(1, "read-only", &["cp", &at("file"), "robox:/tmp"]);
    host.finish();
}

/// The container changes its links while files are copied (CVE-2018-15664).
#[test]
fn cve_2018_15664_a_container_that_moves_its_links_leads_no_copy_astray() {
    let host = Installation::new();
    let place = host.scratch().join("cp");
    write(&place.join("file"), "from outside\n");
    let victim = host.scratch().join("victim");
    fs::create_dir(&victim).unwrap();
    let script = format!(
        "mkdir /real; while :; do ln -sfn /real /way; ln -sfn {} /way; done",
        victim.display()
    );
    host.ok(&words_and("run -d --name box busybox:1 sh -c", &script));
    for _ in 0..20 {
        let file = place.join("file").display().to_string();
        // It may find the link gone; it must not write beyond it.
        host.engine(&["cp", &file, "box:/way/file"]);
    }
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    host.finish();
}

#[test]
fn what_a_container_has_changed_is_told_and_exported() {
    let host = Installation::new();
    host.ok(&words("create --name box busybox:1 sh -c"));
    assert_eq!(host.ok(&["diff", "box"]), "");
    host.ok(&["rm", "box"]);
    let script = "touch /new; rm /www/index.html; echo x >>/etc/passwd";
    host.ok(&words_and(
        "run --name box -v data:/data busybox:1 sh -c",
        script,
    ));
    let diff = host.ok(&["diff", "box"]);
    let mut lines: Vec<&str> = diff.lines().collect();
    lines.retain(|line| *line != "A /data");
    let expected = [
        "C /etc",
        "C /etc/passwd",
        "A /new",
        "C /www",
        "D /www/index.html",
    ];
    assert_eq!(lines, expected);
    let archive = host.scratch().join("export.tar");
    let path = archive.display().to_string();
    host.ok(&["export", "-o", &path, "box"]);
    let mut list = std::process::Command::new("tar");
    let listed = run(list.args(["--list", "--file", &path])).stdout;
    let has = |name: &str| listed.lines().any(|line| line == name);
    assert!(
        has("new") && has("bin/busybox") && !has("www/index.html"),
        "{listed}"
    );
    host.finish();
}

#[test]
fn an_image_is_made_of_a_container() {
    let host = Installation::new();
    let script = "echo kept >/file; rm /www/index.html";
    host.ok(&words_and(
        "run -d --name box -e A=b busybox:1 sh -c",
        &format!("{script}; sleep 1000"),
    ));
    wait_until("it has changed its files", || {
        host.engine(&words("exec box test -e /file -a ! -e /www/index.html"))
            .code
            == 0
    });
    let change = [
        "commit",
        "-m",
        "by hand",
        "-a",
        "me",
        "-c",
        "CMD [\"cat\",\"/file\"]",
    ];
    let id = host.ok(&[&change[..], &["box", "made:1"]].concat());
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(host.ok(&words("run --rm made:1")), "kept\n");
    host.fails(1, "", &words("run --rm made:1 ls /www/index.html"));
    let env = host.ok(&words("run --rm made:1 env"));
    assert!(env.contains("A=b\n"), "{env}");
    assert!(host.ok(&["history", "made:1"]).contains("by hand"));
    assert_eq!(host.ok(&["ps", "--format", "{{.State}}"]), "running\n");
    host.fails(1, "not a valid change", &["commit", "-c", "RUN x", "box"]);
    host.ok(&["rmi", "made:1"]);
    host.finish();
}

#[test]
fn limits_can_be_changed_while_a_container_runs() {
    let host = Installation::new();
    host.ok(&words(
        "run -d --name box -m 64m --pids-limit 50 busybox:1 sleep 1000",
    ));
    let limits = |name: &str| host.ok(&["inspect", "--format", name, "box"]);
    host.ok(&words(
        "update -m 100m --pids-limit 20 --restart on-failure:3 box",
    ));
    assert_eq!(limits("{{.HostConfig.Memory}}"), "104857600\n");
    assert_eq!(limits("{{.HostConfig.PidsLimit}}"), "20\n");
    assert_eq!(limits("{{.HostConfig.RestartPolicy.Name}}"), "on-failure\n");
    let seen = "stats --no-stream --format {{.MemUsage}} box";
    assert!(host.ok(&words(seen)).trim().ends_with(" / 100MiB"));
    // What the runtime refuses changes nothing.
    host.fails(1, "", &words("update --cpuset-cpus 4000 box"));
    assert_eq!(limits("{{.HostConfig.CpusetCpus}}"), "\n");
    host.fails(1, "memoryswap", &words("update -m 1g box"));
    host.fails(1, "one or more flags", &["update", "box"]);
    host.ok(&words("restart -t 0 box"));
    assert!(host.ok(&words(seen)).trim().ends_with(" / 100MiB"));
    let events = host.ok(&words("events --since 1h --until 0s"));
    assert!(events.contains(" container.updated "), "{events}");
    host.finish();
}

#[test]
fn stats_tell_what_a_container_uses() {
    let host = Installation::new();
    let script = "while :; do :; done";
    host.ok(&words_and(
        "run -d --name busy --cpus 0.5 busybox:1 sh -c",
        script,
    ));
    host.ok(&words("create --name idle busybox:1 true"));
    let format = "{{.Name}} {{.CPUPerc}} {{.PIDs}}";
    wait_until("it works at its limit", || {
        let said = host.ok(&["stats", "--no-stream", "--format", format, "busy"]);
        let words: Vec<&str> = said.split_whitespace().collect();
        let percent: f64 = words[1].trim_end_matches('%').parse().unwrap();
        words[0] == "busy" && words[2] == "1" && (20.0..80.0).contains(&percent)
    });
    let all = host.ok(&["stats", "--no-stream", "-a", "--format", format]);
    assert!(all.contains("idle -- --\n"), "{all}");
    host.fails(1, "No such container", &words("stats --no-stream nope"));
    host.finish();
}

#[test]
fn top_shows_a_containers_processes_with_any_arguments_of_ps() {
    let host = Installation::new();
    host.ok(&words_and(
        "run -d --name box -u web busybox:1 sh -c",
        "sleep 1000 & exec sleep 2000",
    ));
    let shown = |arguments: &[&str]| {
        let said = host.ok(&[&["top", "box"], arguments].concat());
        let lines: Vec<String> = said.lines().map(|line| line.trim().to_owned()).collect();
        lines
    };
    let all = shown(&[]);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(
        all[0].starts_with("UID") && all[0].ends_with("CMD"),
        "{all:?}"
    );
    let some = shown(&["-o", "pid,args"]);
    assert!(
        some.iter().any(|line| line.ends_with("sleep 1000")),
        "{some:?}"
    );
    assert!(
        some.iter().any(|line| line.ends_with("sleep 2000")),
        "{some:?}"
    );
    assert_eq!(some.len(), 3, "{some:?}");
    host.fails(1, "Couldn't find PID field", &words("top box -o args"));
    host.fails(1, "ps: error", &words("top box --no-such-option"));
    host.ok(&["rm", "-f", "box"]);
    host.finish();
}
