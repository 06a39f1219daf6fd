//! What a task's end teaches: a pure change of what is known, the line that the history keeps, and the events.

use std::collections::BTreeMap;

use engine::inventory::Item;
use jiff::Timestamp;

use crate::{
    decide,
    facts::{Arrival, Copy, DestinationFacts, Known},
    status::{Ending, Event, Failure, Level, RunStatus},
    task::{Arrived, Found, Outcome, Task},
};

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
            _ => task.destination().map(str::to_owned).into_iter().collect(),
        },
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
        }
        Task::Copy { job, to, from, .. } => {
            let facts = known.destinations.entry(to.destination.clone()).or_default();
            if at_destination(facts, outcome, now) {
                events.push(event(task, outcome, now, "copy"));
            }
            if let Found::Sent(arrived) = &outcome.found {
                note_arrival(facts, arrived, job, now);
            }
            touch(facts, now);
            // A source that can't be read may be gone.
            for source in from.iter().filter(|_| outcome.ending == Ending::Failed) {
                touch(known.destinations.entry(source.destination.clone()).or_default(), now);
            }
        }
        Task::Remove { destination, .. } => {
            let facts = known.destinations.entry(destination.clone()).or_default();
            if at_destination(facts, outcome, now) {
                events.push(event(task, outcome, now, "remove"));
            }
            remove(facts, outcome, now);
        }
        Task::Delete { copy } => {
            events.push(event(task, outcome, now, "delete"));
            remove(known.destinations.entry(copy.destination.clone()).or_default(), outcome, now);
        }
        Task::Verify { copy, .. } => {
            let facts = known.destinations.entry(copy.destination.clone()).or_default();
            at_destination(facts, outcome, now);
            if let (Found::Verified(verdict), Some(known)) = (&outcome.found, facts.copies.get_mut(&copy.name)) {
                (known.verified, known.arrived, known.verdict) = (Some(now), None, Some(verdict.clone()));
                facts.verified = Some(now);
                if !verdict.whole {
                    events.push(event(task, outcome, now, "verify"));
                }
            }
        }
        Task::Rehearse { job, .. } => {
            let facts = known.jobs.entry(job.clone()).or_default();
            if outcome.ending != Ending::Cancelled {
                facts.rehearsed = Some(started);
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
        Task::Pin { copy, .. } => {
            let facts = known.destinations.entry(copy.destination.clone()).or_default();
            if let (Found::Pinned(pinned), Some(copy)) = (&outcome.found, facts.copies.get_mut(&copy.name)) {
                copy.item.pinned = *pinned;
            }
            events.push(event(task, outcome, now, "pin"));
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
    let arrival = Arrival { at: now, compared: arrived.compared, job: Some(job.to_owned()) };
    facts.arrivals.insert(arrived.name.clone(), arrival);
}

/// Notes whether what was done there succeeded.
fn at_destination(facts: &mut DestinationFacts, outcome: &Outcome, now: Timestamp) -> bool {
    match outcome.failure() {
        Some(failure) => {
            facts.failures = facts.failures.saturating_add(1);
            facts.retry = Some(decide::retry_destination(now, facts.failures));
            let since = facts.trouble.as_ref().map_or(now, |(since, _)| *since);
            facts.trouble = Some((since, failure));
            touch(facts, now);
            false
        }
        None if outcome.ending == Ending::Cancelled => {
            // Somebody stopped it; it is not begun again at once.
            facts.retry = Some(decide::retry_destination(now, u32::MAX));
            false
        }
        None => {
            (facts.failures, facts.trouble) = (0, None);
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
        facts.copies = items
            .iter()
            .map(|(item, modified)| (item.name.clone(), found(item, *modified, &before, &arrivals)))
            .collect();
        for (name, arrival) in &arrivals {
            let copy = facts.copies.get(name).filter(|copy| copy.item.instance.is_none());
            made.extend(arrival.job.clone().zip(copy.and_then(Copy::archive)));
        }
        // What arrived and is not listed yet, as at stores whose lists are late, is looked for the next time.
        facts.arrivals = arrivals.into_iter().filter(|(name, _)| !facts.copies.contains_key(name)).collect();
        facts.arrivals.retain(|_, arrival| now.as_second() - arrival.at.as_second() < 86_400);
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
fn found(
    item: &Item,
    modified: Option<Timestamp>,
    before: &BTreeMap<String, Copy>,
    arrivals: &BTreeMap<String, Arrival>,
) -> Copy {
    let mut copy = Copy { item: item.clone(), modified, arrived: None, verified: None, verdict: None };
    let same = |old: &&Copy| old.item.size == item.size && old.modified == modified && old.archive() == copy.archive();
    if let Some(old) = before.get(&item.name).filter(same) {
        (copy.arrived, copy.verified, copy.verdict) = (old.arrived, old.verified, old.verdict.clone());
    }
    if let Some(Arrival { at, compared, .. }) = arrivals.get(&item.name) {
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
        }
        facts.consent = false;
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
    }
}

/// The failure of a task that was running when the program ended.
pub(crate) fn was_stopped() -> Failure {
    Failure { message: "Haul was stopped while this was running".to_owned(), hint: None, passes: true }
}
