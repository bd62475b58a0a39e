//! `engine logout`: forgets what was logged in with; the daemon is not needed.

use clap::Args;

use crate::context::Context;
use crate::credentials::{self, ConfigFile, DOCKER_HUB};
use crate::error::CliError;

/// Logs out from a registry.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry; without one, Docker Hub
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

impl Logout {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let mut file = ConfigFile::load(credentials::path(context)?)?;
        let server = self.server.unwrap_or_default();
        let keys = match credentials::key(&server).as_str() {
            DOCKER_HUB => vec![DOCKER_HUB.to_owned()],
            // However it was written when it was kept.
            host => vec![
                server,
                host.to_owned(),
                format!("http://{host}"),
                format!("https://{host}"),
            ],
        };
        let shown = keys.get(1).unwrap_or(&keys[0]);
        context.print_line(&format!("Removing login credentials for {shown}"))?;
        let mut failures = Vec::new();
        for key in &keys {
            if let Err(error) = credentials::erase(context, &mut file, key).await {
                failures.push(format!("{key}: {}", base::failure::chain(&error)));
            }
        }
        if failures.len() == keys.len() {
            context.warn("WARNING: could not erase credentials:");
            failures.iter().for_each(|failure| context.warn(failure));
        }
        Ok(())
    }
}
