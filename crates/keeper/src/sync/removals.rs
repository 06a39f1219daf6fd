//! What goes from a destination.

use std::collections::{BTreeMap, BTreeSet};

use engine::retention::{self, Candidate, Reason, Rules};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{
    CopyTask, Removal, Removals, Waits,
    places::{Held, Place, is_bad},
    wanted::Wanted,
};
use crate::{
    facts::{Copy, JobFacts},
    job::Job,
    status::Ending,
};

pub(super) fn plan(
    job: &Job,
    facts: &JobFacts,
    place: &Place<'_>,
    wanted: &Wanted,
    copies: &[CopyTask],
    now: &Zoned,
) -> Removals {
    let mut removals = Removals::default();
    let mut is_read = true;
    let sources = copies.iter().flat_map(|task| &task.from).filter(|source| source.destination == place.name());
    let sent: BTreeSet<&str> = sources.map(|source| source.name.as_str()).collect();
    if let Some(rules) = place.target.keep {
        let rules = Rules { include_foreign: false, ..rules };
        let candidates: Vec<Candidate> = place.copies.iter().map(|held| held.copy.candidate()).collect();
        let by_name: BTreeMap<&str, &Held<'_>> =
            place.copies.iter().map(|held| (held.copy.item.name.as_str(), held)).collect();
        let decisions = retention::plan(&candidates, &rules, now);
        let newest = decisions
            .iter()
            .filter(|decision| decision.keep.contains(&Reason::Newest))
            .filter_map(|decision| by_name.get(decision.name.as_str()))
            .map(|held| held.copy)
            .filter(|copy| copy.is_whole())
            .max_by_key(|copy| (copy.item.date, copy.arrived.is_none()));
        is_read = newest.is_none_or(|newest| newest.arrived.is_none());
        let is_hopeless = !retention::without_whole(&candidates, &decisions, &rules, now).is_empty();
        for decision in decisions {
            let Some(held) = by_name.get(decision.name.as_str()) else { continue };
            let mut kept: Vec<String> = decision.keep.iter().map(Reason::to_string).collect();
            let older_than = newest.filter(|newest| newest.item.date > held.copy.item.date);
            if held.archive.as_ref().is_some_and(|archive| wanted.kept.contains(archive)) {
                kept.push("kept among all archives of the job".to_owned());
            } else if sent.contains(decision.name.as_str()) {
                kept.push("about to be sent to another destination".to_owned());
            } else if is_hopeless {
                kept.push("nothing here is whole".to_owned());
            } else if older_than.is_none() {
                kept.push("no whole one here is newer".to_owned());
            }
            match older_than.filter(|_| kept.is_empty()) {
                Some(newest) => removals.leaving.push(removal(held.copy, newest)),
                None => _ = removals.kept.insert(decision.name, kept),
            }
        }
    }
    // What was replaced.
    for held in &place.copies {
        let twin = held.archive.as_deref().and_then(|archive| replaced_by(place, archive, held.copy));
        let is_leaving = |name: &str| removals.leaving.iter().any(|removal| removal.name == name);
        if let Some(twin) = twin.filter(|_| !is_leaving(&held.copy.item.name)) {
            removals.kept.remove(&held.copy.item.name);
            removals.leaving.push(removal(held.copy, twin));
        }
    }
    removals.waits = if removals.leaving.is_empty() {
        None
    } else if place.facts.append_only {
        Some(Waits::AppendOnly)
    } else if !place.is_current() || is_listed_before_success(place, facts) {
        Some(Waits::NotListed)
    } else if !succeeded(facts) {
        Some(Waits::LastFailed)
    } else if !is_read {
        Some(Waits::NotRead)
    } else if removals.leaving.len() > job.most_removals && !place.facts.consent {
        Some(Waits::Consent)
    } else {
        None
    };
    removals
}

fn removal(copy: &Copy, instead: &Copy) -> Removal {
    Removal { name: copy.item.name.clone(), instead: instead.item.name.clone(), instead_size: instead.item.size }
}

/// The copy of the same archive at the same destination that was sent in place of this bad one, once it was read after
/// it and found whole. (Two names of one file say the same when they are read.)
fn replaced_by<'a>(place: &Place<'a>, archive: &str, bad: &Copy) -> Option<&'a Copy> {
    if bad.item.pinned || bad.item.link {
        return None;
    }
    let is_better = |copy: &Copy| copy.is_whole() && copy.verified > bad.verified && is_bad(bad, Some(copy));
    place.copies_of(archive).iter().copied().find(|copy| copy.item.name != bad.item.name && is_better(copy))
}

/// The last backup, if there was one, was made.
fn succeeded(facts: &JobFacts) -> bool {
    facts.last.as_ref().is_none_or(|run| matches!(run.ending, Ending::Done | Ending::Incomplete))
}

fn is_listed_before_success(place: &Place<'_>, facts: &JobFacts) -> bool {
    let ended = facts.last.as_ref().filter(|_| succeeded(facts)).and_then(|run| {
        let took = SignedDuration::try_from_secs_f64(run.seconds).unwrap_or_default();
        run.started.checked_add(took).ok()
    });
    place.facts.listed.unwrap_or(Timestamp::MIN) < ended.unwrap_or(Timestamp::MIN)
}
