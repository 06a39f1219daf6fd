//! The job's archives, at each of its destinations.

use std::collections::BTreeMap;

use engine::retention::Worth;
use jiff::Timestamp;

use crate::{
    facts::{Copy, DestinationFacts, JobFacts, Known},
    job::{Job, Target},
};

/// The job's destinations that were ever listed.
pub(super) struct Places<'a> {
    pub(super) all: Vec<Place<'a>>,
    /// Copies that can be sent on, by archive; each with the position of its destination.
    sound: BTreeMap<String, Vec<(usize, &'a Copy)>>,
}

/// One of them.
pub(super) struct Place<'a> {
    pub(super) target: &'a Target,
    pub(super) facts: &'a DestinationFacts,
    /// What it holds of the job's instance.
    pub(super) copies: Vec<Held<'a>>,
    /// The copies of each archive, without links.
    by_archive: BTreeMap<String, Vec<&'a Copy>>,
}

/// A copy that a destination holds.
pub(super) struct Held<'a> {
    /// Which archive.
    pub(super) archive: Option<String>,
    pub(super) copy: &'a Copy,
}

impl<'a> Places<'a> {
    pub(super) fn new(job: &'a Job, job_facts: &JobFacts, known: &'a Known) -> Self {
        let place = |target: &'a Target| {
            let facts = known.destinations.get(&target.destination).filter(|facts| facts.listed.is_some())?;
            let own = facts.copies.iter().filter(|copy| job_facts.owns(copy));
            let copies: Vec<Held<'_>> = own.map(|copy| Held { archive: copy.archive(), copy }).collect();
            let mut by_archive: BTreeMap<String, Vec<&Copy>> = BTreeMap::new();
            for Held { archive, copy } in copies.iter().filter(|held| !held.copy.item.link) {
                if let Some(archive) = archive {
                    by_archive.entry(archive.clone()).or_default().push(copy);
                }
            }
            Some(Place { target, facts, copies, by_archive })
        };
        let all: Vec<Place<'_>> = job.destinations.iter().filter_map(place).collect();
        let mut sound: BTreeMap<String, Vec<(usize, &Copy)>> = BTreeMap::new();
        for (at, place) in all.iter().enumerate() {
            for (archive, copies) in &place.by_archive {
                let copies = copies.iter().filter(|copy| is_sound(copy)).map(|copy| (at, *copy));
                sound.entry(archive.clone()).or_default().extend(copies);
            }
        }
        Self { all, sound }
    }

    /// Every archive that another destination holds soundly, and the best copy of it.
    pub(super) fn best_elsewhere(&self, at: usize) -> impl Iterator<Item = (&str, &'a Copy)> {
        self.sound.keys().filter_map(move |archive| Some((archive.as_str(), self.best(archive, at)?)))
    }

    /// The best copy of an archive at another destination.
    pub(super) fn best(&self, archive: &str, at: usize) -> Option<&'a Copy> {
        self.elsewhere(archive, at).map(|(_, copy)| copy).max_by_key(|copy| (copy.is_whole(), copy.item.size))
    }

    /// Its sound copies at other destinations.
    pub(super) fn elsewhere(&self, archive: &str, at: usize) -> impl Iterator<Item = (&Place<'a>, &'a Copy)> {
        let copies = self.sound.get(archive).into_iter().flatten();
        copies.filter(move |(place, _)| *place != at).map(|(place, copy)| (&self.all[*place], *copy))
    }

    /// Whether any destination holds it soundly, as far as known.
    pub(super) fn is_sound_anywhere(&self, archive: &str) -> bool {
        self.sound.get(archive).is_some_and(|copies| !copies.is_empty())
    }

    /// When an archive was made.
    pub(super) fn date(&self, archive: &str) -> Option<Timestamp> {
        self.sound.get(archive)?.first().map(|(_, copy)| copy.item.date)
    }
}

impl<'a> Place<'a> {
    pub(super) fn name(&self) -> &'a str {
        &self.target.destination
    }

    /// Whether what is known of it can be acted upon.
    pub(super) fn is_current(&self) -> bool {
        self.facts.away.is_none() && !self.facts.stale
    }

    /// The copies of an archive that it holds.
    pub(super) fn copies_of(&self, archive: &str) -> &[&'a Copy] {
        self.by_archive.get(archive).map_or(&[], Vec::as_slice)
    }
}

/// Whether it can be sent to other destinations.
fn is_sound(copy: &Copy) -> bool {
    copy.is_whole() || copy.worth() == Worth::Incomplete
}

/// Whether a copy has to be replaced by this sound one of the same archive.
pub(super) fn is_bad(copy: &Copy, sound: Option<&Copy>) -> bool {
    let is_half = |sound: &Copy| sound.is_whole() && !copy.is_whole() && copy.item.size < sound.item.size;
    copy.is_damaged() || sound.is_some_and(is_half)
}
