//! `engine info`.

use base::size::ByteSize;
use clap::Args;
use engine_api::client::{Call, ClientError};
use engine_api::system::InfoResponse;
use serde_json::Value;

use crate::context::Context;
use crate::error::CliError;
use crate::template::Template;

/// Shows the engine's state.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Info {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let info: Value = context.connect().await?.json(Call::get("/info")).await?;
        let text = match self.format.as_deref() {
            Some("json") => format!("{info}\n"),
            Some(format) => format.parse::<Template>()?.render(&info)? + "\n",
            None => {
                let info = serde_json::from_value(info);
                lines(&info.map_err(|error| CliError::Client(ClientError::Decode(error)))?)
            }
        };
        context.print(&text)
    }
}

fn lines(info: &InfoResponse) -> String {
    let memory = ByteSize(u64::try_from(info.mem_total).unwrap_or(0));
    let fields = [
        ("Containers", info.containers.to_string()),
        (" Running", info.containers_running.to_string()),
        (" Paused", info.containers_paused.to_string()),
        (" Stopped", info.containers_stopped.to_string()),
        ("Images", info.images.to_string()),
        ("Server Version", info.server_version.clone()),
        ("Storage Driver", info.driver.clone()),
        ("Logging Driver", info.logging_driver.clone()),
        ("Cgroup Driver", info.cgroup_driver.clone()),
        ("Cgroup Version", info.cgroup_version.clone()),
        ("Default Runtime", info.default_runtime.clone()),
        ("Security Options", info.security_options.join(" ")),
        ("Kernel Version", info.kernel_version.clone()),
        ("Operating System", info.operating_system.clone()),
        ("Architecture", info.architecture.clone()),
        ("CPUs", info.n_cpu.to_string()),
        ("Total Memory", memory.to_string()),
        ("Name", info.name.clone()),
        ("ID", info.id.clone()),
        ("Engine Root Dir", info.docker_root_dir.clone()),
    ];
    let mut text: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    for warning in info.warnings.iter().flatten() {
        text.push_str(&format!("WARNING: {warning}\n"));
    }
    text
}
