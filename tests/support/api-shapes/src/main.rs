//! `api-shapes SOCKET SCENE ROOT RUN`: records the engine at a socket, whose data are
//! in ROOT and RUN, and prints the table.
#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use api_shapes::{Scene, record};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [socket, scene, root, run] = &words[..] else {
        bail!("four words are needed: SOCKET SCENE ROOT RUN");
    };
    let text = std::fs::read_to_string(scene).with_context(|| format!("read {scene}"))?;
    let scene = Scene::parse(&text)?;
    print!("{}", record(Path::new(socket), &scene, &[root, run])?);
    Ok(())
}
