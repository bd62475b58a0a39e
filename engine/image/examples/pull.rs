//! Pulls an image into a directory and prints how long each part took.
//!
//! `cargo run --release -p engine-image --example pull -- REFERENCE DIRECTORY [--remove]`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use engine_image::{Force, ImageStore, ImageUse, NoProgress, PullRequest, RegistryAccess};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [reference, directory, rest @ ..] = arguments.as_slice() else {
        return Err("usage: pull REFERENCE DIRECTORY [--remove]".into());
    };
    let store = ImageStore::open(Path::new(directory))?;
    let request = PullRequest {
        reference: reference.parse()?,
        platform: None,
        access: RegistryAccess::default(),
    };
    let start = Instant::now();
    let outcome = store.pull(&request, Arc::new(NoProgress)).await?;
    let (image, elapsed) = (&outcome.image, start.elapsed());
    println!(
        "{} {:?} {} layers {} bytes",
        image.id,
        outcome.status,
        image.layers.len(),
        image.size_bytes
    );
    println!("pull {:.3} s", elapsed.as_secs_f64());
    if rest.iter().any(|argument| argument == "--remove") {
        let start = Instant::now();
        store.remove(reference, Force::No, &|_| ImageUse::Unused)?;
        println!("remove {:.3} s", start.elapsed().as_secs_f64());
        store.wait_for_removals();
        println!("removed from disk {:.3} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
