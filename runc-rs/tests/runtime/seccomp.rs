//! Seccomp filters: what the kernel does with a call, where programs are kept,
//! and who answers for the kernel.

use std::fs;
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base::Digest;
use base::file::{FileMode, replace};
use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

use crate::bundle::{Bundle, SECCOMP_CACHE, wait_until};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EREMOTE: i32 = 66;
/// The bit in the number of an x32 call.
const X32_BIT: u32 = 0x4000_0000;

/// Everything that busybox needs, all but a few calls.
fn allowing() -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]})
}

/// The profile of the unit tests, whose largest call is
/// `landlock_restrict_self`, 446, and what init's `sleep` needs besides.
fn refusing() -> Value {
    let mut profile: Value =
        serde_json::from_str(include_str!("../../src/seccomp/profile.json")).unwrap();
    let rules = profile["syscalls"].as_array_mut().unwrap();
    rules.push(json!({"names": ["clock_nanosleep"], "action": "SCMP_ACT_ALLOW"}));
    profile
}

/// How a program enters the kernel.
#[derive(Clone, Copy)]
enum Gate {
    Syscall,
    /// As a 32-bit program, from a 64-bit one.
    Interrupt80,
}

/// Returns an executable that makes one call without arguments and exits with
/// its errno, and nothing else: a shell makes no call it does not know.
fn caller(gate: Gate, number: u32) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes()); // mov eax, number
    code.extend(match gate {
        Gate::Syscall => [0x0f, 0x05],
        Gate::Interrupt80 => [0xcd, 0x80],
    });
    code.extend([0xf7, 0xd8, 0x89, 0xc7]); // neg eax; mov edi, eax
    code.extend([0xb8, 231, 0, 0, 0, 0x0f, 0x05]); // exit_group(edi)
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // an x86-64 executable, version 1
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes()); // entry, program headers, no sections
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]); // load, readable and executable
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

fn add_program(bundle: &Bundle, name: &str, content: &[u8]) {
    let path = bundle.rootfs().join("bin").join(name);
    replace(&path, content, FileMode::Private).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns the errno of one call in an exec.
fn errno_of(bundle: &Bundle, gate: Gate, number: u32) -> i32 {
    let name = format!("call-{number}");
    add_program(bundle, &name, &caller(gate, number));
    let output = bundle.runc(&["exec", "c", &format!("/bin/{name}")]);
    assert_eq!(output.err, "");
    output.code
}

#[test]
fn a_refused_call_gives_exec_the_errno_it_gives_init() {
    let mut bundle = Bundle::with_script("mkdir /tmp/x 2>/tmp/said; exec sleep 1000");
    bundle.config["linux"]["seccomp"] = allowing();
    bundle.start("c");
    let said = bundle.rootfs().join("tmp/said");
    wait_until("init has tried", || {
        fs::read_to_string(&said).is_ok_and(|text| text.ends_with('\n'))
    });
    let exec = bundle.exec("c", "mkdir /tmp/x 2>&1 || true");
    assert_eq!(exec, fs::read_to_string(said).unwrap());
    assert!(exec.contains("not supported"), "{exec}");
    let filters = "grep Seccomp_filters /proc/self/status /proc/1/status";
    let filters = bundle.exec("c", filters);
    assert_eq!(filters.matches("\t1\n").count(), 2, "{filters}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_call_of_the_future_fails_with_enosys() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["seccomp"] = refusing();
    bundle.config["process"]["noNewPrivileges"] = json!(true);
    bundle.start("c");
    let cases = [
        (Gate::Syscall, 39, None),          // getpid
        (Gate::Syscall, 165, Some(EPERM)),  // mount
        (Gate::Syscall, 447, Some(ENOSYS)), // the first that is newer
        (Gate::Syscall, 9999, Some(ENOSYS)),
        (Gate::Interrupt80, 21, Some(EPERM)), // mount
        (Gate::Interrupt80, 447, Some(ENOSYS)),
        (Gate::Syscall, X32_BIT | 165, Some(EPERM)),
        (Gate::Syscall, X32_BIT | 9999, Some(ENOSYS)),
    ];
    for (gate, number, expected) in cases {
        let errno = errno_of(&bundle, gate, number);
        match expected {
            Some(expected) => assert_eq!(errno, expected, "{number:#x}"),
            // A pid, negated, and cut to eight bits.
            None => assert!(![EPERM, ENOSYS].contains(&errno), "{number:#x}: {errno}"),
        }
    }
}

/// The specification's `value` is the mask and `valueTwo` what is compared.
#[test]
fn a_masked_comparison_means_the_same_in_init_and_exec() {
    let script = "touch /tmp/f; chmod 4755 /tmp/f 2>&1; chmod 6755 /tmp/f && echo done";
    let mut bundle = Bundle::with_script(&format!("{{ {script}; }} >/tmp/said; exec sleep 1000"));
    let rule = |name: &str, index: u32| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [
            {"index": index, "value": 0o7000, "valueTwo": 0o4000, "op": "SCMP_CMP_MASKED_EQ"}]})
    };
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule("chmod", 1), rule("fchmodat", 2)],
    });
    bundle.start("c");
    let said = bundle.rootfs().join("tmp/said");
    wait_until("init has tried", || {
        fs::read_to_string(&said).is_ok_and(|text| text.ends_with("done\n"))
    });
    let exec = bundle.exec("c", script);
    assert!(exec.contains("not supported"), "{exec}");
    assert_eq!(exec, fs::read_to_string(said).unwrap());
}

