//! The one judgement of an archive. `backup`, `verify`, `inspect` and `repair` gather the same facts and judge them
//! here; the archive carries the verdict as its [`Stamp`], from which `list`, `prune`, `get`, `restore` and `migrate`
//! read it.

pub(crate) mod collect;

use std::collections::BTreeMap;

use habackup::{
    archive::MANIFEST,
    index::Index,
    manifest::{Manifest, Stamp},
    readers::{self, Content, Defect, Description, Effect, Finding, Reader, content_findings},
    settings::{self, RECORDER},
};
use serde::Serialize;

use crate::{findings::Findings, verdict::collect::note_unread};

/// What an archive is worth; each is graver than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing that belongs in it is missing, as far as anybody knows.
    #[default]
    Whole,
    /// So is this, and the archive's end or its index is damaged, which no reader needs.
    Wrapper,
    /// It restores, and something is gone.
    Incomplete,
    /// Some reader does not restore it.
    Unrestorable,
    /// Its bytes are not what was written.
    Damaged,
}

/// The verdict, and the reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// In a word.
    pub verdict: Verdict,
    /// What a restore does not bring back, as far as it is known.
    pub missing: Vec<String>,
    /// Whether users, settings or the history are among it.
    pub essential: bool,
    /// The history is not in it, and that is as its owner wanted it.
    pub without_history: bool,
    /// The history is in it, in a database that is not called as Home Assistant's own.
    #[serde(skip)]
    history_inside: bool,
    /// Readers that do not restore it, while others do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_by: Vec<Reader>,
}

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
    /// Names of apps, by their slugs.
    #[serde(skip)]
    apps: BTreeMap<String, String>,
}

impl Summary {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            slug: text(manifest.slug()),
            name: text(manifest.name()),
            date: text(manifest.date()),
            home_assistant: text(manifest.home_assistant_version()),
            protected: manifest.protected(),
            database_excluded: manifest.excludes_database(),
            apps: manifest.addons().iter().map(|app| (app.slug.to_owned(), app.name.to_owned())).collect(),
        }
    }

    /// A member as people call it: an app's with its name, `Mosquitto broker (core_mosquitto.tar.gz)`.
    pub fn called(&self, member: &str) -> String {
        let slug = member.trim_start_matches("./").split('.').next().unwrap_or_default();
        let name = self.apps.get(slug).filter(|name| !name.is_empty());
        name.map_or_else(|| member.to_owned(), |name| format!("{name} ({member})"))
    }
}

/// An app as people call it, with its id: `Mosquitto broker (core_mosquitto)`. Nothing: it is no app of this backup, or
/// has no name.
pub fn app_called(manifest: &Manifest, slug: &str) -> Option<String> {
    let app = manifest.addons().into_iter().find(|app| app.slug == slug && !app.name.is_empty())?;
    Some(format!("{} ({slug})", app.name))
}

/// The bytes of the archive itself are not what was written.
const DAMAGE: [Defect; 11] = [
    Defect::EmptyFile,
    Defect::ZerosOnly,
    Defect::OuterTruncated,
    Defect::OuterDamaged,
    Defect::InnerEmpty,
    Defect::SecureTarSize,
    Defect::SecureTarDamaged,
    Defect::PartDamaged,
    Defect::GzipChecksum,
    Defect::InnerTruncated,
    Defect::InnerDamaged,
];

/// Whether such a defect concerns only the archive's end or its index, and no member.
pub(crate) fn is_of_wrapper(defect: Defect) -> bool {
    matches!(defect, Defect::OuterEnd | Defect::Index)
}

/// Whether such a defect means that bytes of the archive are not what was written.
pub(crate) fn is_damage(defect: Defect) -> bool {
    DAMAGE.contains(&defect)
}

impl Judgement {
    /// By what the rules find in the archive, what each reader does about it, and what its maker knew was missing.
    pub(crate) fn of_archive(findings: &[Finding], verdicts: &[readers::Verdict], stamp: Option<&Stamp>) -> Self {
        let mut judgement = Self::of(findings, stamp);
        let refusing: Vec<Reader> =
            verdicts.iter().filter(|verdict| verdict.effect.is_refused()).map(|verdict| verdict.reader).collect();
        if !refusing.is_empty() {
            judgement.at_least(Verdict::Unrestorable);
        }
        if refusing.len() < verdicts.len() {
            judgement.refused_by = refusing;
        }
        if findings.iter().any(|finding| is_of_wrapper(finding.defect)) {
            judgement.at_least(Verdict::Wrapper);
        }
        if findings.iter().any(|finding| is_damage(finding.defect)) {
            judgement.at_least(Verdict::Damaged);
        }
        judgement
    }

