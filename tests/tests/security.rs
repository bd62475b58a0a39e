//! What a container may do, asked of the kernel from inside: by its first
//! process and, since that is another path, by a process that enters it later.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use base::file::FileMode;
use tests::{Installation, wait_until};

/// What calls the default profile lets pass, the same table that the profile
/// itself is unit-tested with.
const TABLE: &str = include_str!("../../engine/security/tests/syscalls.txt");
/// The numbers of calls on this architecture; whoever can link a program has it.
const NUMBERS: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
/// A number that no kernel has given away.
const FREE_NUMBER: &str = "1000";
/// Calls without a number on x86_64.
const FOREIGN: &[&str] = &["vm86"];
/// The name of a call that no kernel has yet.
const TO_COME: &str = "a_call_to_come";
const EPERM: &str = "1";
const ENOSYS: &str = "38";
/// Docker's fourteen.
const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";
const NO_CAPABILITIES: &str = "0000000000000000";

/// A line of the table.
#[derive(Debug)]
struct Row {
    text: &'static str,
    /// The call as the probe wants it.
    call: String,
    verdict: &'static str,
}

/// Returns the rows, by the capability they need.
fn rows() -> BTreeMap<&'static str, Vec<Row>> {
    let header = fs::read_to_string(NUMBERS).expect("the kernel's headers are installed");
    let number = |name: &str| {
        let prefix = format!("#define __NR_{name} ");
        header.lines().find_map(|line| line.strip_prefix(&prefix))
    };
    let mut rows = BTreeMap::<_, Vec<Row>>::new();
    let lines = TABLE.lines().map(str::trim);
    for text in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [name, arguments, capability, verdict] = fields[..] else {
            panic!("four fields are expected: {text}");
        };
        let number = match number(name) {
            Some(number) => number,
            None if name == TO_COME => FREE_NUMBER,
            None => {
                assert!(FOREIGN.contains(&name), "{name} has no number");
                continue;
            }
        };
        let call = match arguments {
            "-" => number.to_owned(),
            arguments => format!("{number}:{arguments}"),
        };
        rows.entry(capability).or_default().push(Row {
            text,
            call,
            verdict,
        });
    }
    rows
}

/// Runs the probe over all calls and returns its answers, in order.
fn answers(said: &str) -> Vec<&str> {
    let answers = said.lines().map(|line| line.split_once(' '));
    answers
        .map(|answer| answer.expect("call and answer").1)
        .collect()
}

fn probe_mount() -> String {
    format!("{}:/probe:ro", env!("SYSCALL_PROBE"))
}

fn probe<'a>(options: &[&'a str], more: &[&'a str], calls: &[&'a str]) -> Vec<&'a str> {
    [&["run"], options, more, &["busybox:1", "/probe"], calls].concat()
}

/// Compares what the kernel said with the table; without a filter it said `free`.
fn compare(way: &str, rows: &[Row], said: &str, free: &str) -> String {
    let (found, free) = (answers(said), answers(free));
    assert_eq!(
        (found.len(), free.len()),
        (rows.len(), rows.len()),
        "{said}"
    );
    let mut wrong = String::new();
    for ((row, found), free) in rows.iter().zip(found).zip(free) {
        let is_right = match row.verdict {
            // It is newer than the profile: ENOSYS, as from runc, lets libraries fall
            // back.
            "EPERM" if row.text.starts_with(TO_COME) => found == ENOSYS,
            "EPERM" => found == EPERM,
            "ENOSYS" => found == ENOSYS,
            // A second filter in strict mode is one the kernel refuses itself.
            "allow" => found == free || row.text.starts_with("seccomp "),
            verdict => panic!("an unknown verdict: {verdict}"),
        };
        if !is_right {
            writeln!(wrong, "{way}: {}: {found}, free {free}", row.text).expect("memory");
        }
    }
    wrong
}