/// Returns the programs that are kept for a bundle's state root.
fn kept(bundle: &Bundle) -> Vec<PathBuf> {
    let directory = bundle.root().join(SECCOMP_CACHE);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn only_kept(bundle: &Bundle) -> PathBuf {
    let kept = kept(bundle);
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0].clone()
}

fn is_confined(bundle: &Bundle) -> bool {
    let said = bundle.exec("c", "rmdir /tmp/x 2>/dev/null; mkdir /tmp/x 2>&1 || true");
    !said.is_empty()
}

#[test]
fn a_program_is_made_once_and_kept_for_its_owner() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["seccomp"] = allowing();
    bundle.start("c");
    assert!(is_confined(&bundle));
    let file = only_kept(&bundle);
    let before = fs::metadata(&file).unwrap();
    assert_eq!(before.mode() & 0o7777, 0o600);
    assert!(is_confined(&bundle));
    assert_eq!(
        fs::metadata(only_kept(&bundle)).unwrap().ino(),
        before.ino()
    );
    assert_eq!(bundle.runc(&["list", "-q"]).ok(), "c\n");
    let name = format!("{SECCOMP_CACHE}/../c");
    for id in [SECCOMP_CACHE, &name] {
        bundle
            .runc(&["delete", "--force", id])
            .fails(1, "invalid container id");
    }
}

/// The format is in docs/formats/seccomp-cache.md.
#[test]
fn what_is_kept_is_what_is_loaded() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["seccomp"] = allowing();
    bundle.start("c");
    assert!(is_confined(&bundle));
    let file = only_kept(&bundle);
    let mut program = 0x06_u16.to_ne_bytes().to_vec();
    program.extend([0, 0]);
    program.extend(0x7fff_0000_u32.to_ne_bytes()); // allow
    let key = file.file_name().unwrap().to_str().unwrap();
    let digest = Digest::of(&[key.as_bytes(), &program].concat()).hex();
    let length = (program.len() as u32).to_le_bytes();
    let content = [b"RCRSBPF1", &length[..], digest.as_bytes(), &program].concat();
    replace(&file, &content, FileMode::Private).unwrap();
    assert!(!is_confined(&bundle));
    // Anybody could have written this one.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(is_confined(&bundle));
}

#[test]
fn a_damaged_program_is_made_anew() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["seccomp"] = allowing();
    bundle.start("c");
    assert!(is_confined(&bundle));
    let file = only_kept(&bundle);
    let sound = fs::read(&file).unwrap();
    for damaged in [
        b"".to_vec(),
        b"nonsense".to_vec(),
        sound[..sound.len() - 1].to_vec(),
    ] {
        replace(&file, &damaged, FileMode::Private).unwrap();
        assert!(is_confined(&bundle));
        assert_eq!(fs::read(&file).unwrap(), sound);
    }
}

