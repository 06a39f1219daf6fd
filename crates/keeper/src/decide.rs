//! What to do next, from what is known: a pure function of facts and the clock.
//!
//! Somebody's orders come first, then backups that are due, looks at destinations, removals, copies, verifications and
//! rehearsals. One backup or rehearsal runs at a time, and one task at each destination, so a destination that is away
//! holds up nothing but itself, and a backup never waits for a copy.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp, Zoned};

use crate::{
    due::{self, Due, LastRun},
    facts::{Copy, DestinationFacts, JobFacts, Known},
    job::{Job, Target},
    settings::Scope,
    sync::Plan,
    task::{Asked, Location, Sources, Task},
};

/// A destination is listed again after so long.
pub const LOOK_EVERY: Duration = Duration::from_hours(6);
/// An archive that was there before Haul is verified no sooner than so long after another one.
const SPACING: Duration = Duration::from_hours(1);
/// A failed backup is tried again after so long, then after twice as long, and so on up to the last.
const RETRY_BACKUP: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(2));
/// Likewise a rehearsal.
const RETRY_REHEARSAL: (Duration, Duration) = (Duration::from_hours(1), Duration::from_hours(6));
/// What can't be checked is tried again after so long: its key may have come.
const UNCHECKED: Duration = Duration::from_hours(7 * 24);
/// Likewise whatever is done at a destination.
const RETRY_DESTINATION: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// What the decision goes by.
pub struct Facts<'a> {
    /// The jobs of the configuration file.
    pub jobs: &'a [Job],
    /// What is known.
    pub known: &'a Known,
    /// What runs now.
    pub running: &'a [Task],
    /// What somebody ordered, in order.
    pub asked: &'a [Asked],
    /// What each job's destinations lack and have too much, by the job's name.
    pub plans: &'a BTreeMap<String, Plan>,
    /// Where the jobs' sources really are.
    pub sources: &'a Sources,
    /// Destinations that no job names: what is there is shown, and nothing else happens.
    pub idle: &'a [String],
    /// What is done by itself.
    pub scope: Scope,
    /// The clock, with the time zone of the schedules.
    pub now: &'a Zoned,
}

/// What follows.
#[derive(Debug, Default, PartialEq)]
pub struct Next {
    /// To be started now.
    pub start: Vec<Task>,
    /// When to ask again, unless something ends or changes before.
    pub wake: Option<Timestamp>,
}

/// The pause after so many failures in a row.
fn pause((first, most): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most)
}

/// When a failed backup is tried again.
pub fn retry_backup(now: Timestamp, failures: u32) -> Timestamp {
    later(now, pause(RETRY_BACKUP, failures))
}

/// When a failed rehearsal is tried again.
pub fn retry_rehearsal(now: Timestamp, failures: u32) -> Timestamp {
    later(now, pause(RETRY_REHEARSAL, failures))
}

/// When a destination is tried again.
pub fn retry_destination(now: Timestamp, failures: u32) -> Timestamp {
    later(now, pause(RETRY_DESTINATION, failures))
}

