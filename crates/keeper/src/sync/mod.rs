//! What each destination of a job lacks, and what it has too much, from what is known of all of them.
//!
//! **Which archives.** Those of the job's instance (or that the job made, if its instance has no id). Others' backups,
//! links, what can't be read and what a paired machine sent are never touched. An archive is the same everywhere if
//! instance, slug and date are ([`Copy::archive`]), whatever its name.
//!
//! **What a destination wants** is what its rules keep of everything that is sound anywhere: of what it holds itself and
//! of what the job's other destinations held when they were last listed. Without rules it wants everything. One with
//! schedules of its own takes from the others only the first archive made at or after each of its moments.
//!
//! **What is sent**: what it wants and does not hold soundly, the newest first, from the nearest sound copy. In place of
//! a damaged copy the sound one is sent beside it, under another name, and the damaged one goes once the other was read
//! and found whole: killed at any moment, nothing is worse than before.
//!
//! **What is removed**: what its rules drop of what it really holds, except what it wants. So what is sent is never
//! removed while the archives stay as they are, and a destination that holds all that it wants holds nothing else in the
//! end: what the rules keep of everything, they also keep of a part of everything, because fewer archives compete for
//! each day and each place among the newest; so the destination's own rules drop exactly what has a better one among
//! those it wants. (Incomplete archives are the exception. One may be dropped here that is wanted, because whole ones are
//! still missing here: that is why what is wanted is taken out of what is dropped, and not relied upon. And one may stay
//! for a day whose whole archive is elsewhere, and not wanted here.)
//!
//! Nothing is removed
//! * while the job is paused, or after a backup that failed, until one succeeds;
//! * where nothing can be removed, or that was not listed since the last success or since something was done there;
//! * that is not older than the newest whole copy there, and nothing at all before that one was read after its arrival;
//! * that another destination wants and lacks, or is about to get from there (one that has been away for long does not
//!   count);
//! * that is damaged and sound nowhere else, for a month: `haul repair` may save most of it;
//! * where no copy of the instance is whole;
//! * when it is more than [`Job::most_removals`] at once, and as many as have come since the last removal, before somebody
//!   agrees.
//!
//! A list may be wrong by the time it is acted upon. So the caller looks at [`Removal::instead`] right before each
//! removal, and an upload never replaces: then a list that is late costs an attempt, and nothing else.
//!
//! Two jobs of one instance at one destination would each remove what only the other wants: the configuration must not
//! have them.

mod copies;
mod places;
mod removals;
mod wanted;

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use engine::in_units;
use jiff::Zoned;
use serde::{Deserialize, Serialize};

use crate::{facts::Known, job::Job};
use places::Places;

/// Bytes that copies leave free at a destination that says how much it has.
pub const RESERVE: u64 = 512_000_000;

/// What is to be done for a job, all of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The newest archive first.
    pub copies: Vec<CopyTask>,
    /// By destination.
    pub removals: BTreeMap<String, Removals>,
    /// What can't be done, and why.
    pub blocked: Vec<Blocked>,
}

/// An archive is to be sent to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyTask {
    /// Which archive ([`crate::facts::Copy::archive`]).
    pub archive: String,
    /// Where it can be read, the best first.
    pub from: Vec<Source>,
    /// The destination.
    pub to: String,
    /// What it is called there; nothing there has this name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// The bad copy there that goes once this one was read and found whole.
    pub replaces: Option<String>,
}

/// Where an archive can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The destination.
    pub destination: String,
    /// Its name there.
    pub name: String,
}

/// What goes from a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    /// What will go next, the newest first.
    pub leaving: Vec<Removal>,
    /// Why none of them goes yet.
    pub waits: Option<Waits>,
}

/// Something that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Its name.
    pub name: String,
    /// The copy there on account of which it may go: if that is not there any more in this size, nothing is removed.
    pub instead: String,
    /// That one's bytes.
    pub instead_size: u64,
}