#[test]
fn a_filter_without_meaning_is_refused_at_creation() {
    let mut bundle = Bundle::idle();
    let with = |change: Value| {
        let mut filter = allowing();
        for (key, value) in change.as_object().unwrap() {
            filter[key] = value.clone();
        }
        filter
    };
    let rule = |name: &str| json!([{"names": [name], "action": "SCMP_ACT_NOTIFY"}]);
    let cases = [
        (
            with(json!({"flags": ["SECCOMP_FILTER_FLAG_MAYBE"]})),
            "SECCOMP_FILTER_FLAG_MAYBE",
        ),
        (
            with(json!({"defaultAction": "SCMP_ACT_NOTIFY"})),
            "default action",
        ),
        (
            with(json!({"syscalls": rule("write"), "listenerPath": "/a"})),
            "write",
        ),
        (with(json!({"syscalls": rule("mkdir")})), "listenerPath"),
        (with(json!({"defaultErrnoRet": 1})), "cannot have an errno"),
    ];
    for (filter, message) in cases {
        bundle.config["linux"]["seccomp"] = filter;
        bundle.runc(&["run", "c"]).fails(1, message);
        bundle.assert_clean();
    }
}

/// An agent that answers every call with EREMOTE and keeps what it was told.
struct Agent {
    path: PathBuf,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Agent {
    fn listen(bundle: &Bundle) -> Self {
        let path = bundle.path().join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, descriptor) = hear(stream.unwrap());
                kept.lock().unwrap().push(state);
                std::thread::spawn(move || answer(descriptor));
            }
        });
        Self { path, told }
    }

    fn told(&self) -> Vec<Value> {
        self.told.lock().unwrap().clone()
    }
}

fn hear(mut stream: UnixStream) -> (Value, OwnedFd) {
    let mut text = vec![0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut first = [IoSliceMut::new(&mut text)];
    rustix::net::recvmsg(&stream, &mut first, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let descriptor = descriptors.next().unwrap();
    stream.read_to_end(&mut text).unwrap();
    (serde_json::from_slice(&text).unwrap(), descriptor)
}

fn answer(descriptor: OwnedFd) {
    let descriptor = descriptor.as_raw_fd();
    while let Ok(request) = ScmpNotifReq::receive(descriptor) {
        let flags = ScmpNotifRespFlags::empty();
        // Who asked may be gone.
        ScmpNotifResp::new_error(request.id, -EREMOTE, flags)
            .respond(descriptor)
            .ok();
    }
}

fn notifying(agent: &Agent) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.path, "listenerMetadata": "told",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    })
}

#[test]
fn the_agent_answers_calls_of_an_exec() {
    let mut bundle = Bundle::idle();
    let agent = Agent::listen(&bundle);
    bundle.config["linux"]["seccomp"] = notifying(&agent);
    bundle.config["annotations"] = json!({"a": "b"});
    for no_new_privileges in [false, true] {
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.start("c");
        // Init's own is told behind the back of `run`.
        let before = if no_new_privileges { 3 } else { 1 };
        wait_until("init's is told", || agent.told().len() == before);
        let said = bundle.exec("c", "mkdir /tmp/x 2>&1 || true");
        assert!(said.contains("remote"), "{said}");
        wait_until("another is told", || agent.told().len() == before + 1);
        let told = agent.told();
        let told = told.last().unwrap();
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert_eq!(told["metadata"], "told");
        assert_ne!(told["pid"], told["state"]["pid"]);
        let mut state = bundle.state("c");
        for key in ["rootfs", "created", "owner"] {
            state.as_object_mut().unwrap().remove(key);
        }
        assert_eq!(told["state"], state);
        bundle.runc(&["delete", "--force", "c"]).ok();
    }
}

/// The process is undumpable, and root only in its own user namespace.
#[test]
fn the_listener_is_taken_out_of_another_user_namespace() {
    let mut bundle = Bundle::idle();
    let agent = Agent::listen(&bundle);
    bundle.config["linux"]["seccomp"] = notifying(&agent);
    bundle.use_user_namespace();
    bundle.start("c");
    let said = bundle.exec("c", "mkdir /tmp/x 2>&1 || true");
    assert!(said.contains("remote"), "{said}");
    let told = agent.told();
    let pid = told.last().unwrap()["state"]["pid"].as_i64();
    assert_eq!(pid, Some(bundle.pid("c").into()));
}

#[test]
fn an_exec_whose_agent_is_gone_fails_and_is_gone_too() {
    let mut bundle = Bundle::idle();
    let agent = Agent::listen(&bundle);
    bundle.config["linux"]["seccomp"] = notifying(&agent);
    bundle.start("c");
    let processes = || bundle.runc(&["ps", "-f", "json", "c"]).ok();
    let before = processes();
    fs::remove_file(&agent.path).unwrap();
    let message = "failed to connect with seccomp agent";
    bundle.runc(&["exec", "c", "true"]).fails(255, message);
    assert_eq!(processes(), before);
}