    /// By what the rules find in the archive, and by what its maker knew was missing.
    pub(crate) fn of(findings: &[Finding], stamp: Option<&Stamp>) -> Self {
        let mut judgement = Self::default();
        for finding in findings {
            for outcome in &finding.outcomes {
                match &outcome.effect {
                    Effect::Loses(what) => judgement.lose(what, true),
                    Effect::Unnoticed(what) => judgement.lose(what, false),
                    _ => {}
                }
            }
        }
        if let Some(stamp) = stamp {
            (judgement.without_history, judgement.history_inside) = (stamp.without_history, stamp.history_inside);
            judgement.lose_as_stamped(stamp);
        }
        judgement
    }

    /// By what was met while the source was read.
    pub(crate) fn of_source(met: &Findings, manifest: &Manifest) -> Self {
        let is_history = |path: &Vec<u8>| path == RECORDER || *path == met.history;
        let history_inside = met.has_history && met.history != RECORDER;
        let without_history =
            met.content.database.is_none() && !history_inside && !met.gaps.essential.iter().any(is_history);
        let found = in_content(&met.content, manifest, without_history, history_inside);
        let mut judgement = Self { without_history, history_inside, ..Self::of(&found, None) };
        for path in &met.gaps.essential {
            let member = format!("data/{}", crate::text::shown(path));
            let is_reported = found.iter().any(|finding| finding.member.as_deref() == Some(member.as_str()));
            if !is_reported {
                judgement.lose(settings::lost_without(path).unwrap_or("the history"), true);
            }
        }
        let what = match met.gaps.others {
            1 => "1 entry that was unreadable, doubtful or damaged when the backup was made".to_owned(),
            others => format!("{others} entries that were unreadable, doubtful or damaged when the backup was made"),
        };
        judgement.lose_by_name(&what, met.gaps.others, met.gaps.named.iter().map(|path| crate::text::shown(path)));
        judgement
    }

    /// By the content of an archive whose maker was somebody else. The history may be in another database than usual:
    /// `elsewhere`, or in the configuration under another name.
    pub(crate) fn of_content(content: &Content, manifest: &Manifest, elsewhere: bool, history_inside: bool) -> Self {
        let without_history = elsewhere && content.database.is_none() && !history_inside;
        let found = in_content(content, manifest, without_history, history_inside);
        Self { without_history, history_inside, ..Self::of(&found, None) }
    }

    /// Of an archive that was made of another, by its index; of the content of files speaks what was found `before`,
    /// and `lost` are the notes of what could not be kept.
    pub(crate) fn of_repaired<'n>(
        index: &Index,
        manifest: &Manifest,
        before: &[Finding],
        lost: (u64, impl Iterator<Item = &'n str>),
    ) -> Self {
        const OF_BODIES: [Defect; 3] = [Defect::DatabaseDamaged, Defect::SettingsDamaged, Defect::OtherDatabaseDamaged];
        let mut content = Content::default();
        for entry in index.files() {
            if let Some(below) = entry.path.strip_prefix(b"data").map(|below| below.strip_prefix(b"/").unwrap_or(below))
            {
                note_unread(&mut content, below, entry.kind, entry.size, b"");
            }
        }
        let stamp = manifest.stamp().unwrap_or_default();
        let (without_history, history_inside) =
            (content.database.is_none() && stamp.without_history, stamp.history_inside);
        let mut found = in_content(&content, manifest, without_history, history_inside);
        found.extend(before.iter().filter(|finding| OF_BODIES.contains(&finding.defect)).cloned());
        let mut judgement = Self { without_history, history_inside, ..Self::of(&found, None) };
        judgement.lose_as_stamped(&stamp);
        let (count, names) = lost;
        let what = match count {
            1 => "1 thing that could not be kept when the archive was repaired".to_owned(),
            count => format!("{count} things that could not be kept when the archive was repaired"),
        };
        judgement.lose_by_name(&what, count, names.map(str::to_owned));
        judgement
    }

    /// What the archive's maker knew was missing. A loss that also shows in the archive is reported once.
    fn lose_as_stamped(&mut self, stamp: &Stamp) {
        if !stamp.is_whole() {
            stamp.missing.split(Stamp::BETWEEN).for_each(|what| self.lose(what, stamp.essential));
        }
    }

    /// `count` things, named by `what`, are missing; as many of their names go in as fit into a stamp.
    fn lose_by_name(&mut self, what: &str, count: u64, names: impl Iterator<Item = String>) {
        if count == 0 {
            return;
        }
        let before: usize = self.missing.iter().map(|known| known.len() + Stamp::BETWEEN.len()).sum();
        let mut text = what.to_owned();
        let mut fitting: Vec<String> = Vec::new();
        for name in names {
            // No name may pass for another thing that is missing.
            let name = name.replace(Stamp::BETWEEN, "\\x3b ");
            if fitting.contains(&name) {
                continue;
            }
            fitting.push(name);
            let list = fitting.join(", ");
            let longer = match count.saturating_sub(fitting.len() as u64) {
                0 => format!("{what}: {list}"),
                more => format!("{what}: {list} and {more} more"),
            };
            if before + longer.len() <= Stamp::TEXT_MAX {
                text = longer;
            } else {
                fitting.pop();
            }
        }
        self.lose(&text, false);
    }

