//! The service: does what [`decide`](crate::decide) says, writes down what happened, and asks again.
//!
//! It has no thread and no clock of its own. Whoever drives it calls [`Service::step`], carries out what that returns
//! (a thread for each), hands each outcome to [`Service::finish`], and calls `step` again then, at the moment that it
//! named, and after every order.

mod asked;
mod leaving;
mod orders;
mod problems;
mod shared;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use engine::{Progress, samples::Samples};
use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};
use store::Cancellation;

use crate::{
    catalog::{Catalog, CatalogError, adrift::TRY_AGAIN},
    decide::{self, Facts},
    facts::{Copies, DestinationFacts, Known},
    job::Job,
    learn::{self, Learned},
    metrics::{self, Counters},
    notices::{Due, Notice, Told},
    overview,
    settings::{RunningTask, Scope, Settings},
    status::{ArchiveStatus, ConfigurationStatus, Event, Failure, Level, RunStatus, Status, TaskKind},
    sync::{self, Plan},
    task::{Asked, Found, Outcome, Task},
};

pub use self::orders::Order;

/// A backup that was cut off by the end of the program is begun again at once so many times in a row; after that it
/// waits as after any failure, because it may be what ends the program.
const AT_ONCE: u32 = 3;

/// Of what happened, a channel is told so much at once.
const MOST_NEWS: usize = 50;

/// A task that is to be carried out now.
pub struct Started {
    /// Its number.
    pub id: i64,
    /// What to do.
    pub task: Task,
    /// What is known of the copies at a destination that is to be listed, or from which some go.
    pub before: Copies,
    /// The destination was never listed.
    pub is_new: bool,
    /// What the job's last rehearsal counted.
    pub counts: Option<serde_json::Value>,
    /// How a copy is verified.
    pub sampling: Sampling,
    /// For whoever watches.
    pub progress: Arc<Progress>,
    /// Ends it.
    pub cancel: Cancellation,
}

/// How a copy is verified.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Sampling {
    /// All of it is read.
    #[default]
    Never,
    /// All of it is read, and noted for later.
    Begin,
    /// A part of it is read.
    Go(Samples),
}

/// The service.
pub struct Service {
    state: Mutex<State>,
    /// Called after everything that changes what [`Service::status`] says.
    changed: Box<dyn Fn() + Send + Sync>,
}

struct State {
    settings: Settings,
    known: Known,
    catalog: Catalog,
    running: BTreeMap<i64, RunningTask>,
    // What is not done yet; what runs is among it as long as it may have to be begun again.
    asked: Vec<Asked>,
    plans: BTreeMap<String, Plan>,
    // The day, and where, for which they were made; nothing: something has changed since.
    planned: Option<(Date, TimeZone)>,
    notes: BTreeMap<String, String>,
    problems: BTreeMap<String, Timestamp>,
    // What each channel was told.
    told: BTreeMap<String, Told>,
    // Why a channel can't be reached.
    unreached: BTreeMap<String, Failure>,
    // Why the MQTT broker can't be.
    broker: Option<Failure>,
    // When the program ends at the latest, once it is to.
    leaving: Option<Timestamp>,
    counters: Counters,
    next: BTreeMap<String, Timestamp>,
    // Why the catalog could not be written, until it can be again.
    unwritten: Option<String>,
    // Numbers for runs that the catalog could not number.
    unnumbered: i64,
    version: String,
}

