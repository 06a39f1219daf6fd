//! The folder that holds the archives: recognised by a property that stays when the user renames or moves it, created
//! only if there is none. One that the add-on "Home Assistant Google Drive Backup" made is one, too, if the address names
//! it: Google shows it where both sign in with the same OAuth client.
//!
//! Drive's search by properties lags: a folder made a moment ago may not be found by it. So its id is kept in the state
//! directory, and before one is made the folder above it is listed, which shows what is in it at once. Where several
//! were made all the same (two machines in the same moment), all of them are read, and the oldest takes new archives.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use data_encoding::HEXLOWER;
use peer::disk::replace_private;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    client::{Api, File, quoted},
    settings::Settings,
};
use crate::{
    context::Context,
    error::{Kind, Operation, StoreError},
};

const KIND: &str = "application/vnd.google-apps.folder";
const PROPERTY: &str = "haul_folder";
/// How the add-on marks its folder.
const ADDONS: (&str, &str) = ("backup_folder", "true");
/// Key and value of a property, in bytes.
pub(super) const MOST_OF_A_PROPERTY: usize = 124;

/// A folder by its path from the top of the Drive.
pub(super) struct Folder {
    path: Vec<String>,
    record: PathBuf,
    // Those that bear its mark, oldest first, once they were found.
    known: Mutex<Vec<Found>>,
    made: AtomicBool,
}

/// One that bears the mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: String,
    /// It is in a shared drive, where the account's own space does not count.
    pub(super) is_shared: bool,
    /// The add-on made it.
    is_addons: bool,
}

#[derive(Serialize, Deserialize)]
struct Record {
    folder: String,
}

impl Folder {
    pub(super) fn new(path: Vec<String>, settings: &Settings, context: &Context) -> Self {
        let identity = format!("{}\0{}\0{}", settings.api_url, settings.token_file.display(), path.join("/"));
        let record = context.state.join(format!("gdrive-folder-{}.json", short_hash(&identity)));
        Self { path, record, known: Mutex::default(), made: AtomicBool::new(false) }
    }

    /// Those that bear its mark, oldest first; none when there is no such folder. If all are in the trash that is an
    /// error: what is in them would soon be gone, and another one beside them would hide that.
    pub(super) async fn find(&self, api: &Api, operation: Operation) -> Result<Vec<Found>, StoreError> {
        let known = self.known();
        if !known.is_empty() && self.are_live(api, operation, &known).await? {
            return Ok(known);
        }
        let ids = known.into_iter().map(|found| found.id).chain(self.recorded()).collect();
        let found = self.search(api, operation, ids).await?;
        self.remember(&found);
        Ok(found)
    }

    /// The folder for new archives; it is created, with its parents, if there is none.
    pub(super) async fn ensure(&self, api: &Api) -> Result<Found, StoreError> {
        if let Some(found) = self.find(api, Operation::Create).await?.into_iter().next() {
            return Ok(found);
        }
        let mut parent = Found { id: "root".to_owned(), is_shared: false, is_addons: false };
        for depth in 1..=self.path.len() {
            let path = &self.path[..depth];
            let mut found = live(api, Operation::Create, path, marked(api, Operation::Create, path).await?)?;
            if found.is_empty() {
                found = live(api, Operation::Create, path, below(api, Operation::Create, &parent, path).await?)?;
            }
            parent = if let Some(oldest) = found.into_iter().next() {
                oldest
            } else {
                self.made.store(true, Ordering::Relaxed);
                make(api, path, &parent).await?
            };
        }
        self.remember(std::slice::from_ref(&parent));
        Ok(parent)
    }

    /// The note about it.
    pub(super) fn notes(&self) -> Vec<String> {
        let (known, path) = (self.known(), self.path.join("/"));
        let count = known.len();
        let mut notes = Vec::new();
        if known.iter().any(|found| found.is_addons) {
            notes.push(format!(
                "{path:?} is the folder of the Google Drive add-on: its backups are listed, and Haul's rules remove none \
                 of them"
            ));
        }
        if self.made.load(Ordering::Relaxed) {
            notes.push(format!(
                "created the folder {path:?} in the Drive; Haul can't see a folder of that name that \
                was created by hand"
            ));
        }
        if count > 1 {
            notes.push(format!(
                "{count} folders of this Drive are marked as {path:?}: Haul reads all of them and writes to the \
                 oldest; move the archives into that one at drive.google.com and delete the others"
            ));
        }
        notes
    }

