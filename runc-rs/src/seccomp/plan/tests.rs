//! Planning a filter: what each word means, and what has no meaning.

use serde_json::{Value, json};

use super::*;

fn planned(section: Value) -> Result<FilterPlan, SeccompError> {
    plan(&serde_json::from_value(section).unwrap())
}

/// Plans a section with one rule, given by its JSON.
fn with_rule(rule: Value) -> Result<FilterPlan, SeccompError> {
    planned(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule],
                   "listenerPath": "/run/agent", "listenerMetadata": "m"}),
    )
}

fn conditions(arguments: Value) -> Vec<Vec<Condition>> {
    let rule = json!({"names": ["a"], "action": "SCMP_ACT_LOG", "args": arguments});
    let plan = with_rule(rule).unwrap();
    let rules = plan.program.rules.into_iter();
    rules.map(|rule| rule.conditions).collect()
}

#[test]
fn every_action_has_its_meaning_and_eperm_is_the_default() {
    let cases = [
        ("KILL", None, Action::KillThread),
        ("KILL_THREAD", None, Action::KillThread),
        ("KILL_PROCESS", None, Action::KillProcess),
        ("TRAP", None, Action::Trap),
        ("ERRNO", None, Action::Errno(1)),
        ("ERRNO", Some(0), Action::Errno(0)),
        ("ERRNO", Some(4095), Action::Errno(4095)),
        ("TRACE", None, Action::Trace(1)),
        ("TRACE", Some(65535), Action::Trace(65535)),
        ("NOTIFY", None, Action::Notify),
        ("LOG", None, Action::Log),
        ("ALLOW", None, Action::Allow),
    ];
    for (name, errno, expected) in cases {
        let name = format!("SCMP_ACT_{name}");
        let rule = json!({"names": ["a"], "action": name, "errnoRet": errno});
        let plan = with_rule(rule).unwrap();
        assert_eq!(plan.program.rules[0].action, expected, "{name}");
        if expected != Action::Notify {
            let plan = planned(json!({"defaultAction": name, "defaultErrnoRet": errno}));
            assert_eq!(plan.unwrap().program.default, expected, "{name}");
        }
    }
}

#[test]
fn what_has_no_meaning_is_refused() {
    let rule = |rule| with_rule(rule).unwrap_err().to_string();
    let section = |section| planned(section).unwrap_err().to_string();
    let notify = json!([{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}]);
    let cases = [
        (
            section(json!({"defaultAction": "SCMP_ACT_NOTIFY"})),
            "default action",
        ),
        (
            rule(json!({"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"})),
            "write",
        ),
        (
            rule(json!({"names": [""], "action": "SCMP_ACT_ALLOW"})),
            "empty",
        ),
        (
            rule(json!({"names": ["a"], "action": "SCMP_ACT_KILL", "errnoRet": 1})),
            "KILL",
        ),
        (
            rule(json!({"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
            "4096",
        ),
        (
            rule(json!({"names": ["a"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536})),
            "65536",
        ),
        (
            rule(json!({"names": ["a"], "action": "SCMP_ACT_LOG",
                     "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]})),
            "6",
        ),
        (
            section(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": notify})),
            "listenerPath",
        ),
        (
            section(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "m"})),
            "listenerMetadata",
        ),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "{message} lacks {part}");
    }
}

#[test]
fn unknown_words_are_refused_by_name() {
    let cases = [
        json!({"defaultAction": "SCMP_ACT_MAYBE"}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_MAYBE"]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MAYBE"]}),
    ];
    for section in cases {
        let error = serde_json::from_value::<LinuxSeccomp>(section).unwrap_err();
        assert!(error.to_string().contains("MAYBE"), "{error}");
    }
}

#[test]
fn of_a_masked_comparison_value_is_the_mask() {
    let argument = |op: &str| json!([{"index": 2, "value": 5, "valueTwo": 4, "op": op}]);
    let cases = [
        ("SCMP_CMP_NE", Comparison::NotEqual(5)),
        ("SCMP_CMP_LT", Comparison::Less(5)),
        ("SCMP_CMP_LE", Comparison::LessOrEqual(5)),
        ("SCMP_CMP_EQ", Comparison::Equal(5)),
        ("SCMP_CMP_GE", Comparison::GreaterOrEqual(5)),
        ("SCMP_CMP_GT", Comparison::Greater(5)),
        (
            "SCMP_CMP_MASKED_EQ",
            Comparison::MaskedEqual { mask: 5, value: 4 },
        ),
    ];
    for (op, comparison) in cases {
        let expected = vec![Condition {
            argument: 2,
            comparison,
        }];
        assert_eq!(conditions(argument(op)), [expected], "{op}");
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_are_not() {
    let on = |indices: &[u32]| {
        let one = |index| json!({"index": index, "value": 1, "op": "SCMP_CMP_EQ"});
        let rules = conditions(indices.iter().map(one).collect());
        rules.iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(on(&[]), [0]);
    assert_eq!(on(&[0, 1, 5]), [3]);
    assert_eq!(on(&[0, 0]), [1, 1]);
    assert_eq!(on(&[0, 1, 0]), [1, 1, 1]);
}

#[test]
fn flags_become_the_kernels() {
    let flags = |flags: Value, action: &str| {
        let rule = json!([{"names": ["a"], "action": action}]);
        let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags,
                             "syscalls": rule, "listenerPath": "/a"});
        planned(section).unwrap().flags
    };
    let flag = |name: &str| json!([format!("SECCOMP_FILTER_FLAG_{name}")]);
    let required = |required| LoadFlags {
        required,
        wanted: 0,
    };
    let unnamed = LoadFlags {
        required: 0,
        wanted: 4,
    };
    assert_eq!(flags(Value::Null, "SCMP_ACT_LOG"), unnamed);
    assert_eq!(flags(json!([]), "SCMP_ACT_LOG"), required(0));
    assert_eq!(flags(flag("LOG"), "SCMP_ACT_LOG"), required(2));
    assert_eq!(flags(flag("SPEC_ALLOW"), "SCMP_ACT_LOG"), required(4));
    assert_eq!(flags(flag("TSYNC"), "SCMP_ACT_LOG"), required(0));
    assert_eq!(
        flags(flag("WAIT_KILLABLE_RECV"), "SCMP_ACT_LOG"),
        required(0)
    );
    assert_eq!(
        flags(flag("WAIT_KILLABLE_RECV"), "SCMP_ACT_NOTIFY"),
        required(32)
    );
}

#[test]
fn the_agent_is_there_only_if_something_notifies_it() {
    let agent = |action| {
        with_rule(json!({"names": ["a"], "action": action}))
            .unwrap()
            .agent
    };
    assert_eq!(agent("SCMP_ACT_LOG"), None);
    let expected = Agent {
        path: "/run/agent".into(),
        metadata: Some("m".to_owned()),
    };
    assert_eq!(agent("SCMP_ACT_NOTIFY"), Some(expected));
}