impl Service {
    /// With what the catalog knows. `changed` is called after every change, and must not call back.
    pub fn new(
        catalog: Catalog,
        settings: Settings,
        version: &str,
        now: Timestamp,
        changed: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, CatalogError> {
        let begin = |catalog: &Catalog| {
            let mut known = catalog.load()?;
            catalog.at_once(|| end_what_was_cut_off(catalog, &mut known, now))?;
            Ok(known)
        };
        let (catalog, mut known) = match begin(&catalog) {
            Ok(known) => (catalog, known),
            Err(why) => {
                // There may be no room for even that much.
                let catalog = catalog.leave_file(&why)?;
                let known = begin(&catalog)?;
                (catalog, known)
            }
        };
        if catalog.adrift().is_some() {
            // An earlier program may have learned what it could not write down.
            known.destinations.values_mut().for_each(|facts| facts.stale = true);
        }
        let mut state = State::new(catalog, known, version)?;
        state.configure(settings);
        state.forget_what_is_never_begun_again(now);
        Ok(Self { state: Mutex::new(state), changed })
    }

    /// What another process may be doing, as far as its catalog shows: to look at, not to drive.
    pub fn glance(catalog: Catalog, settings: Settings, version: &str, now: &Zoned) -> Result<Self, CatalogError> {
        let known = catalog.load()?;
        let mut state = State::new(catalog, known, version)?;
        state.adopt(settings);
        state.plan(now);
        Ok(Self { state: Mutex::new(state), changed: Box::new(|| ()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other settings into force. What runs goes on as it was begun.
    pub fn configure(&self, settings: Settings) {
        self.state().configure(settings);
        (self.changed)();
    }

    /// The configuration file is not as it should be: what is in force stays.
    pub fn configuration_problem(&self, problem: ConfigurationStatus) {
        self.state().settings.configuration = Some(problem);
        (self.changed)();
    }

    /// Starts what is due. Returns that, and when to ask again.
    pub fn step(&self, now: &Zoned) -> (Vec<Started>, Option<Timestamp>) {
        let (started, wake, has_changed) = self.state().step(now);
        if has_changed {
            (self.changed)();
        }
        (started, wake)
    }

    /// A task ended.
    pub fn finish(&self, id: i64, outcome: &Outcome, now: Timestamp) {
        self.state().finish(id, outcome, now);
        (self.changed)();
    }

    /// Somebody wants something; the error says why that can't be.
    pub fn order(&self, order: Order, now: Timestamp) -> Result<(), Failure> {
        self.state().order(order, now)?;
        (self.changed)();
        Ok(())
    }

    /// Whoever ordered something since the program began does not want it any more, unless it has begun.
    pub fn withdraw(&self) {
        self.state().withdraw();
        (self.changed)();
    }

    /// Something happened that is no task of the service.
    pub fn happened(&self, level: Level, kind: &str, message: &str, now: Timestamp) {
        self.state().happened(level, kind, message, now);
        (self.changed)();
    }

    /// Something else is to be shown that is not known here.
    pub fn show_anew(&self) {
        (self.changed)();
    }

    /// Ends everything that runs.
    pub fn cancel_all(&self) {
        self.state().running.values().for_each(|running| running.cancel.cancel());
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Nothing runs, and nothing is due for a while: gives back memory that is of use only when something does.
    pub fn rest(&self) {
        self.state().catalog.rest();
    }

    /// Everything at a glance.
    pub fn status(&self, now: &Zoned) -> Status {
        let state = self.state();
        overview::status(&state.overview(now), &state.problems)
    }

    /// What every channel is to be told now, and when there may be more without anything happening.
    pub fn notices(&self, now: &Zoned) -> (BTreeMap<String, Vec<Notice>>, Option<Timestamp>) {
        let state = self.state();
        if state.settings.channels.is_empty() {
            return (BTreeMap::new(), None);
        }
        let problems = overview::problems_since(&state.overview(now), &state.problems);
        let events = state.catalog.events(None, MOST_NEWS).unwrap_or_default();
        let (mut all, mut wake) = (BTreeMap::new(), None);
        for channel in &state.settings.channels {
            let Some(told) = state.told.get(&channel.name) else { continue };
            let Due { mut notices, wake: at } = channel.due(told, &problems, &events, now.timestamp());
            notices.retain(|notice| channel.takes_back || !state.is_early(notice, now));
            wake = wake.into_iter().chain(at).min();
            if !notices.is_empty() {
                all.insert(channel.name.clone(), notices);
            }
        }
        (all, wake)
    }

    /// A channel was told this.
    pub fn note_told(&self, channel: &str, notice: &Notice) {
        let mut state = self.state();
        let Some(told) = state.told.get_mut(channel) else { return };
        told.note(notice);
        let told = told.clone();
        let written = state.catalog.put_told(channel, &told);
        state.note_writing(written);
    }

    /// Whether a channel can be reached, and if not, why.
    pub fn note_channel(&self, channel: &str, failure: Option<Failure>) {
        let mut state = self.state();
        let changed = match failure {
            Some(failure) => state.unreached.insert(channel.to_owned(), failure.clone()) != Some(failure),
            None => state.unreached.remove(channel).is_some(),
        };
        drop(state);
        if changed {
            (self.changed)();
        }
    }

    /// Whether the MQTT broker can be reached, and if not, why.
    pub fn note_broker(&self, failure: Option<Failure>) {
        let mut state = self.state();
        let changed = state.broker != failure;
        state.broker = failure;
        drop(state);
        if changed {
            (self.changed)();
        }
    }

    /// What is known, in Prometheus's text format.
    pub fn metrics(&self, now: &Zoned) -> String {
        let status = self.status(now);
        metrics::text(&status, &self.state().counters)
    }

    /// All archives, the newest first.
    pub fn archives(&self, now: &Zoned) -> Vec<ArchiveStatus> {
        let state = self.state();
        overview::archives(&state.overview(now), &state.notes)
    }

    /// Events, the newest first, numbered below `before`.
    pub fn events(&self, before: Option<i64>, most: usize) -> Vec<Event> {
        self.state().catalog.events(before, most).unwrap_or_default()
    }

    /// Runs that ended, the newest first.
    pub fn runs(&self, job: Option<&str>, before: Option<i64>, most: usize) -> Vec<RunStatus> {
        self.state().catalog.runs(job, before, most).unwrap_or_default()
    }
}

/// Draws the conclusions from tasks that ended with the program.
fn end_what_was_cut_off(catalog: &Catalog, known: &mut Known, now: Timestamp) -> Result<(), CatalogError> {
    for (id, started, task) in catalog.unfinished()? {
        if let Task::Look { destination } = &task {
            // Nothing can be concluded from half a look.
            catalog.drop_run(id)?;
            if let Some(facts) = known.destinations.get_mut(destination) {
                facts.stale = true;
            }
            continue;
        }
        let outcome = Outcome::failed(learn::was_stopped());
        let learned = learn::from(known, &task, &outcome, started, now);
        catalog.end_run(&RunStatus { id, ..learned.run })?;
        // What goes on by itself needs no word.
        for event in learned.events.iter().filter(|_| matches!(task, Task::Restore(_) | Task::Migrate(_))) {
            catalog.add_event(event)?;
        }
        if let Task::Backup { job, to, .. } = &task
            && let Some(facts) = known.jobs.get_mut(job)
            && facts.failures <= AT_ONCE
        {
            facts.retry = Some((now, to.clone()));
        }
        if let Some((job, facts)) = task.job().and_then(|job| Some((job, known.jobs.get(job)?))) {
            catalog.put_job(job, facts)?;
        }
        for name in learn::touched(&task, &outcome) {
            if let Some(facts) = known.destinations.get(&name) {
                catalog.put_destination(&name, facts)?;
            }
        }
    }
    Ok(())
}

impl State {
    fn new(catalog: Catalog, known: Known, version: &str) -> Result<Self, CatalogError> {
        Ok(Self {
            settings: Settings::default(),
            known,
            running: BTreeMap::new(),
            asked: catalog.asked()?,
            plans: BTreeMap::new(),
            planned: None,
            notes: catalog.notes()?,
            problems: catalog.problems()?,
            told: catalog.told()?,
            unreached: BTreeMap::new(),
            broker: None,
            leaving: None,
            counters: catalog.counters()?,
            next: BTreeMap::new(),
            unwritten: None,
            unnumbered: 0,
            version: version.to_owned(),
            catalog,
        })
    }

    /// Puts settings into force, and forgets what is no longer among them.
    fn configure(&mut self, settings: Settings) {
        self.adopt(settings);
        let kept = self.catalog.retain(&self.known);
        self.note_writing(kept);
        let channels = &self.settings.channels;
        let pings = &self.settings.pings;
        self.unreached.retain(|name, _| channels.iter().any(|channel| channel.name == *name) || pings.contains(name));
        let gone = |name: &String| channels.iter().all(|channel| channel.name != *name);
        let gone: Vec<String> = self.told.keys().filter(|name| gone(name)).cloned().collect();
        for name in gone {
            self.told.remove(&name);
            let written = self.catalog.drop_told(&name);
            self.note_writing(written);
        }
        // A new one hears what is wrong, and not what happened before.
        let newest = self.catalog.events(None, 1).ok().and_then(|events| events.first().map(|event| event.id));
        for channel in &self.settings.channels {
            let told = || Told { event: newest.unwrap_or_default(), ..Told::default() };
            self.told.entry(channel.name.clone()).or_insert_with(told);
        }
        // Nobody is told that something is over because nobody looks for it any more.
        let mut told = std::mem::take(&mut self.told);
        for told in told.values_mut() {
            told.problems.retain(|_, problem| self.is_watched(problem.job.as_deref(), problem.destination.as_deref()));
        }
        self.told = told;
    }

    fn adopt(&mut self, mut settings: Settings) {
        self.planned = None;
        settings.remember(&self.settings);
        let (jobs, destinations) = (&settings.jobs, &settings.destinations);
        self.known.jobs.retain(|name, _| jobs.iter().any(|job| job.name == *name));
        // A name that means another place now says nothing of what is there.
        self.known.destinations.retain(|name, facts| {
            let identity = settings.identity(name);
            if facts.identity.is_empty()
                && let Some((_, own)) = identity
            {
                own.clone_into(&mut facts.identity);
            }
            identity == Some((&facts.address, &facts.identity))
        });
        let new = |name: &str| DestinationFacts {
            address: destinations.get(name).cloned().unwrap_or_default(),
            identity: settings.identities.get(name).cloned().unwrap_or_default(),
            ..DestinationFacts::default()
        };
        for name in destinations.keys() {
            self.known.destinations.entry(name.clone()).or_insert_with(|| new(name)).retry = None;
        }
        for job in jobs {
            let facts = self.known.jobs.entry(job.name.clone()).or_default();
            facts.instance = settings.instances.get(&job.name).cloned().or(facts.instance.take());
            for target in &job.destinations {
                let name = &target.destination;
                let place = self.known.destinations.entry(name.clone()).or_insert_with(|| new(name));
                // What could not pass may pass now.
                (place.retry, place.rest) = (None, None);
                place.copies.iter_mut().for_each(|copy| copy.unchecked = None);
            }
        }
        self.settings = settings;
        self.renew_asked();
    }

    /// Notes that something could not be written. That something else can be does not bring it back.
    fn note_writing(&mut self, written: Result<(), CatalogError>) {
        self.unwritten = written.err().map(|error| error.to_string()).or(self.unwritten.take());
    }

    /// Writes everything, if something could not be written before.
    fn write_again(&mut self, now: Timestamp) {
        self.catalog.go_back(now);
        let everything = || {
            self.catalog.put_everything(&self.known)?;
            self.catalog.put_asked(&self.asked)
        };
        if self.unwritten.is_some() && self.catalog.at_once(everything).is_ok() {
            self.unwritten = None;
        }
    }

    fn plan(&mut self, now: &Zoned) {
        // With thousands of archives that takes a while, and it depends on the day, not on the moment.
        let day = Some((now.date(), now.time_zone().clone()));
        if self.planned != day {
            self.planned = day;
            let jobs = self.settings.jobs.iter().filter(|job| !job.paused);
            self.plans = jobs.map(|job| (job.name.clone(), sync::plan(job, &self.known, now))).collect();
            self.hold_shared();
        }
        self.next = self
            .settings
            .jobs
            .iter()
            .filter(|job| !job.paused && self.settings.scope != Scope::Orders)
            .filter_map(|job| {
                Some((job.name.clone(), decide::dues(&self.known, job, now).values().map(|due| due.at).min()?))
            })
            .collect();
    }

    /// The clock was put back: what is due counts from now on, and nothing waits for a time that has been.
    fn count_anew(&mut self, now: &Zoned) {
        let at = now.timestamp();
        let latest = decide::retry_destination(at, u32::MAX);
        for facts in self.known.destinations.values_mut() {
            (facts.retry, facts.rest) = (facts.retry.map(|to| to.min(latest)), facts.rest.map(|to| to.min(latest)));
            facts.verified = facts.verified.map(|verified| verified.min(at));
            facts.arrivals.values_mut().for_each(|arrival| arrival.at = arrival.at.min(at));
            facts.removed.values_mut().for_each(|removed| *removed = (*removed).min(at));
            for copy in &mut facts.copies {
                (copy.arrived, copy.verified) =
                    (copy.arrived.map(|arrived| arrived.min(at)), copy.verified.map(|verified| verified.min(at)));
            }
        }
        for job in &self.settings.jobs {
            for (key, due) in decide::dues(&self.known, job, now) {
                if let (Some(from), Some(facts)) = (due.counted_from, self.known.jobs.get_mut(&job.name)) {
                    facts.started.insert(key, from);
                }
            }
        }
    }

    /// What starts, when to ask again, and whether the status says something else now.
    fn step(&mut self, now: &Zoned) -> (Vec<Started>, Option<Timestamp>, bool) {
        for job in &self.settings.jobs {
            self.known.jobs.entry(job.name.clone()).or_default().since.get_or_insert(now.timestamp());
        }
        self.note_moved(now);
        let before = self.to_come(now.timestamp());
        self.count_anew(now);
        self.write_again(now.timestamp());
        self.plan(now);
        // What leaves is no other copy of what is to be deleted.
        self.drop_obsolete(now.timestamp());
        self.plan(now);
        let moved = self.to_come(now.timestamp()) != before;
        let running: Vec<Task> = self.running.values().map(|running| running.task.clone()).collect();
        let only = self.settings.only.as_deref();
        let jobs = self.settings.jobs.iter().filter(|job| only.is_none_or(|only| job.name == only)).cloned();
        let jobs: Vec<Job> = jobs.collect();
        // One job alone is no time for what others asked of the service.
        let asked: Vec<Asked> = self.asked.iter().filter(|asked| only.is_none() || asked.is_new).cloned().collect();
        let mut next = decide::next(&Facts {
            jobs: &jobs,
            known: &self.known,
            running: &running,
            asked: &asked,
            plans: &self.plans,
            sources: &self.settings.sources,
            idle: &self.settings.idle(),
            scope: self.settings.scope,
            now,
        });
        next.start.retain(|_| self.leaving.is_none());
        let started: Vec<Started> = next.start.into_iter().map(|task| self.start(task, now.timestamp())).collect();
        let told = self.look_for_problems(now);
        let has_changed = moved || told || !started.is_empty();
        let overdue = overview::overdue_next(&self.overview(now));
        let is_behind = self.unwritten.is_some() || self.catalog.adrift().is_some();
        let again = is_behind.then(|| decide::later(now.timestamp(), TRY_AGAIN));
        let more = self.complaints_next(now.timestamp());
        (started, next.wake.into_iter().chain(overdue).chain(again).chain(more).min(), has_changed)
    }

    /// When jobs run next; not what is due already, which may be counted from now each time.
    fn to_come(&self, now: Timestamp) -> BTreeMap<String, Timestamp> {
        self.next.iter().filter(|(_, at)| **at > now).map(|(name, at)| (name.clone(), *at)).collect()
    }

    fn start(&mut self, task: Task, now: Timestamp) -> Started {
        let is_asked = self.begin_asked(&task);
        // Who says it now wants to know it of all of it.
        let sampling = match self.sampling(&task) {
            Sampling::Go(_) if is_asked => Sampling::Begin,
            sampling => sampling,
        };
        let begun = self.catalog.at_once(|| {
            if is_asked {
                self.catalog.put_asked(&self.asked)?;
            }
            self.catalog.begin_run(&task, now)
        });
        let id = match begun {
            Ok(id) => id,
            Err(error) => {
                // Backups go on without it.
                self.unwritten = Some(error.to_string());
                self.unnumbered -= 1;
                self.unnumbered
            }
        };
        if let Task::Backup { job, counts_for, .. } = &task {
            let facts = self.known.jobs.entry(job.clone()).or_default();
            facts.retry = None;
            facts.started.extend(counts_for.iter().map(|key| (key.clone(), now)));
            let written = self.catalog.put_job(job, &self.known.jobs[job]);
            self.note_writing(written);
        }
        let before = match &task {
            Task::Look { destination } | Task::Remove { destination, .. } => {
                self.known.destinations.get(destination).map(|facts| facts.copies.clone()).unwrap_or_default()
            }
            _ => Copies::new(),
        };
        let (progress, cancel) = (Arc::<Progress>::default(), Cancellation::default());
        let identities = self.settings.destinations.keys().filter_map(|name| {
            let (address, identity) = self.settings.identity(name)?;
            Some((name.clone(), (address.to_owned(), identity.to_owned())))
        });
        let running = RunningTask {
            identities: identities.collect(),
            task: task.clone(),
            started: now,
            progress: Arc::clone(&progress),
            cancel: cancel.clone(),
        };
        self.running.insert(id, running);
        let counts = task.job().and_then(|job| self.known.jobs.get(job)?.counts.clone());
        let facts = task.destination().and_then(|name| self.known.destinations.get(name));
        let is_new = facts.is_none_or(|facts| facts.listed.is_none());
        Started { id, task, before, is_new, counts, sampling, progress, cancel }
    }

    fn sampling(&self, task: &Task) -> Sampling {
        let Task::Verify { job: Some(job), copy } = task else { return Sampling::Never };
        let job = self.settings.jobs.iter().find(|known| known.name == *job);
        let facts = self.known.destinations.get(&copy.destination);
        let Some(known) = facts.and_then(|facts| facts.copies.get(&copy.name)) else { return Sampling::Never };
        if !job.and_then(|job| job.target(&copy.destination)).is_some_and(|target| target.by_samples) {
            return Sampling::Never;
        }
        // Part of a copy says something only where the whole was good.
        let is_good = known.verdict.as_ref().is_some_and(|verdict| verdict.whole);
        let samples = self.catalog.samples(copy).ok().flatten();
        samples.filter(|samples| is_good && samples.fits(known.item.size)).map_or(Sampling::Begin, Sampling::Go)
    }

    fn finish(&mut self, id: i64, outcome: &Outcome, now: Timestamp) {
        self.planned = None;
        let Some(RunningTask { task, started, identities, .. }) = self.running.remove(&id) else { return };
        // What was learned of a place says nothing of another one that has its name now.
        let is_same = |name: &String| {
            let now = self.settings.identity(name);
            now.is_some()
                && now == identities.get(name).map(|(address, identity)| (address.as_str(), identity.as_str()))
        };
        let outcome = &match (&task, &outcome.found) {
            (Task::Backup { .. }, Found::Made { instance, copies }) => {
                let copies = copies.iter().filter(|(name, _)| is_same(name)).cloned().collect();
                Outcome { found: Found::Made { instance: instance.clone(), copies }, ..outcome.clone() }
            }
            _ => outcome.clone(),
        };
        if !matches!(task, Task::Backup { .. }) && learn::touched(&task, outcome).iter().any(|name| !is_same(name)) {
            // What was asked for was done at that other place, or can't be any more.
            let is_asked = self.end_asked(&task, outcome);
            let written = self.catalog.at_once(|| {
                if is_asked {
                    self.catalog.put_asked(&self.asked)?;
                }
                self.catalog.drop_run(id)
            });
            return self.note_writing(written);
        }
        let before: BTreeMap<String, Copies> = learn::touched(&task, outcome)
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.known.destinations.get(&name)?.copies.clone())))
            .collect();
        let Learned { run, events } = learn::from(&mut self.known, &task, outcome, started, now);
        if let Task::Backup { job, .. } = &task
            && let Some(facts) = self.known.jobs.get_mut(job)
        {
            facts.last = facts.last.take().map(|last| RunStatus { id, ..last });
        }
        let is_asked = self.end_asked(&task, outcome);
        let (of, so_far) = self.counters.count(&run);
        let (is_behind, known) = (self.unwritten.is_some(), &self.known);
        let written = self.catalog.at_once(|| {
            if is_behind {
                self.catalog.put_everything(known)?;
            }
            if is_behind || is_asked {
                self.catalog.put_asked(&self.asked)?;
            }
            self.catalog.put_counter(&of, &so_far)?;
            if run.kind == TaskKind::Look && events.is_empty() {
                self.catalog.drop_run(id)?;
            } else {
                self.catalog.end_run(&RunStatus { id, ..run })?;
            }
            if let Some((job, facts)) = task.job().and_then(|job| Some((job, self.known.jobs.get(job)?))) {
                self.catalog.put_job(job, facts)?;
            }
            for (name, before) in &before {
                if let Some(facts) = self.known.destinations.get(name) {
                    self.catalog.put_listing(name, facts, before)?;
                }
            }
            if let (Task::Verify { copy, .. }, Found::Verified(_)) = (&task, &outcome.found) {
                self.catalog.put_samples(copy, outcome.samples.as_ref())?;
            }
            for event in &events {
                self.catalog.add_event(event)?;
            }
            Ok(())
        });
        if written.is_ok() {
            self.unwritten = None;
        }
        self.note_writing(written);
    }
}
