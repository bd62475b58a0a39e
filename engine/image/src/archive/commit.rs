//! Makes an image of another one and of what a container has changed.

use std::collections::HashMap;
use std::io::Read;

use base::{Digest, Timestamp};
use serde_json::{Map, Value, json};

use super::changes::apply_changes;
use super::import::ImportError;
use super::load::manifest_for;
use super::spool::{Spool, Spooled};
use crate::install::{Installed, finish};
use crate::reference::Reference;
use crate::store::{Image, ImageStore, NewImage, StoreError};

/// What the image is to be.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// What the container was made of.
    pub parent: Image,
    /// The name, if any; without a tag, `latest`.
    pub reference: Option<Reference>,
    /// How it is run: Docker's `config` object.
    pub config: Map<String, Value>,
    /// Dockerfile instructions such as `CMD ["sh"]`, applied in order.
    pub changes: Vec<String>,
    pub author: String,
    pub comment: String,
    /// The command that has made the changes.
    pub created_by: String,
}

impl ImageStore {
    /// Makes an image of the request's parent and one more layer, an archive in the
    /// form of image layers.
    ///
    /// # Errors
    /// When a change is wrong, the archive is damaged or the store cannot be
    /// written; nothing is visible then.
    pub fn commit(
        &self,
        layer: impl Read,
        mut request: CommitRequest,
    ) -> Result<Image, ImportError> {
        if let Some(reference) = request.reference.as_ref().filter(|r| r.digest().is_some()) {
            return Err(ImportError::Digest(reference.clone()));
        }
        apply_changes(&mut request.config, &request.changes)?;
        let mut spool = Spool::new(self)?;
        let file = spool.keep_stream(layer)?;
        let mut held: Vec<Digest> = request.parent.diff_ids().collect();
        held.extend(request.parent.layers.iter().map(|layer| layer.blob));
        held.push(file.digest);
        let lease = self.lease(held);
        let committed = self.commit_file(&file, request);
        drop(lease);
        committed.inspect_err(|_| self.abandon(&[file.digest]))
    }

    fn commit_file(&self, file: &Spooled, request: CommitRequest) -> Result<Image, ImportError> {
        let installed = self.install_file(file)?;
        let diff_id = installed.diff_id();
        let _layer = self.lease(vec![diff_id]);
        let mut diff_ids: Vec<Digest> = request.parent.diff_ids().collect();
        let mut done = HashMap::from([(diff_id, installed)]);
        for below in &diff_ids {
            let record = self.layer(below).ok_or(StoreError::NoLayer(*below))?;
            done.insert(*below, Installed::Committed(record));
        }
        diff_ids.push(diff_id);
        let layers = finish(self, &diff_ids, done)?;
        let config = configuration(&request, diff_id)?;
        Ok(self.add_image(NewImage {
            config: self.put_blob(&config)?,
            manifest: self.put_blob(&manifest_for(&config, &layers))?,
            layers,
            names: request.reference.iter().map(Reference::tagged).collect(),
        })?)
    }
}

/// Returns the parent's configuration with one more layer and another way to be run.
fn configuration(request: &CommitRequest, diff_id: Digest) -> Result<Vec<u8>, ImportError> {
    let mut config: Map<String, Value> =
        serde_json::from_slice(&request.parent.raw_config).map_err(ImportError::Parent)?;
    let now = json!(Timestamp::now());
    let mut step = json!({ "created": now, "created_by": request.created_by });
    let notes = [("author", &request.author), ("comment", &request.comment)];
    for (name, text) in notes.into_iter().filter(|(_, text)| !text.is_empty()) {
        step[name] = json!(text);
    }
    append(&mut config, "history", step);
    let rootfs = config.entry("rootfs").or_insert_with(|| json!({}));
    if let Some(rootfs) = rootfs.as_object_mut() {
        append(rootfs, "diff_ids", json!(diff_id));
    }
    config.insert("created".to_owned(), now);
    config.insert("config".to_owned(), Value::Object(request.config.clone()));
    if !request.author.is_empty() {
        config.insert("author".to_owned(), json!(request.author));
    }
    // Of the container that an earlier step was made in.
    config.remove("container");
    config.remove("container_config");
    Ok(Value::Object(config).to_string().into_bytes())
}

fn append(object: &mut Map<String, Value>, name: &str, value: Value) {
    let list = object.entry(name).or_insert_with(|| json!([]));
    match list.as_array_mut() {
        Some(list) => list.push(value),
        None => *list = json!([value]),
    }
}
