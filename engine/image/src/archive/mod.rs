//! Images as files: loaded from and saved to docker and OCI archives, imported
//! from a plain root file system.
//!
//! All of it blocks; callers that are async run it on a blocking thread.

mod changes;
mod commit;
mod import;
mod load;
mod save;
mod spool;

pub use changes::ChangeError;
pub use commit::CommitRequest;
pub use import::{ImportError, ImportRequest};
pub use load::{LoadError, Loaded};
pub use save::SaveError;

const MANIFEST_FILE: &str = "manifest.json";
const INDEX_FILE: &str = "index.json";
const LAYOUT_FILE: &str = "oci-layout";
/// The full name of an image in an OCI index, as containerd and Docker write it.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// The tag, or in some writers the name.
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// One image of a docker archive's `manifest.json`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ArchiveEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Returns the name of a blob in an OCI layout.
fn blob_name(digest: &base::Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
