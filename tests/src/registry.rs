//! A real registry, Debian's `docker-registry`, on the loopback of the test's
//! own network.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base::file::{FileMode, replace};

use crate::{run, wait_until};

const ADDRESS: &str = "127.0.0.1:5000";
/// Who may use a registry that wants to know.
pub const USER: &str = "user";
/// The password of [`USER`]; found nowhere else.
pub const PASSWORD: &str = "s3cret-Word";
/// bcrypt of [`PASSWORD`].
const USERS: &str = "user:$2b$05$HDZYxvlTvuL/u3YmPhkdDeZwc9PXqjcHnYIZRwP3VnDnzIaw9wm6e\n";

/// A registry at `localhost:5000`, which ends with the value.
#[derive(Debug)]
pub struct Registry {
    directory: PathBuf,
    child: Child,
}

impl Registry {
    /// Starts a registry that keeps its files in `directory`.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, "")
    }

    /// Starts a registry that wants [`USER`] and [`PASSWORD`] with every request.
    pub fn start_with_password(directory: &Path) -> Self {
        let users = directory.join("users");
        replace(&users, USERS.as_bytes(), FileMode::Private).expect("written");
        let path = users.display();
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {path}}}}}\n");
        Self::start_with(directory, &auth)
    }

    fn start_with(directory: &Path, auth: &str) -> Self {
        let config = directory.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n{auth}http: {{addr: \"{ADDRESS}\"}}\n",
            directory.join("registry").display()
        );
        replace(&config, text.as_bytes(), FileMode::Private).expect("written");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(directory.join("registry.log"))
            .expect("a log can be opened");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is needed: apt-get install docker-registry");
        wait_until("the registry answers", || {
            TcpStream::connect(ADDRESS).is_ok()
        });
        let directory = directory.to_owned();
        Self { directory, child }
    }

    /// Pushes an archive that `engine save` wrote as `localhost:5000/<name>`.
    pub fn push(&self, archive: &Path, name: &str) {
        copy(&format!("docker-archive:{}", archive.display()), name);
    }

    /// Pushes the only image of an OCI layout as it is, whatever is wrong with it.
    pub fn push_layout(&self, layout: &Path, name: &str) {
        copy(&format!("oci:{}", layout.display()), name);
    }

    /// Returns the file of a blob, given as `sha256:<hex>`.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self
            .directory
            .join("registry/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// Returns the requests that were answered.
    pub fn requests(&self) -> String {
        std::fs::read_to_string(self.directory.join("registry.log")).expect("there is a log")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

fn copy(source: &str, name: &str) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false"]);
    // Else it would compress the layers that are not.
    skopeo.args(source.starts_with("oci:").then_some("--preserve-digests"));
    let said = run(skopeo
        .arg(source)
        .arg(format!("docker://localhost:5000/{name}")));
    assert_eq!(said.code, 0, "{said:?}");
}
