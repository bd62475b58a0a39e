//! Images: pulled from registries, kept in a content store, unpacked for overlayfs.
//!
//! ```text
//! let store = ImageStore::open(&instance.images())?;
//! let request = PullRequest { reference: "busybox".parse()?, platform: None, access };
//! let pulled = store.pull(&request, Arc::new(NoProgress)).await?;
//! let lower: Vec<PathBuf> = pulled.image.diff_ids().map(|id| store.layer_path(&id)).collect();
//! ```
//!
//! - [`ImageStore`]: `open`, `list`, `image`, `resolve`, `tag`, `remove`,
//!   `layer_path`; cheap to clone. All of them but `pull` block for at most a
//!   few writes, so they may be called from async code where a millisecond does
//!   not matter, except `load`, `save` and `import`, which belong on a blocking
//!   thread.
//! - [`ImageStore::pull`] is async and needs a tokio runtime with I/O and time.
//!   Dropping its future gives the pull up.
//! - [`ImageStore::push`] gives images to a registry; [`log_in`], [`search`] and
//!   [`inspect`] ask one without touching the store.
//! - [`Reference`] and [`Platform`] are parsed once, at the edge.
//!
//! An image is listed only if every layer of it is whole, synced and verified;
//! the files and their crash cases are described in `docs/formats/images.md`.
//! This crate mounts nothing and knows no container.

#![forbid(unsafe_code)]

mod archive;
mod inspect;
mod install;
mod layer;
mod manifest;
mod platform;
mod pull;
mod push;
mod reference;
mod registry;
mod store;

pub use archive::{
    ChangeError, CommitRequest, ImportError, ImportRequest, LoadError, Loaded, SaveError,
};
pub use inspect::{InspectError, Inspected, inspect};
pub use layer::{LayerError, Limits, TarError};
pub use manifest::{Descriptor, ManifestError};
pub use platform::{Platform, PlatformError};
pub use pull::{
    LayerStep, NoProgress, Progress, PullError, PullEvent, PullOutcome, PullRequest, PullStatus,
};
pub use push::{
    NoPushProgress, Push, PushError, PushEvent, PushProgress, PushRequest, PushStep, Pushed,
};
pub use reference::{DEFAULT_DOMAIN, DEFAULT_TAG, Reference, ReferenceError};
pub use registry::{
    Credential, Mirror, RegistryAccess, RegistryError, SearchError, SearchResult, TlsError, Trust,
    log_in, search,
};
pub use store::{
    Force, Image, ImageLayer, ImageStore, ImageUse, RecordError, RemoveConflict, RemoveError,
    Removed, ResolveError, StoreError,
};