#[test]
fn every_call_of_the_table_gets_its_verdict_by_run_and_by_exec() {
    let host = Installation::new();
    let mount = probe_mount();
    let mut wrong = String::new();
    let mut count = 0;
    for (capability, rows) in rows() {
        let calls: Vec<&str> = rows.iter().map(|row| row.call.as_str()).collect();
        let options = match capability {
            "-" => vec!["-v", &mount],
            capability => vec!["-v", &mount, "--cap-add", capability],
        };
        let free = host.ok(&probe(
            &options,
            &["--rm", "--security-opt", "seccomp=unconfined"],
            &calls,
        ));
        let held = [&calls[..], &["hold"]].concat();
        host.ok(&probe(&options, &["-d", "--name", "probe"], &held));
        let by_exec = host.ok(&[&["exec", "probe", "/probe"], &calls[..]].concat());
        wait_until("the first process has asked everything", || {
            host.ok(&["logs", "probe"]).lines().count() == rows.len()
        });
        let by_run = host.ok(&["logs", "probe"]);
        host.ok(&["rm", "-f", "probe"]);
        wrong += &compare("run", &rows, &by_run, &free);
        wrong += &compare("exec", &rows, &by_exec, &free);
        count += rows.len();
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 90, "only {count} calls were asked for");
    host.finish();
}

/// The lines of `/proc/self/status` that say what a process may do.
#[derive(Debug, PartialEq, Eq)]
struct Privileges {
    effective: String,
    bounding: String,
    no_new: String,
    seccomp: String,
}

fn privileges(status: &str) -> Privileges {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is missing: {status}"))
            .trim()
            .to_owned()
    };
    Privileges {
        effective: field("CapEff:"),
        bounding: field("CapBnd:"),
        no_new: field("NoNewPrivs:"),
        seccomp: field("Seccomp:"),
    }
}

fn expected(effective: &str, bounding: &str, no_new: &str, seccomp: &str) -> Privileges {
    Privileges {
        effective: effective.to_owned(),
        bounding: bounding.to_owned(),
        no_new: no_new.to_owned(),
        seccomp: seccomp.to_owned(),
    }
}

const STATUS: &[&str] = &["cat", "/proc/self/status"];

/// Checks the privileges in a container with these options, by run and by exec.
fn check(host: &Installation, options: &[&str], expected: &Privileges) {
    let script = "cat /proc/self/status; exec sleep 1000";
    let run = ["run", "-d", "--name", "box"];
    host.ok(&[&run, options, &["busybox:1", "sh", "-c", script]].concat());
    wait_until("the first process has told", || {
        host.ok(&["logs", "box"]).contains("Seccomp:")
    });
    let by_run = privileges(&host.ok(&["logs", "box"]));
    let by_exec = privileges(&host.ok(&[&["exec", "box"], STATUS].concat()));
    host.ok(&["rm", "-f", "box"]);
    assert_eq!(&by_run, expected, "run {options:?}");
    assert_eq!(&by_exec, expected, "exec {options:?}");
}

#[test]
fn privileges_are_the_same_by_run_and_by_exec() {
    let host = Installation::new();
    let default = DEFAULT_CAPABILITIES;
    check(&host, &[], &expected(default, default, "0", "2"));
    check(
        &host,
        &["-u", "web"],
        &expected(NO_CAPABILITIES, default, "0", "2"),
    );
    check(
        &host,
        &["--cap-drop", "ALL", "--cap-add", "CHOWN"],
        &expected("0000000000000001", "0000000000000001", "0", "2"),
    );
    let raised = "00000000a82425fb";
    check(
        &host,
        &[
            "--cap-add",
            "sys_admin",
            "--security-opt",
            "no-new-privileges",
        ],
        &expected(raised, raised, "1", "2"),
    );
    check(
        &host,
        &["--security-opt", "seccomp=unconfined"],
        &expected(default, default, "0", "0"),
    );
    let all = all_capabilities();
    check(&host, &["--privileged"], &expected(&all, &all, "0", "0"));
    check(
        &host,
        &["--cap-add", "ALL"],
        &expected(&all, &all, "0", "2"),
    );
    host.finish();
}

/// What the test itself may do, which a container can have at most.
fn all_capabilities() -> String {
    privileges(&fs::read_to_string("/proc/self/status").expect("procfs is mounted")).bounding
}

