//! podman with a runtime of our choice.

use anyhow::Result;

use crate::bench::{Who, daemons};
use crate::conform::smoke::Client;
use crate::process::Cmd;

/// podman; it has no daemon.
pub(super) struct Podman<'a> {
    runtime: &'a str,
}

impl<'a> Podman<'a> {
    /// Returns podman with the image of the rows.
    ///
    /// # Errors
    /// Fails when it cannot be pulled.
    pub(super) fn new(runtime: &'a str) -> Result<Self> {
        let image = format!("localhost:{}/smoke:1", daemons::REGISTRY_PORT);
        daemons::pull(Who::Podman, &image)?;
        Ok(Self { runtime })
    }
}

impl Client for Podman<'_> {
    fn program(&self) -> Cmd {
        daemons::command(Who::Podman).args(["--runtime", self.runtime])
    }

    fn clean_up(&self) -> Result<()> {
        self.read("rm --all --force --time 0").map(drop)?;
        self.read("volume prune --force").map(drop)
    }
}
