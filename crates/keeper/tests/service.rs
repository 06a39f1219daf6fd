//! The service, driven by hand: a clock that the test sets, tasks that the test ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, path::Path, time::Duration};

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
    service::{Order, Service, Started},
    settings::Settings,
    status::{CopyVerdict, Failure, Status, TaskKind},
    task::{Arrived, Found, Location, Outcome, Task},
};

struct World {
    service: Service,
    now: Timestamp,
    running: Vec<Started>,
    wake: Option<Timestamp>,
    held: BTreeMap<String, Vec<Item>>,
}

fn job(name: &str, schedule: &str, destinations: &[&str]) -> Job {
    let target = |name: &&str| Target {
        destination: (*name).to_owned(),
        keep: None,
        schedules: None,
        verify_every: None,
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

fn settings(jobs: Vec<Job>) -> Settings {
    let names = jobs.iter().flat_map(|job| &job.destinations).map(|target| target.destination.clone());
    let destinations = names.map(|name| (name.clone(), format!("/{name}"))).collect();
    let instances = jobs.iter().map(|job| (job.name.clone(), format!("instance-of-{}", job.name))).collect();
    Settings { jobs, destinations, configuration: None, instances }
}

fn item(job: &str, at: Timestamp) -> Item {
    Item {
        name: format!("{job}-{}.tar", at.as_second()),
        size: 1000,
        date: at,
        slug: Some(format!("{:08x}", at.as_second())),
        title: None,
        home_assistant: None,
        made_by: Origin::Own,
        protected: false,
        pinned: false,
        instance: Some(format!("instance-of-{job}")),
        verdict: Called::Whole,
        missing: None,
        essential: false,
        history: true,
        link: false,
        arrival: None,
        problem: None,
    }
}

fn away() -> Outcome {
    Outcome::failed(Failure { message: "it does not answer".to_owned(), hint: None, passes: true })
}

impl World {
    fn new(jobs: Vec<Job>) -> Self {
        let now: Timestamp = "2026-11-02T12:00:00Z".parse().unwrap();
        Self::on(Catalog::in_memory().unwrap(), jobs, now)
    }

    fn on(catalog: Catalog, jobs: Vec<Job>, now: Timestamp) -> Self {
        let service = Service::new(catalog, settings(jobs), "1", now, Box::new(|| ())).unwrap();
        Self { service, now, running: Vec::new(), wake: None, held: BTreeMap::new() }
    }

    fn zoned(&self) -> Zoned {
        self.now.to_zoned(TimeZone::UTC)
    }

    fn later(&mut self, time: Duration) {
        self.now += SignedDuration::try_from(time).unwrap();
    }

    /// Starts what is due, and says what.
    fn step(&mut self) -> Vec<TaskKind> {
        let (started, wake) = self.service.step(&self.zoned());
        self.wake = wake;
        let kinds = started.iter().map(|started| started.task.kind()).collect();
        self.running.extend(started);
        kinds
    }

    /// Ends the first task of this kind.
    fn end(&mut self, kind: TaskKind, outcome: impl FnOnce(&mut Self, &Task) -> Outcome) {
        let at = self.running.iter().position(|started| started.task.kind() == kind).expect("one runs");
        let started = self.running.remove(at);
        let outcome = outcome(self, &started.task);
        self.service.finish(started.id, &outcome, self.now);
    }

    /// Does everything that is due now, and that follows, as it should be.
    fn settle(&mut self) {
        loop {
            self.step();
            let Some(kind) = self.running.first().map(|started| started.task.kind()) else { return };
            self.end(kind, Self::well);
        }
    }

    /// How a task ends if nothing is wrong.
    fn well(&mut self, task: &Task) -> Outcome {
        match task {
            Task::Backup { job, to, .. } => {
                let made = item(job, self.now);
                let arrived = |name: &String| (name.clone(), Ok(Arrived { name: made.name.clone(), compared: true }));
                let copies = to.iter().map(arrived).collect();
                for name in to {
                    self.held.entry(name.clone()).or_default().push(made.clone());
                }
                Outcome::done("made", Found::Made { instance: made.instance.clone(), copies })
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
                self.held.entry(to.destination.clone()).or_default().push(Item { name: to.name.clone(), ..item });
                Outcome::done("sent", Found::Sent(arrived))
            }
            Task::Verify { .. } => {
                let verdict = CopyVerdict { whole: true, damaged: false, sentence: "whole".to_owned(), samples: false };
                Outcome::done("whole", Found::Verified(verdict))
            }
            other => panic!("{other:?}"),
        }
    }

    fn status(&self) -> Status {
        self.service.status(&self.zoned())
    }
}

#[test]
fn nothing_is_made_before_every_destination_was_looked_at() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    // One has a backup of this very night: a catalog was lost, and no backup.
    world.held.insert("off".to_owned(), vec![item("home", "2026-11-02T04:45:00Z".parse().unwrap())]);
    assert_eq!(world.step(), [TaskKind::Look, TaskKind::Look]);
    world.end(TaskKind::Look, World::well);
    assert_eq!(world.step(), [], "the other one may have it");
    world.end(TaskKind::Look, World::well);
    assert_eq!(world.step(), [TaskKind::Copy, TaskKind::Verify], "and nothing is repeated");
    world.settle();
    assert_eq!(world.status().jobs[0].copies_of_newest, 2);
    assert_eq!(world.status().jobs[0].next, Some("2026-11-03T04:45:00Z".parse().unwrap()));
}

#[test]
fn a_new_job_is_due_at_once_and_then_by_its_schedule() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    world.settle();
    assert_eq!(world.held["nas"].len(), 1);
    for _ in 0..60 {
        world.now = world.wake.expect("there is always a next moment");
        world.settle();
    }
    let days = world.held["nas"].iter().map(|item| item.date.to_zoned(TimeZone::UTC).date());
    let days: std::collections::BTreeSet<_> = days.collect();
    assert_eq!(days.len(), world.held["nas"].len(), "one a day");
    assert!(days.len() > 10, "{days:?}");
}

