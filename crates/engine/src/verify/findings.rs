//! What verifying found, in plain words, and how serious it is.

use habackup::problem::{self, Problem};
use serde::Serialize;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something a restore changes or loses, or that is unusual; nothing is broken.
    Warning,
    /// The archive's end or its index is damaged; every file in it is as it was written.
    Wrapper,
    /// A restore succeeds and loses something without a word.
    Loss,
    /// Home Assistant would refuse this archive, fail over it, or restore nothing of it.
    WouldNotRestore,
    /// Bytes are not what was written.
    Damage,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// The member it is about: of the outer archive, or a path below one of its inner archives. Empty when it is about
    /// the whole.
    pub member: String,
    /// What, as one sentence without its full stop.
    pub message: String,
}

/// A longer list helps nobody; further ones are only counted.
const MOST: usize = 1000;

/// Gathers findings, the first thousand of them by name.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    unnamed: u64,
    gravest_unnamed: Option<Severity>,
}

impl Findings {
    pub(super) fn add(&mut self, severity: Severity, member: impl Into<String>, message: impl Into<String>) {
        if self.list.len() < MOST {
            self.list.push(Finding { severity, member: member.into(), message: message.into() });
        } else {
            self.unnamed += 1;
            self.gravest_unnamed = self.gravest_unnamed.max(Some(severity));
        }
    }

    /// What `habackup` found by headers and description alone.
    pub(super) fn problem(&mut self, problem: &Problem) {
        let severity = match problem.severity {
            problem::Severity::Notice => Severity::Warning,
            problem::Severity::Lost => Severity::Loss,
            problem::Severity::Refused => Severity::WouldNotRestore,
            problem::Severity::Damaged => Severity::Damage,
        };
        self.add(severity, problem.member.clone().unwrap_or_default(), problem.text.clone());
    }

    pub(super) fn damage(&mut self, member: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Damage, member, message);
    }

    pub(super) fn warn(&mut self, member: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Warning, member, message);
    }

    pub(super) fn append(&mut self, other: Self) {
        for finding in other.list {
            self.add(finding.severity, finding.member, finding.message);
        }
        self.unnamed += other.unnamed;
        self.gravest_unnamed = self.gravest_unnamed.max(other.gravest_unnamed);
    }

    pub(super) fn has_damage(&self) -> bool {
        self.gravest_unnamed == Some(Severity::Damage)
            || self.list.iter().any(|finding| finding.severity == Severity::Damage)
    }

    /// The gravest first, else in the order found.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        if let Some(severity) = self.gravest_unnamed {
            let message = format!("{} more findings are not listed", self.unnamed);
            self.list.push(Finding { severity, member: String::new(), message });
        }
        self.list.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.list
    }
}
