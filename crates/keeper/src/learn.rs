//! What a task's end teaches: a pure change of what is known, the line that the history keeps, and the events.

use std::{collections::BTreeMap, time::Duration};

use engine::inventory::Item;
use jiff::Timestamp;

use crate::{
    decide,
    facts::{Arrival, Copies, Copy, DestinationFacts, Known},
    status::{Ending, Event, Failure, Level, RunStatus},
    task::{Arrived, Found, Migrate, Outcome, Restore, Task},
};

/// A rehearsal that failed for a reason that may pass is tried again so often before it counts as one that proved
/// nothing.
const REHEARSAL_RETRIES: u32 = 3;
/// So many deletions are remembered for each destination.
const MOST_DELETED: usize = 500;
/// What was removed may be listed for so long.
const STILL_LISTED: Duration = Duration::from_hours(24);

/// What follows from a task's end.
pub(crate) struct Learned {
    /// The line of the history, not numbered yet.
    pub(crate) run: RunStatus,
    /// What happened that somebody may want to read.
    pub(crate) events: Vec<Event>,
}

/// The destinations about which something changes.
pub(crate) fn touched(task: &Task, outcome: &Outcome) -> Vec<String> {
    match &outcome.found {
        Found::Made { copies, .. } => copies.iter().map(|(name, _)| name.clone()).collect(),
        _ => match task {
            Task::Backup { to, .. } => to.clone(),
            Task::Copy { from, to, .. } => {
                from.iter().map(|source| &source.destination).chain([&to.destination]).cloned().collect()
            }
            Task::Restore(_) | Task::RestoreParts(_) => Vec::new(),
            _ => task.destination().map(str::to_owned).into_iter().collect(),
        },
    }
}

/// Somebody deleted an archive there.
pub(crate) fn note_deleted(facts: &mut DestinationFacts, archive: Option<String>) {
    facts.deleted.extend(archive);
    while facts.deleted.len() > MOST_DELETED {
        facts.deleted.pop_first();
    }
}