/// So much after that.
pub(crate) fn later(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// Decides.
pub fn next(facts: &Facts<'_>) -> Next {
    let mut next = Deciding { facts, now: facts.now.timestamp(), next: Next::default() };
    facts.asked.iter().for_each(|asked| next.asked(asked));
    let active: Vec<&Job> = facts.jobs.iter().filter(|job| !job.paused).collect();
    if facts.scope != Scope::Orders {
        for job in &active {
            next.backup(job);
        }
    }
    next.looks(&active);
    if facts.scope != Scope::Everything {
        return next.next;
    }
    let plans = || active.iter().filter_map(|job| Some((*job, facts.plans.get(&job.name)?)));
    for (job, plan) in plans() {
        next.removals(job, plan);
    }
    for (job, plan) in plans() {
        next.copies(job, plan);
    }
    for job in &active {
        next.verifications(job);
        next.rehearsal(job);
    }
    next.next
}

/// The moments from which the next backup counts, by schedule: the job's own (`""`) and those of destinations that have
/// their own; with the destinations of each.
pub fn groups(job: &Job) -> BTreeMap<String, Vec<&Target>> {
    let mut groups: BTreeMap<String, Vec<&Target>> = BTreeMap::new();
    for target in &job.destinations {
        let key = if target.schedules.is_some() { target.destination.clone() } else { String::new() };
        groups.entry(key).or_default().push(target);
    }
    groups
}

/// When the last backup of this group began: as noted, else the newest archive of the instance that is there.
pub fn last_started(known: &Known, job: &Job, key: &str, targets: &[&Target]) -> Option<Timestamp> {
    let facts = known.jobs.get(&job.name)?;
    let noted = facts.started.get(key).copied();
    let newest = || {
        targets
            .iter()
            .filter_map(|target| known.destinations.get(&target.destination))
            .flat_map(|destination| &destination.copies)
            .filter(|copy| facts.owns(copy) && !copy.item.link && !copy.is_damaged())
            .map(|copy| copy.item.date)
            .max()
    };
    noted.or_else(newest)
}

/// When each group's next backup is due.
pub fn dues(known: &Known, job: &Job, now: &Zoned) -> BTreeMap<String, Due> {
    let facts = known.jobs.get(&job.name);
    let took = Duration::try_from_secs_f64(facts.map_or(0.0, |facts| facts.seconds)).unwrap_or_default();
    let due = |(key, targets): (String, Vec<&Target>)| {
        let own = targets.first().and_then(|target| target.schedules.as_deref());
        let last = last_started(known, job, &key, &targets).map(|started| LastRun { started, took });
        let schedules = own.unwrap_or(&job.schedules);
        let due = due::next_due(schedules, now.time_zone(), (&who(known, job), job.jitter), last, now.timestamp())?;
        Some((key, due))
    };
    groups(job).into_iter().filter_map(due).collect()
}

/// What tells jobs of several machines apart.
fn who(known: &Known, job: &Job) -> String {
    let instance = known.jobs.get(&job.name).and_then(|facts| facts.instance.as_deref());
    format!("{} {}", job.name, instance.unwrap_or_default())
}

/// The newest whole archive of a job, at the first of its destinations that has it and answers.
pub fn newest_whole(known: &Known, job: &Job, now: Timestamp) -> Option<Location> {
    let answers =
        |target: &Target| known.destinations.get(&target.destination).is_some_and(|facts| facts.away.is_none());
    newest_whole_at(known, job, now, answers).or_else(|| newest_whole_at(known, job, now, |_| true))
}

fn newest_whole_at(
    known: &Known,
    job: &Job,
    now: Timestamp,
    mut is_open: impl FnMut(&Target) -> bool,
) -> Option<Location> {
    let owner = known.jobs.get(&job.name)?;
    let mut best: Option<(Timestamp, Location)> = None;
    for target in job.destinations.iter().filter(|target| is_open(target)) {
        let Some(facts) = known.destinations.get(&target.destination) else { continue };
        let is_fit = |copy: &Copy| owner.owns(copy) && !copy.item.link && copy.is_whole() && !copy.is_ahead(now);
        let whole = facts.copies.iter().filter(|copy| is_fit(copy));
        if let Some(copy) = whole.max_by_key(|copy| copy.item.date)
            && best.as_ref().is_none_or(|(date, _)| copy.item.date > *date)
        {
            best = Some((
                copy.item.date,
                Location { destination: target.destination.clone(), name: copy.item.name.to_string() },
            ));
        }
    }
    best.map(|(_, location)| location)
}

struct Deciding<'a> {
    facts: &'a Facts<'a>,
    now: Timestamp,
    next: Next,
}

