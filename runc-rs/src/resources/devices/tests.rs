//! Device policies and programs, the latter run by a small interpreter of the
//! kernel's virtual machine.

use oci_spec::runtime::LinuxDeviceCgroup;
use serde_json::{Value, json};

use super::*;
use crate::resources::plan::plan_v1_devices;
use crate::sys::bpf::Instruction;

const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const EVERY_ACCESS: std::ops::RangeInclusive<u32> = 1..=7;

fn rules(rules: Value) -> Vec<LinuxDeviceCgroup> {
    serde_json::from_value(rules).unwrap()
}

/// Returns the policy of the rules alone, without those for every container.
fn bare(list: Value) -> DevicePolicy {
    let mut policy = DevicePolicy::deny_all();
    for rule in rules(list) {
        policy.add(&rule).unwrap();
    }
    policy
}

/// One question of the kernel: kind, access bits, major, minor.
#[derive(Debug, Clone, Copy)]
struct Question(u32, u32, u32, u32);

impl Question {
    fn word(self, offset: i16) -> u32 {
        match offset {
            0 => self.1 << 16 | self.0,
            4 => self.2,
            8 => self.3,
            other => panic!("read at {other}"),
        }
    }
}

/// Runs a program: forward jumps, 32 bits, and no other instruction than
/// those of the kernel's documentation that are in use.
fn run(program: &[Instruction], question: Question) -> u32 {
    let mut registers = [None; 11];
    let mut next = 0;
    loop {
        let instruction = program[next];
        next += 1;
        let destination = usize::from(instruction.destination());
        let immediate = instruction.immediate.cast_unsigned();
        let value = |register: usize| registers[register].expect("read before it is set");
        match instruction.code {
            0x61 => {
                assert_eq!(instruction.source(), 1, "only the question is read");
                registers[destination] = Some(question.word(instruction.offset));
            }
            0xbc => registers[destination] = Some(value(usize::from(instruction.source()))),
            0xb4 => registers[destination] = Some(immediate),
            0x54 => registers[destination] = Some(value(destination) & immediate),
            0x74 => registers[destination] = Some(value(destination) >> immediate),
            0x56 if value(destination) != immediate => next = jump(next, instruction),
            0x46 if value(destination) & immediate != 0 => next = jump(next, instruction),
            0x56 | 0x46 => {}
            0x05 => next = jump(next, instruction),
            0x95 => return value(0),
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

fn jump(next: usize, instruction: Instruction) -> usize {
    next + usize::try_from(instruction.offset).expect("only forward")
}

/// What the rules mean, straight from their text: for each access the last
/// rule that matches decides.
fn meant(list: &[LinuxDeviceCgroup], question: Question) -> u32 {
    let Question(kind, access, major, minor) = question;
    let bits = [(1, 'm'), (2, 'r'), (4, 'w')];
    let asked = bits.into_iter().filter(|(bit, _)| access & bit != 0);
    let is_allowed = |letter: char| {
        let matches = |rule: &&LinuxDeviceCgroup| {
            let typ = rule.typ().unwrap_or_default();
            let typ = typ.as_str();
            let is_number = |rule: Option<i64>, number: u32| {
                rule.is_none_or(|rule| rule == -1 || rule == i64::from(number))
            };
            let is_kind = match kind {
                BLOCK => typ == "b",
                _ => typ == "c",
            };
            let is_asked = rule.access().as_ref().unwrap().contains(letter);
            typ == "a"
                || is_kind
                    && is_asked
                    && is_number(rule.major(), major)
                    && is_number(rule.minor(), minor)
        };
        list.iter()
            .rev()
            .find(matches)
            .is_some_and(LinuxDeviceCgroup::allow)
    };
    u32::from(asked.map(|(_, letter)| letter).all(is_allowed))
}

/// Asks about every access to devices with numbers in and beside the rules.
fn check_all(list: Value) {
    check(&rules(list), [BLOCK, CHARACTER], 0..=3);
}

fn check(
    list: &[LinuxDeviceCgroup],
    kinds: impl IntoIterator<Item = u32>,
    numbers: std::ops::RangeInclusive<u32>,
) {
    let mut policy = DevicePolicy::deny_all();
    for rule in list {
        policy.add(rule).unwrap();
    }
    let program = compile(&policy);
    for kind in kinds {
        for (major, minor) in pairs(numbers.clone()) {
            for access in EVERY_ACCESS {
                let question = Question(kind, access, major, minor);
                let found = run(&program, question);
                assert_eq!(found, meant(list, question), "{question:?} by {list:?}");
            }
        }
    }
}

fn pairs(numbers: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = (u32, u32)> {
    let minors = numbers.clone();
    numbers.flat_map(move |major| minors.clone().map(move |minor| (major, minor)))
}

fn rule(allow: bool, typ: &str, major: i64, minor: i64, access: &str) -> Value {
    json!({"allow": allow, "type": typ, "major": major, "minor": minor, "access": access})
}

#[test]
fn programs_decide_as_the_rules_mean() {
    check_all(json!([]));
    check_all(json!([{"allow": false, "access": "rwm"}]));
    check_all(json!([{"allow": true, "access": "rwm"}]));
    for access in ["r", "w", "m", "rw", "rm", "wm", "rwm"] {
        for (major, minor) in [(-1, -1), (1, -1), (-1, 2), (1, 2)] {
            for typ in ["b", "c"] {
                let allow = rule(true, typ, major, minor, access);
                check_all(json!([allow]));
                let deny = rule(false, typ, major, minor, access);
                check_all(json!([{"allow": true, "type": "a", "access": "rwm"}, deny]));
            }
        }
    }
}

#[test]
fn the_last_rule_wins_for_each_access() {
    let hole = json!([rule(true, "c", 1, -1, "rwm"), rule(false, "c", 1, 2, "w")]);
    check_all(hole);
    check_all(json!([
        rule(true, "c", -1, -1, "m"),
        rule(true, "c", -1, 3, "r"),
        rule(false, "c", 1, -1, "r"),
        rule(true, "c", -1, 3, "w"),
        rule(true, "b", 1, 1, "rwm"),
        rule(false, "b", -1, -1, "w"),
        rule(true, "b", 2, -1, "w"),
    ]));
    check_all(json!([
        rule(true, "c", 1, 1, "rwm"),
        {"allow": false, "access": "rwm"},
        rule(true, "c", 1, 2, "r"),
        rule(true, "c", 1, 2, "w"),
    ]));
}

#[test]
fn any_three_rules_are_decided_as_they_mean() {
    let mut all = vec![
        rule(true, "a", -1, -1, "rwm"),
        rule(false, "a", -1, -1, "rwm"),
    ];
    for allow in [true, false] {
        for (major, minor) in [(-1, -1), (1, -1), (-1, 2), (1, 2)] {
            let accesses = ["r", "rw"].into_iter();
            all.extend(accesses.map(|access| rule(allow, "c", major, minor, access)));
        }
    }
    let all = rules(all.into());
    for first in &all {
        for second in &all {
            for third in &all {
                let list = [first.clone(), second.clone(), third.clone()];
                check(&list, [CHARACTER], 1..=2);
            }
        }
    }
}

#[test]
fn numbers_have_all_their_bits() {
    let list = json!([rule(true, "c", 4_294_967_295, 2_147_483_648, "rwm")]);
    let program = compile(&bare(list));
    assert_eq!(run(&program, Question(CHARACTER, 7, u32::MAX, 1 << 31)), 1);
    assert_eq!(run(&program, Question(CHARACTER, 7, u32::MAX, 0)), 0);
}

#[test]
fn a_program_is_as_short_as_its_policy() {
    let deny_all = compile(&DevicePolicy::deny_all());
    assert_eq!(
        deny_all.len(),
        8,
        "six to look at the question, two to deny"
    );
    let list = json!([
        {"allow": false, "access": "rwm"},
        rule(false, "c", 1, 3, "rwm"),
        rule(true, "c", 1, 3, "r"),
        rule(true, "c", 1, 3, "wm"),
    ]);
    let policy = bare(list);
    assert_eq!(policy.exceptions.len(), 1);
    assert_eq!(policy.exceptions[0].rule(), "c 1:3 rwm");
    assert_eq!(compile(&policy).len(), 8 + 3 + 2);
}

fn v1_lines(list: Value) -> Vec<String> {
    match plan_v1_devices(&bare(list)) {
        Err(error) => vec![error.to_string()],
        Ok(writes) => {
            let writes = writes.into_iter();
            writes
                .map(|write| format!("{} {}", write.file, write.value))
                .collect()
        }
    }
}

#[test]
fn v1_gets_a_default_and_exceptions() {
    assert_eq!(v1_lines(json!([])), ["devices.deny a"]);
    assert_eq!(
        v1_lines(json!([
            {"allow": false, "access": "rwm"},
            rule(true, "c", 1, 3, "rwm"),
            rule(true, "b", 8, -1, "r"),
            rule(true, "c", 10, 229, "rwm"),
            rule(false, "c", 10, 229, "wm"),
        ])),
        [
            "devices.deny a",
            "devices.allow c 1:3 rwm",
            "devices.allow b 8:* r",
            "devices.allow c 10:229 r",
        ]
    );
    assert_eq!(
        v1_lines(json!([{"allow": true, "access": "rwm"}, rule(false, "b", -1, -1, "m")])),
        ["devices.allow a", "devices.deny b *:* m"]
    );
}

#[test]
fn v1_cannot_take_back_a_part_of_a_wildcard() {
    let hole = v1_lines(json!([
        rule(true, "c", 1, -1, "rw"),
        rule(false, "c", 1, 3, "w")
    ]));
    assert!(
        hole[0].contains("cannot except \"c 1:3 w\" from \"c 1:* rw\""),
        "{hole:?}"
    );
}

#[test]
fn every_container_has_its_own_devices_whatever_the_rules_say() {
    let list = json!([rule(false, "c", 1, -1, "rwm"), {"allow": false, "access": "rwm"}]);
    let program = compile(&policy(&rules(list)).unwrap());
    let allowed = [
        Question(CHARACTER, 1, 99, 99),
        Question(BLOCK, 1, 99, 99),
        Question(CHARACTER, 7, 1, 3),
        Question(CHARACTER, 6, 1, 9),
        Question(CHARACTER, 6, 5, 0),
        Question(CHARACTER, 6, 5, 1),
        Question(CHARACTER, 6, 5, 2),
        Question(CHARACTER, 6, 136, 77),
    ];
    for question in allowed {
        assert_eq!(run(&program, question), 1, "{question:?}");
    }
    let denied = [
        Question(CHARACTER, 2, 1, 1),
        Question(CHARACTER, 6, 10, 200),
        Question(BLOCK, 2, 8, 0),
        Question(BLOCK, 3, 1, 3),
    ];
    for question in denied {
        assert_eq!(run(&program, question), 0, "{question:?}");
    }
}

#[test]
fn rules_that_are_none_are_refused() {
    let cases = [
        (
            json!({"allow": true, "type": "p", "access": "r"}),
            "type \"p\"",
        ),
        (
            json!({"allow": true, "type": "c", "access": "x"}),
            "access \"x\"",
        ),
        (json!({"allow": true, "type": "c"}), "access \"\""),
        (rule(true, "c", -2, 0, "r"), "-2 is not a device number"),
        (
            rule(true, "c", 0, 4_294_967_296, "r"),
            "is not a device number",
        ),
    ];
    for (rule, expected) in cases {
        let error = policy(&rules(json!([rule]))).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
    let many: Value = (0..600)
        .map(|minor| rule(true, "c", 1, minor, "r"))
        .collect();
    policy(&rules(many)).unwrap_err();
}
