//! Compares `backup.json` with what both of Home Assistant's readers require, and with what the archive really holds.

use habackup::{
    archive::MANIFEST,
    manifest::Stamp,
    readers::{self, Content, Defect, Effect, Facts},
};

use super::findings::{Findings, Severity};
use crate::{
    read::{IndexState, Outside},
    verdict::{Judgement, Summary, is_damage, is_of_wrapper},
};

/// Checks the manifest against the index, and judges the facts. Gives what the archive is worth.
pub(super) fn check(
    outside: &Outside,
    facts: &Facts,
    index: &IndexState,
    findings: &mut Findings,
) -> (Summary, Judgement) {
    let found = readers::findings(facts);
    let verdicts = readers::verdicts(facts, &found);
    let content = facts.main.as_ref().and_then(|main| main.content.as_ref());
    for finding in &found {
        add(finding, content, verdicts.len(), findings);
    }
    let Some(manifest) = &outside.manifest else {
        return (Summary::default(), Judgement::of_archive(&found, &verdicts, None));
    };
    if let IndexState::Usable(index) = index
        && index.describes(&outside.manifest_text) == Some(false)
    {
        findings.damage(MANIFEST, "has changed since it was written");
    }
    if let (Some(inside), Some(said)) =
        (content.and_then(|content| content.version.as_deref()), manifest.home_assistant_version())
        && inside != said
    {
        findings.warn("data/.HA_VERSION", format!("says {inside}, backup.json says {said}"));
    }
    let judgement = Judgement::of_archive(&found, &verdicts, manifest.stamp().as_ref());
    if let Some(stamp) = manifest.stamp().filter(|stamp| !stamp.is_whole()) {
        made_incomplete(&stamp, judgement.essential && !found.is_empty(), findings);
    }
    (Summary::of(manifest), judgement)
}

/// What the archive's maker knew was missing. What is essential is no news where it is seen anyway.
fn made_incomplete(stamp: &Stamp, is_seen: bool, findings: &mut Findings) {
    let severity = if stamp.essential && !is_seen { Severity::Loss } else { Severity::Warning };
    findings.add(
        severity,
        MANIFEST,
        format!(
            "says that the archive lacked something when it was made: {}",
            crate::text::shown(stamp.missing.as_bytes())
        ),
    );
}

/// What readers make of one thing, as a finding of this module. Damage that was found byte by byte is not reported
/// twice.
fn add(finding: &readers::Finding, content: Option<&Content>, asked: usize, findings: &mut Findings) {
    let is_told = match finding.defect {
        // The pages of databases were reported one by one.
        Defect::DatabaseDamaged if finding.member.as_deref() == Some("data/home-assistant_v2.db") => {
            content.and_then(|content| content.database.as_ref()).is_some_and(|database| !database.problems.is_empty())
        }
        // By what opening the archive noticed.
        Defect::OtherDatabaseDamaged
        | Defect::SizeRecord
        | Defect::OuterSizes
        | Defect::ManifestTwice
        | Defect::ManifestNotJson => true,
        defect => is_damage(defect) && findings.has_damage(),
    };
    if is_told {
        return;
    }
    let effects = || finding.outcomes.iter().map(|outcome| &outcome.effect);
    let is_loss = |effect: &Effect| matches!(effect, Effect::Loses(_) | Effect::Unnoticed(_));
    let severity = if is_damage(finding.defect) {
        Severity::Damage
    } else if is_of_wrapper(finding.defect) {
        Severity::Wrapper
    } else if effects().any(Effect::is_refused) {
        Severity::WouldNotRestore
    } else if effects().any(is_loss) {
        Severity::Loss
    } else {
        Severity::Warning
    };
    let loss = effects().find_map(|effect| match effect {
        Effect::Loses(what) | Effect::Unnoticed(what) => Some(what),
        _ => None,
    });
    let outcomes = || {
        finding
            .outcomes
            .iter()
            .map(|outcome| (outcome.reader, outcome.effect.sentence(outcome.says.is_some(), Some(finding.defect))))
    };
    let message = match loss {
        Some(loss) if effects().all(is_loss) && finding.outcomes.len() == asked => {
            format!("{}; a restore loses {loss}", finding.what)
        }
        _ if finding.outcomes.is_empty() || severity == Severity::Warning => finding.what.clone(),
        _ => format!("{} ({})", finding.what, readers::shared(outcomes()).join("; ")),
    };
    findings.add(severity, finding.member.clone().unwrap_or_default(), message);
}
