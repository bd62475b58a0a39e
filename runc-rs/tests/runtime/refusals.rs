//! Creations that cannot be: one clear error each, and nothing left behind.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// Changes the configuration, and expects a creation to fail with all of these
/// words on one line.
#[track_caller]
fn refused(change: impl Fn(&mut Value), words: &[&str]) {
    let mut bundle = Bundle::idle();
    change(&mut bundle.config);
    let said = bundle.runc(&["run", "c"]);
    assert_eq!(said.code, 1, "{said:?}");
    for word in words {
        assert!(said.err.contains(word), "{said:?} lacks {word:?}");
    }
    assert_eq!(said.err.trim_end().lines().count(), 1, "{said:?}");
    bundle.assert_clean();
}

fn limit(name: &str, value: u64) -> impl Fn(&mut Value) {
    move |config| {
        config["process"]["rlimits"] = json!([{"type": name, "soft": value, "hard": value}]);
    }
}

fn resources(resources: Value) -> impl Fn(&mut Value) {
    move |config| config["linux"]["resources"] = resources.clone()
}

fn mount(mount: Value) -> impl Fn(&mut Value) {
    move |config| {
        config["mounts"]
            .as_array_mut()
            .expect("the mounts of the bundle")
            .push(mount.clone())
    }
}

#[test]
fn a_process_that_cannot_be_is_named() {
    let cwd = |path: &'static str| move |config: &mut Value| config["process"]["cwd"] = json!(path);
    refused(cwd("/etc/passwd"), &["/etc/passwd", "not a directory"]);
    refused(
        cwd("/etc/passwd/below"),
        &["/etc/passwd/below", "not a directory"],
    );
    refused(
        limit("RLIMIT_NOFILE", 1 << 40),
        &["RLIMIT_NOFILE", "not permitted"],
    );
    refused(
        |config| config["process"]["oomScoreAdj"] = json!(5000),
        &["OOM score", "invalid argument"],
    );
    refused(
        |config| config["hostname"] = json!("h".repeat(65)),
        &["hostname", "64"],
    );
    refused(
        |config| config["process"]["args"] = json!(["no-such-program"]),
        &["no-such-program", "executable file not found in $PATH"],
    );
}

/// To the kernel the number says "as before", which is root.
#[test]
fn nobody_becomes_the_user_or_group_that_is_no_number() {
    let user = |user: Value| move |config: &mut Value| config["process"]["user"] = user.clone();
    let none = u32::MAX;
    refused(user(json!({"uid": none, "gid": 0})), &["uid", "no id"]);
    refused(user(json!({"uid": 1, "gid": none})), &["gid", "no id"]);
    let groups = json!({"uid": 1, "gid": 1, "additionalGids": [5, none]});
    refused(user(groups), &["additionalGids", "no id"]);

    let bundle = Bundle::idle();
    let passwd = "root:x:0:0:root:/root:/bin/sh\nevil:x:4294967295:4294967295::/:/bin/sh\n";
    let mode = base::file::FileMode::Public;
    base::file::replace(&bundle.rootfs().join("etc/passwd"), passwd.as_bytes(), mode).unwrap();
    bundle.start("c");
    for user in ["4294967295", "evil", "1000:4294967295"] {
        let exec = ["exec", "--user", user, "c", "id", "-u"];
        bundle.runc(&exec).fails(255, "no id");
    }
}

#[test]
fn a_variable_has_a_name_and_a_value() {
    for variable in ["A", "=x", ""] {
        let env = json!(["PATH=/bin", variable]);
        let set = |config: &mut Value| config["process"]["env"] = env.clone();
        refused(set, &["environment variable", variable]);
    }
}

#[test]
fn a_limit_that_the_kernel_refuses_is_named() {
    let cpu = |cpu: Value| resources(json!({"cpu": cpu}));
    refused(
        cpu(json!({"quota": 1, "period": 100_000})),
        &["cpu", "quota"],
    );
    refused(cpu(json!({"cpus": "99"})), &["cpuset.cpus"]);
    refused(resources(json!({"memory": {"limit": 1}})), &["memory"]);
}

#[test]
fn a_mount_that_cannot_be_is_named() {
    let file = json!({"destination": "/etc", "type": "bind", "source": "/etc/hostname",
        "options": ["bind"]});
    refused(mount(file), &["\"/etc\"", "not a directory"]);
    let folder = json!({"destination": "/etc/passwd", "type": "bind", "source": "/etc",
        "options": ["bind"]});
    refused(mount(folder), &["\"/etc/passwd\"", "not a directory"]);
    let new = json!({"destination": "/etc/passwd", "type": "tmpfs", "source": "tmpfs"});
    refused(mount(new), &["\"/etc/passwd\"", "not a directory"]);
    let missing = json!({"destination": "/mnt", "type": "bind", "source": "/no/such",
        "options": ["bind"]});
    refused(mount(missing), &["/no/such", "no such file"]);
    let unknown = json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"});
    refused(mount(unknown), &["\"/mnt\"", "nosuchfs"]);
    let option = json!({"destination": "/mnt", "type": "tmpfs", "source": "x",
        "options": ["nosuchoption=1"]});
    refused(mount(option), &["\"/mnt\"", "nosuchoption"]);
}

/// Images are like that: resolv.conf leads to where a service would put one.
#[test]
fn a_link_that_leads_nowhere_can_be_mounted_on() {
    let mut bundle = Bundle::with_script("cat /etc/resolv.conf /run/service/resolv.conf");
    symlink(
        "../run/service/resolv.conf",
        bundle.rootfs().join("etc/resolv.conf"),
    )
    .unwrap();
    let own = bundle.path().join("own");
    base::file::replace(&own, b"mine\n", base::file::FileMode::Public).unwrap();
    mount(
        json!({"destination": "/etc/resolv.conf", "type": "bind", "source": own,
        "options": ["bind"]}),
    )(&mut bundle.config);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "mine\nmine\n");
    bundle.assert_clean();
}

#[test]
fn a_mount_has_the_ids_that_are_asked_for() {
    let mut bundle = Bundle::with_script("stat -c %u:%g /data/file");
    let data = bundle.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::File::create(data.join("file")).unwrap();
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
    mount(
        json!({"destination": "/data", "type": "bind", "source": data,
        "options": ["bind"], "uidMappings": map, "gidMappings": map}),
    )(&mut bundle.config);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "5000:5000\n");
    bundle.assert_clean();
}