impl Deciding<'_> {
    fn is_free(&self, task: &Task) -> bool {
        !self.facts.running.iter().chain(&self.next.start).any(|other| other.excludes(task, self.facts.sources))
    }

    fn start(&mut self, task: Task) {
        if self.is_free(&task) {
            self.next.start.push(task);
        }
    }

    fn wake(&mut self, when: Timestamp) {
        if when > self.now {
            self.next.wake = Some(self.next.wake.map_or(when, |wake| wake.min(when)));
        }
    }

    /// Whether the time has come; if not, it is when to ask again.
    fn has_come(&mut self, when: Timestamp) -> bool {
        self.wake(when);
        when <= self.now
    }

    fn destination(&self, name: &str) -> Option<&DestinationFacts> {
        self.facts.known.destinations.get(name)
    }

    fn job(&self, job: &Job) -> Option<&JobFacts> {
        self.facts.known.jobs.get(&job.name)
    }

    /// Whether something may be done at a destination now: it answers as far as known, and is not to be left alone.
    fn is_open(&mut self, destination: &str) -> bool {
        let Some(facts) = self.facts.known.destinations.get(destination) else { return false };
        if let Some(retry) = facts.retry.max(facts.rest)
            && !self.has_come(retry)
        {
            return false;
        }
        facts.away.is_none() && facts.listed.is_some() && !facts.stale
    }

    /// What somebody says is tried at once, and again when the destination is fit for it. A pin waits for one that is
    /// away.
    fn asked(&mut self, asked: &Asked) {
        let Asked { task, tries, .. } = asked;
        let may_begin = match task.destination() {
            // What is under way at Supervisor is followed wherever it reads.
            _ if matches!(task, Task::RestoreParts(_)) => true,
            Some(destination) if *tries > 0 => self.is_open(destination),
            Some(destination) if matches!(task, Task::Pin { .. }) => {
                self.destination(destination).is_some_and(|facts| facts.away.is_none())
            }
            _ => true,
        };
        if may_begin {
            self.start(task.clone());
        }
    }

    /// Whether it is an hour in which copies are sent and read there.
    fn is_hour(&mut self, target: &Target) -> bool {
        let Some(hours) = target.hours else { return true };
        let zone = self.facts.now.time_zone();
        if hours.contains(self.now, zone) {
            return true;
        }
        self.wake(hours.opens_after(self.now, zone));
        false
    }

    fn backup(&mut self, job: &Job) {
        let names_running = self.facts.running.iter().chain(&self.next.start);
        if names_running.clone().any(|task| matches!(task, Task::Backup { job: name, .. } if *name == job.name)) {
            return;
        }
        let groups = groups(job);
        // What is there shows whether a backup was made that nobody noted: before the first one every destination is
        // asked.
        let is_new = groups.keys().any(|key| self.job(job).is_none_or(|facts| !facts.started.contains_key(key)));
        let unseen = |target: &Target| {
            self.destination(&target.destination).is_none_or(|facts| facts.listed.is_none() && facts.away.is_none())
        };
        if is_new && job.destinations.iter().any(unseen) {
            return;
        }
        let mut due = Vec::new();
        for (key, next) in dues(self.facts.known, job, self.facts.now) {
            if self.has_come(next.at) {
                due.push(key);
            }
        }
        let mut to: Vec<String> =
            due.iter().filter_map(|key| groups.get(key)).flatten().map(|target| target.destination.clone()).collect();
        if let Some((retry, again)) = self.job(job).and_then(|facts| facts.retry.clone())
            && self.has_come(retry)
        {
            to.extend(again.into_iter().filter(|name| job.target(name).is_some()));
        }
        to.sort();
        to.dedup();
        if to.is_empty() {
            return;
        }
        // Those that are away get it later from the others.
        let answers = |name: &String| self.destination(name).is_none_or(|facts| facts.away.is_none());
        if to.iter().any(answers) {
            to.retain(answers);
        }
        self.start(Task::Backup { job: job.name.clone(), to, counts_for: due });
    }

    fn looks(&mut self, active: &[&Job]) {
        let mut names: Vec<&str> =
            active.iter().flat_map(|job| &job.destinations).map(|target| target.destination.as_str()).collect();
        // What somebody asked for may wait for a look, whether the job is paused or not.
        let asked = self.facts.asked.iter().filter_map(|asked| asked.task.destination());
        names.extend(asked.filter(|name| self.facts.known.destinations.contains_key(*name)));
        if self.facts.scope == Scope::Everything {
            names.extend(self.facts.idle.iter().map(String::as_str));
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let facts = self.destination(name);
            let retry = facts.and_then(|facts| facts.retry);
            let at = match facts {
                None => self.now,
                Some(facts) if facts.away.is_some() || facts.stale => self.now,
                Some(facts) => facts.listed.map_or(self.now, |listed| {
                    // A clock that was put back does not put off the next look.
                    later(listed.min(self.now), LOOK_EVERY)
                }),
            };
            if self.has_come(retry.map_or(at, |retry| at.max(retry))) {
                self.start(Task::Look { destination: name.to_owned() });
            }
        }
    }

    fn removals(&mut self, job: &Job, plan: &Plan) {
        for (destination, removals) in &plan.removals {
            let mut due = removals.due().to_vec();
            due.retain(|removal| {
                !self.is_being_read(destination, &removal.name) && !self.is_being_deleted(destination, &removal.name)
            });
            if !due.is_empty() && self.is_open(destination) {
                self.start(Task::Remove { job: job.name.clone(), destination: destination.clone(), removals: due });
            }
        }
    }

    /// Whether it is sent to another destination just now.
    fn is_being_read(&self, destination: &str, name: &str) -> bool {
        let reads = |task: &Task| {
            let Task::Copy { from, .. } = task else { return false };
            from.iter().any(|source| source.destination == destination && source.name == name)
        };
        self.facts.running.iter().chain(&self.next.start).any(reads)
    }

    /// Whether another copy of it is being deleted, on account of this one.
    fn is_being_deleted(&self, destination: &str, name: &str) -> bool {
        let archive = |at: &str, name: &str| self.destination(at)?.copies.get(name)?.archive();
        let Some(own) = archive(destination, name) else { return false };
        self.facts.running.iter().chain(&self.next.start).any(|task| match task {
            Task::Delete { copy, even_only: false } => {
                archive(&copy.destination, &copy.name).is_some_and(|other| other == own)
            }
            _ => false,
        })
    }

    fn copies(&mut self, job: &Job, plan: &Plan) {
        for copy in &plan.copies {
            let Some(target) = job.target(&copy.to) else { continue };
            let source = copy.from.first().and_then(|source| job.target(&source.destination));
            if !self.is_open(&copy.to) || !self.is_hour(target) || source.is_some_and(|source| !self.is_hour(source)) {
                continue;
            }
            self.start(Task::Copy {
                job: job.name.clone(),
                archive: copy.archive.clone(),
                from: copy.from.clone(),
                to: Location { destination: copy.to.clone(), name: copy.name.clone() },
                size: copy.size,
            });
        }
    }

    fn verifications(&mut self, job: &Job) {
        let Some(owner) = self.facts.known.jobs.get(&job.name) else { return };
        for target in &job.destinations {
            let name = &target.destination;
            let Some(facts) = self.facts.known.destinations.get(name) else { continue };
            let due = verification(target, facts, owner, self.now);
            let Some((at, copy)) = due else { continue };
            if !self.is_open(name) || !self.has_come(at) || !self.is_hour(target) {
                continue;
            }
            self.start(Task::Verify {
                job: Some(job.name.clone()),
                copy: Location { destination: name.clone(), name: copy.to_owned() },
            });
        }
    }

    fn rehearsal(&mut self, job: &Job) {
        let Some(schedule) = &job.rehearse else { return };
        let known = self.facts.known;
        let now = self.now;
        let fits = |target: &Target| self.is_open(&target.destination) && self.is_hour(target);
        let Some(copy) = newest_whole_at(known, job, now, fits) else { return };
        if let Some((_, retry)) = self.job(job).and_then(|facts| facts.rehearsal_retry) {
            if self.has_come(retry) {
                self.start(Task::Rehearse { job: job.name.clone(), copy });
            }
            return;
        }
        let last = self.job(job).and_then(|facts| facts.rehearsed);
        // A clock that was put back does not put off the next one.
        let last = last.map(|started| LastRun { started: started.min(self.now), took: Duration::ZERO });
        let (schedules, zone) = (std::slice::from_ref(schedule), self.facts.now.time_zone());
        let due = due::next_due(schedules, zone, (&who(known, job), job.jitter), last, self.now);
        if due.is_some_and(|due| self.has_come(due.at)) {
            self.start(Task::Rehearse { job: job.name.clone(), copy });
        }
    }
}

