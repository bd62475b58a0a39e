//! A process that enters later is confined and placed as init is.

use std::fs;

use serde_json::json;

use crate::bundle::{Bundle, wait_until};

/// The lines of /proc/<pid>/status that say how a process is confined.
const CONFINEMENT: &str = "grep -E '^(Cap|Seccomp|NoNewPrivs|Groups|Uid|Gid)'";

fn with_filter(bundle: &mut Bundle) {
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    });
}

#[track_caller]
fn assert_same_confinement(bundle: &Bundle) -> String {
    bundle.start("c");
    let init = bundle.exec("c", &format!("{CONFINEMENT} /proc/1/status"));
    let own = bundle.exec("c", &format!("{CONFINEMENT} /proc/self/status"));
    assert_eq!(init, own);
    init
}

#[test]
fn exec_has_the_filter_and_capabilities_of_init() {
    let mut bundle = Bundle::idle();
    with_filter(&mut bundle);
    let status = assert_same_confinement(&bundle);
    assert!(
        status.contains("Seccomp:\t2\nSeccomp_filters:\t1\n"),
        "{status}"
    );
    assert!(status.contains("CapEff:\t00000000000000e1"), "{status}");
    assert!(status.contains("CapBnd:\t00000000000000e1"), "{status}");
    let output = bundle.runc(&["exec", "c", "mkdir", "/tmp/x"]);
    assert!(output.err.contains("not supported"), "{output:?}");
    assert!(!bundle.rootfs().join("tmp/x").exists());
}

#[test]
fn exec_keeps_no_new_privs_user_and_groups() {
    let mut bundle = Bundle::idle();
    with_filter(&mut bundle);
    bundle.config["process"]["noNewPrivileges"] = json!(true);
    bundle.config["process"]["user"] = json!({"uid": 33, "gid": 34, "additionalGids": [10, 11]});
    let status = assert_same_confinement(&bundle);
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("Groups:\t10 11"), "{status}");
    assert!(status.contains("Uid:\t33\t33\t33\t33"), "{status}");
    assert_eq!(bundle.exec("c", "echo $HOME"), "/home/web\n");
}

#[test]
fn exec_lands_in_every_namespace_of_init() {
    let mut bundle = Bundle::idle();
    with_filter(&mut bundle);
    bundle.use_user_namespace();
    let namespaces = &mut bundle.config["linux"]["namespaces"];
    namespaces
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "time"}));
    bundle.start("c");
    let pid = bundle.pid("c");
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let init = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let own = bundle.exec("c", &format!("ls -l /proc/self/ns/{kind}"));
        assert!(own.contains(init.to_str().unwrap()), "{kind}: {own}");
        assert_ne!(init, host, "{kind}");
    }
    bundle
        .runc(&["exec", "--detach", "--pid-file", "pid", "c", "sleep", "99"])
        .ok();
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t100000\t100000"), "{status}");
    assert!(status.contains("Seccomp:\t2"), "{status}");
}

#[test]
fn exec_has_the_limits_groups_and_score_of_init() {
    let mut bundle = Bundle::idle();
    bundle.config["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    bundle.config["process"]["oomScoreAdj"] = json!(123);
    bundle.config["process"]["user"]["umask"] = json!(0o027);
    bundle.start("c");
    assert_eq!(
        bundle.exec("c", "ulimit -n; ulimit -Hn; ulimit -c"),
        "77\n88\n0\n"
    );
    assert_eq!(bundle.exec("c", "cat /proc/self/oom_score_adj"), "123\n");
    assert_eq!(bundle.exec("c", "umask"), "0027\n");
    let groups = bundle.exec("c", "cat /proc/self/cgroup");
    assert_eq!(groups, bundle.exec("c", "cat /proc/1/cgroup"));
    bundle
        .runc(&["exec", "--detach", "--pid-file", "pid", "c", "sleep", "99"])
        .ok();
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(
        text.contains(&format!("pids:{}\n", bundle.cgroup))
            || text.contains(&format!("0::{}\n", bundle.cgroup)),
        "{text}"
    );
}

#[test]
fn exec_options_change_what_they_name() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let run = |options: &[&str], script: &str| {
        let arguments = [&["exec"], options, &["c", "sh", "-c", script]].concat();
        bundle.runc(&arguments).ok()
    };
    assert_eq!(run(&["--cwd", "/tmp"], "pwd"), "/tmp\n");
    assert_eq!(run(&["-e", "X=1", "--env", "X=2"], "echo $X"), "2\n");
    assert_eq!(
        run(&["-u", "33:34"], "id -u; id -g; id -G; echo $HOME"),
        "33\n34\n34\n/home/web\n"
    );
    assert_eq!(run(&["--user", "web:wheel"], "id -u; id -g"), "33\n10\n");
    assert_eq!(run(&["-g", "5", "-g", "6"], "id -G"), "0 5 6\n");
    assert_eq!(
        run(&["--no-new-privs"], "grep NoNewPrivs /proc/self/status"),
        "NoNewPrivs:\t1\n"
    );
    let effective = "grep CapEff /proc/self/status";
    assert_eq!(
        run(&["--cap", "CAP_NET_RAW"], effective),
        "CapEff:\t00000000000020e1\n"
    );
    bundle
        .runc(&["exec", "-c", "CAP_NOPE", "c", "true"])
        .fails(255, "CAP_NOPE");
    bundle
        .runc(&["exec", "-u", "nobody", "c", "true"])
        .fails(255, "nobody");
    bundle
        .runc(&["exec", "--cwd", "/missing", "c", "true"])
        .fails(255, "/missing");
    bundle.runc(&["exec", "c"]).fails(255, "--process");
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        bundle
            .runc(&["exec", "--apparmor", "x", "c", "true"])
            .fails(255, "AppArmor");
    }
}

