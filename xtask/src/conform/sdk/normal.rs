//! What may differ between two runs of the same scenario: ids, times, addresses that
//! the engine chooses, and sizes. Nothing else is changed, and only here.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::Value;

/// Numbers below these are measured, and how many there are of some is too.
const MEASURED: [&str; 8] = [
    "blkio_stats",
    "cpu_stats",
    "memory_stats",
    "networks",
    "num_procs",
    "pids_stats",
    "precpu_stats",
    "storage_stats",
];
/// Sizes of what is stored; none and unknown (-1) are not replaced.
const SIZES: [&str; 8] = [
    "LayersSize",
    "SharedSize",
    "Size",
    "SizeRootFs",
    "SizeRw",
    "SpaceReclaimed",
    "VirtualSize",
    "total",
];
const TIMES: [&str; 5] = ["Created", "LastUsedAt", "mtime", "time", "timeNano"];
const PROCESSES: [&str; 2] = ["Pid", "pid"];
/// Ports of the host that the engine chooses begin here.
const FREE_PORTS: u64 = 32768;
const PORTS: [&str; 3] = ["HostPort", "PublicPort", "port"];

/// What is replaced within texts, and by what; in this order.
static TEXTS: LazyLock<[(Regex, &str); 7]> = LazyLock::new(|| {
    let compiled = |pattern| Regex::new(pattern).expect("the pattern is correct");
    [
        (compiled(r"\b[0-9a-f]{64}\b"), "<id>"),
        (
            compiled(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
            "<uuid>",
        ),
        (compiled(r"\b[0-9a-f]{12}\b"), "<short id>"),
        (
            compiled(r"\b[1-9]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
            "<time>",
        ),
        (compiled(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
        (
            compiled(r"\b(172\.(1[6-9]|2\d|3[01])|192\.168)(\.\d{1,3}){2}\b"),
            "<address>",
        ),
        (compiled(r"\bfd[0-9a-f]{2}:[0-9a-f:]+"), "<address>"),
    ]
});

/// Returns the answer without what differs from run to run.
pub(super) fn normalised(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(normalised_text(text)),
        Value::Array(list) => list.into_iter().map(normalised).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            let fields = fields.map(|(key, value)| {
                let value = normalised_field(&key, value);
                (normalised_text(key), value)
            });
            Value::Object(fields.collect())
        }
        other => other,
    }
}

fn normalised_text(text: String) -> String {
    let replace =
        |text: String, (pattern, by): &(Regex, &str)| pattern.replace_all(&text, *by).into_owned();
    TEXTS.iter().fold(text, replace)
}

fn normalised_field(key: &str, value: Value) -> Value {
    let is_among = |keys: &[&str]| keys.contains(&key);
    let number = value.as_i64();
    let is_positive = number.is_some_and(|number| number > 0);
    if is_among(&MEASURED) {
        return measured(value);
    }
    if is_positive && is_among(&SIZES) {
        return "<size>".into();
    }
    if is_positive && is_among(&TIMES) {
        return "<time>".into();
    }
    if is_positive && is_among(&PROCESSES) {
        return "<pid>".into();
    }
    if is_among(&PORTS) && is_free_port(&value) {
        return "<port>".into();
    }
    normalised(value)
}

fn is_free_port(value: &Value) -> bool {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.is_some_and(|port: u64| (FREE_PORTS..1 << 16).contains(&port))
}

/// Keeps the names of what is measured, and lists only as far as they are any.
fn measured(value: Value) -> Value {
    match value {
        Value::Number(_) => "<size>".into(),
        Value::Array(list) => list.into_iter().take(1).map(measured).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(fields.map(|(key, value)| (key, measured(value))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, expected: &str) {
        let given: Value = serde_json::from_str(given).unwrap();
        assert_eq!(normalised(given).to_string(), expected);
    }

    #[test]
    fn ids_times_and_chosen_addresses_are_replaced() {
        let id = "0123456789abcdef".repeat(4);
        check(
            &format!(r#"{{"Id":"sha256:{id}","Hostname":"0123456789ab","k":"x-{id}"}}"#),
            r#"{"Hostname":"<short id>","Id":"sha256:<id>","k":"x-<id>"}"#,
        );
        check(
            r#"["2026-01-02T03:04:05.678Z","at 2026-01-02T03:04:05+01:00","0001-01-01T00:00:00Z"]"#,
            r#"["<time>","at <time>","0001-01-01T00:00:00Z"]"#,
        );
        check(
            r#"["172.17.0.2/16","10.1.2.3","0.0.0.0","127.0.0.1","02:42:ac:11:00:02","1.24"]"#,
            r#"["<address>/16","10.1.2.3","0.0.0.0","127.0.0.1","<mac>","1.24"]"#,
        );
    }

    #[test]
    fn sizes_are_replaced_but_not_what_is_no_size() {
        check(
            r#"{"Size":5,"SizeRw":0,"VirtualSize":-1,"Count":5,"Pid":0,"HostPort":"8080"}"#,
            r#"{"Count":5,"HostPort":"8080","Pid":0,"Size":"<size>","SizeRw":0,"VirtualSize":-1}"#,
        );
        check(
            r#"{"cpu_stats":{"usage":7,"per":[1,2]},"HostPort":"32768","Pid":9}"#,
            r#"{"HostPort":"<port>","Pid":"<pid>","cpu_stats":{"per":["<size>"],"usage":"<size>"}}"#,
        );
    }
}