/// Changes what is known.
pub(crate) fn from(known: &mut Known, task: &Task, outcome: &Outcome, started: Timestamp, now: Timestamp) -> Learned {
    let seconds = (now.as_millisecond() - started.as_millisecond()).max(0) as f64 / 1e3;
    let mut run = RunStatus {
        id: 0,
        kind: task.kind(),
        job: task.job().map(str::to_owned),
        destination: task.destination().map(str::to_owned),
        archive: task.archive().map(str::to_owned),
        started,
        seconds,
        ending: outcome.ending,
        message: outcome.message.clone(),
        hint: outcome.hint.clone(),
        size: outcome.size,
        limited_by: outcome.limited_by.clone(),
        retry: None,
    };
    let mut events = Vec::new();
    match task {
        Task::Backup { job, to, .. } => {
            backup(known, (job, to), outcome, seconds, now, &mut run);
            // A failure is a problem as long as it lasts, and told as one.
            if outcome.ending != Ending::Failed {
                events.push(event(task, outcome, now, "backup"));
            }
        }
        Task::Look { destination } => {
            let made = look(known.destinations.entry(destination.clone()).or_default(), outcome, started, now);
            for (job, archive) in made {
                known.jobs.entry(job).or_default().made.insert(archive);
            }
            if let Some(facts) = known.destinations.get_mut(destination) {
                for (job, _) in known.jobs.iter().filter(|(_, owner)| facts.copies.iter().any(|copy| owner.owns(copy)))
                {
                    facts.held.insert(job.clone());
                }
            }
        }
        Task::Copy { job, to, from, .. } => {
            let facts = known.destinations.entry(to.destination.clone()).or_default();
            let is_sent = matches!(outcome.found, Found::Sent(_));
            if at_destination(facts, outcome, now) && is_sent {
                events.push(event(task, outcome, now, "copy"));
            } else if outcome.ending == Ending::Done {
                // Should the list never show it, that is no reason to ask all the time.
                facts.rest = Some(decide::retry_destination(now, 4));
            }
            // That it equals its source does not say that the source is as it was when it was read.
            if let Found::Sent(arrived) = &outcome.found {
                note_arrival(facts, &Arrived { compared: false, ..arrived.clone() }, job, now);
            }
            touch(facts, now);
            // A source that can't be read may be gone.
            for source in from.iter().filter(|_| outcome.ending == Ending::Failed) {
                touch(known.destinations.entry(source.destination.clone()).or_default(), now);
            }
        }
        Task::Remove { destination, .. } => {
            let facts = known.destinations.entry(destination.clone()).or_default();
            let is_nothing = matches!(&outcome.found, Found::Removed(names) if names.is_empty());
            if at_destination(facts, outcome, now) && !is_nothing {
                events.push(event(task, outcome, now, "remove"));
            }
            if is_nothing {
                facts.rest = Some(decide::retry_destination(now, u32::MAX));
            }
            remove(facts, outcome, now);
        }
        Task::Delete { copy, .. } => {
            events.push(event(task, outcome, now, "delete"));
            let facts = known.destinations.entry(copy.destination.clone()).or_default();
            if matches!(outcome.found, Found::Removed(_)) {
                let archive = facts.copies.get(&copy.name).and_then(Copy::archive);
                note_deleted(facts, archive);
            }
            remove(facts, outcome, now);
        }
        Task::Verify { copy, .. } => {
            let facts = known.destinations.entry(copy.destination.clone()).or_default();
            // A copy that can't be checked with the job's key says nothing of the destination.
            let is_about_copy = outcome.ending == Ending::Failed && !outcome.passes;
            if !is_about_copy {
                at_destination(facts, outcome, now);
            }
            let Some(known) = facts.copies.get_mut(&copy.name) else { return Learned { run, events } };
            if is_about_copy {
                known.unchecked = Some(Box::new((now, outcome.message.clone())));
            }
            if let Found::Verified(verdict) = &outcome.found {
                if known.arrived.is_none() && known.verified.is_none() {
                    facts.verified = Some(now);
                }
                (known.verified, known.arrived, known.unchecked) = (Some(now), None, None);
                known.verdict = Some(verdict.clone());
                if !verdict.whole {
                    events.push(event(task, outcome, now, "verify"));
                }
            }
        }
        Task::Rehearse { job, .. } => {
            let facts = known.jobs.entry(job.clone()).or_default();
            let failures = facts.rehearsal_retry.map_or(0, |(failures, _)| failures);
            if outcome.ending == Ending::Failed && outcome.passes && failures < REHEARSAL_RETRIES {
                facts.rehearsal_retry = Some((failures + 1, decide::retry_rehearsal(now, failures + 1)));
            } else if outcome.ending != Ending::Cancelled {
                (facts.rehearsed, facts.rehearsal_retry) = (Some(started), None);
            }
            facts.rehearsal_failure = outcome.failure().or(facts.rehearsal_failure.take());
            if let Found::Proved { proof, counts } = &outcome.found {
                (facts.proven, facts.counts, facts.rehearsal_failure) =
                    (Some(proof.clone()), Some(counts.clone()), None);
            }
            if outcome.ending != Ending::Failed {
                events.push(event(task, outcome, now, "rehearse"));
            }
        }
        Task::Restore(Restore { copy, into, .. }) => {
            let said = event(task, outcome, now, "restore");
            events.push(match outcome.ending {
                Ending::Done | Ending::Incomplete => said,
                Ending::Cancelled => Event {
                    message: format!("the restore of {} into {into} was stopped; nothing was changed", copy.name),
                    ..said
                },
                Ending::Failed => {
                    Event { message: format!("{} was not restored into {into}: {}", copy.name, said.message), ..said }
                }
            });
        }
        // Only who asked Supervisor knows whether anything may have begun.
        Task::RestoreParts(_) => events.push(event(task, outcome, now, "restore")),
        Task::Migrate(Migrate { to, .. }) => {
            let said = event(task, outcome, now, "migrate");
            events.push(if outcome.ending == Ending::Failed {
                let look = format!("open {to} and see what is there before you begin again");
                let message = format!("the move to {to} failed: {}", said.message);
                Event { message, hint: said.hint.clone().or(Some(look)), ..said }
            } else {
                said
            });
        }
        Task::Pin { copy, .. } => {
            let facts = known.destinations.entry(copy.destination.clone()).or_default();
            if let (Found::Pinned(pinned), Some(copy)) = (&outcome.found, facts.copies.get_mut(&copy.name)) {
                copy.item.pinned = *pinned;
            }
            if outcome.ending != Ending::Cancelled {
                at_destination(facts, outcome, now);
            }
            // One that may still succeed stays asked for.
            if outcome.ending != Ending::Failed || !outcome.passes {
                events.push(event(task, outcome, now, "pin"));
            }
        }
    }
    Learned { run, events }
}

