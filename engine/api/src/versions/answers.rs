//! Fields of answers that not all versions have, or have in the same form.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::fields::{name, visit};

/// An answer whose form depends on the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `GET /info`.
    Info,
    /// `GET /containers/json`.
    ContainerList,
    /// `GET /containers/{id}/json`.
    ContainerInspect,
    /// `GET /images/json`.
    ImageList,
    /// `GET /images/{name}/json`.
    ImageInspect,
    /// `GET /networks`.
    NetworkList,
    /// `GET /system/df`.
    DiskUsage,
}

/// A field, and what becomes of it in some versions.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) answer: Answer,
    pub(super) path: &'static str,
    /// Minor versions.
    pub(super) versions: RangeInclusive<u16>,
    pub(super) form: Form,
}

/// What a field is in versions that differ from the newest.
#[derive(Debug)]
pub(super) enum Form {
    /// It is not there.
    Absent,
    /// It is there as well, with the value of its neighbour of that name.
    As(&'static str),
    /// It is this number, whatever is known.
    Number(i64),
    /// It is there with this JSON unless it says something.
    Default(&'static str),
    /// It is an object without fields.
    Hidden,
    /// Of options `name=seccomp,profile=…`, only the names are given.
    NamesOnly,
    /// It has, on networks of one's own, the short id and the host name in it too.
    WithDnsNames,
    /// It is a list, empty where there is nothing to list.
    List,
}

const fn row(answer: Answer, path: &'static str, versions: RangeInclusive<u16>, form: Form) -> Row {
    Row {
        answer,
        path,
        versions,
        form,
    }
}

const OLDEST: u16 = crate::version::MIN_VERSION.minor;
const NEWEST: u16 = crate::version::MAX_VERSION.minor;

/// The configuration that images had of the container that they were made of.
const NO_CONFIG: &str = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null}"#;

pub(super) const ROWS: &[Row] = &[
    row(
        Answer::Info,
        "SecurityOptions",
        OLDEST..=24,
        Form::NamesOnly,
    ),
    row(
        Answer::Info,
        "BridgeNfIptables",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::Info,
        "BridgeNfIp6tables",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::Info,
        "RuncCommit.Expected",
        OLDEST..=48,
        Form::As("ID"),
    ),
    row(Answer::Info, "FirewallBackend", OLDEST..=48, Form::Absent),
    row(
        Answer::Info,
        "RegistryConfig.AllowNondistributableArtifactsCIDRs",
        OLDEST..=46,
        Form::Default("null"),
    ),
    row(
        Answer::Info,
        "RegistryConfig.AllowNondistributableArtifactsHostnames",
        OLDEST..=46,
        Form::Default("null"),
    ),
    row(
        Answer::ContainerList,
        "[].HostConfig.Annotations",
        OLDEST..=45,
        Form::Absent,
    ),
    row(
        Answer::ContainerInspect,
        "NetworkSettings.Networks.*.Aliases",
        OLDEST..=44,
        Form::WithDnsNames,
    ),
    row(
        Answer::ImageList,
        "[].VirtualSize",
        OLDEST..=43,
        Form::As("Size"),
    ),
    row(
        Answer::ImageList,
        "[].Containers",
        OLDEST..=50,
        Form::Number(-1),
    ),
    row(
        Answer::ImageInspect,
        "VirtualSize",
        OLDEST..=43,
        Form::As("Size"),
    ),
    row(
        Answer::ImageInspect,
        "ContainerConfig",
        OLDEST..=44,
        Form::Default(NO_CONFIG),
    ),
    row(
        Answer::ImageInspect,
        "Config.Hostname",
        OLDEST..=49,
        Form::Default("\"\""),
    ),
    row(
        Answer::ImageInspect,
        "Config.Domainname",
        OLDEST..=49,
        Form::Default("\"\""),
    ),
    row(
        Answer::ImageInspect,
        "Config.AttachStdin",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::ImageInspect,
        "Config.AttachStdout",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::ImageInspect,
        "Config.AttachStderr",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::ImageInspect,
        "Config.Tty",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::ImageInspect,
        "Config.OpenStdin",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::ImageInspect,
        "Config.StdinOnce",
        OLDEST..=49,
        Form::Default("false"),
    ),
    row(
        Answer::ImageInspect,
        "Config.Image",
        OLDEST..=49,
        Form::Default("\"\""),
    ),
    row(
        Answer::NetworkList,
        "[].Containers",
        28..=NEWEST,
        Form::Hidden,
    ),
    row(
        Answer::DiskUsage,
        "Images.[].VirtualSize",
        OLDEST..=43,
        Form::As("Size"),
    ),
    row(Answer::DiskUsage, "BuildCache", OLDEST..=41, Form::List),
];

impl Form {
    /// Applies the form to the fields that a path names.
    pub(super) fn apply(&self, path: &str, value: &mut Value) {
        let field = name(path);
        if let Self::WithDnsNames = self {
            let added = dns_names(value);
            return visit(path, value, &mut |object| add(object, field, &added));
        }
        visit(path, value, &mut |object| self.apply_to(object, field));
    }

    fn apply_to(&self, object: &mut Map<String, Value>, field: &str) {
        let old = object.get(field);
        let new = match self {
            Self::Absent => return drop(object.remove(field)),
            Self::NamesOnly => return names_only(object.get_mut(field)),
            Self::As(other) => object.get(*other).cloned(),
            Self::Number(number) => Some(json!(number)),
            Self::Hidden => Some(json!({})),
            // The rows are tested to be JSON.
            Self::Default(text) if old.is_none() => text.parse().ok(),
            Self::List if old.is_none_or(Value::is_null) => Some(json!([])),
            Self::Default(_) | Self::List | Self::WithDnsNames => None,
        };
        if let Some(new) = new {
            object.insert(field.to_owned(), new);
        }
    }
}

/// `name=seccomp,profile=builtin` becomes `seccomp`.
fn names_only(options: Option<&mut Value>) {
    for option in options.and_then(Value::as_array_mut).into_iter().flatten() {
        let name = option.as_str().and_then(|text| text.strip_prefix("name="));
        if let Some(name) = name.and_then(|text| text.split(',').next()) {
            *option = json!(name);
        }
    }
}

/// The short id and the host name of an inspected container on a network of its own.
fn dns_names(container: &Value) -> Vec<String> {
    let text = |pointer| container.pointer(pointer).and_then(Value::as_str);
    let network = text("/HostConfig/NetworkMode").unwrap_or_default();
    if ["", "default", "bridge", "host", "none"].contains(&network)
        || network.starts_with("container:")
    {
        return Vec::new();
    }
    let short = text("/Id").and_then(|id| id.get(..12));
    let all = [short, text("/Config/Hostname")].into_iter().flatten();
    let mut names: Vec<String> = all
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.dedup();
    names
}

fn add(object: &mut Map<String, Value>, field: &str, added: &[String]) {
    let list = object.entry(field).or_insert(Value::Null);
    if list.is_null() && !added.is_empty() {
        *list = json!([]);
    }
    if let Value::Array(list) = list {
        for name in added {
            if !list.contains(&json!(name)) {
                list.push(json!(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_adds_is_json() {
        for row in ROWS {
            if let Form::Default(text) = row.form {
                assert!(text.parse::<Value>().is_ok(), "{}: {text}", row.path);
            }
        }
    }

    #[test]
    fn options_had_only_names_once() {
        let mut info = json!({"SecurityOptions": ["name=seccomp,profile=builtin"]});
        Form::NamesOnly.apply("SecurityOptions", &mut info);
        assert_eq!(info, json!({"SecurityOptions": ["seccomp"]}));
    }
}
