//! The whole way from options to a profile, on an imagined host.

use super::*;

use std::fmt::Write as _;

use engine_model::container::DeviceConfig;
use oci_spec::runtime::Arch;
use seccomp::{KernelVersion, Verdict, verdict};

fn host() -> HostFacts {
    HostFacts {
        capabilities: capability::from_mask((1 << 41) - 1),
        kernel: KernelVersion { major: 6, minor: 1 },
        apparmor: AppArmor::Absent,
        thermal_paths: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn with_options(options: &[&str]) -> SecurityConfig {
    SecurityConfig {
        options: owned(options),
        ..SecurityConfig::default()
    }
}

fn with_capabilities(add: &[&str]) -> SecurityConfig {
    SecurityConfig {
        capabilities_add: owned(add),
        ..SecurityConfig::default()
    }
}

fn planned(config: &SecurityConfig) -> SecurityProfile {
    plan(&host(), config, &[]).unwrap()
}

fn refusal(host: &HostFacts, config: &SecurityConfig) -> String {
    base::failure::chain(&plan(host, config, &[]).unwrap_err())
}

/// One line of `tests/syscalls.txt`.
struct Case<'a> {
    name: &'a str,
    arguments: [u64; 6],
    add: Vec<&'a str>,
    expected: Verdict,
}

fn cases() -> Vec<Case<'static>> {
    let text = include_str!("../tests/syscalls.txt");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(case).collect()
}

fn case(line: &'static str) -> Case<'static> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, arguments, add, expected] = words[..] else {
        panic!("{line}");
    };
    let mut numbers = [0; 6];
    for (number, text) in numbers.iter_mut().zip(arguments.split(',')) {
        *number = match (text, text.strip_prefix("0x")) {
            ("-", _) => 0,
            (_, Some(hex)) => u64::from_str_radix(hex, 16).unwrap(),
            (decimal, None) => decimal.parse().unwrap(),
        };
    }
    Case {
        name,
        arguments: numbers,
        add: add.split(',').filter(|add| *add != "-").collect(),
        expected: match expected {
            "allow" => Verdict::Allow,
            "EPERM" => Verdict::Errno(1),
            "ENOSYS" => Verdict::Errno(38),
            other => panic!("{other}"),
        },
    }
}

#[test]
fn the_default_profile_says_about_each_call_what_dockerd_s_says() {
    let cases = cases();
    for case in &cases {
        let profile = planned(&with_capabilities(&case.add)).seccomp.unwrap();
        let found = verdict(&profile, case.name, &case.arguments);
        let (name, arguments, add) = (case.name, case.arguments, &case.add);
        assert_eq!(found, case.expected, "{name} {arguments:?} +{add:?}");
    }
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 60, "only {} calls", names.len());
}

#[test]
fn without_sys_chroot_there_is_no_chroot() {
    let config = SecurityConfig {
        capabilities_drop: owned(&["SYS_CHROOT"]),
        ..SecurityConfig::default()
    };
    let profile = planned(&config).seccomp.unwrap();
    assert_eq!(verdict(&profile, "chroot", &[0; 6]), Verdict::Errno(1));
}

#[test]
fn an_old_kernel_gets_no_ptrace() {
    let old = HostFacts {
        kernel: KernelVersion { major: 4, minor: 7 },
        ..host()
    };
    let profile = plan(&old, &SecurityConfig::default(), &[]).unwrap();
    let found = verdict(&profile.seccomp.unwrap(), "ptrace", &[0; 6]);
    assert_eq!(found, Verdict::Errno(1));
}

/// Renders the shape of a profile: its rules with how many calls they name.
fn shape(profile: &LinuxSeccomp) -> String {
    let mut text = format!("default {:?}\n", profile.default_action());
    let mut allowed = std::collections::BTreeSet::new();
    for rule in profile.syscalls().iter().flatten() {
        let names = rule.names();
        let shown = match names.len() {
            1..=7 => names.join(" "),
            count => format!("{count} calls from {} to {}", names[0], names[count - 1]),
        };
        write!(text, "{:?}", rule.action()).unwrap();
        if let Some(errno) = rule.errno_ret() {
            write!(text, " {errno}").unwrap();
        }
        for argument in rule.args().iter().flatten() {
            let (index, value) = (argument.index(), argument.value());
            write!(text, " if argument {index} {:?} {value:#x}", argument.op()).unwrap();
        }
        writeln!(text, ": {shown}").unwrap();
        if verdict(profile, &names[0], &[0; 6]) == Verdict::Allow {
            allowed.extend(names);
        }
    }
    write!(text, "{} calls allowed in some form", allowed.len()).unwrap();
    text
}