#[test]
fn a_user_of_exec_has_no_capabilities_and_a_privileged_exec_is_refused_or_real() {
    let host = Installation::new();
    host.ok(&["run", "-d", "--name", "box", "busybox:1", "sleep", "1000"]);
    let web = [&["exec", "-u", "web", "box"], STATUS].concat();
    assert_eq!(
        privileges(&host.ok(&web)),
        expected(NO_CAPABILITIES, DEFAULT_CAPABILITIES, "0", "2")
    );
    let raised = host.engine(&[&["exec", "--privileged", "box"], STATUS].concat());
    match raised.code {
        0 => assert_eq!(privileges(&raised.stdout).effective, all_capabilities()),
        _ => assert!(raised.stderr.contains("not supported"), "{raised:?}"),
    }
    host.finish();
}

#[test]
fn a_profile_from_a_file_replaces_the_default_one() {
    let host = Installation::new();
    let file = host.scratch().join("profile.json");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 123},
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
         "args": [{"index": 0, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]}
    ]}"#;
    base::file::replace(&file, profile.as_bytes(), FileMode::Private).expect("written");
    let option = format!("seccomp={}", file.display());
    let mount = probe_mount();
    let options = ["--rm", "-v", &mount, "--security-opt", &option, "busybox:1"];
    // mkdir, mkdirat, keyctl; personality with 16, 17, 32 of the masked bits.
    let calls = ["/probe", "83", "258", "250", "135:16", "135:17", "135:0x20"];
    let said = host.ok(&[&["run"], &options[..], &calls].concat());
    assert_eq!(answers(&said), ["123", "123", "22", "7", "7", "ok"]);
    base::file::replace(
        &file,
        b"{\"defaultAction\": \"SCMP_ACT_NONSENSE\"}",
        FileMode::Private,
    )
    .expect("written");
    let broken = [&["run"], &options[..], &["true"]].concat();
    host.fails(125, "SCMP_ACT_NONSENSE", &broken);
    let missing = ["run", "--security-opt", "seccomp=/no/such", "busybox:1"];
    host.fails(125, "/no/such", &missing);
    host.finish();
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let host = Installation::new();
    let cases = [
        ("--security-opt", "foo=bar", "foo=bar"),
        ("--security-opt", "nonsense", "nonsense"),
        ("--security-opt", "no-new-privileges=maybe", "maybe"),
        ("--security-opt", "apparmor=", "apparmor="),
        ("--security-opt", "label=level:s0", "label=level:s0"),
        (
            "--cap-add",
            "NONSENSE",
            "unknown capability: \"CAP_NONSENSE\"",
        ),
        (
            "--cap-drop",
            "NONSENSE",
            "unknown capability: \"CAP_NONSENSE\"",
        ),
        ("--device", "/etc/passwd", "not a device node"),
        ("--device", "/dev/null:/x:q", "q"),
        ("--device-cgroup-rule", "x 1:3 rwm", "x 1:3 rwm"),
    ];
    for (option, value, text) in cases {
        host.fails(
            125,
            text,
            &["run", "--rm", option, value, "busybox:1", "true"],
        );
    }
    // As Docker's client has it of whatever is not there.
    host.fails(
        127,
        "custom device \"/dev/no-such\": no such file or directory",
        &[
            "run",
            "--rm",
            "--device",
            "/dev/no-such",
            "busybox:1",
            "true",
        ],
    );
    host.finish();
}

#[test]
fn kernel_files_are_hidden_or_read_only() {
    let host = Installation::new();
    // Each line is printed by a way out that must be closed.
    let script = r"
        for f in /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats /proc/sched_debug; do
            if [ -e $f ]; then head -c 1 $f; fi; done
        for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware; do
            if [ -e $d ]; then ls -A $d; touch $d/x 2>/dev/null && echo $d; fi; done
        for f in /proc/sys/kernel/panic /proc/sys/vm/drop_caches /proc/sysrq-trigger \
            /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run /sys/fs/cgroup/pids/pids.max \
            /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids.max; do
            if [ -e $f ]; then (echo 1 >$f) 2>/dev/null && echo $f; fi; done
        for d in /proc/bus /proc/fs /proc/sys/net /sys/fs/cgroup/pids /sys/fs/cgroup/devices; do
            mkdir $d/x 2>/dev/null && echo $d; done
        mount -o remount,rw /sys 2>/dev/null && echo /sys
        grep ' /sys[/ ].* rw' /proc/mounts | grep -v cgroup
        exit 0";
    assert_eq!(
        host.ok(&["run", "--rm", "busybox:1", "sh", "-c", script]),
        ""
    );
    host.ok(&["run", "-d", "--name", "box", "busybox:1", "sleep", "1000"]);
    assert_eq!(host.ok(&["exec", "box", "sh", "-c", script]), "");
    let open = "echo 0 >/proc/sys/net/ipv4/ip_forward && mount -t tmpfs x /tmp && echo open";
    let privileged = ["run", "--rm", "--privileged", "busybox:1", "sh", "-c", open];
    assert_eq!(host.ok(&privileged), "open\n");
    host.finish();
}