/// Which copy at a destination is verified next, and when.
fn verification<'f>(
    target: &Target,
    facts: &'f DestinationFacts,
    owner: &JobFacts,
    now: Timestamp,
) -> Option<(Timestamp, &'f str)> {
    let is_hopeless = |copy: &Copy| {
        copy.unchecked.as_ref().is_some_and(|unchecked| unchecked.0 <= now && later(unchecked.0, UNCHECKED) > now)
    };
    let is_fit = |copy: &Copy| owner.owns(copy) && !copy.item.link && !copy.is_damaged() && !is_hopeless(copy);
    let own: Vec<&Copy> = facts.copies.iter().filter(|copy| is_fit(copy)).collect();
    // A sound copy in place of a damaged one, once more if the damaged one was read later: only then can that go.
    let twin =
        facts.copies.iter().filter(|bad| bad.is_damaged() && !bad.item.link && !bad.item.pinned).find_map(|bad| {
            let is_twin = |copy: &&&Copy| bad.archive().is_some() && copy.archive() == bad.archive();
            let twin = own.iter().filter(is_twin).max_by_key(|copy| copy.verified)?;
            (twin.is_whole() && twin.verified < bad.verified).then_some(twin)
        });
    if let Some(twin) = twin {
        return Some((Timestamp::MIN, &twin.item.name));
    }
    // What has just arrived, at once.
    if let Some(copy) = own.iter().find(|copy| copy.arrived.is_some() && copy.verified.is_none()) {
        return Some((copy.arrived.unwrap_or_default(), &copy.item.name));
    }
    // The newest one is what matters, however it came.
    let newest = own.iter().filter(|copy| copy.is_whole()).max_by_key(|copy| copy.item.date);
    if let Some(copy) = newest.filter(|copy| copy.verified.is_none()) {
        return Some((Timestamp::MIN, &copy.item.name));
    }
    let every = target.verify_every?;
    // Archives that were there before Haul looked are verified one after the other, the newest first.
    let unread = own.iter().filter(|copy| copy.verified.is_none());
    let spacing = (every / (u32::try_from(own.len()).unwrap_or(u32::MAX).saturating_add(1))).max(SPACING);
    let first = unread.max_by_key(|copy| copy.item.date).map(|copy| {
        let at = facts.verified.map_or(Timestamp::MIN, |verified| later(verified, spacing));
        (at, copy.item.name.as_str())
    });
    let again = own
        .iter()
        .filter_map(|copy| Some((later(copy.verified?, every), copy.item.name.as_str())))
        .min_by_key(|(at, _)| *at);
    [first, again].into_iter().flatten().min_by_key(|(at, _)| *at)
}
