//! Bodies and answers of `/exec` and `/containers/{id}/exec`.

use serde::{Deserialize, Serialize};

use crate::wire::{StringList, is_zero, null_is_default, wire};

wire! {
    /// The body of `POST /containers/{id}/exec`.
    pub struct ExecCreateBody {
        pub user: String,
        pub privileged: bool,
        pub tty: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]>,
        pub attach_stdin: bool,
        pub attach_stderr: bool,
        pub attach_stdout: bool,
        pub detach: bool,
        /// Docker's SDK for Python spells it with a small letter.
        #[serde(alias = "detachKeys")]
        pub detach_keys: String,
        pub env: Option<Vec<String>>,
        pub working_dir: String,
        pub cmd: StringList,
    }

    /// The answer to `POST /containers/{id}/exec`.
    pub struct ExecCreateResponse {
        pub id: String,
    }

    /// The body of `POST /exec/{id}/start`.
    pub struct ExecStartBody {
        pub detach: bool,
        pub tty: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]>,
    }

    /// The answer to `GET /exec/{id}/json`.
    pub struct ExecInspect {
        #[serde(rename = "ID")]
        pub id: String,
        pub running: bool,
        /// `None` while it runs.
        pub exit_code: Option<i64>,
        pub process_config: ExecProcessConfig,
        pub open_stdin: bool,
        pub open_stderr: bool,
        pub open_stdout: bool,
        pub can_remove: bool,
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        pub detach_keys: String,
        pub pid: i64,
    }
}

/// What an exec runs; Docker writes these names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecProcessConfig {
    pub tty: bool,
    pub entrypoint: String,
    #[serde(deserialize_with = "null_is_default")]
    pub arguments: Vec<String>,
    pub privileged: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub user: String,
}
