//! What a destination is to hold, of all that is anywhere.

use std::collections::{BTreeMap, BTreeSet};

use engine::retention::{self, Candidate, Reason, Worth};
use jiff::{Timestamp, Zoned};

use super::places::Places;
use crate::schedule::Schedule;

/// Archives.
#[derive(Default)]
pub(super) struct Wanted {
    /// The destination's rules keep them.
    pub(super) wanted: BTreeSet<String>,
    /// They are kept for whatever reason.
    pub(super) kept: BTreeSet<String>,
}

/// What this destination is to hold.
pub(super) fn wanted(places: &Places<'_>, at: usize, now: &Zoned) -> Wanted {
    let place = &places.all[at];
    let mut pool: BTreeMap<String, Candidate> = BTreeMap::new();
    for (number, held) in place.copies.iter().filter(|held| !held.copy.item.link).enumerate() {
        // An archive that does not say which it is competes for its day as well. No archive is called so.
        let archive = held.archive.clone().unwrap_or_else(|| format!("?{number}"));
        add(&mut pool, archive, held.copy.candidate());
    }
    let admitted = place.target.schedules.as_ref().map(|schedules| admitted(places, at, &pool, schedules, now));
    for (archive, copy) in places.best_elsewhere(at) {
        if pool.contains_key(archive) || admitted.as_ref().is_none_or(|admitted| admitted.contains(archive)) {
            add(&mut pool, archive.to_owned(), Candidate { pinned: false, ..copy.candidate() });
        }
    }
    let Some(rules) = place.target.keep else {
        let all: BTreeSet<String> = pool.into_keys().collect();
        return Wanted { wanted: all.clone(), kept: all };
    };
    let candidates: Vec<Candidate> = pool.into_values().collect();
    let rules = retention::Rules { include_foreign: false, ..rules };
    let mut found = Wanted::default();
    for decision in retention::plan(&candidates, &rules, now).into_iter().filter(|decision| !decision.is_removed()) {
        if decision.keep.iter().any(is_rule) {
            found.wanted.insert(decision.name.clone());
        }
        found.kept.insert(decision.name);
    }
    found
}

/// Of several copies the best counts.
fn add(pool: &mut BTreeMap<String, Candidate>, archive: String, candidate: Candidate) {
    let candidate = Candidate { name: archive.clone(), content: None, ..candidate };
    let rank = |worth| match worth {
        Worth::Whole => 2,
        Worth::Incomplete => 1,
        Worth::Damaged => 0,
    };
    let known = pool.entry(archive).or_insert_with(|| candidate.clone());
    let pinned = known.pinned || candidate.pinned;
    if rank(candidate.worth) > rank(known.worth) {
        *known = candidate;
    }
    known.pinned = pinned;
}

/// Of all archives elsewhere, the first that was made at or after each moment of the schedules. What is here already
/// serves its moment.
fn admitted(
    places: &Places<'_>,
    at: usize,
    here: &BTreeMap<String, Candidate>,
    schedules: &[Schedule],
    now: &Zoned,
) -> BTreeSet<String> {
    let held = here.iter().map(|(archive, found)| (found.when, archive.as_str(), found.worth == Worth::Whole, true));
    let others = places.best_elsewhere(at).filter(|(archive, _)| !here.contains_key(*archive));
    let mut all: Vec<(Timestamp, &str, bool, bool)> =
        held.chain(others.map(|(archive, copy)| (copy.item.date, archive, copy.is_whole(), false))).collect();
    all.sort_unstable();
    let mut admitted = BTreeSet::new();
    let mut next: Option<Timestamp> = Some(Timestamp::MIN);
    for (date, archive, is_whole, is_here) in all {
        let is_due = next.is_some_and(|next| next <= date);
        if is_due && !is_here {
            admitted.insert(archive.to_owned());
        }
        // An incomplete one does not serve its moment.
        if is_whole && (is_due || is_here) {
            next = schedules.iter().filter_map(|schedule| schedule.after(date, now.time_zone())).min();
        }
    }
    admitted
}

/// Whether a reason to keep an archive is a reason to have it in the first place.
fn is_rule(reason: &Reason) -> bool {
    match reason {
        Reason::Newest
        | Reason::NewestHistory
        | Reason::NothingWhole
        | Reason::Last
        | Reason::Within
        | Reason::Day(_)
        | Reason::Week { .. }
        | Reason::Month { .. }
        | Reason::Year(_) => true,
        Reason::Pinned
        | Reason::Foreign
        | Reason::NotABackup
        | Reason::Unreadable
        | Reason::Link
        | Reason::LinkedBy(_)
        | Reason::SameAs(_)
        | Reason::ListedTwice
        | Reason::Ahead
        | Reason::OddDate
        | Reason::JustArrived
        | Reason::BetterThanNothing => false,
    }
}
