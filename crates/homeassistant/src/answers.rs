//! What Home Assistant's answers contain, as far as this crate needs it. Unknown keys, shapes of other versions and
//! nulls are accepted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// One step of the first page.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) step: String,
    pub(crate) done: bool,
}

/// What the backup manager of an instance says about itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Manager {
    /// The backups it knows.
    #[serde(default, deserialize_with = "tolerant")]
    pub backups: Vec<Backup>,
    /// `idle`, `blocked` while it starts, or what is under way: `receive_backup`, `restore_backup`, `create_backup`.
    #[serde(default, deserialize_with = "or_default")]
    pub state: String,
    /// What it last did.
    #[serde(default)]
    pub last_action_event: Option<Event>,
}

impl Manager {
    /// True when it takes an upload or starts a restore.
    pub fn is_idle(&self) -> bool {
        self.state == "idle"
    }

    /// What became of the restore that it did last.
    pub(crate) fn restore(&self) -> Option<&Event> {
        self.last_action_event.as_ref().filter(|event| event.manager_state == "restore_backup")
    }

    /// The backup that this upload would have become, if it is there.
    pub fn find(&self, expected: &Expected) -> Arrival {
        let Some(backup) = self.backups.iter().find(|backup| backup.is(expected)) else {
            return if self.state == "receive_backup" { Arrival::Underway } else { Arrival::No };
        };
        match (expected.size, backup.size_at(&expected.agent)) {
            (Some(sent), Some(there)) if sent != there => {
                Arrival::OtherSize { backup_id: backup.backup_id.clone(), size: there }
            }
            _ => Arrival::Yes { backup_id: backup.backup_id.clone() },
        }
    }
}

/// One backup in Home Assistant's list.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Backup {
    /// By what it is restored; the slug, for everything that came by upload.
    #[serde(default, deserialize_with = "or_default")]
    pub backup_id: String,
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Its date, as its vendor wrote it.
    #[serde(default, deserialize_with = "or_default")]
    pub date: String,
    /// The version of the Home Assistant in it.
    #[serde(default)]
    pub homeassistant_version: Option<String>,
    /// The agent that keeps it.
    #[serde(default, deserialize_with = "or_default")]
    pub agents: BTreeMap<String, Kept>,
    // Before 2025.2 there were no `agents`.
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    protected: Option<bool>,
}

/// How one agent keeps a backup.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Kept {
    /// Whether it needs a password.
    #[serde(default)]
    pub protected: Option<bool>,
    /// Its size in bytes.
    #[serde(default)]
    pub size: Option<u64>,
}

impl Backup {
    /// Its size at one agent.
    pub fn size_at(&self, agent: &str) -> Option<u64> {
        self.agents.get(agent).and_then(|kept| kept.size).or(self.size)
    }

    /// Whether it needs a password, if the answer says so.
    pub fn is_protected(&self) -> Option<bool> {
        self.agents.values().find_map(|kept| kept.protected).or(self.protected)
    }

    fn is(&self, expected: &Expected) -> bool {
        let same_date = || match (self.date.parse::<Timestamp>(), expected.date.parse::<Timestamp>()) {
            (Ok(there), Ok(sent)) => there == sent,
            _ => self.date == expected.date,
        };
        (!expected.slug.is_empty() && self.backup_id == expected.slug)
            || (self.name == expected.name && !expected.date.is_empty() && same_date())
    }
}

/// What an upload would have become.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The agent it went to.
    pub agent: String,
    /// `slug` of its `backup.json`.
    pub slug: String,
    /// `name` of its `backup.json`.
    pub name: String,
    /// `date` of its `backup.json`.
    pub date: String,
    /// The archive's size, if it is known.
    pub size: Option<u64>,
}

/// Whether an interrupted upload arrived after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is not there.
    No,
    /// It is not there, and the other side is still taking an upload: this one, unless somebody else uploads too. Ask
    /// again.
    Underway,
    /// It is there, and whole as far as the answer says.
    Yes {
        /// By what it is restored.
        backup_id: String,
    },
    /// A backup by that name is there, and is not as long as what was sent.
    OtherSize {
        /// Its id.
        backup_id: String,
        /// Its size there.
        size: u64,
    },
}

/// One step of a backup, upload or restore.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Event {
    /// What is under way.
    #[serde(default, deserialize_with = "or_default")]
    pub manager_state: String,
    /// How far it is.
    #[serde(default)]
    pub stage: Option<String>,
    /// `in_progress`, `core_restart`, `completed`, `failed`.
    #[serde(default)]
    pub state: Option<String>,
    /// Why it failed.
    #[serde(default)]
    pub reason: Option<String>,
}

/// An agent that keeps backups.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Agent {
    /// `backup.local`, `hassio.local`, …
    pub agent_id: String,
    /// What people call it.
    #[serde(default)]
    pub name: Option<String>,
}