#[test]
fn the_default_profile_keeps_its_shape() {
    insta::assert_snapshot!(
        "default",
        shape(&planned(&SecurityConfig::default()).seccomp.unwrap())
    );
    let administrator = with_capabilities(&["SYS_ADMIN"]);
    insta::assert_snapshot!(
        "sys_admin",
        shape(&planned(&administrator).seccomp.unwrap())
    );
}

#[test]
fn the_default_profile_covers_the_32_bit_ways_in() {
    let profile = planned(&SecurityConfig::default()).seccomp.unwrap();
    let expected = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
    assert_eq!(profile.architectures().as_deref(), Some(&expected[..]));
    let json = serde_json::to_value(&profile).unwrap();
    assert_eq!(json["architectures"][0], "SCMP_ARCH_X86_64");
    assert_eq!(json["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(json["defaultErrnoRet"], 1);
}

#[test]
fn the_defaults_are_docker_s() {
    let profile = planned(&SecurityConfig::default());
    assert_eq!(profile.capabilities, capability::DEFAULT);
    assert!(!profile.no_new_privileges && !profile.writable_kernel_files);
    assert!(profile.devices.is_empty());
    for hidden in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/interrupts",
        "/sys/firmware",
    ] {
        assert!(
            profile.masked_paths.iter().any(|path| path == hidden),
            "{hidden}"
        );
    }
    assert!(profile.masked_paths.contains(&host().thermal_paths[0]));
    assert_eq!(profile.readonly_paths.len(), 5);
}

#[test]
fn a_privileged_container_is_confined_by_nothing_it_did_not_ask_for() {
    let config = SecurityConfig {
        privileged: true,
        capabilities_drop: owned(&["ALL"]),
        device_rules: owned(&["c 1:3 r"]),
        ..SecurityConfig::default()
    };
    let profile = planned(&config);
    assert_eq!(profile.capabilities.len(), 41);
    assert!(profile.seccomp.is_none() && profile.writable_kernel_files);
    assert!(profile.masked_paths.is_empty() && profile.readonly_paths.is_empty());
    assert_eq!(profile.device_rules.len(), 1);
    assert!(profile.device_rules[0].allow());
    let builtin = SecurityConfig {
        options: owned(&["seccomp=builtin"]),
        ..config
    };
    assert!(planned(&builtin).seccomp.is_some());
}

#[test]
fn options_take_effect() {
    assert!(
        planned(&with_options(&["seccomp=unconfined"]))
            .seccomp
            .is_none()
    );
    assert!(planned(&with_options(&["no-new-privileges"])).no_new_privileges);
    let open = planned(&with_options(&["systempaths=unconfined"]));
    assert!(open.masked_paths.is_empty() && open.readonly_paths.is_empty());
    assert!(open.seccomp.is_some());
}

#[test]
fn apparmor_is_used_where_it_is() {
    let on = |apparmor, options: &[&str]| {
        let host = HostFacts { apparmor, ..host() };
        plan(&host, &with_options(options), &[])
            .unwrap()
            .apparmor_profile
    };
    let default = Some(APPARMOR_DEFAULT.to_owned());
    assert_eq!(on(AppArmor::Absent, &[]), None);
    assert_eq!(on(AppArmor::Absent, &["apparmor=unconfined"]), None);
    assert_eq!(on(AppArmor::Absent, &["apparmor=docker-default"]), None);
    assert_eq!(on(AppArmor::WithoutDefault, &[]), None);
    assert_eq!(on(AppArmor::WithDefault, &[]), default);
    let named = on(AppArmor::WithoutDefault, &["apparmor=mine"]);
    assert_eq!(named.as_deref(), Some("mine"));
    let text = refusal(&host(), &with_options(&["apparmor=mine"]));
    assert!(text.contains("\"mine\""), "{text}");
}

#[test]
fn a_profile_in_docker_s_format_is_resolved() {
    let json = r#"{
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "archMap": [
            {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}
        ],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [],
             "comment": "", "includes": {}, "excludes": {}},
            {"name": "mount", "action": "SCMP_ACT_ALLOW", "args": null,
             "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
            {"names": ["s390_call"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.1"}},
            {"names": ["newer"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.10"}},
            {"names": ["dup"], "action": "SCMP_ACT_LOG",
             "args": [{"index": 0, "value": 4, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}]}
        ]
    }"#;
    let option = format!("seccomp={json}");
    let profile = planned(&with_options(&[&option])).seccomp.unwrap();
    let says = |name, first| verdict(&profile, name, &[first, 0, 0, 0, 0, 0]);
    assert_eq!(says("read", 0), Verdict::Allow);
    assert_eq!(says("new", 0), Verdict::Allow);
    for refused in ["mount", "kill", "s390_call", "newer", "open"] {
        assert_eq!(says(refused, 0), Verdict::Errno(38), "{refused}");
    }
    assert!(matches!(says("dup", 7), Verdict::Other(_)));
    assert_eq!(says("dup", 3), Verdict::Errno(38));
    let expected = [Arch::ScmpArchX86_64, Arch::ScmpArchX86];
    assert_eq!(profile.architectures().as_deref(), Some(&expected[..]));
    assert!(planned(&with_options(&["seccomp={}"])).seccomp.is_none());
}

#[test]
fn bad_profiles_are_refused_with_the_reason() {
    let cases = [
        ("", "decoding seccomp profile failed"),
        ("profile.json", "decoding seccomp profile failed"),
        ("[]", "decoding seccomp profile failed"),
        (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "SCMP_ACT_MAYBE"),
        (
            r#"{"syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW"}]}"#,
            "no default action",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#,
            "'name' or 'names'",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}"#,
            "names no system call",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_KILL","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
            "'architectures' or 'archMap'",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_X"]}}]}"#,
            "CAP_X",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_KILL","syscalls":[{"names":["a"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "not supported",
        ),
    ];
    for (json, expected) in cases {
        let text = refusal(&host(), &with_options(&[&format!("seccomp={json}")]));
        assert!(text.contains(expected), "{json}: {text}");
    }
    let large = format!("seccomp={}", " ".repeat(seccomp::PROFILE_LIMIT_BYTES + 1));
    assert!(refusal(&host(), &with_options(&[&large])).contains("larger than"));
}

#[test]
fn devices_bring_a_node_and_a_rule() {
    let config = SecurityConfig {
        devices: vec![DeviceConfig {
            host_path: "/dev/null".to_owned(),
            container_path: "/dev/nothing".to_owned(),
            permissions: "r".to_owned(),
        }],
        device_rules: owned(&["c 10:* rw"]),
        ..SecurityConfig::default()
    };
    let profile = profile_on(&host(), &config).unwrap();
    let [node] = &profile.devices[..] else {
        panic!("{:?}", profile.devices);
    };
    assert_eq!(node.path().to_str(), Some("/dev/nothing"));
    assert_eq!((node.major(), node.minor()), (1, 3));
    let rules: Vec<String> = profile
        .device_rules
        .iter()
        .rev()
        .map(ToString::to_string)
        .collect();
    assert_eq!(profile.device_rules.len(), 10);
    assert_eq!(rules[1], "c 1:3 r");
}

#[test]
fn a_directory_of_devices_brings_all_in_it_and_other_files_are_refused() {
    let device = |host_path: &str, permissions: &str| SecurityConfig {
        devices: vec![DeviceConfig {
            host_path: host_path.to_owned(),
            container_path: String::new(),
            permissions: permissions.to_owned(),
        }],
        ..SecurityConfig::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let text = |config| base::failure::chain(&profile_on(&host(), &config).unwrap_err());
    assert!(text(device(path, "rwm")).contains("not a device node"));
    assert!(text(device(&format!("{path}/missing"), "")).contains("no such file or directory"));
    assert!(text(device("/dev/null", "rx")).contains("invalid device permissions"));
    let all = profile_on(&host(), &device("/dev", "")).unwrap();
    let has = |name: &str| all.devices.iter().any(|d| d.path().to_str() == Some(name));
    assert!(has("/dev/null") && has("/dev/zero") && !has("/dev/ptmx/x"));
    assert!(
        all.devices
            .iter()
            .all(|d| !d.path().starts_with("/dev/pts"))
    );
}

#[test]
fn the_facts_of_this_host_make_a_profile() {
    let facts = HostFacts::gather().unwrap();
    assert!(facts.kernel.major >= 4, "{facts:?}");
    assert!(
        !facts.capabilities.is_empty(),
        "needs root, as the engine does"
    );
    let profile = profile(&SecurityConfig::default()).unwrap();
    assert!(
        profile
            .capabilities
            .iter()
            .all(|one| facts.capabilities.contains(one))
    );
}
