//! Checks whether the bytes of Home Assistant's own settings files can be right.
//!
//! Home Assistant keeps users, integrations and registries as JSON in `.storage`. A power cut or a worn-out card leaves
//! such a file empty, cut short or full of zeros. At its next start Home Assistant renames it to `….corrupt.<time>` and
//! continues without it, so a backup of it restores nothing either.

/// The recorder's database, below the configuration directory, where nothing else is set.
pub const RECORDER: &[u8] = b"home-assistant_v2.db";
/// Longer settings files are not judged. The largest registries seen have some 10 MB.
pub const LONGEST: u64 = 16 << 20;

/// Files that Home Assistant's core writes, with what a start without them loses.
const CORE: &[(&str, &str)] = &[
    ("auth", "the users: nobody can log in"),
    ("auth_provider.homeassistant", "the users' passwords: nobody can log in"),
    ("core.area_registry", "the areas"),
    ("core.category_registry", "the categories"),
    ("core.config", "the home's name, place and units"),
    ("core.config_entries", "all integrations"),
    ("core.device_registry", "the devices' names and areas"),
    ("core.entity_registry", "the entities' names and settings"),
    ("core.floor_registry", "the floors"),
    ("core.label_registry", "the labels"),
    ("core.restore_state", "the last states of its helpers"),
    ("core.uuid", "its identity"),
    ("homeassistant.exposed_entities", "which entities voice assistants may use"),
    ("http", "the settings of its web server"),
    ("onboarding", "the record of its setup: it shows the welcome page again"),
    ("person", "the persons"),
    ("zone", "the zones"),
];

/// What is wrong with a settings file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What its bytes are, after "it".
    pub what: &'static str,
    /// What Home Assistant does without at its next start.
    pub lost: &'static str,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it {}; at its next start, Home Assistant will lose {}", self.what, self.lost)
    }
}

/// Whether [`damage`] has something to say about files of this path, relative to the config directory.
pub fn is_settings_file(path: &[u8]) -> bool {
    stored(path).is_some() || is_yaml(path)
}

/// What is wrong with the settings file of this path and content, if anything is.
pub fn damage(path: &[u8], bytes: &[u8]) -> Option<Damage> {
    let Some(name) = stored(path) else {
        let zeros = is_yaml(path) && is_zeros(bytes);
        return zeros.then_some(Damage { what: "holds nothing but zeros", lost: "the settings in it" });
    };
    let core = CORE.iter().find(|(known, _)| known.as_bytes() == name);
    let lost = core.map_or("what it held", |(_, lost)| lost);
    let what = if is_zeros(bytes) {
        "holds nothing but zeros"
    } else if core.is_none() && !is_written_by_a_store(bytes) {
        // Integrations may keep files of any kind there.
        return None;
    } else if bytes.is_empty() {
        "is empty"
    } else if !bytes.trim_ascii_start().starts_with(b"{") {
        "is not a JSON object"
    } else if !is_json(bytes) {
        "is not well-formed JSON"
    } else {
        return None;
    };
    Some(Damage { what, lost })
}

/// What a start without the file or directory of this path loses of what makes Home Assistant this one and no other;
/// `None` for everything else.
pub fn lost_without(path: &[u8]) -> Option<&'static str> {
    match path {
        b"" | b".storage" => Some("users, integrations and devices"),
        RECORDER => Some("the history"),
        b"configuration.yaml" => Some("the settings in configuration.yaml"),
        _ => {
            let name = stored(path)?;
            CORE.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, lost)| *lost)
        }
    }
}

/// The name of a file directly in `.storage`.
fn stored(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(b".storage/").filter(|name| !name.contains(&b'/'))
}

/// A YAML file at the top.
fn is_yaml(path: &[u8]) -> bool {
    path.ends_with(b".yaml") && !path.contains(&b'/')
}

fn is_zeros(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0)
}

/// Home Assistant's storage helper begins every file like this, whichever integration asks for it.
fn is_written_by_a_store(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(200)];
    let has = |key: &[u8]| head.windows(key.len()).any(|window| window == key);
    head.starts_with(b"{") && has(b"\"version\"") && has(b"\"key\"")
}

/// As Home Assistant's reader sees it, which wants UTF-8 as well.
fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_power_cut_leaves_is_distinguished_from_settings() {
        let store = br#"{"version": 1, "key": "hacs.data", "data": {"a": ["b", 1.5, null]}}"#;
        let cut = &store[..store.len() - 9];
        let mut spoilt = store.to_vec();
        spoilt[50] = 0xff;
        for (path, bytes, what) in [
            (".storage/auth", &store[..], None),
            (".storage/auth", b"\n{}\n", None),
            (".storage/auth", b"", Some("is empty")),
            (".storage/auth", &[0; 400], Some("holds nothing but zeros")),
            (".storage/auth", cut, Some("is not well-formed JSON")),
            (".storage/auth", &spoilt, Some("is not well-formed JSON")),
            (".storage/auth", b"{} {}", Some("is not well-formed JSON")),
            (".storage/core.config_entries", b"[]", Some("is not a JSON object")),
            (".storage/hacs.data", store, None),
            (".storage/hacs.data", cut, Some("is not well-formed JSON")),
            (".storage/hacs.data", &[0; 4], Some("holds nothing but zeros")),
            // What an integration keeps in its own format is not judged.
            (".storage/marker", b"", None),
            (".storage/blob", b"\x00\x01\x02", None),
            (".storage/notes", b"{not json", None),
            (".storage/folder/auth", b"", None),
            ("auth", b"", None),
            ("configuration.yaml", &[0; 30], Some("holds nothing but zeros")),
            ("scripts.yaml", b"", None),
            ("www/zeros.yaml", &[0; 30], None),
        ] {
            assert_eq!(
                damage(path.as_bytes(), bytes).map(|damage| damage.what),
                what,
                "{path} {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn the_loss_is_named() {
        let damage = damage(b".storage/auth", b"").map(|damage| damage.to_string());
        assert_eq!(
            damage.as_deref(),
            Some("it is empty; at its next start, Home Assistant will lose the users: nobody can log in")
        );
    }
}