/// The agent of an instance that keeps backups on its own disk.
pub fn local_agent(agents: &[Agent]) -> Option<&str> {
    ["hassio.local", "backup.local"].into_iter().find(|id| agents.iter().any(|agent| agent.agent_id == *id))
}

#[derive(Deserialize)]
pub(crate) struct Agents {
    pub(crate) agents: Vec<Agent>,
}

/// What an upload is answered with.
#[derive(Deserialize)]
pub(crate) struct Uploaded {
    pub(crate) backup_id: String,
}

/// `{"code","message"}`, as a refused restore is answered.
#[derive(Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
}

#[derive(Deserialize)]
pub(crate) struct InstallationType {
    pub(crate) installation_type: String,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A list whose strange entries are left out: one odd backup must not hide the others.
fn tolerant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Backup>, D::Error> {
    let values: Option<Vec<serde_json::Value>> = Option::deserialize(deserializer)?;
    Ok(values.unwrap_or_default().into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const INFO: &str = r#"{"backups":[{"addons":[],"agents":{"backup.local":{"protected":true,"size":512}},"backup_id":"1a2b3c4d",
        "date":"2026-08-01T02:00:00.5+02:00","name":"home","homeassistant_version":"2025.6.3","new_key":{}},
        {"backup_id":7},{"backup_id":"old","name":"old","date":"2024","size":5,"protected":false}],
        "state":"idle","last_action_event":{"manager_state":"restore_backup","reason":"x","stage":null,"state":"failed"}}"#;

    fn expected() -> Expected {
        Expected {
            agent: "backup.local".into(),
            slug: "1a2b3c4d".into(),
            name: "home".into(),
            date: "2026-08-01T00:00:00.5Z".into(),
            size: Some(512),
        }
    }

    #[test]
    fn one_odd_backup_does_not_hide_the_others() {
        let manager: Manager = serde_json::from_str(INFO).unwrap();
        assert_eq!(manager.backups.len(), 2);
        assert!(manager.is_idle());
        assert_eq!(manager.restore().unwrap().state.as_deref(), Some("failed"));
        assert_eq!((manager.backups[0].is_protected(), manager.backups[1].is_protected()), (Some(true), Some(false)));
        assert_eq!(manager.backups[1].size_at("backup.local"), Some(5));
    }

    #[test]
    fn an_upload_that_arrived_is_found_by_its_slug_or_by_name_and_moment() {
        let manager: Manager = serde_json::from_str(INFO).unwrap();
        let yes = Arrival::Yes { backup_id: "1a2b3c4d".into() };
        assert_eq!(manager.find(&expected()), yes);
        assert_eq!(manager.find(&Expected { slug: "other".into(), ..expected() }), yes);
        assert_eq!(
            manager.find(&Expected { slug: String::new(), date: "2026-08-01T00:00:01Z".into(), ..expected() }),
            Arrival::No
        );
        assert_eq!(
            manager.find(&Expected { size: Some(513), ..expected() }),
            Arrival::OtherSize { backup_id: "1a2b3c4d".into(), size: 512 }
        );
        assert_eq!(manager.find(&Expected::default()), Arrival::No);
        let busy = Manager { state: "receive_backup".into(), ..manager };
        assert_eq!(busy.find(&Expected::default()), Arrival::Underway);
        assert_eq!(busy.find(&expected()), yes);
    }

    #[test]
    fn the_agent_on_the_instances_own_disk_is_known() {
        let agents =
            |ids: &[&str]| ids.iter().map(|id| Agent { agent_id: (*id).to_owned(), name: None }).collect::<Vec<_>>();
        assert_eq!(local_agent(&agents(&["cloud.cloud", "hassio.local"])), Some("hassio.local"));
        assert_eq!(local_agent(&agents(&["backup.local"])), Some("backup.local"));
        assert_eq!(local_agent(&agents(&["s3.abc"])), None);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-z.]{0,8}".prop_map(Into::into)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into())
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_list_the_good_backup_is_found(mut others in prop::collection::vec(json(), 0..5), at in 0usize..5) {
            let good = serde_json::from_str::<serde_json::Value>(INFO).unwrap()["backups"][0].clone();
            others.insert(at.min(others.len()), good);
            let text = serde_json::json!({ "backups": others, "state": null, "last_action_event": null }).to_string();
            let manager: Manager = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(manager.find(&expected()), Arrival::Yes { backup_id: "1a2b3c4d".into() });
        }

        #[test]
        fn no_answer_makes_it_panic(text in ".{0,200}", value in json()) {
            let _ = serde_json::from_str::<Manager>(&text);
            let _ = serde_json::from_value::<Manager>(value);
        }
    }
}
