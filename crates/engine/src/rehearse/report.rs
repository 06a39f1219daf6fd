//! The result of a rehearsal, and the sentence that says it.

use std::{fmt, path::PathBuf, time::Instant};

use serde::{Deserialize, Serialize};

use super::{Counts, Database};
use crate::verdict::{Judgement, Verdict};

/// More reasons than this are counted.
const MOST_REASONS: usize = 3;

/// How an archive was rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// It was restored into a scratch directory.
    #[serde(rename = "unpacked")]
    Unpacked,
    /// It was read, and nothing of it was written.
    #[serde(rename = "in memory")]
    InMemory,
    /// It was restored, and Home Assistant was started on it.
    #[serde(rename = "booted")]
    Booted,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// With this, nothing is proved.
    pub disproves: bool,
    /// The file in the config directory, if it is about one.
    pub member: String,
    /// What it is.
    pub message: String,
    /// The judgement says the same in other words.
    #[serde(skip)]
    pub(super) judged: bool,
}

impl Finding {
    pub(super) fn against(member: impl Into<String>, message: impl Into<String>) -> Self {
        Self { disproves: true, member: member.into(), message: message.into(), judged: false }
    }

    /// A loss, of which the judgement speaks as well.
    pub(super) fn loss(member: impl Into<String>, message: impl Into<String>) -> Self {
        Self { judged: true, ..Self::against(member, message) }
    }

    pub(super) fn note(member: impl Into<String>, message: impl Into<String>) -> Self {
        Self { disproves: false, ..Self::against(member, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.member, self.message) }
    }
}

/// What became of Home Assistant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Booted {
    /// Why this is no proof: it died, never answered, or came up in recovery mode.
    pub failure: Option<String>,
    /// Its version.
    pub home_assistant: Option<String>,
    /// It could reach nothing outside: no network, no devices.
    pub isolated: bool,
    /// It said itself that it runs; otherwise it only answered as one that runs.
    pub said_running: bool,
    /// Errors in its log.
    pub errors: u64,
    /// The end of what it printed, if it failed.
    pub output: Vec<String>,
    /// Until it ran.
    pub seconds: f64,
}

