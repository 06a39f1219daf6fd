//! Backups: what there are, making one, deleting, restoring.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Kind},
    lenient::{count, or_default},
    secret::Secret,
    wire::{Ask, Supervisor},
};

/// How the local data disk is called among a backup's locations.
const LOCAL: &str = ".local";

/// A directory in which backups are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the data disk.
    Local,
    /// On the network storage of this name.
    Mount(String),
}

impl Place {
    fn named(name: Option<&str>) -> Self {
        match name {
            None | Some("" | LOCAL) => Self::Local,
            Some(name) => Self::Mount(name.to_owned()),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Local => Value::Null,
            Self::Mount(name) => json!(name),
        }
    }
}

/// A backup's file at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where.
    pub place: Place,
    /// Whether it is encrypted, if known.
    pub protected: Option<bool>,
    /// Its length in bytes, if known.
    pub size: Option<u64>,
}

/// A backup, as the list has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Backup {
    /// Its id.
    #[serde(deserialize_with = "or_default")]
    pub slug: String,
    /// Its name as people read it.
    pub name: Option<String>,
    /// When it was made: ISO 8601, with an offset.
    pub date: Option<String>,
    /// `full` or `partial`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether it is encrypted.
    #[serde(deserialize_with = "or_default")]
    pub protected: bool,
    /// Whether its parts are compressed.
    pub compressed: Option<bool>,
    /// What is in it. In the details, [`BackupDetails`] says it in full.
    #[serde(deserialize_with = "or_default")]
    pub content: SavedContent,
    #[serde(deserialize_with = "count")]
    size_bytes: Option<u64>,
    location: Option<String>,
    locations: Option<Vec<Option<String>>>,
    location_attributes: Option<BTreeMap<String, Attributes>>,
}

/// What a backup says of one of its locations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Attributes {
    protected: Option<bool>,
    #[serde(deserialize_with = "count")]
    size_bytes: Option<u64>,
}

/// What is in a backup, by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SavedContent {
    /// Home Assistant's configuration.
    #[serde(deserialize_with = "or_default")]
    pub homeassistant: bool,
    /// Apps, by slug.
    #[serde(alias = "addons", deserialize_with = "or_default")]
    pub apps: Vec<String>,
    /// `share`, `ssl`, `media`, `addons/local`.
    #[serde(deserialize_with = "or_default")]
    pub folders: Vec<String>,
}

impl Backup {
    /// Its length in bytes, if known.
    pub fn size(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Where it is. Versions before 2025.2 tell protection and size once for all places.
    pub fn copies(&self) -> Vec<Copy> {
        if let Some(all) = self.location_attributes.as_ref().filter(|all| !all.is_empty()) {
            let copy = |(name, of): (&String, &Attributes)| Copy {
                place: Place::named(Some(name)),
                protected: of.protected,
                size: of.size_bytes,
            };
            return all.iter().map(copy).collect();
        }
        let names = self.locations.clone().unwrap_or_else(|| vec![self.location.clone()]);
        let copy = |name: Option<String>| Copy {
            place: Place::named(name.as_deref()),
            protected: Some(self.protected),
            size: self.size_bytes,
        };
        names.into_iter().map(copy).collect()
    }
}

/// All that Supervisor knows of a backup.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackupDetails {
    /// What the list has too, except for its content.
    #[serde(flatten)]
    pub backup: Backup,
    /// The version of Home Assistant Core; none if its configuration is not in the backup.
    pub homeassistant: Option<String>,
    /// The version of the Supervisor that made it: an older one refuses to restore it.
    pub supervisor_version: Option<String>,
    /// The apps in it.
    #[serde(alias = "addons", deserialize_with = "or_default")]
    pub apps: Vec<SavedApp>,
    /// The folders in it.
    #[serde(deserialize_with = "or_default")]
    pub folders: Vec<String>,
    /// Whether the recorder's database was left out.
    pub homeassistant_exclude_database: Option<bool>,
    /// What its maker noted.
    pub extra: Option<Map<String, Value>>,
}

/// An app in a backup.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SavedApp {
    /// Its name among the apps.
    #[serde(deserialize_with = "or_default")]
    pub slug: String,
    /// Its name as people read it.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// A backup to be made.
#[derive(Clone, Debug)]
pub struct NewBackup {
    /// Its name as people read it.
    pub name: String,
    /// The name of its file, which ends in `.tar`; without one, its slug.
    pub filename: Option<String>,
    /// Encrypts it.
    pub password: Option<Secret>,
    /// Whether Supervisor compresses; if not, whoever serves the mount can do it.
    pub compressed: bool,
    /// Where: first the place where it is made, then those to which it is copied. None is the user's default.
    pub places: Vec<Place>,
    /// Whether the recorder's database stays out; if not said, what the user has set.
    pub homeassistant_exclude_database: Option<bool>,
    /// Notes that stay in the backup.
    pub extra: Map<String, Value>,
}

impl NewBackup {
    /// A compressed, unencrypted backup at the user's default place.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            filename: None,
            password: None,
            compressed: true,
            places: Vec::new(),
            homeassistant_exclude_database: None,
            extra: Map::new(),
        }
    }

    fn to_json(&self) -> Value {
        // In the background: no connection has to last as long as a backup.
        let mut body = json!({ "name": self.name, "compressed": self.compressed, "background": true });
        if let Some(filename) = &self.filename {
            body["filename"] = json!(filename);
        }
        if let Some(password) = &self.password {
            body["password"] = json!(password.expose());
        }
        if !self.places.is_empty() {
            body["location"] = self.places.iter().map(Place::to_json).collect();
        }
        if let Some(excluded) = self.homeassistant_exclude_database {
            body["homeassistant_exclude_database"] = json!(excluded);
        }
        if !self.extra.is_empty() {
            body["extra"] = json!(self.extra);
        }
        body
    }
}

