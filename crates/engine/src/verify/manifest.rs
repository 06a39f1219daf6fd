//! `backup.json`: against what both of Home Assistant's readers demand, and against what the archive really holds.

use habackup::{
    manifest::{Manifest, Stamp},
    readers::{self, Content, Defect, Description, Effect},
};
use serde::Serialize;

use super::findings::{Findings, Severity};
use crate::{
    open::{IndexState, MANIFEST, Member, Outside, Shape},
    verdict::Judgement,
};

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

/// Checks the manifest; `config` is what was seen of the config directory, if that was seen to its end. Gives what is missing in it.
pub(super) fn check(outside: &Outside, config: Option<&Content>, index: &IndexState, findings: &mut Findings) -> (Summary, Judgement) {
    // That it is missing or no JSON, and what each reader refuses in it, is among the archive's own problems.
    let Some(manifest) = &outside.manifest else { return (Summary::default(), Judgement::default()) };
    if let IndexState::Usable(index) = index
        && index.describes(&outside.manifest_text) == Some(false)
    {
        findings.damage(MANIFEST, "is not as it was written");
    }
    against_members(manifest, outside, findings);
    let mut found = Vec::new();
    if let Some(content) = config {
        let description = Description::parse(MANIFEST, &outside.manifest_text);
        found = readers::content_findings(content, Some(&description));
        against_config(manifest, content, &found, findings);
    }
    let judgement = Judgement::of(&found, manifest.stamp().as_ref());
    if let Some(stamp) = manifest.stamp().filter(|stamp| !stamp.is_whole()) {
        made_incomplete(&stamp, judgement.essential && !found.is_empty(), findings);
    }
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let summary = Summary {
        slug: text(manifest.slug()),
        name: text(manifest.name()),
        date: text(manifest.date()),
        home_assistant: text(manifest.home_assistant_version()),
        protected: manifest.protected(),
        database_excluded: manifest.excludes_database(),
    };
    (summary, judgement)
}

/// What the archive's maker knew was missing. What is essential is no news where it is seen anyway.
fn made_incomplete(stamp: &Stamp, is_seen: bool, findings: &mut Findings) {
    let severity = if stamp.essential && !is_seen { Severity::Loss } else { Severity::Warning };
    findings.add(severity, MANIFEST, format!("says that something was missing when the archive was made: {}", crate::shown(stamp.missing.as_bytes())));
}

fn against_members(manifest: &Manifest, outside: &Outside, findings: &mut Findings) {
    let promised = manifest.inner_archives();
    let main = outside.home_assistant();
    // Home Assistant itself makes such archives, and restores the configuration from them.
    let left_sealed = |member: &Member| main.is_some_and(|main| main.name != member.name && main.shape != Shape::Sealed);
    for member in outside.inner() {
        // The Supervisor's own settings are never announced.
        if !promised.contains(&member.name) && !member.name.starts_with("supervisor.tar") && !member.name.starts_with("homeassistant.tar") {
            findings.add(Severity::Loss, &member.name, "is not announced in backup.json and is not restored");
        }
        match (member.shape, manifest.protected()) {
            (Shape::Sealed, false) if left_sealed(member) => findings.add(
                Severity::Loss,
                &member.name,
                "is still encrypted; Home Assistant leaves it so when it decrypts a download, and restores the rest. `haul repair` decrypts it with its password",
            ),
            (Shape::Sealed, false) => findings.would_not_restore(&member.name, "is encrypted, but backup.json says that the backup is not"),
            (Shape::Gzip | Shape::Tar, true) if main.is_some_and(|main| main.name != member.name) => {
                findings.add(Severity::Loss, &member.name, "is not encrypted, but backup.json says that the backup is: it is not restored");
            }
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

fn against_config(manifest: &Manifest, content: &Content, found: &[readers::Finding], findings: &mut Findings) {
    if content.below_data == 0 && content.data {
        findings.add(Severity::Loss, "data", "is empty: a restore empties the configuration");
        return;
    }
    if content.below_data == 0 {
        findings.would_not_restore("data", "is missing: there is no config directory in the archive");
        return;
    }
    for finding in found {
        // The pages of databases were told of one by one.
        let is_told = match finding.defect {
            Defect::DatabaseDamaged => content.database.as_ref().is_some_and(|database| !database.problems.is_empty()),
            Defect::OtherDatabaseDamaged => true,
            _ => false,
        };
        if is_told {
            continue;
        }
        let loss = finding.outcomes.iter().find_map(|outcome| match &outcome.effect {
            Effect::Loses(what) | Effect::Unnoticed(what) => Some(what),
            _ => None,
        });
        let member = finding.member.clone().unwrap_or_default();
        match loss {
            Some(loss) => findings.add(Severity::Loss, member, format!("{}; a restore loses {loss}", finding.what)),
            None => findings.warn(member, finding.what.clone()),
        }
    }
    if let (Some(inside), Some(said)) = (&content.version, manifest.home_assistant_version())
        && inside != said
    {
        findings.warn("data/.HA_VERSION", format!("says {inside}, backup.json says {said}"));
    }
}
