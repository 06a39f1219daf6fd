//! Supervisor's network storage before and after a restore. Each restore brings it back as it is in the backup, in place
//! of what has the same name, and nothing that Supervisor says of the restore names that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use supervisor::mount::{Mount, State};

use super::sharing::PREFIX;
use crate::text::sanitize;

/// What is there, by name, other than Haul's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Storage(BTreeMap<String, Known>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    leads: String,
    usage: String,
    read_only: bool,
    works: bool,
}

impl From<Vec<Mount>> for Storage {
    fn from(mounts: Vec<Mount>) -> Self {
        let others = mounts.into_iter().filter(|mount| !mount.name.starts_with(PREFIX));
        Self(others.map(|mount| (sanitize(&mount.name), Known::from(mount))).collect())
    }
}

impl From<Mount> for Known {
    fn from(mount: Mount) -> Self {
        let server = mount.server.unwrap_or_default();
        let port = mount.port.map_or_else(String::new, |port| format!(":{port}"));
        let leads = match (mount.share, mount.path) {
            (Some(share), _) => format!("//{server}{port}/{share}"),
            (None, Some(path)) => format!("{server}{port}:{path}"),
            (None, None) => server,
        };
        Self {
            leads: sanitize(&leads),
            usage: sanitize(&mount.usage.unwrap_or_default()),
            read_only: mount.read_only,
            // What is being mounted is not lost.
            works: mount.state != State::Down,
        }
    }
}

/// What became of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// What is gone, or does not work any more.
    pub(super) lost: Vec<String>,
    /// What works, and is another than before.
    pub(super) replaced: Vec<String>,
}

impl Changes {
    /// Supervisor does not say what is there now.
    pub(super) fn unknown() -> Self {
        let lost = vec!["Supervisor does not say whether the network storage works".to_owned()];
        Self { lost, replaced: Vec::new() }
    }

    /// All of it, the worst first.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.lost.iter().chain(&self.replaced).map(String::as_str)
    }
}

impl Storage {
    /// Whether there was any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is otherwise now.
    pub(super) fn changes(&self, now: &Self) -> Changes {
        let gone = self.0.keys().filter(|name| !now.0.contains_key(*name));
        let mut changes = Changes {
            lost: gone.map(|name| format!("the network storage {name} is gone")).collect(),
            replaced: Vec::new(),
        };
        for (name, known) in &now.0 {
            let before = self.0.get(name);
            let what = match before.map(|before| before.difference(known)) {
                None => Some(format!("has come with the backup and leads to {}", known.leads)),
                Some(difference) => difference,
            };
            // What failed before may fail.
            if !known.works && before.is_none_or(|before| before.works || what.is_some()) {
                let what = what.map_or_else(String::new, |what| format!(", which {what},"));
                changes.lost.push(format!("the network storage {name}{what} does not work"));
            } else if let Some(what) = what {
                changes.replaced.push(format!("the network storage {name} {what}"));
            }
        }
        changes
    }
}

impl Known {
    fn difference(&self, now: &Self) -> Option<String> {
        let mut said = Vec::new();
        if self.leads != now.leads {
            said.push(format!("leads to {} instead of {}", now.leads, self.leads));
        }
        if self.usage != now.usage {
            said.push(format!("is for {} instead of {}", now.usage, self.usage));
        }
        if self.read_only != now.read_only {
            said.push(if now.read_only { "can only be read" } else { "can be written to" }.to_owned());
        }
        (!said.is_empty()).then(|| said.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use serde_json::{Value, json};

    use super::*;

    fn mount(name: &str, server: &str, state: &str) -> Value {
        json!({ "name": name, "type": "cifs", "usage": "media", "server": server, "share": "x", "state": state })
    }

    fn storage(mounts: Value) -> Storage {
        serde_json::from_value::<Vec<Mount>>(mounts).unwrap().into()
    }

    #[test]
    fn what_a_restore_made_of_network_storage_is_said_in_full() {
        let before = storage(json!([
            mount("same", "10.0.0.1", "active"),
            mount("moved", "10.0.0.2", "active"),
            mount("lost", "10.0.0.3", "active"),
            mount("down", "10.0.0.4", "failed"),
            mount("fails", "10.0.0.5", "active"),
            mount("haul_nas", "172.30.33.5", "active"),
        ]));
        let nfs = json!({
            "name": "moved", "type": "nfs", "usage": "share", "server": "10.0.0.9", "path": "/x", "read_only": true,
            "state": "active",
        });
        let after = storage(json!([
            mount("same", "10.0.0.1", "active"),
            nfs,
            mount("down", "10.0.0.4", "failed"),
            mount("fails", "10.0.0.6", "failed"),
            mount("old", "10.0.0.7", "active"),
        ]));
        let changes = before.changes(&after);
        let lost = [
            "the network storage lost is gone",
            "the network storage fails, which leads to //10.0.0.6/x instead of //10.0.0.5/x, does not work",
        ];
        assert_eq!(changes.lost, lost);
        let replaced = [
            "the network storage moved leads to 10.0.0.9:/x instead of //10.0.0.2/x and is for share instead of media \
             and can only be read",
            "the network storage old has come with the backup and leads to //10.0.0.7/x",
        ];
        assert_eq!(changes.replaced, replaced);
        assert_eq!(before.changes(&before), Changes::default());
    }
}
