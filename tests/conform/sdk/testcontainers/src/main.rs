//! Calls of testcontainers; prints a line for each, its name and the answer.

#![forbid(unsafe_code)]

mod output;
mod settings;
mod use_of;
mod waiting;

use anyhow::Result;
use testcontainers::bollard::Docker;

#[tokio::main]
async fn main() -> Result<()> {
    let docker = Docker::connect_with_defaults()?;
    waiting::strategies().await?;
    waiting::refused().await?;
    settings::of_containers(&docker).await?;
    use_of::commands().await?;
    use_of::files().await?;
    use_of::networks(&docker).await?;
    use_of::life().await?;
    use_of::nothing_left(&docker).await
}
