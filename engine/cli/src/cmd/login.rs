//! `engine login`: asks the daemon whether a registry accepts a name and a password,
//! and keeps them.

use std::fs::File;
use std::io::Read as _;

use clap::Args;
use engine_api::client::{Call, ClientError};
use engine_api::registry::{AuthConfig, AuthResponse};

use crate::context::Context;
use crate::credentials::{self, ConfigFile, DOCKER_HUB};
use crate::error::CliError;
use crate::terminal::{Hidden, is_terminal};

/// A password is not longer.
const INPUT_LIMIT_BYTES: u64 = 1 << 20;
const SUGGESTION: &str = "Log in with your Docker ID or email address to push and pull images from Docker Hub. If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.";

/// A word of the command line that is never printed.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Logs in to a registry.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Name of the user
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or token; other users of the host can see it
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<Secret>,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// The registry; without one, Docker Hub
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

impl Login {
    pub(super) async fn run(mut self, context: &Context) -> Result<(), CliError> {
        self.check(context)?;
        let key = credentials::key(self.server.as_deref().unwrap_or_default());
        let mut file = ConfigFile::load(credentials::path(context)?)?;
        let mut known = AuthConfig::default();
        if self.username.is_none() && self.password.is_none() {
            known = stored(context, &file, &key).await;
            if !known.username.is_empty() && !known.password.is_empty() {
                match with_stored(context, &known).await {
                    Ok(answer) => return keep(context, &mut file, known, answer).await,
                    Err(error) => context.warn(&error),
                }
            }
        }
        let auth = self.ask(context, key, &known.username).await?;
        let answer = send(context, &auth).await?;
        keep(context, &mut file, auth, answer).await
    }

    /// Refuses options that do not go together, and reads the password from stdin.
    fn check(&mut self, context: &Context) -> Result<(), CliError> {
        let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
        if self.username.as_deref() == Some("") {
            return usage("username is empty");
        }
        if self.password.as_ref().is_some_and(|it| it.0.is_empty()) {
            return usage("password is empty");
        }
        if self.password_stdin && self.password.is_some() {
            return usage(
                "conflicting options: cannot specify both --password and --password-stdin",
            );
        }
        if self.password_stdin && self.username.is_none() {
            return usage("the --password-stdin option requires --username to be set");
        }
        if self.password.is_some() {
            context
                .warn("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        }
        if self.password_stdin {
            let mut text = String::new();
            let mut input = (&context.streams.stdin).take(INPUT_LIMIT_BYTES);
            input.read_to_string(&mut text).map_err(CliError::Streams)?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            self.password = Some(line.strip_suffix('\r').unwrap_or(line).into());
        }
        Ok(())
    }

    /// Asks on the terminal for what the options do not say.
    async fn ask(
        self,
        context: &Context,
        key: String,
        default: &str,
    ) -> Result<AuthConfig, CliError> {
        let given = |text: Option<String>| text.map(|it| it.trim().to_owned()).unwrap_or_default();
        let mut username = given(self.username);
        let mut password = given(self.password.map(|secret| secret.0));
        let lacks_some = username.is_empty() || password.is_empty();
        if lacks_some && !is_terminal(&context.streams.stdin) {
            return Err(CliError::Usage(
                "Error: Cannot perform an interactive login from a non TTY device".to_owned(),
            ));
        }
        if username.is_empty() {
            if key == DOCKER_HUB {
                context.print_line(SUGGESTION)?;
            }
            let prompt = match default {
                "" => "Username: ".to_owned(),
                default => format!("Username ({default}): "),
            };
            context.print(&prompt)?;
            username = line(context, None).await?.trim().to_owned();
            if username.is_empty() {
                username = default.to_owned();
            }
        }
        if username.is_empty() {
            return Err(CliError::Usage(
                "Error: Non-null Username Required".to_owned(),
            ));
        }
        if password.is_empty() {
            context.print("Password: ")?;
            let hidden = Hidden::enter(&context.streams.stdin).map_err(CliError::Terminal)?;
            password = line(context, Some(hidden)).await?;
            context.print_line("")?;
        }
        if password.is_empty() {
            return Err(CliError::Usage("Error: Password Required".to_owned()));
        }
        Ok(AuthConfig {
            username,
            password,
            server_address: key,
            ..AuthConfig::default()
        })
    }
}

/// Reads a line from the terminal, whose mode comes back even when the user gives up.
async fn line(context: &Context, hidden: Option<Hidden>) -> Result<String, CliError> {
    let input = context.streams.stdin.try_clone();
    let input = input.map_err(CliError::Streams)?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own: a blocked one of the runtime would keep it from ending.
    std::thread::spawn(move || drop(sender.send(read_line(&input))));
    let read = tokio::select! {
        read = receiver => read,
        _ = tokio::signal::ctrl_c() => {
            drop(hidden);
            context.warn("");
            return Err(CliError::Reported.with_code(130));
        }
    };
    drop(hidden);
    let read = read.map_err(|_| CliError::Streams(std::io::ErrorKind::BrokenPipe.into()))?;
    read.map_err(CliError::Streams)
}

/// Reads one line, and not a byte beyond it.
fn read_line(mut input: &File) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while (line.len() as u64) < INPUT_LIMIT_BYTES {
        if input.read(&mut byte)? == 0 || byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).map_err(std::io::Error::other)?;
    Ok(line.trim_end_matches('\r').to_owned())
}

/// Returns what is kept for the registry; what cannot be had is asked for.
async fn stored(context: &Context, file: &ConfigFile, key: &str) -> AuthConfig {
    match credentials::get(context, file, key).await {
        Ok(auth) => auth.unwrap_or_default(),
        Err(error) => {
            let error = base::failure::chain(&error);
            context.warn(&format!("WARNING: cannot use stored credentials: {error}"));
            AuthConfig::default()
        }
    }
}

/// Tries what is kept; an error is the sentence to print.
async fn with_stored(context: &Context, auth: &AuthConfig) -> Result<AuthResponse, String> {
    let begun = "Authenticating with existing credentials...";
    context.warn(&format!("{begun} [Username: {}]", auth.username));
    context.warn(
        "\n Info -> To login with a different account, run 'engine logout' followed by 'engine login'\n\n",
    );
    send(context, auth).await.map_err(|error| match &error {
        CliError::Client(client) if client.status() == Some(401) => {
            "Stored credentials invalid or expired".to_owned()
        }
        error => format!("Login did not succeed, error: {}", error.message()),
    })
}

async fn send(context: &Context, auth: &AuthConfig) -> Result<AuthResponse, CliError> {
    let call = Call::post("/auth").json(auth)?;
    let answer: Result<AuthResponse, ClientError> = context.connect().await?.json(call).await;
    Ok(answer?)
}

/// Keeps what the registry has accepted.
async fn keep(
    context: &Context,
    file: &mut ConfigFile,
    mut auth: AuthConfig,
    answer: AuthResponse,
) -> Result<(), CliError> {
    if !answer.identity_token.is_empty() {
        auth.password = String::new();
        auth.identity_token = answer.identity_token;
    }
    let stored = credentials::store(context, file, &auth).await;
    let is_readable = stored.map_err(CliError::Saving)?;
    if is_readable {
        context.warn(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            file.path().display()
        ));
    }
    context.print_line(&answer.status)
}
