//! An installation with a configuration of its own, whose socket every user of
//! the host can connect to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base::file::{FileMode, replace};
use serde_json::{Value, json};

use crate::Installation;
use crate::api::{Answer, User, send};

/// The user who may do everything unless told otherwise.
pub const ROOT: u32 = 0;

/// An installation whose socket everybody can connect to.
#[derive(Debug)]
pub struct Served {
    pub host: Installation,
    pub socket: PathBuf,
}

impl Served {
    /// Starts the daemon with `config`.
    pub fn new(config: &str) -> Self {
        let host = Installation::new();
        host.ok(&["daemon", "stop"]);
        host.have_subordinate_ids();
        let file = host.scratch().join("config.toml");
        replace(&file, config.as_bytes(), FileMode::Private).expect("it is as it should be");
        host.ok(&["--config", &file.display().to_string(), "daemon"]);
        let socket = host.instance.socket();
        open(host.scratch(), 0o711);
        open(&socket, 0o666);
        Self { host, socket }
    }

    /// Sends a request without a body as `uid`.
    pub fn send(&self, uid: u32, line: &str) -> Answer {
        send(&self.socket, User::new(uid), line, None)
    }

    /// Sends a POST with a body as `uid`.
    pub fn post(&self, uid: u32, path: &str, body: &Value) -> Answer {
        send(
            &self.socket,
            User::new(uid),
            &format!("POST {path}"),
            Some(body),
        )
    }

    /// Sends a request that must be answered with `status`.
    #[track_caller]
    pub fn expect(&self, uid: u32, line: &str, status: u16) -> Answer {
        let answer = self.send(uid, line);
        assert_eq!(answer.status, status, "{line} of {uid}: {answer:?}");
        answer
    }

    /// Creates a container, which must work, and returns its id.
    #[track_caller]
    pub fn create(&self, uid: u32, name: &str, host_config: &Value) -> String {
        let body = json!({"Image": "busybox:1", "Cmd": ["sleep", "600"], "HostConfig": host_config,
            "Env": ["SECRET=of the owner"]});
        let answer = self.post(uid, &format!("/containers/create?name={name}"), &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["Id"]
            .as_str()
            .expect("it is as it should be")
            .to_owned()
    }

    /// Returns the refusals in the event log.
    pub fn refusals(&self) -> Vec<Value> {
        let said = self.host.ok(&["events", "--no-follow", "--format", "json"]);
        let records = said
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("it is as it should be"));
        records
            .filter(|record| record["type"] == "api.refused")
            .collect()
    }

    /// Removes everything and fails if anything is left.
    pub fn finish(self) {
        for id in self.host.ok(&["ps", "-aq"]).split_whitespace() {
            self.host.ok(&["rm", "-f", id]);
        }
        for volume in self.host.ok(&["volume", "ls", "-q"]).split_whitespace() {
            self.host.ok(&["volume", "rm", "-f", volume]);
        }
        self.host.finish();
    }
}

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .expect("it is as it should be");
}