    /// Something is missing.
    pub(crate) fn lose(&mut self, what: &str, essential: bool) {
        self.at_least(Verdict::Incomplete);
        self.essential |= essential;
        if !self.missing.iter().any(|known| known.contains(what)) {
            self.missing.push(what.to_owned());
        }
    }

    /// It is no better than this.
    pub(crate) fn at_least(&mut self, verdict: Verdict) {
        self.verdict = self.verdict.max(verdict);
    }

    /// What the archive carries of it.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            missing: self.missing.join(Stamp::BETWEEN),
            essential: self.essential,
            without_history: self.without_history,
            history_inside: self.history_inside,
        }
    }

    /// For the first line of a report.
    pub fn headline(&self) -> String {
        match self.verdict {
            Verdict::Whole if self.without_history => "whole, without the history".to_owned(),
            Verdict::Whole => "whole".to_owned(),
            Verdict::Wrapper => {
                "every file in it is whole, but its end or its index is damaged; `haul repair` rewrites it".to_owned()
            }
            Verdict::Incomplete => incomplete(&self.missing.join(Stamp::BETWEEN), self.essential),
            Verdict::Unrestorable if !self.refused_by.is_empty() => {
                format!("{} would NOT restore this", readers::named(&self.refused_by))
            }
            Verdict::Unrestorable => "Home Assistant would NOT restore this".to_owned(),
            Verdict::Damaged => "DAMAGED".to_owned(),
        }
    }
}

/// The sentence about an archive that lacks something.
pub fn incomplete(missing: &str, essential: bool) -> String {
    if essential { format!("incomplete: a restore loses {missing}") } else { format!("incomplete: {missing}") }
}

/// What of a configuration is missing, given whether its history is meant to be elsewhere.
fn in_content(content: &Content, manifest: &Manifest, without_history: bool, history_inside: bool) -> Vec<Finding> {
    let stamp = Stamp { without_history, history_inside, ..Stamp::default() };
    content_findings(content, Some(&Description::parse(MANIFEST, &manifest.to_stamped_json(Some(&stamp)))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn with_names(before: &str, names: &[String]) -> String {
        let mut judgement = Judgement::default();
        if !before.is_empty() {
            judgement.lose(before, true);
        }
        judgement.lose_by_name(&format!("{} entries", names.len()), names.len() as u64, names.iter().cloned());
        let json = Manifest::parse(b"{}").unwrap().to_stamped_json(Some(&judgement.stamp()));
        let stamped = Manifest::parse(&json).unwrap().stamp().unwrap().missing;
        assert_eq!(stamped, judgement.missing.join(Stamp::BETWEEN), "nothing of it is cut");
        // Every reader of the archive reports the same, whatever else it sees.
        let read = Judgement::of(&[], Manifest::parse(&json).unwrap().stamp().as_ref());
        assert_eq!(read.missing, judgement.missing);
        stamped
    }

    #[test]
    fn of_missing_files_as_many_names_are_listed_as_fit_into_a_stamp() {
        let names = |count: usize| (0..count).map(|n| format!("www/{n}.png")).collect::<Vec<_>>();
        assert_eq!(with_names("", &names(2)), "2 entries: www/0.png, www/1.png");
        let many = with_names("", &names(700));
        let listed = many.matches(".png").count();
        assert!(
            many.starts_with("700 entries: www/0.png, www/1.png, ")
                && many.ends_with(&format!(" and {} more", 700 - listed))
                && listed > 20,
            "{many}"
        );
        assert_eq!(with_names("the history", &names(1)), "the history; 1 entries: www/0.png");
        let long = "the history ".repeat(23);
        assert_eq!(with_names(&long, &names(3)), format!("{long}; 3 entries"), "no name fits");
        let names = ["a".repeat(290), "short".to_owned(), "é".repeat(150)];
        assert_eq!(with_names("", &names), "3 entries: short and 2 more");
    }

    #[test]
    fn a_name_does_not_pass_for_something_else_that_is_missing() {
        assert_eq!(with_names("", &["a; the history".to_owned()]), "1 entries: a\\x3b the history");
    }

    #[test]
    fn an_entry_with_two_faults_is_one_entry() {
        let mut met = Findings::default();
        met.doubt(b"www/a", "torn");
        met.lost(b"www/a", "shrank");
        met.doubt(b".storage/auth", "torn");
        met.lost(b".storage/auth", "shrank");
        met.damaged(b".storage/auth", "no JSON");
        assert_eq!(
            (met.gaps.others, met.gaps.named, met.gaps.essential),
            (1, vec![b"www/a".to_vec()], vec![b".storage/auth".to_vec()])
        );
    }
}
