//! `backup.json`: against what both of Home Assistant's readers demand, and against what the archive really holds.

use habackup::manifest::Manifest;
use serde::Serialize;

use super::{findings::Findings, inner::Seen};
use crate::open::{IndexState, MANIFEST, Member, Outside, Shape};

/// What `backup.json` says, for a report. Empty where it says nothing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Home Assistant's identifier of the backup.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub date: String,
    /// The version of Home Assistant inside.
    pub home_assistant: String,
    /// Whether it says that it is encrypted.
    pub protected: bool,
    /// Whether the recorder's database was left out on purpose.
    pub database_excluded: bool,
}

/// Checks the manifest; `config` is what was seen of the config directory.
pub(super) fn check(outside: &Outside, config: Option<&Seen>, index: &IndexState, findings: &mut Findings) -> Summary {
    // That it is missing or no JSON, and what each reader refuses in it, is among the archive's own problems.
    let Some(manifest) = &outside.manifest else { return Summary::default() };
    if let IndexState::Usable(index) = index
        && index.describes(&outside.manifest_text) == Some(false)
    {
        findings.damage(MANIFEST, "is not as it was written");
    }
    against_members(manifest, outside, findings);
    if let Some(config) = config {
        against_config(manifest, config, findings);
    }
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Summary {
        slug: text(manifest.slug()),
        name: text(manifest.name()),
        date: text(manifest.date()),
        home_assistant: text(manifest.home_assistant_version()),
        protected: manifest.protected(),
        database_excluded: manifest.excludes_database(),
    }
}

fn against_members(manifest: &Manifest, outside: &Outside, findings: &mut Findings) {
    let promised = manifest.inner_archives();
    let main = outside.home_assistant();
    // Home Assistant itself makes such archives, and restores the configuration from them.
    let left_sealed = |member: &Member| main.is_some_and(|main| main.name != member.name && main.shape != Shape::Sealed);
    for member in outside.inner() {
        // The Supervisor's own settings are never announced.
        if !promised.contains(&member.name) && !member.name.starts_with("supervisor.tar") && !member.name.starts_with("homeassistant.tar") {
            findings.warn(&member.name, "is not announced in backup.json and is not restored");
        }
        match (member.shape, manifest.protected()) {
            (Shape::Sealed, false) if left_sealed(member) => findings.warn(
                &member.name,
                "is still encrypted; Home Assistant leaves it so when it decrypts a download, and restores the rest. `haul repair` decrypts it with its password",
            ),
            (Shape::Sealed, false) => findings.would_not_restore(&member.name, "is encrypted, but backup.json says that the backup is not"),
            (Shape::Gzip | Shape::Tar, true) => findings.would_not_restore(&member.name, "is not encrypted, but backup.json says that the backup is"),
            _ => {}
        }
        let compressed = member.name.strip_suffix(".gz").is_some();
        match member.shape {
            Shape::Tar if compressed => findings.would_not_restore(&member.name, "is not compressed, but its name says so"),
            Shape::Gzip if !compressed => findings.would_not_restore(&member.name, "is compressed, but its name does not say so"),
            _ => {}
        }
    }
    if outside.inner().next().is_none() {
        findings.would_not_restore("", "there is nothing in it but its description");
    }
}

fn against_config(manifest: &Manifest, config: &Seen, findings: &mut Findings) {
    if config.entries > 0 && config.below_data == 0 {
        findings.would_not_restore("data", "is missing: there is no config directory in the archive");
        return;
    }
    if !config.storage {
        findings.would_not_restore("data/.storage", "is missing: Home Assistant would come back as a new installation, without users and integrations");
    }
    match (&config.version, manifest.home_assistant_version()) {
        (None, _) => findings.warn("data/.HA_VERSION", "is missing: Home Assistant would take the config directory for one of a very old version"),
        (Some(inside), Some(said)) if inside != said => {
            findings.warn("data/.HA_VERSION", format!("says {inside}, backup.json says {said}"));
        }
        _ => {}
    }
    match (config.recorder, manifest.excludes_database()) {
        (false, false) => {
            findings.warn("data/home-assistant_v2.db", "is missing: the history is not in this backup, though backup.json does not say that it was left out");
        }
        (true, false) if !config.recorder_log => {
            findings.warn("data/home-assistant_v2.db-wal", "is missing: Home Assistant can't restore the database alone from this backup");
        }
        _ => {}
    }
}
