//! Fields and parameters of requests that not all versions have.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::fields::{ensure, name, visit};
use crate::container::ContainerCreateBody;
use crate::version::ApiVersion;

/// A body whose meaning depends on the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `POST /containers/create`.
    ContainerCreate,
    /// `POST /containers/{id}/update`.
    ContainerUpdate,
    /// `POST /containers/{id}/exec`.
    ExecCreate,
    /// `POST /exec/{id}/start`.
    ExecStart,
    /// `POST /networks/create`.
    NetworkCreate,
}

/// Says what a version of the API does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VersionError {
    /// A field came with a later version.
    #[error("{field} needs API v{first} or newer")]
    TooOld {
        field: &'static str,
        first: ApiVersion,
    },
    /// A container had one network when it was made.
    #[error("Container cannot be created with multiple network endpoints: {0}")]
    Endpoints(String),
}

/// A field, and what is made of it in some versions.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) body: Body,
    pub(super) path: &'static str,
    /// Minor versions.
    pub(super) versions: RangeInclusive<u16>,
    pub(super) rule: Rule,
}

/// What is made of a field in versions that differ from the newest.
#[derive(Debug)]
pub(super) enum Rule {
    /// It is as if it were not there.
    Unknown,
    /// It is refused, as belonging to the next version.
    Refused { field: &'static str, first: u16 },
    /// One of its words is refused, as belonging to the next version.
    RefusedWord {
        word: &'static str,
        named: &'static str,
        first: u16,
    },
    /// It is this word unless another is said.
    Default(&'static str),
    /// It has one field at most.
    Single,
}

const fn row(body: Body, path: &'static str, versions: RangeInclusive<u16>, rule: Rule) -> Row {
    Row {
        body,
        path,
        versions,
        rule,
    }
}

const OLDEST: u16 = crate::version::MIN_VERSION.minor;
const NEWEST: u16 = crate::version::MAX_VERSION.minor;

pub(super) const ROWS: &[Row] = &[
    row(
        Body::ContainerCreate,
        "HostConfig.AutoRemove",
        OLDEST..=24,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.Mounts.[].BindOptions.NonRecursive",
        OLDEST..=39,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.KernelMemoryTCP",
        OLDEST..=39,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.IpcMode",
        OLDEST..=39,
        Rule::Default("shareable"),
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.Mounts.[].BindOptions.CreateMountpoint",
        OLDEST..=41,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.ConsoleSize",
        OLDEST..=41,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.KernelMemory",
        42..=NEWEST,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.Annotations",
        OLDEST..=42,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "Healthcheck.StartInterval",
        OLDEST..=43,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.Mounts.[].BindOptions.ReadOnlyForceRecursive",
        OLDEST..=43,
        Rule::Refused {
            field: "BindOptions.ReadOnlyForceRecursive",
            first: 44,
        },
    ),
    row(
        Body::ContainerCreate,
        "NetworkingConfig.EndpointsConfig",
        OLDEST..=43,
        Rule::Single,
    ),
    row(
        Body::ContainerCreate,
        "NetworkingConfig.EndpointsConfig.*.MacAddress",
        OLDEST..=43,
        Rule::Unknown,
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.Mounts.[].VolumeOptions.Subpath",
        OLDEST..=44,
        Rule::Refused {
            field: "VolumeOptions.Subpath",
            first: 45,
        },
    ),
    row(
        Body::ContainerCreate,
        "HostConfig.Mounts.[].Type",
        OLDEST..=47,
        Rule::RefusedWord {
            word: "image",
            named: "Mount type \"Image\"",
            first: 48,
        },
    ),
    row(
        Body::ContainerUpdate,
        "PidsLimit",
        OLDEST..=39,
        Rule::Unknown,
    ),
    row(
        Body::ContainerUpdate,
        "KernelMemory",
        42..=NEWEST,
        Rule::Unknown,
    ),
    row(Body::ExecCreate, "ConsoleSize", OLDEST..=41, Rule::Unknown),
    row(Body::ExecStart, "ConsoleSize", OLDEST..=41, Rule::Unknown),
    row(
        Body::NetworkCreate,
        "EnableIPv4",
        OLDEST..=47,
        Rule::Unknown,
    ),
];

impl Rule {
    /// Applies the rule to the fields that a path names.
    pub(super) fn apply(&self, path: &str, value: &mut Value) -> Result<(), VersionError> {
        let field = name(path);
        let mut result = Ok(());
        if let Self::Default(_) = self {
            ensure(path, value);
        }
        visit(path, value, &mut |object| {
            let said = object.get(field).filter(|value| !is_empty(value));
            match self {
                Self::Unknown => drop(object.remove(field)),
                Self::Refused { field, first } if said.is_some() => {
                    let first = ApiVersion::v1(*first);
                    result = Err(VersionError::TooOld { field, first });
                }
                Self::RefusedWord { word, named, first }
                    if said.and_then(Value::as_str) == Some(word) =>
                {
                    let (field, first) = (*named, ApiVersion::v1(*first));
                    result = Err(VersionError::TooOld { field, first });
                }
                Self::Default(word) if said.is_none() => {
                    object.insert(field.to_owned(), json!(word));
                }
                Self::Single => {
                    let names = said.and_then(Value::as_object).filter(|all| all.len() > 1);
                    if let Some(names) = names {
                        let names: Vec<&str> = names.keys().map(String::as_str).collect();
                        result = Err(VersionError::Endpoints(names.join(", ")));
                    }
                }
                Self::Refused { .. } | Self::RefusedWord { .. } | Self::Default(_) => {}
            }
        });
        result
    }
}

/// Whether Go would read the zero value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
    }
}

