//! containerd and its `ctr`, with a runtime of our choice.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::bench::daemons;
use crate::conform::smoke::Client;
use crate::process::{Background, Cmd};

const ADDRESS: &str = "/run/ctr-smoke.sock";
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A containerd of its own, and who speaks to it.
pub(super) struct Ctr {
    daemon: Background,
    runtime: String,
}

impl Ctr {
    /// Starts containerd and gives it the image of the rows.
    ///
    /// # Errors
    /// Fails when it does not answer in time.
    pub(super) fn start(runtime: &str) -> Result<Self> {
        let root = daemons::folder("containerd")?;
        let mut daemon = Cmd::new("containerd")
            .arg("--root")
            .arg(root)
            .args(["--state", "/run/ctr-smoke", "--address", ADDRESS])
            .background(Path::new("/data/containerd.log"))?;
        let ready = || ctr().args(["images", "list"]).read().is_ok();
        daemon.wait_until(READY_LIMIT, ready)?;
        let image = format!("localhost:{}/smoke:1", daemons::REGISTRY_PORT);
        ctr()
            .args([
                "images",
                "pull",
                "--plain-http",
                "--snapshotter",
                "overlayfs",
            ])
            .arg(image)
            .read()?;
        Ok(Self {
            daemon,
            runtime: runtime.to_owned(),
        })
    }

    /// Ends containerd.
    ///
    /// # Errors
    /// Fails when it does not end.
    pub(super) fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}

fn ctr() -> Cmd {
    Cmd::new("ctr").args(["--address", ADDRESS])
}

impl Client for Ctr {
    fn program(&self) -> Cmd {
        ctr()
    }

    /// `{run}` stands for a run with the runtime under test.
    fn command(&self, line: &str) -> Result<Cmd> {
        let run = format!("run --snapshotter overlayfs --runc-binary {}", self.runtime);
        let words = crate::conform::smoke::rows::words(&line.replace("{run}", &run))?;
        Ok(self.program().args(words).timeout(Duration::from_secs(60)))
    }

    fn clean_up(&self) -> Result<()> {
        for task in self.read("tasks list --quiet")?.lines() {
            // One that has ended meanwhile is not to be killed.
            let kill = format!("tasks kill --all --signal SIGKILL {task}");
            self.read(&kill).ok();
            self.read(&format!("tasks delete --force {task}")).ok();
        }
        self.remove_all("containers list --quiet", "containers delete")
    }
}