#[test]
fn exec_reads_a_process_file_and_stays_confined() {
    let mut bundle = Bundle::idle();
    with_filter(&mut bundle);
    bundle.start("c");
    let script = "echo $A $HOME; grep -E '^(Seccomp|CapEff)' /proc/self/status; exit 5";
    let process = json!({
        "cwd": "/tmp", "args": ["sh", "-c", script], "env": ["PATH=/bin", "A=b"],
        "user": {"uid": 0, "gid": 0},
    });
    let path = bundle.path().join("process.json");
    let text = serde_json::to_vec(&process).unwrap();
    base::file::replace(&path, &text, base::file::FileMode::Private).unwrap();
    let output = bundle.runc(&["exec", "--process", "process.json", "c"]);
    assert_eq!(output.code, 5, "{output:?}");
    assert_eq!(
        output.out,
        "b /root\nCapEff:\t00000000000000e1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
    );
    bundle
        .runc(&["exec", "--process", "missing.json", "c"])
        .fails(255, "missing.json");
}

#[test]
fn exec_returns_exit_codes_and_signals() {
    let bundle = Bundle::idle();
    bundle.start("c");
    assert_eq!(bundle.runc(&["exec", "c", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(
        bundle.runc(&["exec", "c", "sh", "-c", "kill -9 $$"]).code,
        137
    );
    bundle
        .runc(&["exec", "c", "nope"])
        .fails(255, "executable file not found in $PATH");
    bundle
        .runc(&["exec", "c", "/etc/passwd"])
        .fails(255, "permission denied");
    bundle
        .runc(&["exec", "c", "/nope"])
        .fails(255, "no such file or directory");
    bundle
        .runc(&["exec", "missing", "true"])
        .fails(255, "does not exist");
}

#[test]
fn exec_works_before_the_start() {
    let bundle = Bundle::idle();
    bundle.runc(&["create", "c"]).ok();
    assert_eq!(bundle.exec("c", "echo early"), "early\n");
    assert_eq!(bundle.status("c"), "created");
}

#[test]
fn exec_can_be_forced_into_a_paused_container() {
    let bundle = Bundle::idle();
    bundle.start("c");
    bundle.runc(&["pause", "c"]).ok();
    let mut child = bundle
        .command(&["exec", "--ignore-paused", "c", "touch", "/tmp/late"])
        .spawn()
        .unwrap();
    wait_until("the process is inside", || {
        let pids: Vec<i32> =
            serde_json::from_str(&bundle.runc(&["ps", "-f", "json", "c"]).ok()).unwrap();
        pids.len() > 1
    });
    assert!(!bundle.rootfs().join("tmp/late").exists());
    bundle.runc(&["resume", "c"]).ok();
    assert!(crate::bundle::wait(&mut child).success());
    assert!(bundle.rootfs().join("tmp/late").exists());
}

#[test]
fn many_execs_at_once_do_not_disturb_each_other() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let mut children: Vec<_> = (0..12)
        .map(|n| {
            bundle
                .command(&["exec", "c", "sh", "-c", &format!("exit {n}")])
                .spawn()
                .unwrap()
        })
        .collect();
    for (n, child) in children.iter_mut().enumerate() {
        assert_eq!(crate::bundle::wait(child).code(), Some(n as i32));
    }
}
