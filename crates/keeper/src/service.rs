//! The service: does what [`decide`](crate::decide) says, writes down what happened, and asks again.
//!
//! It has no thread and no clock of its own. Whoever drives it calls [`Service::step`], carries out what that returns
//! (a thread for each), hands each outcome to [`Service::finish`], and calls `step` again then, at the moment that it
//! named, and after every order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use engine::Progress;
use jiff::{Timestamp, Zoned};
use store::Cancellation;

use crate::{
    catalog::{Catalog, CatalogError},
    decide::{self, Facts},
    facts::{Copy, DestinationFacts, Known},
    learn::{self, Learned},
    overview,
    settings::{RunningTask, Settings},
    status::{ArchiveStatus, ConfigurationStatus, Event, Failure, RunStatus, Status, TaskKind},
    sync::{self, Plan},
    task::{Location, Outcome, Task},
};

/// A backup that was cut off by the end of the program is begun again at once so many times in a row; after that it
/// waits as after any failure, because it may be what ends the program.
const AT_ONCE: u32 = 3;

/// A task that is to be carried out now.
pub struct Started {
    /// Its number.
    pub id: i64,
    /// What to do.
    pub task: Task,
    /// What is known of the copies at a destination that is to be listed, or from which some go.
    pub before: BTreeMap<String, Copy>,
    /// What the job's last rehearsal counted.
    pub counts: Option<serde_json::Value>,
    /// For whoever watches.
    pub progress: Arc<Progress>,
    /// Ends it.
    pub cancel: Cancellation,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// A backup now.
    BackUp {
        /// Of this job.
        job: String,
    },
    /// Every destination is looked at now.
    Sync,
    /// A task ends.
    Cancel {
        /// Its number.
        run: i64,
    },
    /// A copy is read and checked.
    Verify(Location),
    /// A copy is restored for a test; nothing: the newest whole one of the job.
    Rehearse {
        /// The job.
        job: String,
        /// The copy.
        copy: Option<Location>,
    },
    /// A copy is protected from removal, or no longer.
    Pin {
        /// The copy.
        copy: Location,
        /// Whether it is to be protected.
        pinned: bool,
    },
    /// A copy is removed.
    Delete {
        /// The copy.
        copy: Location,
        /// Also if it is the only one.
        even_only: bool,
    },
    /// What waits to be removed at a destination may go.
    AgreeToRemovals {
        /// The destination.
        destination: String,
    },
    /// A note is kept with an archive.
    Note {
        /// The archive.
        archive: String,
        /// The note; an empty one removes it.
        text: String,
    },
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
    asked: Vec<Task>,
    plans: BTreeMap<String, Plan>,
    // The day for which they were made; nothing: something has changed since.
    planned: Option<jiff::civil::Date>,
    notes: BTreeMap<String, String>,
    problems: BTreeMap<String, Timestamp>,
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
        let mut known = catalog.load()?;
        let (notes, problems) = (catalog.notes()?, catalog.problems()?);
        for (id, started, task) in catalog.unfinished()? {
            let outcome = Outcome::failed(learn::was_stopped());
            let learned = learn::from(&mut known, &task, &outcome, started, now);
            catalog.end_run(&RunStatus { id, ..learned.run })?;
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
        let mut state = State {
            settings: Settings::default(),
            known,
            catalog,
            running: BTreeMap::new(),
            asked: Vec::new(),
            plans: BTreeMap::new(),
            planned: None,
            notes,
            problems,
            next: BTreeMap::new(),
            unwritten: None,
            unnumbered: 0,
            version: version.to_owned(),
        };
        state.configure(settings);
        Ok(Self { state: Mutex::new(state), changed })
    }

