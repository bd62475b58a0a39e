//! What the caller has around it, and what of that the container and its hooks
//! are to see.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::{Bundle, finish, wait, wait_until};

/// A hook that runs a script of the host's shell.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

/// Opens a directory of the host's so that everything executed inherits it, with
/// a number that nothing else has.
fn inheritable() -> OwnedFd {
    let host = fs::File::open("/").unwrap();
    let host = rustix::io::fcntl_dupfd_cloexec(&host, 200).unwrap();
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).unwrap();
    host
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A waiting init is the runtime still, with what its caller gave it
/// (CVE-2016-9962).
#[test]
fn a_waiting_init_shows_nothing_of_its_caller() {
    let bundle = Bundle::idle();
    let host = inheritable();
    let mut create = bundle.command(&["create", "c"]);
    create.env("SECRET_OF_HOST", "topsecret");
    finish(create).ok();
    let script = "cat /proc/1/environ; ls /proc/1/fd/0/ /proc/1/fd/200/ /proc/1/cwd/; echo over";
    let seen = bundle.runc(&["exec", "c", "sh", "-c", script]);
    assert_eq!(seen.out, "over\n", "{seen:?}");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", bundle.pid("c"))).unwrap();
    let kept: Vec<_> = descriptors
        .map(|entry| fs::read_link(entry.unwrap().path()))
        .collect();
    let is_of_host = |path: &Path| path == Path::new("/") || path.starts_with("/proc");
    assert!(
        kept.iter().flatten().all(|path| !is_of_host(path)),
        "{kept:?}"
    );
    assert!(kept.len() <= 6, "{kept:?}");
    drop(host);
}

#[test]
fn a_hook_that_reads_nothing_has_its_limit_all_the_same() {
    let mut bundle = Bundle::idle();
    bundle.config["annotations"] = json!({"a": "x".repeat(200_000)});
    bundle.config["hooks"]["createRuntime"] =
        json!([{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]);
    let begun = Instant::now();
    bundle.runc(&["run", "c"]).fails(1, "did not end in time");
    assert!(begun.elapsed() < Duration::from_secs(20));
    bundle.config["hooks"]["createRuntime"] = json!([{"path": "/bin/true", "timeout": 0}]);
    bundle.runc(&["run", "c"]).fails(1, "not greater than zero");
    bundle.assert_clean();
}

#[test]
fn what_hooks_have_made_is_undone_by_hooks_when_the_creation_fails() {
    for phase in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::idle();
        let undone = bundle.path().join("undone");
        bundle.config["hooks"][phase] = json!([hook("exit 3")]);
        bundle.config["hooks"]["poststop"] = json!([hook(&format!("touch {}", undone.display()))]);
        let said = bundle.runc(&["run", "c"]);
        assert_eq!(said.code, 1, "{phase}: {said:?}");
        assert!(undone.exists(), "{phase}");
        bundle.assert_clean();
    }
}

#[test]
fn hooks_run_in_the_bundle_with_the_callers_variables_and_no_descriptors() {
    let mut bundle = Bundle::with_script("true");
    let said = bundle.path().join("said");
    let script = format!(
        "{{ pwd; echo $OF_CALLER; ls /proc/self/fd; }} >{}",
        said.display()
    );
    bundle.config["hooks"]["createRuntime"] = json!([hook(&script)]);
    let directory = bundle.path().to_owned();
    let host = inheritable();
    let mut run = bundle.command(&["run", "--bundle"]);
    run.arg(&directory)
        .arg("c")
        .current_dir("/")
        .env("OF_CALLER", "seen");
    finish(run).ok();
    let said = text(&said);
    assert!(
        said.starts_with(&format!("{}\nseen\n", directory.display())),
        "{said}"
    );
    let number = host.as_raw_fd().to_string();
    assert!(!said.lines().any(|line| line == number), "{said}");
}

#[test]
fn a_missing_working_directory_is_made_below_a_read_only_root() {
    let mut bundle = Bundle::with_script("pwd; touch /x");
    bundle.config["root"]["readonly"] = json!(true);
    bundle.config["process"]["cwd"] = json!("/new/folder");
    let said = bundle.runc(&["run", "c"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (1, "/new/folder\n"),
        "{said:?}"
    );
}

#[test]
fn without_process_ids_of_its_own_all_are_killed() {
    let mut bundle = Bundle::with_script("sleep 501 & sleep 502 & exec sleep 503");
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    bundle.start("c");
    let processes = || {
        text(&bundle.cgroup_directories()[0].join("cgroup.procs"))
            .lines()
            .count()
    };
    wait_until("all run", || processes() == 3);
    bundle.runc(&["kill", "c", "KILL"]).ok();
    wait_until("all are gone", || processes() == 0);
    bundle.runc(&["delete", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn the_last_of_two_variables_of_a_name_counts() {
    let mut bundle = Bundle::with_script("env | grep -c PATH; echo $PATH");
    bundle.config["process"]["env"] = json!(["PATH=/nowhere", "A=1", "PATH=/bin"]);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "1\n/bin\n");
}

#[test]
fn real_time_signals_are_passed_on() {
    let bundle =
        Bundle::with_script("trap 'echo got; exit 9' 37; echo ready; while :; do sleep 0.05; done");
    let said = bundle.path().join("said");
    let mut run = bundle.command(&["run", "c"]);
    let mut run = run
        .stdout(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    wait_until("it is ready", || text(&said) == "ready\n");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(run.id()).unwrap());
    let sent = std::process::Command::new("kill")
        .arg("-37")
        .arg(pid.to_string())
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(wait(&mut run).code(), Some(9));
    assert_eq!(text(&said), "ready\ngot\n");
}

#[test]
fn sockets_that_are_meant_for_others_are_not_passed_on() {
    let bundle = Bundle::with_script("echo fds=$LISTEN_FDS; ls /proc/self/fd | wc -l");
    let host = inheritable();
    for (sockets, pid) in [("1", "99"), ("4294967295", "99"), ("1", "")] {
        let mut run = bundle.command(&["run", "c"]);
        run.env("LISTEN_FDS", sockets).env("LISTEN_PID", pid);
        // The listing's own descriptor is the fourth.
        assert_eq!(finish(run).ok(), "fds=\n4\n", "{sockets} {pid}");
    }
    drop(host);
}

#[test]
fn many_delete_the_same_container_and_none_fails() {
    let bundle = Bundle::idle();
    for _ in 0..5 {
        bundle.start("c");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| bundle.runc(&["delete", "--force", "c"]).ok());
            }
        });
        bundle.assert_clean();
    }
}

