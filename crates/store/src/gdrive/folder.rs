//! The folder that archives lie in: known by a property that stays with it when the user renames or moves it, made only when there is none.

use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::api::{Api, File, quoted};
use crate::error::{Kind, Operation, StoreError};

const KIND: &str = "application/vnd.google-apps.folder";
const PROPERTY: &str = "haul_folder";
/// Key and value of a property, in bytes.
pub(super) const MOST_OF_A_PROPERTY: usize = 124;

/// A folder by its path from the top of the Drive.
pub(super) struct Folder {
    path: Vec<String>,
    // Its id, once it was found.
    known: Mutex<Option<String>>,
}

impl Folder {
    pub(super) fn new(path: Vec<String>) -> Self {
        Self { path, known: Mutex::new(None) }
    }

    /// Its id; `None` when there is no such folder. One in the trash is an error: what is in it would soon be gone, and a second one beside it would hide that.
    pub(super) async fn find(&self, api: &Api, operation: Operation) -> Result<Option<String>, StoreError> {
        if let Some(id) = self.remembered() {
            let file = api.file(operation, &id).await?;
            if file.is_some_and(|file| !file.trashed) {
                return Ok(Some(id));
            }
        }
        let id = find(api, operation, &self.path).await?;
        self.remember(id.clone());
        Ok(id)
    }

    /// Its id; it is made, with the folders above it, if it is not there.
    pub(super) async fn ensure(&self, api: &Api) -> Result<String, StoreError> {
        if let Some(id) = self.find(api, Operation::Create).await? {
            return Ok(id);
        }
        let mut parent = "root".to_owned();
        for depth in 1..=self.path.len() {
            let path = &self.path[..depth];
            parent = match find(api, Operation::Create, path).await? {
                Some(id) => id,
                None => make(api, path, &parent).await?,
            };
        }
        self.remember(Some(parent.clone()));
        Ok(parent)
    }

    fn remembered(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, id: Option<String>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }
}

async fn find(api: &Api, operation: Operation, path: &[String]) -> Result<Option<String>, StoreError> {
    let found = all(api, operation, path).await?;
    // Oldest first: when two were made at the same time, everybody chooses the same one.
    if let Some(live) = found.iter().find(|file| !file.trashed) {
        return Ok(Some(live.id.clone()));
    }
    if found.is_empty() {
        return Ok(None);
    }
    Err(api
        .refuse(operation, Kind::NotFound, format!("the folder {:?} is in the trash", path.join("/")))
        .advise("restore it at drive.google.com, or delete it there for good to begin with a new one"))
}

async fn all(api: &Api, operation: Operation, path: &[String]) -> Result<Vec<File>, StoreError> {
    let query = format!("mimeType='{KIND}' and appProperties has {{ key='{PROPERTY}' and value={} }}", quoted(&mark(path)));
    api.search(operation, &query).await
}

async fn make(api: &Api, path: &[String], parent: &str) -> Result<String, StoreError> {
    let name = path.last().map_or("Haul", String::as_str);
    let made = api.make(&serde_json::json!({ "name": name, "mimeType": KIND, "parents": [parent], "appProperties": { PROPERTY: mark(path) } })).await?;
    // Somebody else may have made one meanwhile; ours is empty and can go.
    let found = all(api, Operation::Create, path).await?;
    match found.into_iter().find(|file| !file.trashed) {
        Some(oldest) if oldest.id != made.id => {
            api.delete(Operation::Create, &made.id).await?;
            Ok(oldest.id)
        }
        _ => Ok(made.id),
    }
}

/// The property's value: the path, or a hash of it where the path is too long.
fn mark(path: &[String]) -> String {
    let path = path.join("/");
    if PROPERTY.len() + path.len() <= MOST_OF_A_PROPERTY {
        return path;
    }
    Sha256::digest(path.as_bytes())[..20].iter().fold("sha256-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Objects in a folder that are no folders themselves.
pub(super) fn inside(folder: &str) -> String {
    format!("{} in parents and trashed=false and mimeType!='{KIND}'", quoted(folder))
}

/// One object in a folder.
pub(super) async fn named(api: &Api, operation: Operation, folder: &str, name: &str) -> Result<Option<File>, StoreError> {
    let found = api.search(operation, &format!("{} and name={}", inside(folder), quoted(name))).await?;
    // Drive's own comparison ignores case and more in some fields.
    Ok(found.into_iter().find(|file| file.name == name))
}
