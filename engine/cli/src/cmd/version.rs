//! `engine version`.

use clap::Args;
use engine_api::client::{Call, ClientError};
use engine_api::system::VersionResponse;
use engine_api::version::MAX_VERSION;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::CliError;
use crate::template::Template;

/// Shows versions.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let server = match context.connect().await {
            Ok(client) => client
                .json::<Value>(Call::get("/version"))
                .await
                .map_err(CliError::from),
            Err(error) => Err(error),
        };
        let text = self.render(server.as_ref().ok())?;
        context.print(&text)?;
        server.map(drop)
    }

    fn render(&self, server: Option<&Value>) -> Result<String, CliError> {
        let client = json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": MAX_VERSION.to_string(),
            "Os": std::env::consts::OS,
            "Arch": engine_api::system::architecture(),
        });
        let both = json!({"Client": client, "Server": server});
        match self.format.as_deref() {
            Some("json") => Ok(format!("{both}\n")),
            Some(format) => Ok(format.parse::<Template>()?.render(&both)? + "\n"),
            None => lines(server),
        }
    }
}

fn lines(server: Option<&Value>) -> Result<String, CliError> {
    let mut text = format!(
        "Client:\n Version:           {}\n API version:       {MAX_VERSION}\n OS/Arch:           {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        engine_api::system::architecture(),
    );
    let Some(server) = server else {
        return Ok(text);
    };
    let server: VersionResponse = serde_json::from_value(server.clone())
        .map_err(|error| CliError::Client(ClientError::Decode(error)))?;
    text.push_str(&format!(
        "\nServer: {}\n Version:          {}\n API version:      {} (minimum version {})\n OS/Arch:          {}/{}\n Kernel version:   {}\n",
        server.platform.name,
        server.version,
        server.api_version,
        server.min_api_version,
        server.os,
        server.arch,
        server.kernel_version,
    ));
    for component in &server.components {
        text.push_str(&format!(
            " {}:\n  Version:          {}\n",
            component.name, component.version
        ));
    }
    Ok(text)
}
