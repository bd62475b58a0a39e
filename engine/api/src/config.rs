//! What a container runs, independent of the host: the `Config` object of
//! create, inspect and images.

use std::collections::BTreeMap;

use crate::wire::{Empty, StringList, is_zero, wire};

/// A map of strings, as labels and options are written.
pub type StringMap = BTreeMap<String, String>;
/// A set of strings, written as a map of empty objects.
pub type StringSet = BTreeMap<String, Empty>;

wire! {
    /// The portable half of a container's configuration.
    pub struct ContainerConfig {
        pub hostname: String,
        pub domainname: String,
        pub user: String,
        pub attach_stdin: bool,
        pub attach_stdout: bool,
        pub attach_stderr: bool,
        /// Keys are `80/tcp`.
        #[serde(skip_serializing_if = "is_zero")]
        pub exposed_ports: StringSet,
        pub tty: bool,
        pub open_stdin: bool,
        pub stdin_once: bool,
        /// `NAME=value`; in a create body a `NAME` alone removes the image's variable.
        pub env: Vec<String>,
        pub cmd: Option<StringList>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<Healthcheck>,
        #[serde(skip_serializing_if = "is_zero")]
        pub args_escaped: bool,
        pub image: String,
        pub volumes: Option<StringSet>,
        pub working_dir: String,
        pub entrypoint: Option<StringList>,
        #[serde(skip_serializing_if = "is_zero")]
        pub network_disabled: bool,
        #[serde(skip_serializing_if = "is_zero")]
        pub mac_address: String,
        pub on_build: Option<Vec<String>>,
        pub labels: StringMap,
        #[serde(skip_serializing_if = "is_zero")]
        pub stop_signal: String,
        /// Seconds; `-1` waits for ever.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "is_zero")]
        pub shell: Vec<String>,
    }

    /// How health is probed; durations in nanoseconds, zero inherits.
    pub struct Healthcheck {
        /// `[]` inherits, `["NONE"]` disables, else `CMD` or `CMD-SHELL` and words.
        #[serde(skip_serializing_if = "is_zero")]
        pub test: Vec<String>,
        #[serde(skip_serializing_if = "is_zero")]
        pub interval: i64,
        #[serde(skip_serializing_if = "is_zero")]
        pub timeout: i64,
        #[serde(skip_serializing_if = "is_zero")]
        pub start_period: i64,
        #[serde(skip_serializing_if = "is_zero")]
        pub start_interval: i64,
        #[serde(skip_serializing_if = "is_zero")]
        pub retries: i64,
    }
}