    async fn are_live(&self, api: &Api, operation: Operation, known: &[Found]) -> Result<bool, StoreError> {
        for found in known {
            if api.file(operation, &found.id).await?.is_none_or(|file| file.trashed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn search(&self, api: &Api, operation: Operation, ids: Vec<String>) -> Result<Vec<Found>, StoreError> {
        let mut files = marked(api, operation, &self.path).await?;
        for id in ids {
            if !files.iter().any(|file| file.id == id) {
                files.extend(api.file(operation, &id).await?.filter(|file| is_marked(file, &self.path)));
            }
        }
        let found = live(api, operation, &self.path, files)?;
        if !found.is_empty() {
            return Ok(found);
        }
        // Down from the top, by what each folder lists.
        let mut parents = vec![Found { id: "root".to_owned(), is_shared: false, is_addons: false }];
        for depth in 1..=self.path.len() {
            let path = &self.path[..depth];
            let mut files = if depth < self.path.len() { marked(api, operation, path).await? } else { Vec::new() };
            if files.is_empty() {
                for parent in &parents {
                    files.extend(below(api, operation, parent, path).await?);
                }
            }
            parents = live(api, operation, path, files)?;
            if parents.is_empty() {
                break;
            }
        }
        Ok(parents)
    }

    fn known(&self) -> Vec<Found> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn recorded(&self) -> Option<String> {
        serde_json::from_slice::<Record>(&fs::read(&self.record).ok()?).ok().map(|record| record.folder)
    }

    fn remember(&self, found: &[Found]) {
        found.clone_into(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(oldest) = found.first() else { return };
        if self.recorded().as_ref() != Some(&oldest.id)
            && let Ok(text) = serde_json::to_vec(&Record { folder: oldest.id.clone() })
        {
            // Without it the folder is found by its mark, only later.
            let _ = replace_private(&self.record, &text);
        }
    }
}

/// What of these can be used. Oldest first: when two were made at the same time, everybody chooses the same one.
fn live(api: &Api, operation: Operation, path: &[String], mut files: Vec<File>) -> Result<Vec<Found>, StoreError> {
    let is_empty = files.is_empty();
    files.retain(|file| !file.trashed);
    files.sort_by_cached_key(File::order);
    if files.is_empty() && !is_empty {
        return Err(api
            .refuse(operation, Kind::NotFound, format!("the folder {:?} is in the trash", path.join("/")))
            .advise("restore it at drive.google.com, or delete it there permanently to start with a new one"));
    }
    Ok(files.into_iter().map(Found::from).collect())
}

impl From<File> for Found {
    fn from(file: File) -> Self {
        let is_addons = !file.app_properties.contains_key(PROPERTY);
        Self { is_shared: file.drive_id.is_some(), is_addons, id: file.id }
    }
}

fn is_marked(file: &File, path: &[String]) -> bool {
    file.app_properties.get(PROPERTY) == Some(&mark(path)) || is_addons(file, path)
}

/// One of the add-on's in the trash is none: nobody put Haul's archives there.
fn is_addons(file: &File, path: &[String]) -> bool {
    let (key, value) = ADDONS;
    let has_mark = file.app_properties.get(key).is_some_and(|said| said == value);
    has_mark && !file.trashed && path == std::slice::from_ref(&file.name)
}

/// All that the search by the mark finds, those in the trash as well.
async fn marked(api: &Api, operation: Operation, path: &[String]) -> Result<Vec<File>, StoreError> {
    let query =
        format!("mimeType='{KIND}' and appProperties has {{ key='{PROPERTY}' and value={} }}", quoted(&mark(path)));
    api.search(operation, &query).await
}

/// All that bear the mark in one folder, those in the trash as well.
async fn below(api: &Api, operation: Operation, parent: &Found, path: &[String]) -> Result<Vec<File>, StoreError> {
    let files = api.search(operation, &format!("{} in parents and mimeType='{KIND}'", quoted(&parent.id))).await?;
    Ok(files.into_iter().filter(|file| is_marked(file, path)).collect())
}

/// Makes one. Somebody else may have made another meanwhile, and somebody may be writing into this one already: it
/// stays, and whichever is the oldest is used.
async fn make(api: &Api, path: &[String], parent: &Found) -> Result<Found, StoreError> {
    let name = path.last().map_or("Haul", String::as_str);
    let metadata = serde_json::json!({ "name": name, "mimeType": KIND, "parents": [parent.id], "appProperties": { PROPERTY: mark(path) } });
    let made = api.make(&metadata).await?;
    let found = live(api, Operation::Create, path, below(api, Operation::Create, parent, path).await?)?;
    Ok(found.into_iter().next().unwrap_or_else(|| made.into()))
}

/// The property's value: the path, or a hash of it where the path is too long.
fn mark(path: &[String]) -> String {
    let path = path.join("/");
    if PROPERTY.len() + path.len() <= MOST_OF_A_PROPERTY { path } else { format!("sha256-{}", short_hash(&path)) }
}

fn short_hash(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes())[..20])
}

/// Objects in a folder that are not folders themselves.
pub(super) fn inside(folder: &str) -> String {
    format!("{} in parents and trashed=false and mimeType!='{KIND}'", quoted(folder))
}
