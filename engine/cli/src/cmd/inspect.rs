//! `engine inspect`, and the showing of objects that volumes and networks share.

use clap::{Args, ValueEnum};
use engine_api::client::{Call, Client, encode};
use serde_json::Value;

use crate::context::Context;
use crate::error::CliError;
use crate::json;
use crate::template::Template;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    /// Where a name without a type is looked for, in this order.
    const ALL: [Self; 4] = [Self::Container, Self::Image, Self::Network, Self::Volume];

    fn call(self, name: &str, wanted: &Wanted) -> Call {
        let name = encode(name);
        match self {
            Self::Container => Call::get(&format!("/containers/{name}/json")),
            Self::Image => Call::get(&format!("/images/{name}/json")),
            Self::Network => Call::get(&format!("/networks/{name}")),
            Self::Volume => Call::get(&format!("/volumes/{name}")),
        }
        .query_flag("size", wanted.size && self == Self::Container)
        .query_some("platform", wanted.platform.clone())
    }
}

/// What else is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// A container's sizes.
    pub size: bool,
    /// An image of this platform, as the API takes it.
    pub platform: Option<String>,
}

/// Shows objects.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    show: Show,
    /// Show the sizes of a container
    #[arg(short, long)]
    size: bool,
    /// Look only for this kind of object
    #[arg(long = "type", value_name = "KIND", value_enum)]
    kind: Option<Kind>,
}

/// The words that every inspect takes.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

impl Inspect {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let kinds = match self.kind {
            Some(kind) => vec![kind],
            None => Kind::ALL.to_vec(),
        };
        let wanted = Wanted {
            size: self.size,
            platform: None,
        };
        self.show.run(context, &kinds, wanted).await
    }
}

impl Show {
    /// Shows the objects named, each the first kind that has it.
    pub(super) async fn run(
        self,
        context: &Context,
        kinds: &[Kind],
        wanted: Wanted,
    ) -> Result<(), CliError> {
        let template = match self.format.as_deref() {
            None | Some("json") => None,
            Some(format) => Some(format.parse::<Template>()?),
        };
        let client = context.connect().await?;
        let mut found = Vec::new();
        let mut outcome = Ok(());
        for name in &self.names {
            match find(client, name, kinds, &wanted).await {
                Ok(text) => found.push(text),
                Err(error) => {
                    context.warn(&error.message());
                    outcome = Err(CliError::Reported);
                }
            }
        }
        context.print(&self.render(&found, template.as_ref())?)?;
        outcome
    }

    fn render(&self, found: &[String], template: Option<&Template>) -> Result<String, CliError> {
        let list = format!("[{}]", found.join(","));
        let Some(template) = template else {
            return Ok(match self.format {
                Some(_) => list + "\n",
                None => json::indent(&list) + "\n",
            });
        };
        let mut text = String::new();
        for object in found {
            let value: Value = serde_json::from_str(object).map_err(|error| {
                CliError::Client(engine_api::client::ClientError::Decode(error))
            })?;
            text.push_str(&template.render(&value)?);
            text.push('\n');
        }
        Ok(text)
    }
}

/// Returns the object as the daemon writes it.
async fn find(
    client: &Client,
    name: &str,
    kinds: &[Kind],
    wanted: &Wanted,
) -> Result<String, CliError> {
    for kind in kinds {
        match client.bytes(kind.call(name, wanted)).await {
            Ok(body) => return Ok(String::from_utf8_lossy(&body).trim().to_owned()),
            Err(error) if error.status() == Some(404) && kinds.len() > 1 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CliError::Usage(format!("Error: No such object: {name}")))
}
