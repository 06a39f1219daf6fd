//! Where a Home Assistant will listen, by what its config directory says.

use std::path::Path;

use engine::Listening;
use habackup::version::HaVersion;
use serde::Deserialize;

use crate::stored;

/// The first version that listens where `.storage/http` says.
const RULES_SINCE: &str = "2026.8.0";

/// What it wrote down of where it listens, if it did.
#[derive(Debug)]
pub(crate) struct StoredHttp(Option<Http>);

/// `.storage/http`: from 2026.8 on, where Home Assistant listens, and what it tries out; before that a copy of its
/// YAML.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Http {
    Ruling {
        stable: Slot,
        #[serde(default)]
        pending: Option<Slot>,
        #[serde(default)]
        yaml_migration_done: bool,
    },
    Copy(Slot),
}

#[derive(Debug, Deserialize)]
struct Slot {
    server_port: Option<u16>,
    ssl_certificate: Option<String>,
    /// Why what was tried out was given up.
    error: Option<String>,
}

impl Slot {
    fn listening(&self) -> Listening {
        Listening { port: self.server_port, tls: self.ssl_certificate.is_some() }
    }
}

impl StoredHttp {
    /// Only for a hint: anything else there is no reason to stop.
    pub(crate) fn read(directory: &Path) -> Self {
        Self(stored::data(&directory.join(".storage/http")))
    }

    /// Where Home Assistant `version` listens with what is in `directory`, the likeliest first. Unknown versions may be
    /// of either kind.
    pub(crate) fn listening(&self, directory: &Path, version: Option<&HaVersion>) -> Vec<Listening> {
        let rules = RULES_SINCE.parse::<HaVersion>().ok().zip(version).is_none_or(|(since, version)| *version >= since);
        let (stored, reads_yaml) = match self.0.as_ref().filter(|_| rules) {
            None => (Vec::new(), true),
            Some(Http::Copy(slot)) => (vec![slot.listening()], true),
            Some(Http::Ruling { stable, pending, yaml_migration_done }) => {
                let tried = pending.iter().filter(|slot| slot.error.is_none());
                (tried.chain([stable]).map(Slot::listening).collect(), !yaml_migration_done)
            }
        };
        let yaml = if reads_yaml { engine::listening(directory) } else { None };
        yaml.into_iter().chain(stored).collect()
    }
}