#[test]
fn devices_are_those_that_were_given() {
    let host = Installation::new();
    let script = "mknod /tmp/d b 7 0 && head -c1 /tmp/d; mknod /tmp/k c 1 11 && true >/tmp/k;
        head -c3 /dev/zero | wc -c; exit 0";
    let said = host.engine(&["run", "--rm", "busybox:1", "sh", "-c", script]);
    let refused = said.stderr.matches("Operation not permitted").count();
    assert_eq!((refused, said.stdout.as_str()), (2, "3\n"), "{said:?}");
    host.ok(&["run", "-d", "--name", "box", "busybox:1", "sleep", "1000"]);
    let entered = host.engine(&["exec", "box", "sh", "-c", script]);
    assert_eq!((entered.stderr, entered.stdout), (said.stderr, said.stdout));
    // The kernel's log may be written, with nothing, but not read.
    let given = "true >/dev/given && echo written; true </dev/given";
    let device = "/dev/kmsg:/dev/given:w";
    let options = ["run", "--rm", "--device", device, "busybox:1"];
    let said = host.engine(&[&options, &["sh", "-c", given][..]].concat());
    assert_eq!(said.stdout, "written\n", "{said:?}");
    assert!(said.stderr.contains("Operation not permitted"), "{said:?}");
    let rule = "mknod /tmp/k c 1 11 && true >/tmp/k && echo written";
    let options = ["run", "--rm", "--device-cgroup-rule", "c 1:11 wm"];
    let said = host.engine(&[&options, &["busybox:1", "sh", "-c", rule][..]].concat());
    assert_eq!(said.stdout, "written\n", "{said:?}");
    let all = "ls -l /dev/kmsg /dev/loop-control | wc -l; mknod /tmp/k c 1 11 && true >/tmp/k";
    let privileged = ["run", "--rm", "--privileged", "busybox:1", "sh", "-c", all];
    assert_eq!(host.ok(&privileged), "2\n");
    host.finish();
}

#[test]
fn namespaces_are_the_containers_own_unless_shared() {
    let host = Installation::new();
    let script = "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done";
    let spaces = |options: &[&str]| {
        let run = [
            &["run", "--rm"],
            options,
            &["busybox:1", "sh", "-c", script],
        ]
        .concat();
        let said = host.ok(&run);
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let ours: Vec<String> = ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
        .iter()
        .map(|name| fs::read_link(format!("/proc/self/ns/{name}")).expect("procfs is mounted"))
        .map(|link| link.display().to_string())
        .collect();
    let own = spaces(&[]);
    assert_eq!(own.len(), ours.len(), "{own:?}");
    assert!(own.iter().all(|space| !ours.contains(space)), "{own:?}");
    let shared = spaces(&["--uts", "host", "--pid", "host"]);
    for (index, name) in ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
        .iter()
        .enumerate()
    {
        let is_shared = matches!(*name, "uts" | "pid");
        assert_eq!(shared[index] == ours[index], is_shared, "{name}");
    }
    if Path::new("/dev/mqueue").is_dir() {
        assert_eq!(spaces(&["--ipc", "host"])[1], ours[1]);
    } else {
        let shared = ["run", "--rm", "--ipc", "host", "busybox:1", "true"];
        host.fails(125, "/dev/mqueue is not mounted", &shared);
    }
    let path = host.ok(&["run", "--rm", "busybox:1", "cat", "/proc/self/cgroup"]);
    assert!(path.lines().all(|line| line.ends_with(":/")), "{path}");
    host.finish();
}
