//! Programs that keep credentials, `docker-credential-<name>`: one word says what is
//! wanted, the rest goes through standard input and output.

use std::process::Stdio;
use std::time::Duration;

use engine_api::registry::AuthConfig;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::{CredentialError, TOKEN_USER};
use crate::context::Context;

/// A program may ask its user to unlock something.
const LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT_BYTES: u64 = 1 << 20;
/// What programs say of a registry they do not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// What passes between us and the program.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Returns what the program keeps for a registry.
pub(super) async fn get(
    context: &Context,
    name: &str,
    key: &str,
) -> Result<Option<AuthConfig>, CredentialError> {
    let program = Program::new(name, "get", "getting")?;
    let answer = match program.run(context, key.as_bytes()).await {
        Err(CredentialError::Failed { said, .. }) if said.contains(NOT_FOUND) => return Ok(None),
        other => other?,
    };
    let kept: Kept = serde_json::from_slice(&answer).map_err(|_| CredentialError::Answer {
        program: program.name,
    })?;
    let server_address = key.to_owned();
    Ok(Some(match kept.username.as_str() {
        TOKEN_USER => AuthConfig {
            identity_token: kept.secret,
            server_address,
            ..AuthConfig::default()
        },
        _ => AuthConfig {
            username: kept.username,
            password: kept.secret,
            server_address,
            ..AuthConfig::default()
        },
    }))
}

/// Has the program keep what a user has logged in with.
pub(super) async fn store(
    context: &Context,
    name: &str,
    auth: &AuthConfig,
) -> Result<(), CredentialError> {
    let program = Program::new(name, "store", "storing")?;
    let (username, secret) = match auth.identity_token.is_empty() {
        true => (auth.username.as_str(), &auth.password),
        false => (TOKEN_USER, &auth.identity_token),
    };
    let kept = Kept {
        server_url: auth.server_address.clone(),
        username: username.to_owned(),
        secret: secret.clone(),
    };
    let input = serde_json::to_vec(&kept).map_err(|_| CredentialError::Answer {
        program: program.name.clone(),
    })?;
    program.run(context, &input).await.map(drop)
}

/// Has the program forget a registry.
pub(super) async fn erase(context: &Context, name: &str, key: &str) -> Result<(), CredentialError> {
    let program = Program::new(name, "erase", "erasing")?;
    match program.run(context, key.as_bytes()).await {
        Err(CredentialError::Failed { said, .. }) if said.contains(NOT_FOUND) => Ok(()),
        other => other.map(drop),
    }
}

struct Program {
    name: String,
    action: &'static str,
    /// The action in a sentence.
    doing: &'static str,
}

impl Program {
    fn new(name: &str, action: &'static str, doing: &'static str) -> Result<Self, CredentialError> {
        if name.contains('/') {
            return Err(CredentialError::Name(name.to_owned()));
        }
        let name = format!("docker-credential-{name}");
        Ok(Self {
            name,
            action,
            doing,
        })
    }

    async fn run(&self, context: &Context, input: &[u8]) -> Result<Vec<u8>, CredentialError> {
        let run = timeout(LIMIT, self.exchange(context, input));
        let ran = run.await.map_err(|_| CredentialError::Late {
            program: self.name.clone(),
            limit_s: LIMIT.as_secs(),
        })?;
        let (is_done, answer) = ran.map_err(|source| CredentialError::Run {
            program: self.name.clone(),
            source,
        })?;
        if is_done {
            return Ok(answer);
        }
        let said = String::from_utf8_lossy(&answer);
        Err(CredentialError::Failed {
            program: self.name.clone(),
            action: self.doing,
            said: said.trim().chars().take(500).collect(),
        })
    }

    async fn exchange(&self, context: &Context, input: &[u8]) -> std::io::Result<(bool, Vec<u8>)> {
        let mut child = Command::new(&self.name)
            .arg(self.action)
            .envs(&context.environment.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        // One that does not read it says so by its exit.
        drop(stdin.write_all(input).await);
        drop(stdin);
        let mut answer = Vec::new();
        let mut bounded = stdout.take(ANSWER_LIMIT_BYTES);
        bounded.read_to_end(&mut answer).await?;
        drop(bounded);
        Ok((child.wait().await?.success(), answer))
    }
}