/// Why nothing is removed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It is away, or was not listed since something was done there.
    NotListed,
    /// Nothing can be removed there.
    AppendOnly,
    /// The last backup failed.
    LastFailed,
    /// The newest whole copy there was not read since it arrived.
    NotRead,
    /// It is unusually much: somebody has to agree.
    Consent,
    /// Another destination's name, or another job of the same instance, leads to the same place.
    Shared,
    /// A directory does not answer, so nobody knows whether that is so.
    Unanswered,
}

/// A copy that can't be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Where it is wanted.
    pub destination: String,
    /// Which archive ([`crate::facts::Copy::archive`]).
    pub archive: String,
    /// Its name there, or elsewhere.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Why a copy can't be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It and all older ones wait for space.
    NoSpace {
        /// The archive's bytes.
        size: u64,
        /// What is free.
        free: u64,
    },
    /// A file has its name, and can't be read as an archive.
    NameTaken,
    /// The copy there is bad, and there is no sound one anywhere.
    NothingSound,
    /// The copy there is bad, and its owner said never to remove it.
    Pinned,
    /// All destinations that have it can't be reached.
    SourcesAway(Vec<String>),
    /// It was sent again, and is damaged again.
    DamagedAgain,
}

impl Removals {
    /// What is to be removed now.
    pub fn due(&self) -> &[Removal] {
        if self.waits.is_some() { &[] } else { &self.leaving }
    }

    /// Whether somebody has to agree first.
    pub fn needs_consent(&self) -> bool {
        self.waits == Some(Waits::Consent)
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotListed => "it has to be listed first",
            Self::AppendOnly => "nothing can be removed there",
            Self::LastFailed => "the last backup failed",
            Self::NotRead => "its newest copy has to be verified first",
            Self::Consent => "it is more than usual, so somebody has to agree",
            Self::Shared => "another backup of this Home Assistant, or another name for the same place, is there, too",
            Self::Unanswered => "a directory does not answer, and may be the same place",
        })
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, destination) = (&self.name, &self.destination);
        match &self.why {
            Why::NoSpace { size, free } => {
                let (size, free) = (in_units(*size), in_units(*free));
                let kept = in_units(RESERVE);
                write!(f, "{name} ({size}) does not fit on {destination}, which has {free} free, and {kept} stay free")
            }
            Why::NameTaken => write!(f, "{destination} has a file {name} that can't be read as an archive"),
            Why::NothingSound => write!(f, "{name} on {destination} is damaged, and no other copy of it is sound"),
            Why::Pinned => write!(f, "{name} on {destination} is damaged, and protected from removal"),
            Why::SourcesAway(places) => write!(f, "{name} is only on {}, which can't be reached", places.join(", ")),
            Why::DamagedAgain => write!(f, "{name} on {destination} is damaged again after it was sent anew"),
        }
    }
}

impl Why {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => "make space there, or keep fewer backups there",
            Self::NameTaken => "look at that file, and rename or remove it",
            Self::NothingSound => "run \"haul repair\" on it, or remove it",
            Self::Pinned => "release it to have it replaced",
            Self::SourcesAway(_) => "it is sent as soon as one of them is back",
            Self::DamagedAgain => "run \"haul destination check\": the storage may be failing",
        }
    }
}

/// Decides what to do for a job; `now` brings the time zone of the calendar. The plan is void as soon as anything
/// happens at one of its destinations: the caller marks that as not up to date, lists it, and asks again.
pub fn plan(job: &Job, known: &Known, now: &Zoned) -> Plan {
    let mut plan = Plan::default();
    let Some(facts) = known.jobs.get(&job.name).filter(|_| !job.paused) else { return plan };
    let places = Places::new(job, facts, known);
    let wanted: Vec<_> = (0..places.all.len()).map(|at| wanted::wanted(&places, at, now)).collect();
    for (at, wanted) in wanted.iter().enumerate() {
        copies::plan(&places, at, wanted, now.timestamp(), &mut plan);
    }
    plan.copies.sort_by_key(|task| Reverse(places.date(&task.archive)));
    for at in 0..places.all.len() {
        let removals = removals::plan(job, facts, (&places, at), &wanted, &plan.copies, now);
        plan.removals.insert(places.all[at].name().to_owned(), removals);
    }
    plan
}
