//! What is known of jobs, destinations and copies. The catalog keeps it, decisions are made from it.

mod copies;

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    SharedStr,
    inventory::{Called, Item},
    retention::{Candidate, Origin, Worth},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::copies::Copies;
use crate::status::{CopyVerdict, Failure, Proof, RunStatus};

/// Clocks of two machines may differ by so many seconds.
const AHEAD: i64 = 3600;

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By the job's name.
    pub jobs: BTreeMap<String, JobFacts>,
    /// By the destination's name.
    pub destinations: BTreeMap<String, DestinationFacts>,
}

/// What is known of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFacts {
    /// Home Assistant's id of the instance that it backs up, if that has one.
    pub instance: Option<String>,
    /// Since when it is known.
    pub since: Option<Timestamp>,
    /// Since when it has other destinations than those that hold its backups.
    pub moved: Option<Timestamp>,
    /// The archives that it made ([`Copy::archive`]) and that do not say of which instance they are.
    pub made: BTreeSet<String>,
    /// When its last backup began that was due or counts as such; by destinations that have schedules of their own as
    /// well (`""`: the job's).
    pub started: BTreeMap<String, Timestamp>,
    /// How long the last one took.
    pub seconds: f64,
    /// Failures in a row.
    pub failures: u32,
    /// When a failed one is tried again, and to which destinations.
    pub retry: Option<(Timestamp, Vec<String>)>,
    /// The last backup that ended.
    pub last: Option<RunStatus>,
    /// The last rehearsal that was tried.
    pub rehearsed: Option<Timestamp>,
    /// Why it proved nothing.
    pub rehearsal_failure: Option<Failure>,
    /// Rehearsals that failed in a row for a reason that may pass, and when the next is tried.
    pub rehearsal_retry: Option<(u32, Timestamp)>,
    /// The last one that proved something.
    pub proven: Option<Proof>,
    /// What that one counted, for the next.
    pub counts: Option<serde_json::Value>,
}

/// What is known of a destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DestinationFacts {
    /// Its address, without secrets.
    pub address: String,
    /// What else tells it from other places, such as the endpoint of a bucket.
    pub identity: String,
    /// When it was last listed.
    pub listed: Option<Timestamp>,
    /// Something was done there since: the list is not up to date.
    pub stale: bool,
    /// When something was done there last.
    pub changed: Option<Timestamp>,
    /// What was put there since it was listed, by name.
    pub arrivals: BTreeMap<String, Arrival>,
    /// Since when it can't be reached, and why.
    pub away: Option<(Timestamp, Failure)>,
    /// What went wrong there last, although it answers: since when, and what.
    pub trouble: Option<(Timestamp, Failure)>,
    /// Failures to reach it, in a row.
    pub failures: u32,
    /// Nothing is tried there before.
    pub retry: Option<Timestamp>,
    /// Failures of whatever was done there, in a row, although it answered.
    pub work_failures: u32,
    /// Nothing but a look is tried there before.
    pub rest: Option<Timestamp>,
    /// When a copy that was there before Haul was last verified.
    pub verified: Option<Timestamp>,
    /// Free space, if it says so.
    pub free: Option<u64>,
    /// Nothing can be removed from here.
    pub append_only: bool,
    /// When something was last removed: what has come since then makes room for itself.
    pub pruned: Option<Timestamp>,
    /// Somebody agreed that these are removed.
    pub agreed: BTreeSet<String>,
    /// What was removed and may still be listed, by name.
    pub removed: BTreeMap<String, Timestamp>,
    /// Archives that somebody deleted here ([`Copy::archive`]): they are not sent here again.
    pub deleted: BTreeSet<String>,
    /// The jobs whose backups it has held since it is known.
    pub held: BTreeSet<String>,
    /// What it holds, by name there.
    #[serde(skip)]
    pub copies: Copies,
}

/// An archive that was put at a destination and is not listed yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// The destination compared checksums of all its bytes.
    pub compared: bool,
    /// For which job.
    pub job: Option<String>,
}

impl JobFacts {
    /// Whether an archive is one of the job's: Haul made it of this instance, and no other machine sent it.
    pub fn owns(&self, copy: &Copy) -> bool {
        let made = || copy.archive().is_some_and(|archive| self.made.contains(&archive));
        let own = copy.item.instance.as_ref().map_or_else(made, |own| Some(own.as_str()) == self.instance.as_deref());
        own && copy.item.arrival.is_none() && copy.item.made_by == Origin::Own
    }
}

/// An archive at a destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// What it is from outside.
    pub item: Item,
    /// When the destination says it was last changed: the item is read anew when this or the size changes.
    pub modified: Option<Timestamp>,
    /// When Haul put it there and has not read it yet.
    #[serde(default)]
    pub arrived: Option<Timestamp>,
    /// When it was last read and checked.
    #[serde(default)]
    pub verified: Option<Timestamp>,
    /// What that showed.
    #[serde(default)]
    pub verdict: Option<CopyVerdict>,
    /// When it could not be checked, and why: without its key, for example.
    #[serde(default)]
    pub unchecked: Option<Box<(Timestamp, String)>>,
}

impl Copy {
    fn texts(&mut self) -> impl Iterator<Item = &mut SharedStr> {
        self.item.texts().chain(self.verdict.as_mut().map(|verdict| &mut verdict.sentence))
    }

    /// What tells the archive from all others, wherever copies of it are; letters, digits and dashes. `None`: it does
    /// not say it.
    pub fn archive(&self) -> Option<String> {
        let slug: String = self.item.slug.as_ref()?.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        let instance: String =
            self.item.instance.iter().flat_map(|id| id.chars()).filter(char::is_ascii_alphanumeric).take(8).collect();
        Some(format!("{slug}-{}-{instance}", self.item.date.as_second()))
    }

    /// What retention goes by.
    pub fn candidate(&self) -> Candidate {
        let content = self.archive().map(|archive| format!("{archive} {}", self.item.size));
        Candidate { worth: self.worth(), content, ..self.item.candidate() }
    }

    /// What it is worth: what was read of it counts more than what it says of itself.
    pub fn worth(&self) -> Worth {
        let read = self.verdict.as_ref();
        if self.item.verdict == Called::Damaged || read.is_some_and(|verdict| verdict.damaged) {
            Worth::Damaged
        } else if self.item.verdict == Called::Incomplete || read.is_some_and(|verdict| !verdict.whole) {
            Worth::Incomplete
        } else {
            Worth::Whole
        }
    }

    /// Whether it says that it was made at a time that has not come: nothing is concluded from its age.
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        self.item.date.as_second() > now.as_second().saturating_add(AHEAD)
    }

    /// Whether it is known to be damaged.
    pub fn is_damaged(&self) -> bool {
        self.worth() == Worth::Damaged
    }

    /// Whether nothing is missing, and its maker or whoever read it said so.
    pub fn is_whole(&self) -> bool {
        self.worth() == Worth::Whole && (self.item.is_called_whole() || self.verdict.is_some())
    }
}