#[test]
fn capabilities_of_a_newer_kernel_are_warned_of_and_ignored() {
    let mut bundle = Bundle::with_script("grep CapEff /proc/self/status");
    let known = bundle.runc(&["run", "c"]).ok();
    for set in ["bounding", "effective", "permitted"] {
        let set = bundle.config["process"]["capabilities"][set].as_array_mut();
        set.unwrap().push(json!("CAP_TO_COME"));
    }
    let said = bundle.runc(&["run", "c"]);
    assert!(said.err.contains("CAP_TO_COME"), "{said:?}");
    assert_eq!(said.ok(), known);
}

/// Its offsets belong to nobody that the user namespace knows.
#[test]
fn a_time_namespace_goes_with_a_user_namespace_of_other_ids() {
    let mut bundle = Bundle::with_script("cat /proc/self/timens_offsets");
    bundle.use_user_namespace();
    let linux = &mut bundle.config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "time"}));
    linux["timeOffsets"] = json!({"monotonic": {"secs": 7881, "nanosecs": 5}});
    let said = bundle.runc(&["run", "c"]).ok();
    let words: Vec<&str> = said.split_whitespace().take(3).collect();
    assert_eq!(words, ["monotonic", "7881", "5"]);
    bundle.assert_clean();
}

#[test]
fn a_time_namespace_goes_with_a_joined_user_namespace() {
    let mut host = Bundle::idle();
    host.use_user_namespace();
    host.start("host");
    let mut bundle = Bundle::with_script("cat /proc/self/timens_offsets");
    bundle.use_user_namespace();
    let of_host = format!("/proc/{}/ns", host.pid("host"));
    let linux = &mut bundle.config["linux"];
    linux["uidMappings"] = json!([]);
    linux["gidMappings"] = json!([]);
    linux["timeOffsets"] = json!({"boottime": {"secs": 99_999}});
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "user" && namespace["type"] != "network");
    namespaces.push(json!({"type": "user", "path": format!("{of_host}/user")}));
    namespaces.push(json!({"type": "network", "path": format!("{of_host}/net")}));
    namespaces.push(json!({"type": "time"}));
    let said = bundle.runc(&["run", "c"]).ok();
    let mut words = said
        .split_whitespace()
        .skip_while(|word| *word != "boottime");
    assert_eq!(words.nth(1), Some("99999"), "{said}");
    bundle.assert_clean();
}

/// A mark of this program, that it runs from a protected file, once reached hooks.
#[test]
fn a_hook_can_enter_a_container() {
    let mut bundle = Bundle::idle();
    bundle.start("other");
    let said = bundle.path().join("said");
    let exec = bundle.command(&["exec", "other", "echo", "entered"]);
    let words = std::iter::once(exec.get_program()).chain(exec.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let entering = hook(&format!("{} >>{}", words.join(" "), said.display()));
    for point in ["prestart", "createRuntime", "poststart"] {
        bundle.config["hooks"][point] = json!([entering]);
    }
    bundle.config["linux"]["cgroupsPath"] = json!(format!("{}-hooked", bundle.cgroup));
    bundle.runc(&["run", "--detach", "c"]).ok();
    assert_eq!(text(&said), "entered\nentered\nentered\n");
}

#[test]
fn hooks_in_the_container_get_no_descriptor_either() {
    let mut bundle = Bundle::idle();
    let said = bundle.path().join("said");
    let listing = hook(&format!("ls /proc/self/fd >{}", said.display()));
    bundle.config["hooks"]["createContainer"] = json!([listing]);
    let host = inheritable();
    bundle.start("c");
    drop(host);
    // The listing's own descriptor is the fourth.
    assert_eq!(text(&said), "0\n1\n2\n3\n");
}

#[test]
fn a_hook_may_have_all_the_time_there_is() {
    let mut bundle = Bundle::with_script("true");
    for point in [
        "prestart",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        bundle.config["hooks"][point] = json!([{"path": "/bin/true", "timeout": i64::MAX}]);
    }
    bundle.runc(&["run", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn a_waiting_init_shows_nothing_even_to_who_may_trace() {
    let bundle = Bundle::idle();
    let mut create = bundle.command(&["create", "c"]);
    create.env("SECRET_OF_HOST", "topsecret");
    finish(create).ok();
    let exec = [
        "exec",
        "--cap",
        "CAP_SYS_PTRACE",
        "c",
        "grep",
        "-c",
        "topsecret",
    ];
    let seen = bundle.runc(&[&exec[..], &["/proc/1/environ"]].concat());
    assert_eq!((seen.code, seen.out.as_str()), (1, "0\n"), "{seen:?}");
}
