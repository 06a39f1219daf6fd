//! What Home Assistant's own files say: users, integrations, devices and what is automated. Each file is parsed when
//! its content has passed; nothing of it but numbers is kept, except the names that people log in with.

use std::collections::BTreeSet;

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;

use super::{Counts, Finding};
use crate::{backup::configuration, text::shown};

/// The login provider whose users have a name and a password in the configuration itself.
const BY_PASSWORD: &str = "homeassistant";

/// Gathered from the files that have passed.
#[derive(Default)]
pub(super) struct Stored {
    auth: Option<Auth>,
    /// Names for which there is a password.
    logins: Option<BTreeSet<String>>,
    counts: Counts,
    findings: Vec<Finding>,
    /// `configuration.yaml` can't be parsed.
    pub(super) has_strange_configuration: bool,
}

/// What Home Assistant stores under a key.
#[derive(Deserialize)]
struct Kept<T> {
    data: T,
}

#[derive(Deserialize)]
struct Auth {
    users: Vec<User>,
    #[serde(default)]
    credentials: Vec<Credential>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    is_owner: bool,
    #[serde(default)]
    is_active: bool,
    #[serde(default)]
    system_generated: bool,
}

#[derive(Deserialize)]
struct Credential {
    user_id: String,
    auth_provider_type: String,
    /// Whatever the provider keeps there.
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Provider {
    users: Vec<Login>,
}

#[derive(Deserialize)]
struct Login {
    username: String,
}

#[derive(Deserialize)]
struct Entries {
    entries: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Devices {
    devices: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Entities {
    entities: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Areas {
    areas: Vec<IgnoredAny>,
}

impl Stored {
    /// A settings file, by its path in the config directory, with its whole content.
    pub(super) fn take(&mut self, below: &[u8], bytes: &[u8]) {
        if let Some(name) = below.strip_prefix(b".storage/") {
            self.counts.settings_files += u64::from(serde_json::from_slice::<IgnoredAny>(bytes).is_ok());
            self.storage(name, below, bytes);
            return;
        }
        // Home Assistant replaces what is no UTF-8 nowhere; neither does a backup change it.
        let items = configuration::items(&String::from_utf8_lossy(bytes));
        let count = items.unwrap_or_default() as u64;
        match below {
            b"automations.yaml" => self.counts.automations = count,
            b"scripts.yaml" => self.counts.scripts = count,
            b"scenes.yaml" => self.counts.scenes = count,
            b"configuration.yaml" => self.has_strange_configuration = items.is_none(),
            _ => {}
        }
    }

    fn storage(&mut self, name: &[u8], below: &[u8], bytes: &[u8]) {
        match name {
            b"auth" => self.auth = self.read(below, bytes),
            b"auth_provider.homeassistant" => {
                let provider: Option<Provider> = self.read(below, bytes);
                self.logins = provider.map(|provider| provider.users.into_iter().map(|user| user.username).collect());
            }
            b"core.config_entries" => {
                self.counts.integrations = self.read(below, bytes).map_or(0, |data: Entries| data.entries.len() as u64);
            }
            b"core.device_registry" => {
                self.counts.devices = self.read(below, bytes).map_or(0, |data: Devices| data.devices.len() as u64);
            }
            b"core.entity_registry" => {
                self.counts.entities = self.read(below, bytes).map_or(0, |data: Entities| data.entities.len() as u64);
            }
            b"core.area_registry" => {
                self.counts.areas = self.read(below, bytes).map_or(0, |data: Areas| data.areas.len() as u64);
            }
            _ => {}
        }
    }

    fn read<T: DeserializeOwned>(&mut self, below: &[u8], bytes: &[u8]) -> Option<T> {
        match serde_json::from_slice::<Kept<T>>(bytes) {
            Ok(kept) => Some(kept.data),
            // That it is no JSON at all is judged elsewhere. The parser's words would repeat the text, which may be a
            // secret.
            Err(error) if error.is_data() => {
                self.findings.push(Finding::against(shown(below), "it is not in the form that Home Assistant writes"));
                None
            }
            Err(_) => None,
        }
    }

    /// The numbers, and what can't be right.
    pub(super) fn finish(mut self) -> (Counts, Vec<Finding>) {
        let people = self.auth.as_ref().map(|auth| {
            let people = auth.users.iter().filter(|user| user.is_active && !user.system_generated);
            people.map(|user| {
                (user.is_owner, auth.credentials.iter().any(|own| own.user_id == user.id && self.opens(own)))
            })
        });
        if let Some(people) = people {
            let people: Vec<(bool, bool)> = people.collect();
            self.counts.users = people.len() as u64;
            self.counts.owners = people.iter().filter(|(is_owner, _)| *is_owner).count() as u64;
            self.counts.can_log_in = people.iter().filter(|(_, can_log_in)| *can_log_in).count() as u64;
            if people.is_empty() {
                self.findings.push(Finding::against(".storage/auth", "it holds no user who could log in"));
            } else if self.counts.can_log_in == 0 {
                self.findings.push(Finding::against(".storage/auth", "none of its users can log in"));
            }
        }
        (self.counts, self.findings)
    }

    /// Whether somebody can log in with this.
    fn opens(&self, credential: &Credential) -> bool {
        credential.auth_provider_type != BY_PASSWORD
            || credential
                .data
                .get("username")
                .and_then(Value::as_str)
                .is_some_and(|name| self.logins.as_ref().is_some_and(|logins| logins.contains(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTH: &str = r#"{"version":1,"key":"auth","data":{"users":[
        {"id":"s","is_owner":false,"is_active":true,"name":"Supervisor","system_generated":true},
        {"id":"c","is_owner":false,"is_active":true,"name":"Carl","system_generated":false},
        {"id":"g","is_owner":false,"is_active":false,"name":"Gone","system_generated":false},
        {"id":"t","is_owner":false,"is_active":true,"name":"Tablet","system_generated":false},
        {"id":"a","is_owner":true,"is_active":true,"name":"Ada","system_generated":false}],
        "credentials":[
        {"id":"1","user_id":"c","auth_provider_type":"homeassistant","data":{"username":"carl"}},
        {"id":"3","user_id":"t","auth_provider_type":"trusted_networks","data":{"user":"t"}},
        {"id":"4","user_id":"a","auth_provider_type":"homeassistant","data":{"username":"ada"}}]}}"#;

    fn of(files: &[(&str, &str)]) -> (Counts, Vec<String>) {
        let mut stored = Stored::default();
        for (path, text) in files {
            stored.take(path.as_bytes(), text.as_bytes());
        }
        let (counts, findings) = stored.finish();
        (counts, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn people_are_counted_and_those_who_can_log_in() {
        let logins = r#"{"data":{"users":[{"username":"ada","password":"y"}]}}"#;
        let (counts, findings) = of(&[(".storage/auth", AUTH), (".storage/auth_provider.homeassistant", logins)]);
        assert_eq!((counts.users, counts.owners, counts.can_log_in), (3, 1, 2), "{findings:?}");
        assert!(findings.is_empty() && counts.settings_files == 2);
        let (counts, findings) = of(&[(".storage/auth", AUTH)]);
        assert_eq!((counts.users, counts.can_log_in), (3, 1), "the tablet needs no password");
        assert!(findings.is_empty());
        let nobody = r#"{"data":{"users":[{"id":"a","is_active":true}]}}"#;
        let (_, findings) = of(&[(".storage/auth", nobody)]);
        assert_eq!(findings, [".storage/auth: none of its users can log in"]);
        let (_, findings) = of(&[(".storage/auth", r#"{"data":{"users":[]}}"#)]);
        assert_eq!(findings, [".storage/auth: it holds no user who could log in"]);
    }

    #[test]
    fn registries_and_lists_are_counted() {
        let (counts, findings) = of(&[
            (".storage/core.config_entries", r#"{"data":{"entries":[{"domain":"a"},{"domain":"b"}]}}"#),
            (".storage/core.device_registry", r#"{"data":{"devices":[1,2,3],"deleted_devices":[4]}}"#),
            (".storage/core.entity_registry", r#"{"data":{"entities":[1]}}"#),
            (".storage/core.area_registry", r#"{"data":{"areas":[1,2]}}"#),
            (".storage/other", "[]"),
            (".storage/blob", "not JSON"),
            ("automations.yaml", "- id: a\n- id: b\n"),
            ("scripts.yaml", "one:\n  sequence: []\n"),
            ("scenes.yaml", ""),
            ("configuration.yaml", "default_config:\nlight: !include lights.yaml\n"),
        ]);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!((counts.integrations, counts.devices, counts.entities, counts.areas), (2, 3, 1, 2));
        assert_eq!((counts.automations, counts.scripts, counts.scenes, counts.settings_files), (2, 1, 0, 5));
    }

    #[test]
    fn what_has_another_form_is_reported_and_not_repeated() {
        let (_, findings) = of(&[(".storage/auth", r#"{"data":{"users":"hunter2"}}"#), (".storage/core.uuid", "{}")]);
        assert_eq!(findings, [".storage/auth: it is not in the form that Home Assistant writes"]);
        let mut stored = Stored::default();
        stored.take(b"configuration.yaml", b"a: [1");
        assert!(stored.has_strange_configuration);
    }
}