fn backup(
    known: &mut Known,
    (job, to): (&String, &[String]),
    outcome: &Outcome,
    seconds: f64,
    now: Timestamp,
    run: &mut RunStatus,
) {
    let facts = known.jobs.entry(job.clone()).or_default();
    match outcome.ending {
        Ending::Done | Ending::Incomplete => {
            (facts.failures, facts.retry, facts.seconds) = (0, None, seconds);
        }
        Ending::Failed => {
            facts.failures = facts.failures.saturating_add(1);
            facts.retry = outcome.passes.then(|| (decide::retry_backup(now, facts.failures), to.to_vec()));
            // It may have got that far.
            for name in to {
                touch(known.destinations.entry(name.clone()).or_default(), now);
            }
        }
        Ending::Cancelled => {}
    }
    run.retry = facts.retry.as_ref().map(|(retry, _)| *retry);
    if let Found::Made { instance, copies } = &outcome.found {
        facts.instance = instance.clone().or(facts.instance.take());
        for (name, copy) in copies {
            let facts = known.destinations.entry(name.clone()).or_default();
            // A look shows what is there now, or why it can't be reached.
            touch(facts, now);
            facts.retry = None;
            match copy {
                Ok(arrived) => note_arrival(facts, arrived, job, now),
                Err(failure) => facts.trouble = Some((now, failure.clone())),
            }
        }
    }
    known.jobs.entry(job.clone()).or_default().last = Some(run.clone());
}

/// Something was done there: what is known of it is not up to date.
fn touch(facts: &mut DestinationFacts, now: Timestamp) {
    (facts.stale, facts.changed) = (true, Some(now));
}

fn note_arrival(facts: &mut DestinationFacts, arrived: &Arrived, job: &str, now: Timestamp) {
    facts.trouble = None;
    // What had this name before may have been removed.
    facts.removed.remove(&arrived.name);
    let arrival = Arrival { at: now, compared: arrived.compared, job: Some(job.to_owned()) };
    facts.arrivals.insert(arrived.name.clone(), arrival);
    facts.held.insert(job.to_owned());
}

/// Notes whether what was done there succeeded.
fn at_destination(facts: &mut DestinationFacts, outcome: &Outcome, now: Timestamp) -> bool {
    match outcome.failure() {
        Some(failure) => {
            facts.work_failures = facts.work_failures.saturating_add(1);
            facts.rest = Some(decide::retry_destination(now, facts.work_failures));
            let since = facts.trouble.as_ref().map_or(now, |(since, _)| *since);
            facts.trouble = Some((since, failure));
            touch(facts, now);
            false
        }
        None if outcome.ending == Ending::Cancelled => {
            // Somebody stopped it; it is not begun again at once.
            facts.rest = Some(decide::retry_destination(now, u32::MAX));
            false
        }
        None => {
            (facts.work_failures, facts.rest, facts.trouble) = (0, None, None);
            true
        }
    }
}