/// What a rehearsal showed.
#[derive(Clone, Debug, Serialize)]
pub struct Rehearsal {
    /// The archive restores.
    pub proved: bool,
    /// How that was found out.
    #[serde(rename = "how")]
    pub way: Way,
    /// Why it was not unpacked, if it was not.
    pub instead: Option<String>,
    /// What the archive is worth.
    pub judgement: Judgement,
    /// What it holds.
    pub counts: Counts,
    /// Its databases.
    pub databases: Vec<Database>,
    /// What was found, whatever is against it first.
    pub findings: Vec<Finding>,
    /// The version of Home Assistant that it was made for.
    pub home_assistant: Option<String>,
    /// What became of Home Assistant, if it was started.
    pub booted: Option<Booted>,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// The unpacked configuration, if it was to be kept.
    #[serde(serialize_with = "crate::text::serialize_optional_path")]
    pub kept: Option<PathBuf>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Rehearsal {
    /// With everything known: is it proved?
    pub(super) fn settled(mut self, started: Instant) -> Self {
        if let Some(booted) = &self.booted {
            self.way = Way::Booted;
            match &booted.failure {
                Some(failure) => self.findings.insert(0, Finding::against("", failure.clone())),
                // Home Assistant itself is the judge of its configuration.
                None => {
                    for finding in self.findings.iter_mut().filter(|finding| finding.member == "configuration.yaml") {
                        finding.disproves = false;
                    }
                }
            }
        }
        self.findings.sort_by_key(|finding| !finding.disproves);
        let is_bad = self.judgement.essential || self.judgement.verdict >= Verdict::Unrestorable;
        self.proved = !is_bad && !self.findings.iter().any(|finding| finding.disproves);
        self.seconds = started.elapsed().as_secs_f64();
        self
    }

    /// One sentence: what was proved and how, or why nothing is.
    pub fn sentence(&self) -> String {
        if !self.proved {
            return format!("Not proved: {}", self.reasons());
        }
        let how = match (&self.booted, &self.instead) {
            (Some(booted), _) => {
                let version = booted.home_assistant.as_ref().map_or(String::new(), |version| format!(" {version}"));
                format!("Home Assistant{version} itself started from it in {:.0} s", booted.seconds.ceil())
            }
            (None, Some(why)) => format!("everything in it was read in memory, not unpacked, because {why}"),
            (None, None) if self.way == Way::InMemory => "everything in it was read in memory, not unpacked".to_owned(),
            (None, None) => "it was unpacked, and everything in it was checked".to_owned(),
        };
        format!("Proved: {how}: {}", self.contents())
    }

    fn reasons(&self) -> String {
        let against = self.findings.iter().filter(|finding| finding.disproves && !finding.judged);
        let mut reasons: Vec<String> = against.map(ToString::to_string).collect();
        if self.judgement.essential {
            reasons.insert(0, format!("a restore loses {}", self.judgement.missing.join("; ")));
        } else if reasons.is_empty() {
            reasons.push(self.judgement.headline());
        }
        let more = reasons.len().saturating_sub(MOST_REASONS);
        reasons.truncate(MOST_REASONS);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        reasons.join("; ") + &more
    }

    /// `3 users, 41 integrations, 6.1 million states, all 2 databases sound`.
    fn contents(&self) -> String {
        let counts = &self.counts;
        let mut parts = vec![
            count(counts.users, "user", "users"),
            count(counts.integrations, "integration", "integrations"),
            counts.states.map_or_else(|| "no history".to_owned(), |states| count(states, "state", "states")),
        ];
        match counts.databases {
            0 => {}
            1 => parts.push("its database sound".to_owned()),
            databases => parts.push(format!("all {databases} databases sound")),
        }
        parts.join(", ")
    }
}

/// A number as people read it.
fn count(number: u64, singular: &str, plural: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        0..1_000 => format!("{number} {plural}"),
        1_000..1_000_000 => format!("{},{:03} {plural}", number / 1000, number % 1000),
        _ => format!("{:.1} million {plural}", number as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rehearsal() -> Rehearsal {
        Rehearsal {
            proved: false,
            way: Way::Unpacked,
            instead: None,
            judgement: Judgement::default(),
            counts: Counts { users: 3, integrations: 41, states: Some(6_123_456), databases: 2, ..Counts::default() },
            databases: Vec::new(),
            findings: Vec::new(),
            home_assistant: None,
            booted: None,
            entries: 0,
            bytes: 0,
            kept: None,
            seconds: 0.0,
        }
    }

    fn said(rehearsal: Rehearsal) -> String {
        rehearsal.settled(Instant::now()).sentence()
    }

    #[test]
    fn one_sentence_says_what_was_proved_and_how() {
        const CONTENTS: &str = "3 users, 41 integrations, 6.1 million states, all 2 databases sound";
        let booted = || Booted { home_assistant: Some("2026.11.0".to_owned()), seconds: 40.4, ..Booted::default() };
        let few = Counts { users: 1, databases: 1, states: Some(12_345), ..Counts::default() };
        let in_memory =
            |why: Option<&str>| Rehearsal { way: Way::InMemory, instead: why.map(str::to_owned), ..rehearsal() };
        let findings = vec![Finding::note("a", "odd"), Finding::against("b.db", "the database is damaged")];
        for (rehearsal, says) in [
            (rehearsal(), format!("Proved: it was unpacked, and everything in it was checked: {CONTENTS}")),
            (
                Rehearsal { booted: Some(booted()), ..rehearsal() },
                format!("Proved: Home Assistant 2026.11.0 itself started from it in 41 s: {CONTENTS}"),
            ),
            (in_memory(None), format!("Proved: everything in it was read in memory, not unpacked: {CONTENTS}")),
            (
                in_memory(Some("the disk is full")),
                format!("Proved: everything in it was read in memory, not unpacked, because the disk is full: {CONTENTS}"),
            ),
            (
                Rehearsal { counts: few, ..rehearsal() },
                "Proved: it was unpacked, and everything in it was checked: 1 user, 0 integrations, 12,345 states, its \
                 database sound"
                    .to_owned(),
            ),
            (Rehearsal { findings, ..rehearsal() }, "Not proved: b.db: the database is damaged".to_owned()),
        ] {
            assert_eq!(said(rehearsal), says);
        }
    }

    #[test]
    fn a_loss_is_said_once_and_home_assistant_has_the_last_word_on_its_configuration() {
        let mut judgement = Judgement::default();
        judgement.lose("the history", true);
        let findings = vec![Finding::loss("home-assistant_v2.db", "it is missing")];
        assert_eq!(said(Rehearsal { judgement, findings, ..rehearsal() }), "Not proved: a restore loses the history");
        let strange = |booted: Option<Booted>| {
            let findings = vec![Finding::against("configuration.yaml", "Haul can't parse it as YAML")];
            said(Rehearsal { findings, booted, ..rehearsal() })
        };
        assert!(strange(None).starts_with("Not proved: configuration.yaml"));
        assert!(strange(Some(Booted::default())).starts_with("Proved: Home Assistant itself"));
        let died = Booted { failure: Some("it died".to_owned()), ..Booted::default() };
        assert!(strange(Some(died)).starts_with("Not proved: it died"));
    }
}
