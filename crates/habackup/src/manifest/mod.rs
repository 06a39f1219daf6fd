//! `backup.json`, the description in every archive: its fields, the slug and file name derived from them, and what each
//! reader refuses ([`Manifest::check`]).

mod check;
mod date;
pub(crate) mod stamp;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use thiserror::Error;

pub use check::{FOLDERS, check_name};
pub use date::{DateError, WallTime};
pub use stamp::{Stamp, excluded, knows_history};

/// A description of Home Assistant's configuration alone, as Core writes it.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// What the user calls the backup; see [`check_name`].
    pub name: &'a str,
    /// When it was made.
    pub date: WallTime,
    /// Home Assistant's version, as in `.HA_VERSION`.
    pub home_assistant: &'a str,
    /// Whether the recorder's database was left out.
    pub exclude_database: bool,
    /// Whether the inner archive is encrypted.
    pub protected: bool,
    /// Whether the inner archive is compressed, and so named `homeassistant.tar.gz`.
    pub compressed: bool,
}

/// An add-on (Home Assistant calls them apps since 2026) listed in the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addon<'a> {
    /// Its slug; the member is `SLUG.tar.gz`.
    pub slug: &'a str,
    /// Its name, empty when missing.
    pub name: &'a str,
    /// Its version, empty when missing.
    pub version: &'a str,
}

/// The description, every key kept. Getters give what is there in the right type; [`Manifest::check`] says what is
/// missing or wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    fields: Map<String, Value>,
}

/// A description that is no JSON object.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// No JSON.
    #[error("backup.json is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but a list, text or number.
    #[error("backup.json is not a JSON object")]
    NotAnObject,
}

impl Manifest {
    /// Describes a backup just as Core does, with the keys in Core's order.
    pub fn new(draft: &Draft<'_>) -> Self {
        let date = draft.date.to_string();
        let mut fields = Map::new();
        fields.insert("compressed".into(), json!(draft.compressed));
        fields.insert("extra".into(), json!({}));
        let home_assistant = json!({ "exclude_database": draft.exclude_database, "version": draft.home_assistant });
        fields.insert("homeassistant".into(), home_assistant);
        fields.insert("name".into(), json!(draft.name));
        fields.insert("protected".into(), json!(draft.protected));
        fields.insert("slug".into(), json!(slug(draft.name, &date)));
        fields.insert("date".into(), json!(date));
        fields.insert("type".into(), json!("partial"));
        fields.insert("version".into(), json!(2));
        Self { fields }
    }

    /// Parses any reader's or writer's description. A byte order mark is no JSON to Home Assistant either.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        match serde_json::from_slice(bytes)? {
            Value::Object(fields) => Ok(Self { fields }),
            _ => Err(ManifestError::NotAnObject),
        }
    }

    /// The JSON text, compact and with sorted keys, as Core writes it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(key, _)| *key);
        let sorted: Map<String, Value> = fields.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Value::Object(sorted).to_string().into_bytes()
    }

    /// Any field, also those this crate does not know.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key)
    }

    /// Sets any field.
    pub fn set(&mut self, key: &str, value: Value) {
        self.fields.insert(key.to_owned(), value);
    }

    /// The backup's eight-digit identifier.
    pub fn slug(&self) -> Option<&str> {
        self.text("slug")
    }

    /// What the user calls the backup.
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// When it was made, as written there; see [`WallTime`].
    pub fn date(&self) -> Option<&str> {
        self.text("date")
    }

    /// Whether inner archives are encrypted.
    pub fn protected(&self) -> bool {
        self.get("protected").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether inner archives are compressed, and so end in `.tar.gz`.
    pub fn compressed(&self) -> bool {
        self.get("compressed").and_then(Value::as_bool).unwrap_or(true)
    }

    /// The version of the Home Assistant inside; `None` when the backup holds none.
    pub fn home_assistant_version(&self) -> Option<&str> {
        self.get("homeassistant")?.get("version")?.as_str()
    }

    /// Whether the recorder's database was left out.
    pub fn excludes_database(&self) -> bool {
        self.get("homeassistant")
            .and_then(|section| section.get("exclude_database"))
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The folders in the backup, such as `share` or `addons/local`.
    pub fn folders(&self) -> Vec<&str> {
        self.list("folders").iter().filter_map(Value::as_str).collect()
    }

    /// The add-ons in the backup that have at least a slug.
    pub fn addons(&self) -> Vec<Addon<'_>> {
        self.list("addons").iter().filter_map(addon).collect()
    }

    /// Names of the inner archives the description promises.
    pub fn inner_archives(&self) -> Vec<String> {
        let extension = if self.compressed() { "tar.gz" } else { "tar" };
        let home_assistant = self.home_assistant_version().map(|_| "homeassistant");
        let folders = self.folders();
        // Old descriptions list the configuration as a folder.
        let folders =
            folders.iter().filter(|folder| **folder != "homeassistant").map(|folder| folder.replace('/', "_"));
        let stems = home_assistant
            .map(str::to_owned)
            .into_iter()
            .chain(self.addons().into_iter().map(|addon| addon.slug.to_owned()))
            .chain(folders);
        stems.map(|stem| format!("{stem}.{extension}")).collect()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

fn addon(value: &Value) -> Option<Addon<'_>> {
    let text = |key| value.get(key).and_then(Value::as_str);
    Some(Addon { slug: text("slug")?, name: text("name").unwrap_or(""), version: text("version").unwrap_or("") })
}

/// The identifier Home Assistant gives a backup: the first eight hexadecimal digits of the SHA-1 of `"DATE - NAME"` in
/// lower case.
pub fn slug(name: &str, date: &str) -> String {
    let digest = Sha1::digest(format!("{date} - {name}").to_lowercase().as_bytes());
    let [first, second, third, fourth, ..] = digest.0;
    format!("{:08x}", u32::from_be_bytes([first, second, third, fourth]))
}

/// The file name Home Assistant gives a backup in its `backups` directory: `NAME_2026-11-22_00.41_00123456.tar`, every
/// run of white space in it an underscore.
pub fn file_name(name: &str, date: &WallTime) -> String {
    let text = format!("{name} {}.tar", date.file_name_part());
    text.split(is_python_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

/// What Python's `str.split()` splits at: Unicode's white space, and four separators that Unicode does not count.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

#[cfg(test)]
mod tests;