    /// What another process may be doing, as far as its catalog shows: to look at, not to drive.
    pub fn glance(catalog: Catalog, settings: Settings, version: &str, now: &Zoned) -> Result<Self, CatalogError> {
        let (known, notes, problems) = (catalog.load()?, catalog.notes()?, catalog.problems()?);
        let mut state = State {
            settings: Settings::default(),
            known,
            catalog,
            running: BTreeMap::new(),
            asked: Vec::new(),
            plans: BTreeMap::new(),
            planned: None,
            notes,
            problems,
            next: BTreeMap::new(),
            unwritten: None,
            unnumbered: 0,
            version: version.to_owned(),
        };
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
        let (started, wake) = self.state().step(now);
        if !started.is_empty() {
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

    /// Ends everything that runs.
    pub fn cancel_all(&self) {
        self.state().running.values().for_each(|running| running.cancel.cancel());
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Everything at a glance.
    pub fn status(&self, now: &Zoned) -> Status {
        let state = self.state();
        overview::status(&state.overview(now), &state.problems)
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

impl State {
    /// Puts settings into force, and forgets what is no longer among them.
    fn configure(&mut self, settings: Settings) {
        self.adopt(settings);
        let kept = self.catalog.retain(&self.known);
        self.note_writing(kept);
    }

    fn adopt(&mut self, settings: Settings) {
        self.planned = None;
        let (jobs, destinations) = (&settings.jobs, &settings.destinations);
        self.known.jobs.retain(|name, _| jobs.iter().any(|job| job.name == *name));
        // A name that means another place now says nothing of what is there.
        self.known.destinations.retain(|name, facts| destinations.get(name) == Some(&facts.address));
        for job in jobs {
            let facts = self.known.jobs.entry(job.name.clone()).or_default();
            // What could not pass may pass now.
            facts.instance = settings.instances.get(&job.name).cloned().or(facts.instance.take());
            for target in &job.destinations {
                let address = destinations.get(&target.destination).cloned().unwrap_or_default();
                let place = self
                    .known
                    .destinations
                    .entry(target.destination.clone())
                    .or_insert_with(|| DestinationFacts { address, ..DestinationFacts::default() });
                place.retry = None;
            }
        }
        self.settings = settings;
    }

    fn note_writing(&mut self, written: Result<(), CatalogError>) {
        self.unwritten = written.err().map(|error| error.to_string());
    }

    fn plan(&mut self, now: &Zoned) {
        // With thousands of archives that takes a while, and it depends on the day, not on the moment.
        if self.planned != Some(now.date()) {
            self.planned = Some(now.date());
            let jobs = self.settings.jobs.iter().filter(|job| !job.paused);
            self.plans = jobs.map(|job| (job.name.clone(), sync::plan(job, &self.known, now))).collect();
        }
        self.next = self
            .settings
            .jobs
            .iter()
            .filter(|job| !job.paused)
            .filter_map(|job| {
                Some((job.name.clone(), decide::dues(&self.known, job, now).values().map(|due| due.at).min()?))
            })
            .collect();
    }

    /// The clock was put back: what is due counts from now on.
    fn count_anew(&mut self, now: &Zoned) {
        for job in &self.settings.jobs {
            for (key, due) in decide::dues(&self.known, job, now) {
                if let (Some(from), Some(facts)) = (due.counted_from, self.known.jobs.get_mut(&job.name)) {
                    facts.started.insert(key, from);
                }
            }
        }
    }

    fn step(&mut self, now: &Zoned) -> (Vec<Started>, Option<Timestamp>) {
        self.count_anew(now);
        self.plan(now);
        let running: Vec<Task> = self.running.values().map(|running| running.task.clone()).collect();
        let next = decide::next(&Facts {
            jobs: &self.settings.jobs,
            known: &self.known,
            running: &running,
            asked: &self.asked,
            plans: &self.plans,
            now,
        });
        let started = next.start.into_iter().map(|task| self.start(task, now.timestamp())).collect();
        self.look_for_problems(now);
        (started, next.wake)
    }

    fn start(&mut self, task: Task, now: Timestamp) -> Started {
        self.asked.retain(|asked| *asked != task);
        let id = match self.catalog.begin_run(&task, now) {
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
            _ => BTreeMap::new(),
        };
        let (progress, cancel) = (Arc::<Progress>::default(), Cancellation::default());
        let running =
            RunningTask { task: task.clone(), started: now, progress: Arc::clone(&progress), cancel: cancel.clone() };
        self.running.insert(id, running);
        let counts = task.job().and_then(|job| self.known.jobs.get(job)?.counts.clone());
        Started { id, task, before, counts, progress, cancel }
    }

    fn finish(&mut self, id: i64, outcome: &Outcome, now: Timestamp) {
        self.planned = None;
        let Some(RunningTask { task, started, .. }) = self.running.remove(&id) else { return };
        let before: BTreeMap<String, BTreeMap<String, Copy>> = learn::touched(&task, outcome)
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.known.destinations.get(&name)?.copies.clone())))
            .collect();
        let Learned { run, events } = learn::from(&mut self.known, &task, outcome, started, now);
        if let Task::Backup { job, .. } = &task
            && let Some(facts) = self.known.jobs.get_mut(job)
        {
            facts.last = facts.last.take().map(|last| RunStatus { id, ..last });
        }
        let written = (|| {
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
            for event in &events {
                self.catalog.add_event(event)?;
            }
            Ok(())
        })();
        self.note_writing(written);
    }

    fn order(&mut self, order: Order, now: Timestamp) -> Result<(), Failure> {
        self.planned = None;
        let no = |message: String, hint: &str| Err(Failure { message, hint: Some(hint.to_owned()), passes: false });
        let task = match order {
            Order::BackUp { job } => {
                let Some(job) = self.settings.jobs.iter().find(|known| known.name == job) else {
                    return no(format!("there is no job {job:?}"), "`haul jobs` lists the jobs");
                };
                let running = self.running.values().map(|running| &running.task).chain(&self.asked);
                if running.clone().any(|task| matches!(task, Task::Backup { job: name, .. } if *name == job.name)) {
                    return no(format!("a backup of {:?} is being made already", job.name), "wait for it to end");
                }
                Task::Backup {
                    job: job.name.clone(),
                    to: job.destinations.iter().map(|target| target.destination.clone()).collect(),
                    counts_for: decide::groups(job).into_keys().collect(),
                }
            }
            Order::Sync => {
                for facts in self.known.destinations.values_mut() {
                    (facts.stale, facts.retry) = (true, None);
                }
                return Ok(());
            }
            Order::Cancel { run } => {
                let Some(running) = self.running.get(&run) else {
                    return no(format!("no task {run} is running"), "it has ended already");
                };
                running.cancel.cancel();
                return Ok(());
            }
            Order::Verify(copy) => {
                self.copy(&copy)?;
                let job = self.job_of(&copy);
                Task::Verify { job, copy }
            }
            Order::Rehearse { job, copy } => {
                let Some(known) = self.settings.jobs.iter().find(|known| known.name == job) else {
                    return no(format!("there is no job {job:?}"), "`haul jobs` lists the jobs");
                };
                let Some(copy) = copy.or_else(|| decide::newest_whole(&self.known, known)) else {
                    return no(format!("no destination of {job:?} has a whole backup"), "make a backup first");
                };
                self.copy(&copy)?;
                Task::Rehearse { job, copy }
            }
            Order::Pin { copy, pinned } => {
                self.copy(&copy)?;
                Task::Pin { copy, pinned }
            }
            Order::Delete { copy, even_only } => {
                let known = self.copy(&copy)?;
                if known.item.pinned {
                    return no(format!("{} is protected from removal", copy.name), "allow its removal first");
                }
                if !even_only && self.is_only(&copy) {
                    return no(
                        format!("{} is the only copy of this backup", copy.name),
                        "say that you want to delete the only copy",
                    );
                }
                Task::Delete { copy }
            }
            Order::AgreeToRemovals { destination } => {
                let Some(facts) = self.known.destinations.get_mut(&destination) else {
                    return no(format!("there is no destination {destination:?}"), "`haul status` lists them");
                };
                facts.consent = true;
                return Ok(());
            }
            Order::Note { archive, text } => {
                let written = self.catalog.put_note(&archive, &text);
                if let Err(error) = written {
                    return no(format!("the note could not be kept: {error}"), "make room in the state directory");
                }
                if text.is_empty() {
                    self.notes.remove(&archive)
                } else {
                    self.notes.insert(archive, text)
                };
                return Ok(());
            }
        };
        let _ = now;
        if !self.asked.contains(&task) {
            self.asked.push(task);
        }
        Ok(())
    }

    fn copy(&self, location: &Location) -> Result<&Copy, Failure> {
        let known = self.known.destinations.get(&location.destination);
        known.and_then(|facts| facts.copies.get(&location.name)).ok_or_else(|| Failure {
            message: format!("{:?} has no archive {:?}", location.destination, location.name),
            hint: Some("look at the list of backups".to_owned()),
            passes: false,
        })
    }

    /// Whether no other sound copy of this archive is known.
    fn is_only(&self, location: &Location) -> bool {
        let Ok(copy) = self.copy(location) else { return false };
        let archive = copy.archive();
        let mut others =
            self.known.destinations.iter().flat_map(|(destination, facts)| {
                facts.copies.iter().map(move |(name, copy)| (destination, name, copy))
            });
        !others.any(|(destination, name, other)| {
            (destination, name) != (&location.destination, &location.name)
                && archive.is_some()
                && other.archive() == archive
                && !other.is_damaged()
        })
    }

    fn job_of(&self, location: &Location) -> Option<String> {
        let instance = self.copy(location).ok()?.item.instance.clone();
        let jobs = self.settings.jobs.iter().filter(|job| job.target(&location.destination).is_some());
        let of = jobs.clone().find(|job| {
            instance.is_some() && self.known.jobs.get(&job.name).is_some_and(|facts| facts.instance == instance)
        });
        of.or_else(|| jobs.clone().next()).map(|job| job.name.clone())
    }

    fn overview<'s>(&'s self, now: &'s Zoned) -> overview::Facts<'s> {
        overview::Facts {
            settings: &self.settings,
            known: &self.known,
            plans: &self.plans,
            running: &self.running,
            next: &self.next,
            unwritten: self.unwritten.as_deref(),
            version: &self.version,
            now,
        }
    }

    /// Notes since when each problem exists, and what is over.
    fn look_for_problems(&mut self, now: &Zoned) {
        let problems = overview::problems(&self.overview(now));
        let (at, mut events) = (now.timestamp(), Vec::new());
        let over: Vec<String> =
            self.problems.keys().filter(|key| problems.iter().all(|problem| problem.key != **key)).cloned().collect();
        for key in over {
            self.problems.remove(&key);
            let written = self.catalog.drop_problem(&key);
            self.note_writing(written);
            events.push(overview::over(&key, at));
        }
        for problem in problems {
            if !self.problems.contains_key(&problem.key) {
                self.problems.insert(problem.key.clone(), at);
                let written = self.catalog.put_problem(&problem.key, at);
                self.note_writing(written);
                events.push(Event {
                    id: 0,
                    at,
                    level: problem.level,
                    kind: problem.kind,
                    job: problem.job,
                    destination: problem.destination,
                    message: problem.message,
                    hint: problem.hint,
                });
            }
        }
        for event in events {
            let written = self.catalog.add_event(&event).map(|_| ());
            self.note_writing(written);
        }
    }
}