/// Returns archives that jobs made and that do not say of which instance they are.
fn look(facts: &mut DestinationFacts, outcome: &Outcome, started: Timestamp, now: Timestamp) -> Vec<(String, String)> {
    let mut made = Vec::new();
    if let Found::Listed { address, items, free, append_only } = &outcome.found {
        let arrivals = std::mem::take(&mut facts.arrivals);
        let before = std::mem::take(&mut facts.copies);
        facts.copies = items.iter().map(|(item, modified)| found(item, *modified, &before, &arrivals)).collect();
        for (name, arrival) in &arrivals {
            let copy = facts.copies.get(name).filter(|copy| copy.item.instance.is_none());
            made.extend(arrival.job.clone().zip(copy.and_then(Copy::archive)));
        }
        // What arrived and is not listed yet, as at stores whose lists are late, is looked for the next time.
        facts.arrivals = arrivals.into_iter().filter(|(name, _)| !facts.copies.contains(name)).collect();
        facts.arrivals.retain(|_, arrival| now.as_second() - arrival.at.as_second() < 86_400);
        facts.removed.retain(|name, at| {
            facts.copies.contains(name) && now.as_second() - at.as_second() < STILL_LISTED.as_secs() as i64
        });
        (facts.address, facts.free, facts.append_only) = (address.clone(), *free, *append_only);
        // What arrived while it was listed may be missing.
        facts.stale = facts.changed.is_some_and(|changed| changed > started);
        (facts.listed, facts.away, facts.failures) = (Some(now), None, 0);
        facts.retry = None;
    } else if let Some(failure) = outcome.failure() {
        let since = facts.away.as_ref().map_or(now, |(since, _)| *since);
        facts.away = Some((since, failure));
        facts.failures = facts.failures.saturating_add(1);
        facts.retry = Some(decide::retry_destination(now, facts.failures));
    } else {
        facts.retry = Some(decide::retry_destination(now, 1));
    }
    made
}

/// A listed archive, with what was known of it if it is still the same.
fn found(item: &Item, modified: Option<Timestamp>, before: &Copies, arrivals: &BTreeMap<String, Arrival>) -> Copy {
    let mut copy = Copy { item: item.clone(), modified, arrived: None, verified: None, verdict: None, unchecked: None };
    let same = |old: &&Copy| old.item.size == item.size && old.modified == modified && old.archive() == copy.archive();
    if let Some(old) = before.get(&item.name).filter(same) {
        (copy.arrived, copy.verified, copy.verdict) = (old.arrived, old.verified, old.verdict.clone());
        copy.unchecked.clone_from(&old.unchecked);
    }
    if let Some(Arrival { at, compared, .. }) = arrivals.get(item.name.as_str()) {
        // The same bytes as were made, whatever was there under this name before.
        (copy.arrived, copy.verified, copy.verdict) =
            if *compared { (None, Some(*at), None) } else { (Some(*at), None, None) };
    }
    copy
}

fn remove(facts: &mut DestinationFacts, outcome: &Outcome, now: Timestamp) {
    if let Found::Removed(names) = &outcome.found {
        for name in names {
            facts.copies.remove(name);
            facts.agreed.remove(name);
            facts.pruned = Some(now);
            facts.removed.insert(name.clone(), now);
        }
    }
    touch(facts, now);
}

fn event(task: &Task, outcome: &Outcome, now: Timestamp, kind: &str) -> Event {
    let level = match outcome.ending {
        Ending::Done => Level::Ok,
        Ending::Incomplete | Ending::Cancelled => Level::Warning,
        Ending::Failed => Level::Error,
    };
    Event {
        id: 0,
        at: now,
        level,
        kind: kind.to_owned(),
        job: task.job().map(str::to_owned),
        destination: task.destination().map(str::to_owned),
        message: outcome.message.clone(),
        hint: outcome.hint.clone(),
        problem: None,
    }
}

/// The failure of a task that was running when the program ended.
pub(crate) fn was_stopped() -> Failure {
    Failure { message: "Haul was stopped while this was running".to_owned(), hint: None, passes: true }
}
