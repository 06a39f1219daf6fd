//! What goes from a destination.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use engine::retention::{self, Candidate, Reason, Rules};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{
    CopyTask, Removal, Removals, Waits,
    places::{Held, Place, Places, is_bad},
    wanted::Wanted,
};
use crate::{
    facts::{Copy, JobFacts},
    job::Job,
    status::Ending,
};

/// What a destination wants that is away waits for it so long.
const AWAITED: Duration = Duration::from_hours(8 * 24);
/// What is damaged and sound nowhere else stays so long after that was seen.
const LAST_RESORT: Duration = Duration::from_hours(30 * 24);

pub(super) fn plan(
    job: &Job,
    facts: &JobFacts,
    (places, at): (&Places<'_>, usize),
    wanted_by: &[Wanted],
    copies: &[CopyTask],
    now: &Zoned,
) -> Removals {
    let (place, wanted) = (&places.all[at], &wanted_by[at]);
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
            .filter(|copy| copy.is_whole() && !copy.is_ahead(now.timestamp()))
            .max_by_key(|copy| (copy.item.date, copy.arrived.is_none()));
        is_read = newest.is_none_or(|newest| newest.verified.is_some());
        let is_hopeless = !retention::without_whole(&candidates, &decisions, &rules, now).is_empty();
        for decision in decisions {
            let Some(held) = by_name.get(decision.name.as_str()) else { continue };
            let newer = newest.filter(|newest| newest.item.date > held.copy.item.date);
            let archive = held.archive.as_deref();
            let stays = is_hopeless
                || !decision.keep.is_empty()
                || archive.is_some_and(|archive| wanted.kept.contains(archive))
                || sent.contains(decision.name.as_str())
                || archive.is_some_and(|archive| is_awaited(places, at, wanted_by, archive, now))
                || is_last_resort(places, held, now)
                // Removed, and still listed.
                || place.facts.removed.contains_key(decision.name.as_str());
            removals.leaving.extend(newer.filter(|_| !stays).map(|newer| removal(held.copy, newer)));
        }
    }
    // What was replaced.
    for held in &place.copies {
        let twin = held.archive.as_deref().and_then(|archive| replaced_by(place, archive, held.copy));
        let is_leaving = |name: &str| removals.leaving.iter().any(|removal| removal.name == name);
        let is_gone = place.facts.removed.contains_key(held.copy.item.name.as_str());
        if let Some(twin) = twin.filter(|_| !is_leaving(&held.copy.item.name) && !is_gone) {
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
    } else if removals.leaving.len() > job.most_removals + came_since(place)
        && !removals.leaving.iter().all(|removal| place.facts.agreed.contains(&removal.name))
    {
        Some(Waits::Consent)
    } else {
        None
    };
    removals
}

/// How many archives have come since something was last removed: so many removals are not unusual, as after a while in
/// which nothing could be removed.
fn came_since(place: &Place<'_>) -> usize {
    let Some(pruned) = place.facts.pruned else { return 0 };
    place.copies.iter().filter(|held| held.copy.item.date > pruned).count()
}

/// Whether another destination that can't be acted upon now wants an archive and lacked it when it was last listed. One
/// that is away for long gets what there is when it comes back.
fn is_awaited(places: &Places<'_>, at: usize, wanted_by: &[Wanted], archive: &str, now: &Zoned) -> bool {
    places.all.iter().zip(wanted_by).enumerate().any(|(other, (place, wanted))| {
        let is_lost = || {
            let since = place.facts.away.as_ref().map(|(since, _)| now.timestamp().duration_since(*since));
            since.is_some_and(|since| since > SignedDuration::try_from(AWAITED).unwrap_or(SignedDuration::MAX))
        };
        other != at
            && !place.is_current()
            && wanted.wanted.contains(archive)
            && !place.copies_of(archive).iter().any(|copy| copy.is_whole())
            && !is_lost()
    })
}

/// Whether this is damaged, and all that is left of its archive.
fn is_last_resort(places: &Places<'_>, held: &Held<'_>, now: &Zoned) -> bool {
    let Some(read) = held.copy.verified.filter(|_| held.copy.is_damaged()) else { return false };
    let is_recent =
        now.timestamp().duration_since(read) < SignedDuration::try_from(LAST_RESORT).unwrap_or(SignedDuration::MAX);
    is_recent && held.archive.as_deref().is_none_or(|archive| !places.is_sound_anywhere(archive))
}

fn removal(copy: &Copy, instead: &Copy) -> Removal {
    Removal {
        name: copy.item.name.to_string(),
        instead: instead.item.name.to_string(),
        instead_size: instead.item.size,
    }
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