#[test]
fn a_failed_backup_is_tried_again_with_growing_pauses_and_what_can_not_pass_is_not() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    world.step();
    world.end(TaskKind::Look, World::well);
    for minutes in [5, 10, 20, 40, 80, 120, 120] {
        world.step();
        world.end(TaskKind::Backup, |_, _| away());
        assert_eq!(world.step(), [TaskKind::Look], "it may have got that far");
        world.end(TaskKind::Look, World::well);
        assert_eq!(world.step(), []);
        let status = world.status();
        let problem = status.problems.first().unwrap();
        assert_eq!((problem.kind.as_str(), status.level), ("backup-failed", keeper::status::Level::Error));
        world.later(Duration::from_secs(minutes * 60 - 1));
        assert!(!world.step().contains(&TaskKind::Backup));
        world.later(Duration::from_secs(1));
        if let Some(at) = world.running.iter().position(|started| started.task.kind() == TaskKind::Look) {
            let started = world.running.remove(at);
            let outcome = world.well(&started.task);
            world.service.finish(started.id, &outcome, world.now);
        }
    }
    world.step();
    world.end(TaskKind::Backup, |_, _| {
        Outcome::failed(Failure { message: "no such key".to_owned(), hint: None, passes: false })
    });
    world.later(Duration::from_hours(3));
    assert!(!world.step().contains(&TaskKind::Backup), "it waits for its next moment");
    world.now = "2026-11-03T04:45:00Z".parse().unwrap();
    assert!(world.step().contains(&TaskKind::Backup));
}

