//! Calls of bollard; prints a line for each, its name and the answer.

#![forbid(unsafe_code)]

mod containers;
mod output;
mod rest;

use anyhow::Result;
use bollard::Docker;

/// What the containers are made of.
const IMAGE: &str = "busybox:latest";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let docker = Docker::connect_with_defaults()?.negotiate_version().await?;
    rest::system(&docker).await;
    rest::images(&docker).await?;
    containers::created(&docker).await?;
    containers::running(&docker).await?;
    containers::streams(&docker).await?;
    containers::archives(&docker).await?;
    containers::endings(&docker).await?;
    rest::volumes(&docker).await;
    rest::networks(&docker).await?;
    rest::events(&docker).await
}