/// Returns what a version warns of in a request to create a container.
pub fn deprecations(version: ApiVersion, body: &ContainerCreateBody) -> Vec<String> {
    let mut all = Vec::new();
    if version.minor >= 44 && !body.config.mac_address.is_empty() {
        all.push(MAC_ADDRESS_DEPRECATED.to_owned());
    }
    all
}

const MAC_ADDRESS_DEPRECATED: &str = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.";

/// A parameter and the minor version it came with.
struct Parameter {
    /// The parts of a path, `*` for any number of them.
    path: &'static [&'static str],
    name: &'static str,
    first: u16,
}

const fn parameter(path: &'static [&'static str], name: &'static str, first: u16) -> Parameter {
    Parameter { path, name, first }
}

const PARAMETERS: &[Parameter] = &[
    parameter(&["containers", "create"], "platform", 41),
    parameter(&["containers", "*", "wait"], "condition", 30),
    parameter(&["containers", "*", "stop"], "signal", 42),
    parameter(&["containers", "*", "restart"], "signal", 42),
    parameter(&["containers", "*", "stats"], "one-shot", 41),
    parameter(&["images", "create"], "platform", 32),
    parameter(&["images", "json"], "shared-size", 42),
    parameter(&["images", "json"], "manifests", 47),
    parameter(&["images", "*", "json"], "manifests", 48),
    parameter(&["images", "*", "json"], "platform", 49),
    parameter(&["images", "*", "history"], "platform", 48),
    parameter(&["images", "*", "get"], "platform", 48),
    parameter(&["images", "get"], "platform", 48),
    parameter(&["images", "load"], "platform", 48),
    parameter(&["images", "*", "push"], "platform", 46),
    parameter(&["images", "*"], "platforms", 50),
    parameter(&["system", "df"], "type", 42),
];

/// Returns whether a version has a parameter of a path; what it does not have is as if
/// it had not been said.
pub fn is_known(parts: &[&str], name: &str, version: ApiVersion) -> bool {
    let is_of = |row: &&Parameter| row.name == name && is_path(row.path, parts);
    PARAMETERS
        .iter()
        .find(is_of)
        .is_none_or(|row| version.minor >= row.first)
}

fn is_path(pattern: &[&str], parts: &[&str]) -> bool {
    match pattern.split_first() {
        None => parts.is_empty(),
        Some((&"*", rest)) => (1..=parts.len()).any(|at| is_path(rest, &parts[at..])),
        Some((first, rest)) => parts
            .split_first()
            .is_some_and(|(part, parts)| part == first && is_path(rest, parts)),
    }
}
