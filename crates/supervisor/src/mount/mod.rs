//! Network storage: what Supervisor has mounted, and changing it.

mod keep;
mod plan;

use http::Method;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::{
    error::{Error, Kind},
    lenient::or_default,
    secret::Secret,
    wire::{Ask, Supervisor},
};

pub use keep::{Failed, Kept, keep, restore_default};
pub use plan::{Ours, Plan, Step};

/// Whether a mount works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is mounted, as far as the system knows: it may take half a minute to notice that a server is gone.
    Active,
    /// It is being mounted or unmounted.
    Changing,
    /// It failed, or is not mounted.
    #[default]
    Down,
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<String>::deserialize(deserializer)?.as_deref() {
            Some("active") => Self::Active,
            Some("activating" | "deactivating" | "reloading" | "refreshing" | "maintenance") => Self::Changing,
            _ => Self::Down,
        })
    }
}

/// A mount, as Supervisor lists it: without user name and password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// `cifs` or `nfs`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// `backup`, `media` or `share`.
    pub usage: Option<String>,
    /// The server's name or address.
    pub server: Option<String>,
    /// Its port, unless it is the usual one.
    pub port: Option<u16>,
    /// The server's folder; of `cifs` only.
    pub share: Option<String>,
    /// The server's directory; of `nfs` only.
    pub path: Option<String>,
    /// Whether it works.
    pub state: State,
    /// Whether nothing can be written there.
    #[serde(deserialize_with = "or_default")]
    pub read_only: bool,
}

/// All mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mounts {
    /// Where backups go if nobody says otherwise; none is the data disk.
    #[serde(rename = "default_backup_mount")]
    pub default: Option<String>,
    /// The mounts.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
}

impl Mounts {
    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.name == name)
    }
}

/// A network storage for backups that is to be there.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name: letters, digits and underscores. Home Assistant shows it as a place for backups.
    pub name: String,
    /// The server's address, as the machine itself reaches it.
    pub server: String,
    /// Its port; none is 445.
    pub port: Option<u16>,
    /// The server's folder.
    pub share: String,
    /// Whom to log in as.
    pub user: String,
    /// With which password.
    pub password: Secret,
    /// Whether user or password are others than Supervisor was given last: it does not say which it has.
    pub is_renewed: bool,
}

impl Wanted {
    fn to_json(&self) -> Value {
        let mut body = json!({
            "name": self.name,
            "type": "cifs",
            "usage": "backup",
            "server": self.server,
            "share": self.share,
            "username": self.user,
            "password": self.password.expose(),
        });
        if let Some(port) = self.port {
            body["port"] = json!(port);
        }
        body
    }

    /// What Supervisor would not refuse, and then mount as a guest.
    fn check(&self, operation: &str) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::new(operation, Kind::Invalid, what));
        if self.user.is_empty() || self.password.expose().is_empty() {
            return wrong("it has no user name or no password");
        }
        // They are lines of a file.
        if self.user.contains(['\n', '\r']) || self.password.expose().contains(['\n', '\r']) {
            return wrong("its user name or password has more than one line");
        }
        Ok(())
    }
}

impl Supervisor {
    /// All mounts.
    pub async fn mounts(&self) -> Result<Mounts, Error> {
        self.ask(Ask::get("list the network storages", &["mounts"], self.timeouts.answer)).await
    }

    /// Creates a mount, and waits until it is mounted. If there was no default for backups, it becomes the default.
    pub async fn create_mount(&self, wanted: &Wanted) -> Result<(), Error> {
        let operation = format!("create the network storage {}", wanted.name);
        wanted.check(&operation)?;
        let ask = Ask::post(&operation, &["mounts"], wanted.to_json(), self.timeouts.mount);
        self.tell(Ask { secrets: &[&wanted.password], ..ask }).await
    }

    /// Changes a mount: unmounts it and mounts it anew. If it was the default for backups, there is none afterwards.
    pub async fn update_mount(&self, wanted: &Wanted) -> Result<(), Error> {
        let operation = format!("change the network storage {}", wanted.name);
        wanted.check(&operation)?;
        let path = &["mounts", wanted.name.as_str()];
        let ask = Ask::post(&operation, path, wanted.to_json(), self.timeouts.mount);
        self.tell(Ask { method: Method::PUT, secrets: &[&wanted.password], ..ask }).await
    }

    /// Removes a mount. If it was the default for backups, there is none afterwards.
    pub async fn delete_mount(&self, name: &str) -> Result<(), Error> {
        let operation = format!("remove the network storage {name}");
        let path = &["mounts", name];
        let ask = Ask::post(&operation, path, json!({}), self.timeouts.mount);
        self.tell(Ask { method: Method::DELETE, ..ask }).await
    }

    /// Mounts one again that does not work. One that works stays as it is.
    pub async fn reload_mount(&self, name: &str) -> Result<(), Error> {
        let operation = format!("reload the network storage {name}");
        self.tell(Ask::post(&operation, &["mounts", name, "reload"], json!({}), self.timeouts.mount)).await
    }

    /// Sets where backups go if nobody says otherwise; none is the data disk.
    pub async fn set_default_backup_mount(&self, name: Option<&str>) -> Result<(), Error> {
        let body = json!({ "default_backup_mount": name });
        let operation = "set the default place for backups";
        self.tell(Ask::post(operation, &["mounts", "options"], body, self.timeouts.answer)).await
    }
}
