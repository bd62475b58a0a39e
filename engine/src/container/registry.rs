//! All containers, by id and by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use base::ContainerId;

use super::{Container, lock};
use crate::error::{Result, conflict, invalid, not_found};

/// The containers of the engine; names are unique.
#[derive(Debug, Default)]
pub struct Registry {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    by_name: HashMap<String, ContainerId>,
}

/// A name taken for a container that is being made; given back when dropped.
#[derive(Debug)]
pub struct NameClaim<'a> {
    registry: &'a Registry,
    name: String,
    id: ContainerId,
    kept: bool,
}

impl NameClaim<'_> {
    /// Returns the claimed name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the name: the container exists now.
    pub fn keep(mut self, container: Arc<Container>) {
        self.kept = true;
        lock(&self.registry.tables)
            .by_id
            .insert(container.id.clone(), container);
    }

    /// Keeps the name for a container that is registered already.
    pub fn keep_renamed(mut self) {
        self.kept = true;
    }
}

impl Drop for NameClaim<'_> {
    fn drop(&mut self) {
        if !self.kept {
            lock(&self.registry.tables).by_name.remove(&self.name);
        }
    }
}

impl Registry {
    /// Takes `name` for `id`.
    ///
    /// # Errors
    /// Conflict, with Docker's sentence, if it is taken.
    pub fn claim(&self, name: &str, id: &ContainerId) -> Result<NameClaim<'_>> {
        let mut tables = lock(&self.tables);
        if let Some(owner) = tables.by_name.get(name) {
            return Err(conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        tables.by_name.insert(name.to_owned(), id.clone());
        Ok(NameClaim {
            registry: self,
            name: name.to_owned(),
            id: id.clone(),
            kept: false,
        })
    }

    /// Adds a container that was read from disk.
    ///
    /// # Errors
    /// Conflict if its name is taken.
    pub fn add(&self, container: Arc<Container>) -> Result<()> {
        let claim = self.claim(&container.name(), &container.id)?;
        claim.keep(container);
        Ok(())
    }

    /// Frees a container's name and forgets the container.
    pub fn remove(&self, container: &Container) {
        let mut tables = lock(&self.tables);
        tables.by_id.remove(&container.id);
        tables.by_name.remove(&container.name());
    }

    /// Frees a name that a rename has left.
    pub fn free_name(&self, name: &str) {
        lock(&self.tables).by_name.remove(name);
    }

    /// Returns every container, in no order.
    pub fn unordered(&self) -> Vec<Arc<Container>> {
        lock(&self.tables).by_id.values().cloned().collect()
    }

    /// Returns how many containers there are.
    pub fn len(&self) -> usize {
        lock(&self.tables).by_id.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns every container, the newest first.
    pub fn all(&self) -> Vec<Arc<Container>> {
        let mut all = self.unordered();
        all.sort_by_cached_key(|container| std::cmp::Reverse(container.config().created));
        all
    }

    /// Returns the container with this id.
    pub fn by_id(&self, id: &ContainerId) -> Option<Arc<Container>> {
        lock(&self.tables).by_id.get(id).cloned()
    }

    /// Finds a container by id, name or unambiguous beginning of its id.
    ///
    /// # Errors
    /// Not found, or invalid if more than one id begins so.
    pub fn find(&self, text: &str) -> Result<Arc<Container>> {
        let tables = lock(&self.tables);
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(container) = text
            .parse()
            .ok()
            .and_then(|id: ContainerId| tables.by_id.get(&id))
        {
            return Ok(container.clone());
        }
        if let Some(container) = tables.by_name.get(name).and_then(|id| tables.by_id.get(id)) {
            return Ok(container.clone());
        }
        let is_prefix = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        let mut matching = tables
            .by_id
            .values()
            .filter(|c| is_prefix && c.id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(container), None) => Ok(container.clone()),
            (None, _) => Err(not_found(format!("No such container: {text}"))),
            (Some(_), Some(_)) => Err(invalid(format!(
                "Multiple IDs found with provided prefix: {text}"
            ))),
        }
    }
}

impl NameClaim<'_> {
    /// Returns the container the name is claimed for.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }
}
