//! `engine context`: daemons by name, in the store of the `docker` command.

mod carry;

use std::path::Path;

use base::file::read_bounded;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::context::Context;
use crate::credentials::{self, ConfigFile};
use crate::error::CliError;
use crate::listing::{Columns, Row, Style};
use crate::parse::host;
use crate::remote::{self, Chosen};
use crate::stored_contexts::{ContextsError, DEFAULT_CONTEXT, Draft, Store, Stored};
use crate::template::Template;

const COLUMNS: Columns = Columns {
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
        ("Current", "CURRENT"),
    ],
    id: "Name",
};
const TABLE: &[&str] = &["Name", "Description", "DockerEndpoint", "Error"];
/// A certificate is no larger.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// Manages contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Create a context
    Create(Create),
    /// Change a context
    Update(Update),
    /// Write a context to a file, with its certificates and keys
    Export(carry::Export),
    /// Make a context of such a file
    Import(carry::Import),
    /// List contexts
    #[command(alias = "list")]
    Ls(Ls),
    /// Show all about contexts
    Inspect(Inspect),
    /// Remove contexts
    #[command(alias = "remove")]
    Rm(Rm),
    /// Print the name of the context in use
    Show,
    /// Choose the context that is used without --context
    Use(Use),
}

impl ContextCommand {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let store = Store::of(&context.environment)?;
        match self {
            Self::Create(command) => command.run(context, &store),
            Self::Update(command) => command.run(context, &store),
            Self::Export(command) => command.run(context, &store),
            Self::Import(command) => command.run(context, &store),
            Self::Ls(command) => command.run(context, &store),
            Self::Inspect(command) => command.run(context, &store),
            Self::Rm(command) => command.run(context, &store),
            Self::Show => context.print_line(&current(context)?),
            Self::Use(command) => command.run(context, &store),
        }
    }
}

/// What is said of a context.
#[derive(Debug, Args)]
struct About {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where the daemon is: host=URL, and with TLS ca=FILE,cert=FILE,key=FILE
    #[arg(long, value_name = "KEY=VALUE,…")]
    docker: Option<String>,
}

impl About {
    /// Returns the context with what is said of it.
    fn apply(&self, mut draft: Draft, context: &Context) -> Result<Draft, CliError> {
        if let Some(docker) = &self.docker {
            draft = with_endpoint(draft, docker, context)?;
        }
        if let Some(description) = &self.description {
            draft.describe(description);
        }
        Ok(draft)
    }
}

/// Creates a context.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[arg(value_name = "CONTEXT")]
    name: String,
    #[command(flatten)]
    about: About,
    /// Take all from another context [default: the one in use, without --docker]
    #[arg(long, value_name = "CONTEXT", conflicts_with = "docker")]
    from: Option<String>,
}

impl Create {
    fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        let from = match (&self.about.docker, self.from) {
            (Some(_), _) => Draft::new(),
            (None, Some(from)) => existing(&from, context, store)?,
            (None, None) => existing(&current(context)?, context, store)?,
        };
        let draft = self.about.apply(from, context)?;
        store.create(&self.name, draft)?;
        context.print_line(&self.name)?;
        context.warn(&format!("Successfully created context \"{}\"", self.name));
        Ok(())
    }
}

/// Returns a context that is there, to be changed or written elsewhere.
fn existing(name: &str, context: &Context, store: &Store) -> Result<Draft, CliError> {
    if name != DEFAULT_CONTEXT {
        return Ok(Draft::of(&store.get(name)?)?);
    }
    let mut draft = Draft::new();
    draft.set_host(&own_host(context));
    Ok(draft)
}

/// Returns the context with what `--docker` says.
fn with_endpoint(mut draft: Draft, docker: &str, context: &Context) -> Result<Draft, CliError> {
    let mut address = None;
    let mut files = Vec::new();
    for pair in docker.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = match key {
            "host" => {
                host::parse(value)?;
                address = Some(value);
                continue;
            }
            "ca" => "ca.pem",
            "cert" => "cert.pem",
            "key" => "key.pem",
            "skip-tls-verify" if value == "false" => continue,
            "skip-tls-verify" => {
                return Err(usage(
                    "a daemon is always verified: skip-tls-verify is not supported",
                ));
            }
            _ => return Err(usage(&format!("unrecognized config key: {key}"))),
        };
        let path = context.environment.directory.join(Path::new(value));
        files.push((name.to_owned(), read_bounded(&path, FILE_LIMIT_BYTES)?));
    }
    let address = address.ok_or_else(|| usage("--docker needs host=URL"))?;
    draft.set_host(address);
    draft.tls = Some(files);
    Ok(draft)
}

/// Changes a context.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[arg(value_name = "CONTEXT")]
    name: String,
    #[command(flatten)]
    about: About,
}

impl Update {
    fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        if self.name == DEFAULT_CONTEXT {
            return Err(ContextsError::Reserved.into());
        }
        let draft = Draft::of(&store.get(&self.name)?)?;
        let draft = self.about.apply(draft, context)?;
        store.update(&self.name, draft)?;
        context.print_line(&self.name)?;
        context.warn(&format!("Successfully updated context \"{}\"", self.name));
        Ok(())
    }
}

fn usage(text: &str) -> CliError {
    CliError::Usage(text.to_owned())
}

/// Lists contexts.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// json, table, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print only names
    #[arg(short, long)]
    quiet: bool,
}

