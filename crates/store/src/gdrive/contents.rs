//! What is in the folder. Drive answers at once and truly about an id; its searches by name lag, and a listing may show
//! an old name. So names are compared here, and what this process created or removed is known by its id, whatever a
//! listing shows.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    client::{Api, File},
    folder::{Folder, Found, inside},
};
use crate::error::{Kind, Operation, StoreError};

/// Documents of Google's own: no bytes that could be an archive.
const NO_BYTES: &str = "application/vnd.google-apps.";

/// How the add-on "Home Assistant Google Drive Backup" marks its backups.
const ADDONS: &str = "snapshot_slug";

fn is_addons(file: &File) -> bool {
    file.app_properties.contains_key(ADDONS)
}

pub(super) struct Contents {
    pub(super) api: Api,
    pub(super) folder: Folder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    // What this process gave its name, by name.
    own: HashMap<String, Own>,
    // Ids that this process removed.
    removed: HashSet<String>,
    // Ids by name, so that reading an archive in ranges asks once.
    seen: HashMap<String, String>,
}

#[derive(Clone)]
struct Own {
    id: String,
    length: u64,
}

impl Contents {
    pub(super) fn new(api: Api, folder: Folder) -> Self {
        Self { api, folder, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a file that was compared and has just got its name.
    pub(super) fn published(&self, name: &str, id: &str, length: u64) {
        let mut state = self.state();
        state.own.insert(name.to_owned(), Own { id: id.to_owned(), length });
        state.seen.remove(name);
    }

    /// Takes note of what a list shows: who reads it next need not ask for its id.
    pub(super) fn listed(&self, file: &File) {
        self.state().seen.insert(file.name.clone(), file.id.clone());
    }

    /// The id under which a name was read the last time.
    pub(super) fn id_of(&self, name: &str) -> Option<String> {
        let state = self.state();
        state.own.get(name).map(|own| own.id.clone()).or_else(|| state.seen.get(name).cloned())
    }

    /// Every file, unfinished ones too, oldest first.
    pub(super) async fn all(&self, operation: Operation) -> Result<Vec<File>, StoreError> {
        let folders = self.folder.find(&self.api, operation).await?;
        self.all_in(operation, &folders).await
    }

    async fn all_in(&self, operation: Operation, folders: &[Found]) -> Result<Vec<File>, StoreError> {
        let mut files = Vec::new();
        for folder in folders {
            files.extend(self.api.search(operation, &inside(&folder.id)).await?);
        }
        files.retain(|file| !file.mime_type.starts_with(NO_BYTES));
        let own: Vec<(String, Own)> = self.state().own.iter().map(|(name, own)| (name.clone(), own.clone())).collect();
        for (name, own) in own {
            let listed = files.iter().position(|file| file.id == own.id);
            if listed.is_some_and(|at| files[at].name == name) {
                continue;
            }
            let now = self.own_now(operation, &name, &own).await?;
            if let Some(at) = listed {
                files.swap_remove(at);
            }
            files.extend(now);
        }
        let state = self.state();
        files.retain(|file| !state.removed.contains(&file.id));
        files.sort_by_cached_key(File::order);
        files.dedup_by(|one, other| one.id == other.id);
        Ok(files)
    }

    /// What this process put there, as it is now; forgotten once it is gone or bears another name.
    async fn own_now(&self, operation: Operation, name: &str, own: &Own) -> Result<Option<File>, StoreError> {
        let file = self.api.file(operation, &own.id).await?.filter(|file| !file.trashed);
        if file.as_ref().is_none_or(|file| file.name != name) {
            self.state().own.remove(name);
        }
        Ok(file)
    }

    /// One archive; of several of the same name the oldest. One that this process put there comes first.
    pub(super) async fn look(&self, operation: Operation, name: &str) -> Result<Option<File>, StoreError> {
        let own = self.state().own.get(name).cloned();
        if let Some(own) = own
            && let Some(file) = self.own_now(operation, name, &own).await?.filter(|file| file.name == name)
        {
            return Ok(Some(file));
        }
        let found = self.all(operation).await?.into_iter().find(|file| file.name == name);
        let mut state = self.state();
        match &found {
            Some(file) => state.seen.insert(name.to_owned(), file.id.clone()),
            None => state.seen.remove(name),
        };
        Ok(found)
    }

    /// Whether another file than `id` has this name.
    pub(super) async fn is_taken(&self, operation: Operation, name: &str, id: &str) -> Result<bool, StoreError> {
        Ok(self.all(operation).await?.iter().any(|file| file.name == name && file.id != id))
    }

    /// A file by the name it has in one folder.
    pub(super) async fn in_folder(
        &self,
        operation: Operation,
        folder: &str,
        name: &str,
    ) -> Result<Option<File>, StoreError> {
        Ok(self.api.search(operation, &inside(folder)).await?.into_iter().find(|file| file.name == name))
    }

    /// The size of a file, requested again if the answer had none: a missing size is not 0.
    pub(super) async fn size_of(&self, operation: Operation, file: &File) -> Result<u64, StoreError> {
        if let Some(size) = file.size {
            return Ok(size);
        }
        if let Some(own) = self.state().own.get(&file.name).filter(|own| own.id == file.id) {
            return Ok(own.length);
        }
        let again = self.api.file(operation, &file.id).await?;
        again.and_then(|file| file.size).ok_or_else(|| {
            let reason = format!("it does not report the size of {}", file.name);
            self.api.refuse(operation, Kind::Transient { retry_after: None }, reason)
        })
    }

    /// Removes what is called so: what this process put there by its id, else everything of that name. The add-on may
    /// give several backups one name: of its own, only the one that is listed goes.
    pub(super) async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let operation = Operation::Delete;
        let own = self.state().own.get(name).cloned();
        let ids: Vec<String> = if let Some(own) = own {
            vec![own.id]
        } else {
            let mut files = self.all(operation).await?;
            files.retain(|file| file.name == name);
            match files.first() {
                Some(first) if is_addons(first) => files.truncate(1),
                _ => files.retain(|file| !is_addons(file)),
            }
            files.into_iter().map(|file| file.id).collect()
        };
        for id in ids {
            self.remove_id(&id).await?;
        }
        let mut state = self.state();
        state.own.remove(name);
        state.seen.remove(name);
        Ok(())
    }

    pub(super) async fn remove_id(&self, id: &str) -> Result<(), StoreError> {
        self.api.delete(Operation::Delete, id).await?;
        self.state().removed.insert(id.to_owned());
        Ok(())
    }
}