#[test]
fn a_destination_that_is_away_holds_up_nothing_and_catches_up() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    world.step();
    world.end(TaskKind::Look, World::well);
    world.end(TaskKind::Look, |_, _| away());
    assert_eq!(world.step(), [TaskKind::Backup]);
    assert!(matches!(&world.running[0].task, Task::Backup { to, .. } if to == &["nas"]));
    world.end(TaskKind::Backup, World::well);
    world.step();
    world.end(TaskKind::Look, World::well);
    assert_eq!(world.step(), []);
    assert_eq!(world.wake, Some(world.now + SignedDuration::from_mins(1)), "it is asked again soon");
    world.later(Duration::from_mins(1));
    assert_eq!(world.step(), [TaskKind::Look]);
    world.end(TaskKind::Look, World::well);
    world.settle();
    assert_eq!((world.held["off"].len(), world.status().jobs[0].copies_of_newest), (1, 2));
}

#[test]
fn one_backup_runs_at_a_time_and_none_waits_for_a_copy() {
    let mut world = World::new(vec![job("a", "daily 04:45", &["nas"]), job("b", "daily 04:45", &["off", "usb"])]);
    let old = item("b", "2026-11-01T04:45:00Z".parse().unwrap());
    world.held.insert("off".to_owned(), vec![old]);
    world.step();
    for _ in 0..3 {
        world.end(TaskKind::Look, World::well);
    }
    let started = world.step();
    let expected = [TaskKind::Backup, TaskKind::Copy, TaskKind::Verify];
    assert_eq!(started, expected, "the second backup waits, the copy does not");
    world.end(TaskKind::Backup, World::well);
    assert!(world.step().contains(&TaskKind::Backup), "although the copy still runs");
}

#[test]
fn a_clock_that_was_put_back_does_not_stop_backups() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    world.settle();
    world.now = "2026-06-01T12:00:00Z".parse().unwrap();
    world.settle();
    assert_eq!(world.status().jobs[0].next, Some("2026-06-02T04:45:00Z".parse().unwrap()));
    world.now = "2026-06-02T04:45:00Z".parse().unwrap();
    assert!(world.step().contains(&TaskKind::Backup));
}

#[test]
fn the_only_copy_is_not_deleted_by_mistake() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    world.settle();
    let name = world.held["nas"][0].name.clone();
    let at = |destination: &str| Location { destination: destination.to_owned(), name: name.clone() };
    let delete = |destination: &str, even_only| Order::Delete { copy: at(destination), even_only };
    world.service.order(delete("nas", false), world.now).unwrap();
    world.step();
    let task = world.running.remove(0);
    assert_eq!(task.task, Task::Delete { copy: at("nas") });
    world.held.get_mut("nas").unwrap().clear();
    world.service.finish(task.id, &Outcome::done("gone", Found::Removed(vec![name.clone()])), world.now);
    let refused = world.service.order(delete("off", false), world.now).unwrap_err();
    assert!(refused.message.contains("is the only copy"), "{}", refused.message);
    assert!(world.service.order(delete("off", true), world.now).is_ok());
    assert!(world.service.order(delete("nowhere", true), world.now).is_err());
}

#[test]
fn what_is_known_survives_and_a_newer_catalog_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let jobs = || vec![job("home", "daily 04:45", &["nas"])];
    let now: Timestamp = "2026-11-02T12:00:00Z".parse().unwrap();
    let mut world = World::on(Catalog::open(&path).unwrap().0, jobs(), now);
    world.settle();
    let before = world.status();
    drop(world);
    let mut again = World::on(Catalog::open(&path).unwrap().0, jobs(), now);
    assert_eq!(again.step(), [], "nothing has to be done again");
    assert_eq!(again.status().jobs, before.jobs);
    drop(again);
    set_schema(&path, 99);
    let (catalog, aside) = Catalog::open(&path).unwrap();
    assert!(aside.is_some_and(|aside| aside.ends_with("catalog.unusable")));
    assert!(catalog.load().unwrap().jobs.is_empty());
}

fn set_schema(path: &Path, schema: i64) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "user_version", schema).unwrap();
}
