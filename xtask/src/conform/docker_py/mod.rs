//! `conform docker-py`: the integration tests of Docker's SDK for Python, as its
//! source distribution carries them, on the socket of an engine.
//!
//! The engine runs in the tree of peers; the tests run beside it in a tree of
//! Debian 12, whose Python the pinned packages are made for. The images that they
//! name are made here and come from a registry on loopback, a mirror of Docker's.

mod prepare;
mod pytest;

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::clients;
use super::mirror::Stand;
use super::results::{Reference, Results};
use crate::bench::Who;
use crate::commands::peers;
use crate::enter::{Access, Entry};
use crate::workspace::{self, read_text, write_file};

pub(super) const NAME: &str = "docker-py";
const DATA: &str = "conform-docker-py";
/// How each test ended, below the data folder.
const RESULTS: &str = "results.json";
/// What the tests printed, below the data folder.
const OUTPUT: &str = "output.txt";
/// Files and tests of what is not this engine's: building, swarm, plugins.
const APART: &[&str] = &[
    "api_build_test.py",
    "api_config_test.py",
    "api_plugin_test.py",
    "api_secret_test.py",
    "api_service_test.py",
    "api_swarm_test.py",
    "models_nodes_test.py",
    "models_services_test.py",
    "models_swarm_test.py",
    "api_network_test.py::TestNetworks::test_create_inspect_network_with_scope",
    "api_network_test.py::TestNetworks::test_create_network_attachable",
    "api_network_test.py::TestNetworks::test_create_network_ingress",
    "models_images_test.py::ImageCollectionTest::test_build",
    "models_images_test.py::ImageCollectionTest::test_build_with_error",
    "models_images_test.py::ImageCollectionTest::test_build_with_multiple_success",
    "models_images_test.py::ImageCollectionTest::test_build_with_success_build_output",
    "regression_test.py::TestRegressions::test_443_handle_nonchunked_response_in_stream",
];

/// Against whom, and which tests.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tests dockerd
    #[arg(long)]
    reference: bool,
    /// Writes the list of what dockerd passes
    #[arg(long, requires = "reference", conflicts_with = "filter")]
    record: bool,
    /// Runs only tests that this expression of pytest's `-k` selects
    #[arg(long, default_value = "")]
    filter: String,
}

/// Enters the tree of peers, runs the tests there and judges what came of them.
///
/// # Errors
/// Fails when a test fails that dockerd passes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    peers::ensure()?;
    let data = workspace::scratch(DATA)?;
    std::fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
    let data = workspace::scratch(DATA)?;
    prepare::client()?;
    prepare::suite(&data)?;
    let code = entry(arguments)?.run()?;
    if code != 0 {
        bail!("the suite ended with status {code}");
    }
    let results: Results = serde_json::from_str(&read_text(&data.join(RESULTS))?)
        .context("parse how the tests ended")?;
    keep_output(&data)?;
    println!("apart, as no part of this engine: {}", APART.join(", "));
    let reference = reference()?;
    match arguments.record {
        true => reference.record(
            &format!("Tests of {} that {} passes", prepare::SDK, reference.name),
            &results,
        ),
        false => reference.judge(&results, !arguments.filter.is_empty()),
    }
}

fn reference() -> Result<Reference> {
    let versions = peers::versions()?;
    let version = versions
        .lines()
        .find(|line| line.starts_with("docker.io"))
        .context("the tree of peers has no docker.io")?;
    Ok(Reference {
        file: workspace::path("tests/conform/docker-py.reference.txt"),
        name: version.to_owned(),
        exceptions: Default::default(),
    })
}

fn entry(arguments: &Arguments) -> Result<Entry> {
    let who = match arguments.reference {
        true => "dockerd",
        false => "ours",
    };
    let command = [
        "/proc/self/exe",
        "conform-inside",
        NAME,
        who,
        &arguments.filter,
    ];
    let command = command.map(str::to_owned).to_vec();
    let entry = clients::entry(prepare::tree(), DATA, command)?;
    let entry = clients::bind(entry, prepare::site(), "site", Access::ReadOnly);
    match arguments.reference {
        true => Ok(entry),
        false => clients::with_ours(entry, None),
    }
}

/// Keeps what the tests printed, to be looked at.
fn keep_output(data: &Path) -> Result<()> {
    let kept = workspace::path("target/conform").join(NAME);
    std::fs::create_dir_all(&kept).with_context(|| format!("make {}", kept.display()))?;
    for name in [OUTPUT, "dockerd.log", "engine.log"] {
        if data.join(name).exists() {
            std::fs::rename(data.join(name), kept.join(name)).context("keep what was printed")?;
        }
    }
    println!("what the tests printed is in {}", kept.display());
    std::fs::remove_dir_all(data).with_context(|| format!("remove {}", data.display()))
}

/// The part of the command that runs in the tree.
///
/// # Errors
/// Fails when the tests cannot be run; failing tests are no error here.
pub(crate) fn run_inside(words: &[String]) -> Result<()> {
    let [who, filter] = words else {
        bail!("two words are needed, not {words:?}");
    };
    let who = match who.as_str() {
        "ours" => Who::Ours,
        _ => Who::Docker,
    };
    let stand = Stand::start(who)?;
    let results = pytest::run(who, filter)?;
    let text = serde_json::to_string(&results).context("write the results as JSON")?;
    write_file(&Path::new("/data").join(RESULTS), text)?;
    stand.stop()
}
