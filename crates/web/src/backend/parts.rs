//! What Home Assistant's Supervisor can restore of an archive.

use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// What of an archive can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Parts {
    /// The location that it is read from.
    pub destination: String,
    /// Home Assistant's configuration, if it is in the archive.
    pub home_assistant: Option<HomeAssistantPart>,
    /// The apps in it but Haul itself.
    pub apps: Vec<AppPart>,
    /// The folders in it.
    pub folders: Vec<FolderPart>,
    /// Haul itself is in it: it can't be restored from its own location, because it would be stopped.
    pub holds_haul: bool,
    /// The locations that it can be read from: Supervisor has them as network storage.
    pub reached: Vec<String>,
    /// None of the keys that Haul knows opens it.
    pub needs_key: bool,
    /// It is not encrypted, and automatic backups at this location are: somebody else may have put it there.
    pub is_strange: bool,
}

/// What an archive holds, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Home Assistant with its configuration.
    pub home_assistant: Option<InsidePart>,
    /// Apps.
    pub apps: Vec<InsidePart>,
    /// Folders.
    pub folders: Vec<InsidePart>,
}

/// A part of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InsidePart {
    /// An app's id, or a folder's name.
    pub id: String,
    /// Its name as people read it.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// What it takes in the archive, in bytes.
    pub size: Option<u64>,
}

/// Home Assistant's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HomeAssistantPart {
    /// The version of Home Assistant that it is of, which is installed with it.
    pub version: String,
    /// What becomes of the history.
    pub history: History,
    /// What was left out of the backup on purpose, which is removed here.
    pub excluded: Option<String>,
}

/// What a restore of the configuration does to the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// It comes with the configuration.
    Restored,
    /// It is not in the backup, and what is there stays, if it is in `home-assistant_v2.db`.
    Kept,
    /// It is not in the backup, and what is there is removed.
    Removed,
}

/// An app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AppPart {
    /// Its id.
    pub slug: String,
    /// Its name as people read it.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FolderPart {
    /// Its name.
    pub name: String,
    /// Why it can't be restored.
    pub why_not: Option<String>,
    /// What to know first.
    pub note: Option<String>,
}

/// What is to be restored.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PartsWanted {
    /// The archive's id.
    pub archive: String,
    /// From there; nothing: from the best location that Supervisor reaches.
    pub destination: Option<String>,
    /// Home Assistant's configuration.
    pub home_assistant: bool,
    /// Apps, by their ids.
    pub apps: Vec<String>,
    /// Folders, by their names.
    pub folders: Vec<String>,
    /// The encryption key; nothing: that of the job.
    pub key: Option<Zeroizing<String>>,
    /// Also if it is not encrypted as automatic backups at its location are.
    pub unencrypted: bool,
}