/// Which apps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apps {
    /// Every installed one.
    All,
    /// These, by slug. One that is not installed is left out without an error.
    These(Vec<String>),
}

/// What a partial backup or restore is about.
#[derive(Clone, Debug)]
pub struct Content {
    /// Home Assistant's configuration.
    pub homeassistant: bool,
    /// Apps.
    pub apps: Apps,
    /// `share`, `ssl`, `media`, `addons/local`.
    pub folders: Vec<String>,
}

impl Content {
    fn add_to(&self, body: &mut Value) {
        // Never as a folder: Home Assistant no longer accepts that since 2026.12.
        body["homeassistant"] = json!(self.homeassistant);
        body["addons"] = match &self.apps {
            Apps::All => json!("ALL"),
            Apps::These(slugs) => json!(slugs),
        };
        body["folders"] = json!(self.folders);
    }
}

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// The backup's password.
    pub password: Option<Secret>,
    /// From which of its copies; if not said, Supervisor takes the first.
    pub place: Option<Place>,
}

impl Restore {
    fn to_json(&self) -> Value {
        let mut body = json!({ "background": true });
        if let Some(password) = &self.password {
            body["password"] = json!(password.expose());
        }
        if let Some(place) = &self.place {
            body["location"] = place.to_json();
        }
        body
    }
}

/// Work that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Started {
    /// The job that does it.
    #[serde(rename = "job_id")]
    pub job: String,
    /// The backup's slug, if it was made already. Otherwise the job's reference becomes it.
    #[serde(default)]
    pub slug: Option<String>,
}

#[derive(Deserialize)]
struct Backups {
    #[serde(default, deserialize_with = "or_default")]
    backups: Vec<Backup>,
}

impl Supervisor {
    /// The backups Supervisor knows. It looks at its places only when it starts, when it is told to
    /// ([`Self::reload_backups`]), and when a mount changes.
    pub async fn backups(&self) -> Result<Vec<Backup>, Error> {
        let backups: Backups = self.ask(Ask::get("list the backups", &["backups"], self.timeouts.answer)).await?;
        Ok(backups.backups)
    }

    /// All about one backup.
    pub async fn backup(&self, slug: &str) -> Result<BackupDetails, Error> {
        let operation = format!("ask Supervisor about the backup {slug}");
        self.ask(Ask::get(&operation, &["backups", slug, "info"], self.timeouts.answer)).await
    }

    /// Begins a backup of everything. After an error that [may have happened](Error::may_have_happened), look in
    /// [`Self::jobs`] whether one is under way.
    pub async fn new_full(&self, new: &NewBackup) -> Result<Started, Error> {
        self.begin("start a full backup", &["backups", "new", "full"], new.to_json(), new.password.as_ref()).await
    }

    /// Begins a backup of some of it; as [`Self::new_full`].
    pub async fn new_partial(&self, new: &NewBackup, content: &Content) -> Result<Started, Error> {
        let mut body = new.to_json();
        content.add_to(&mut body);
        self.begin("start a partial backup", &["backups", "new", "partial"], body, new.password.as_ref()).await
    }

    /// Begins to restore everything. Supervisor stops every app for that, the one that asks too, and with it every
    /// mount that this app serves.
    pub async fn restore_full(&self, slug: &str, how: &Restore) -> Result<Started, Error> {
        let operation = format!("restore the backup {slug}");
        self.begin(&operation, &["backups", slug, "restore", "full"], how.to_json(), how.password.as_ref()).await
    }

    /// Begins to restore some of it. [`Apps::All`] can't be asked for.
    pub async fn restore_partial(&self, slug: &str, how: &Restore, content: &Content) -> Result<Started, Error> {
        let operation = format!("restore the backup {slug} in part");
        if content.apps == Apps::All {
            return Err(Error::new(&operation, Kind::Invalid, "a partial restore needs the apps by name"));
        }
        let mut body = how.to_json();
        content.add_to(&mut body);
        self.begin(&operation, &["backups", slug, "restore", "partial"], body, how.password.as_ref()).await
    }

    /// Deletes a backup's copies at these places. It succeeds also if there is none at one of them.
    pub async fn delete_backup(&self, slug: &str, places: &[Place]) -> Result<(), Error> {
        let operation = format!("delete the backup {slug}");
        if places.is_empty() {
            // Supervisor would take that for every place.
            return Err(Error::new(&operation, Kind::Invalid, "no place is named"));
        }
        let body = json!({ "location": places.iter().map(Place::to_json).collect::<Value>() });
        let path = &["backups", slug];
        let ask = Ask { method: Method::DELETE, ..Ask::post(&operation, path, body, self.timeouts.files) };
        self.tell(ask).await
    }

    /// Has Supervisor look at all its places, which reads the beginning and end of every backup.
    pub async fn reload_backups(&self) -> Result<(), Error> {
        self.tell(Ask::post("reload the backups", &["backups", "reload"], json!({}), self.timeouts.files)).await
    }

    async fn begin(
        &self,
        operation: &str,
        path: &[&str],
        body: Value,
        password: Option<&Secret>,
    ) -> Result<Started, Error> {
        let secrets: Vec<&Secret> = password.into_iter().collect();
        self.ask(Ask { secrets: &secrets, ..Ask::post(operation, path, body, self.timeouts.answer) }).await
    }
}
