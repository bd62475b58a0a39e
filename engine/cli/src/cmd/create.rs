//! `engine create`, and the creating that `run` shares with it.

use base::file::{FileMode, replace};
use clap::Args;
use engine_api::client::{Call, ClientError};
use engine_api::container::{ContainerCreateBody, ContainerCreateResponse};

use super::pull::pull;
use crate::arguments::BAD_OPTION;
use crate::container_options::{ContainerOptions, GeneralOptions, PullPolicy};
use crate::container_plan::{Mode, gather, plan};
use crate::context::Context;
use crate::error::CliError;
use crate::progress::Show;

/// Creates a container.
#[derive(Debug, Args)]
#[command(override_usage = "engine create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Create {
    #[command(flatten)]
    options: ContainerOptions,
}

impl Create {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        // As Docker's: 125 for options that make no sense, unlike `run` not for
        // what the daemon refuses.
        let body = body(&self.options, Mode::Foreground, context)
            .map_err(|error| error.with_code(BAD_OPTION))?;
        let id = create(context, &self.options.general, &body).await?;
        context.print_line(&id)
    }
}

/// Returns the body that `options` ask for.
pub(super) fn body(
    options: &ContainerOptions,
    mode: Mode,
    context: &Context,
) -> Result<ContainerCreateBody, CliError> {
    let gathered = gather(options)?;
    Ok(plan(options, mode, gathered, &context.environment)?)
}

/// Creates a container, pulls its image if need be, and returns its id.
pub(super) async fn create(
    context: &Context,
    options: &GeneralOptions,
    body: &ContainerCreateBody,
) -> Result<String, CliError> {
    if let Some(path) = options.cidfile.as_ref().filter(|path| path.exists()) {
        return Err(CliError::Usage(format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        )));
    }
    let image = &body.config.image;
    if options.pull == PullPolicy::Always {
        pull(context, image, options.platform.as_deref(), show(options)).await?;
    }
    let created = match send(context, options, body).await {
        Err(CliError::Client(error)) if lacks_image(&error, options, body) => {
            if !options.quiet {
                context.warn(&format!(
                    "Unable to find image '{}' locally",
                    full_name(image)
                ));
            }
            pull(context, image, options.platform.as_deref(), show(options)).await?;
            send(context, options, body).await?
        }
        other => other?,
    };
    for warning in &created.warnings {
        context.warn(&format!("WARNING: {warning}"));
    }
    if let Some(path) = &options.cidfile {
        replace(path, created.id.as_bytes(), FileMode::Public)?;
    }
    Ok(created.id)
}

async fn send(
    context: &Context,
    options: &GeneralOptions,
    body: &ContainerCreateBody,
) -> Result<ContainerCreateResponse, CliError> {
    let call = Call::post("/containers/create")
        .query_some("name", options.name.as_deref())
        .query_some("platform", options.platform.as_deref())
        .json(body)?;
    Ok(context.connect().await?.json(call).await?)
}

/// A pull's output of `create` and `run` goes where it disturbs no container's.
fn show(options: &GeneralOptions) -> Show {
    match options.quiet {
        true => Show::Nowhere,
        false => Show::Stderr,
    }
}

fn lacks_image(error: &ClientError, options: &GeneralOptions, body: &ContainerCreateBody) -> bool {
    options.pull != PullPolicy::Never
        && error.status() == Some(404)
        && error.to_string().to_lowercase().contains("no such image")
        && !lacks_mounted_image(&error.to_string(), body)
}

/// Whether it is an image that is mounted which is not there: it has to be, and no
/// pull of the container's own helps.
fn lacks_mounted_image(said: &str, body: &ContainerCreateBody) -> bool {
    let own = full_name(&body.config.image);
    let mounts = body.host_config.mounts.iter();
    let mut mounted = mounts.filter(|mount| mount.r#type == "image");
    mounted.any(|mount| {
        let name = full_name(&mount.source);
        name != own && said.ends_with(&format!(": {name}"))
    })
}

fn full_name(image: &str) -> String {
    crate::parse::reference::parse(image).map_or_else(|_| image.to_owned(), |name| name.full())
}
