//! A service that a test drives by hand.

use std::{collections::BTreeMap, time::Duration};

use engine::{
    Level,
    inventory::{Called, Item},
    retention::Origin,
};
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use keeper::{
    catalog::Catalog,
    job::{Hooks, Job, Making, Target},
    schedule::Schedule,
    service::{Service, Started},
    settings::Settings,
    status::{CopyVerdict, Failure, Status, TaskKind},
    task::{Arrived, Found, Outcome, Task},
};

pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
    pub(crate) running: Vec<Started>,
    pub(crate) wake: Option<Timestamp>,
    pub(crate) held: BTreeMap<String, Vec<Item>>,
}

pub(crate) fn job(name: &str, schedule: &str, destinations: &[&str]) -> Job {
    let target = |name: &&str| Target {
        destination: (*name).to_owned(),
        keep: None,
        schedules: None,
        verify_every: None,
        by_samples: false,
        limit: None,
        hours: None,
    };
    Job {
        name: name.to_owned(),
        source: "/config".into(),
        schedules: vec![Schedule::parse(schedule).unwrap()],
        jitter: Duration::ZERO,
        paused: false,
        destinations: destinations.iter().map(target).collect(),
        making: Making { level: Level::Fast, ..Making::default() },
        hooks: Hooks::default(),
        rehearse: None,
        boot: None,
        overdue_after: Duration::from_hours(48),
        most_removals: 5,
    }
}

pub(crate) fn settings(jobs: Vec<Job>) -> Settings {
    let names = jobs.iter().flat_map(|job| &job.destinations).map(|target| target.destination.clone());
    let destinations = names.map(|name| (name.clone(), format!("/{name}"))).collect();
    let instances = jobs.iter().map(|job| (job.name.clone(), format!("instance-of-{}", job.name))).collect();
    Settings { jobs, destinations, instances, ..Settings::default() }
}

pub(crate) fn item(job: &str, at: Timestamp) -> Item {
    Item {
        name: format!("{job}-{}.tar", at.as_second()).into(),
        size: 1000,
        date: at,
        slug: Some(format!("{:08x}", at.as_second()).into()),
        title: None,
        home_assistant: None,
        made_by: Origin::Own,
        protected: false,
        pinned: false,
        instance: Some(format!("instance-of-{job}").into()),
        verdict: Called::Whole,
        missing: None,
        essential: false,
        history: true,
        link: false,
        arrival: None,
        problem: None,
    }
}

pub(crate) fn away() -> Outcome {
    Outcome::failed(Failure { message: "it does not answer".to_owned(), hint: None, passes: true })
}

impl World {
    pub(crate) fn new(jobs: Vec<Job>) -> Self {
        let now: Timestamp = "2026-11-02T12:00:00Z".parse().unwrap();
        Self::on(Catalog::in_memory().unwrap(), jobs, now)
    }

    pub(crate) fn on(catalog: Catalog, jobs: Vec<Job>, now: Timestamp) -> Self {
        let service = Service::new(catalog, settings(jobs), "1", now, Box::new(|| ())).unwrap();
        Self { service, now, zone: TimeZone::UTC, running: Vec::new(), wake: None, held: BTreeMap::new() }
    }

    pub(crate) fn zoned(&self) -> Zoned {
        self.now.to_zoned(self.zone.clone())
    }

    pub(crate) fn later(&mut self, time: Duration) {
        self.now += SignedDuration::try_from(time).unwrap();
    }

    /// Starts what is due, and says what.
    pub(crate) fn step(&mut self) -> Vec<TaskKind> {
        let (started, wake) = self.service.step(&self.zoned());
        self.wake = wake;
        let kinds = started.iter().map(|started| started.task.kind()).collect();
        self.running.extend(started);
        kinds
    }

    /// Ends the first task of this kind.
    pub(crate) fn end(&mut self, kind: TaskKind, outcome: impl FnOnce(&mut Self, &Task) -> Outcome) {
        let at = self.running.iter().position(|started| started.task.kind() == kind).expect("one runs");
        let started = self.running.remove(at);
        let outcome = outcome(self, &started.task);
        self.service.finish(started.id, &outcome, self.now);
    }

    /// Does everything that is due now, and that follows, as it should be.
    pub(crate) fn settle(&mut self) {
        loop {
            self.step();
            let Some(kind) = self.running.first().map(|started| started.task.kind()) else { return };
            self.end(kind, Self::well);
        }
    }

    /// How a task ends if nothing is wrong.
    pub(crate) fn well(&mut self, task: &Task) -> Outcome {
        match task {
            Task::Backup { job, to, .. } => {
                let made = item(job, self.now);
                let arrived =
                    |name: &String| (name.clone(), Ok(Arrived { name: made.name.to_string(), compared: true }));
                let copies = to.iter().map(arrived).collect();
                for name in to {
                    self.held.entry(name.clone()).or_default().push(made.clone());
                }
                Outcome::done("made", Found::Made { instance: made.instance.as_deref().map(str::to_owned), copies })
            }
            Task::Look { destination } => {
                let held = self.held.get(destination).cloned().unwrap_or_default();
                let items = held.into_iter().map(|item| (item.clone(), Some(item.date))).collect();
                let address = format!("/{destination}");
                Outcome::done("listed", Found::Listed { address, items, free: None, append_only: false })
            }
            Task::Copy { to, from, .. } => {
                let of = |item: &&Item| item.name == from[0].name;
                let item = self.held[&from[0].destination].iter().find(of).unwrap().clone();
                let arrived = Arrived { name: to.name.clone(), compared: true };
                self.held
                    .entry(to.destination.clone())
                    .or_default()
                    .push(Item { name: to.name.as_str().into(), ..item });
                Outcome::done("sent", Found::Sent(arrived))
            }
            Task::Verify { .. } => {
                let verdict = CopyVerdict { whole: true, damaged: false, sentence: "whole".into(), samples: false };
                Outcome::done("whole", Found::Verified(verdict))
            }
            Task::Pin { copy, pinned } => {
                for item in self.held.get_mut(&copy.destination).into_iter().flatten() {
                    item.pinned = if copy.name == *item.name { *pinned } else { item.pinned };
                }
                Outcome::done("pinned", Found::Pinned(*pinned))
            }
            Task::Delete { copy, .. } => {
                self.held.get_mut(&copy.destination).unwrap().retain(|item| copy.name != *item.name);
                Outcome::done("removed", Found::Removed(vec![copy.name.clone()]))
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.service.status(&self.zoned())
    }
}