impl Ls {
    fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        let current = current(context)?;
        let is_table = self
            .format
            .as_deref()
            .is_none_or(|format| format == "table");
        let row = |name: &str, description: &str, host: &str| -> Row {
            let is_current = name == current;
            let marked = is_table && !self.quiet && is_current;
            let shown = if marked {
                format!("{name} *")
            } else {
                name.to_owned()
            };
            Row::from_iter([
                ("Current".to_owned(), json!(is_current)),
                ("Description".to_owned(), json!(description)),
                ("DockerEndpoint".to_owned(), json!(host)),
                ("Error".to_owned(), json!("")),
                ("Name".to_owned(), json!(shown)),
            ])
        };
        let mut rows: Vec<Row> = store
            .list()?
            .iter()
            .map(|stored| row(&stored.name, stored.description(), stored.host()))
            .collect();
        let own = own_host(context);
        rows.push(row(
            DEFAULT_CONTEXT,
            "Current DOCKER_HOST based configuration",
            &own,
        ));
        rows.sort_by_key(|row| row["Name"].as_str().map(str::to_owned));
        let style = Style {
            format: self.format.as_deref(),
            quiet: self.quiet.into(),
            table: TABLE,
        };
        context.print(&COLUMNS.render(rows, style)?)
    }
}

/// Returns where the daemon is that is meant without a context.
fn own_host(context: &Context) -> String {
    let variables = &context.environment.variables;
    match variables.get("DOCKER_HOST").filter(|host| !host.is_empty()) {
        Some(host) if context.global.host().is_none() => host.clone(),
        _ => context.client.endpoint().to_string(),
    }
}

fn current(context: &Context) -> Result<String, CliError> {
    Ok(
        match remote::chosen(&context.global, &context.environment)? {
            Chosen::Context(name) => name,
            Chosen::Host(_) | Chosen::Own => DEFAULT_CONTEXT.to_owned(),
        },
    )
}

/// Shows all about contexts.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Which; by default the one in use
    #[arg(value_name = "CONTEXT")]
    names: Vec<String>,
}

impl Inspect {
    fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        let names = match self.names.is_empty() {
            true => vec![current(context)?],
            false => self.names,
        };
        let mut all = Vec::new();
        for name in &names {
            all.push(match name.as_str() {
                DEFAULT_CONTEXT => default_shown(&own_host(context)),
                name => shown(&store.get(name)?),
            });
        }
        let Some(format) = &self.format else {
            let text = serde_json::to_string_pretty(&all);
            let text = text.map_err(|error| usage(&error.to_string()))?;
            return context.print_line(&text);
        };
        let template: Template = format.parse()?;
        for value in &all {
            context.print_line(&template.render(value)?)?;
        }
        Ok(())
    }
}

fn shown(stored: &Stored) -> Value {
    let files = stored.tls_files();
    json!({
        "Name": stored.name,
        "Metadata": stored.content["Metadata"],
        "Endpoints": stored.content["Endpoints"],
        "TLSMaterial": if files.is_empty() { json!({}) } else { json!({"docker": files}) },
        "Storage": {"MetadataPath": stored.meta, "TLSPath": stored.tls},
    })
}

fn default_shown(host: &str) -> Value {
    json!({
        "Name": DEFAULT_CONTEXT,
        "Metadata": {},
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}},
        "TLSMaterial": {},
        "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
    })
}

/// Removes contexts.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Also the one in use
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "CONTEXT", required = true)]
    names: Vec<String>,
}

impl Rm {
    fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        let mut all = Ok(());
        for name in &self.names {
            match self.remove(name, context, store) {
                Ok(()) => context.print_line(name)?,
                Err(error) => {
                    context.warn(&error.message());
                    all = Err(CliError::Reported);
                }
            }
        }
        all
    }

    fn remove(&self, name: &str, context: &Context, store: &Store) -> Result<(), CliError> {
        if name == DEFAULT_CONTEXT {
            return Err(usage("context \"default\" cannot be removed"));
        }
        let mut file = ConfigFile::load(credentials::path(context)?)?;
        if file.current_context() == Some(name) {
            if !self.force {
                return Err(usage(&format!(
                    "context \"{name}\" is in use, set -f flag to force remove"
                )));
            }
            file.use_context(None)?;
        }
        match store.remove(name) {
            Err(ContextsError::Missing { .. }) if self.force => Ok(()),
            removed => Ok(removed?),
        }
    }
}

/// Chooses a context.
#[derive(Debug, Args)]
pub(crate) struct Use {
    #[arg(value_name = "CONTEXT")]
    name: String,
}

impl Use {
    fn run(self, context: &Context, store: &Store) -> Result<(), CliError> {
        let mut file = ConfigFile::load(credentials::path(context)?)?;
        match self.name.as_str() {
            DEFAULT_CONTEXT => file.use_context(None)?,
            name => {
                store.get(name)?;
                file.use_context(Some(name))?;
            }
        }
        context.print_line(&self.name)?;
        context.warn(&format!("Current context is now \"{}\"", self.name));
        let variables = &context.environment.variables;
        if variables
            .get("DOCKER_HOST")
            .is_some_and(|host| !host.is_empty())
        {
            context.warn("Warning: DOCKER_HOST environment variable overrides the active context.");
        }
        Ok(())
    }
}
