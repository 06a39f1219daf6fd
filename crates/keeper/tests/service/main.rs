//! The service, driven by hand: a clock that the test sets, tasks that the test ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod asked;
mod copies;
mod deleting;
mod full_disk;
mod migrating;
mod over;
mod parts;
mod restoring;
mod world;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use engine::retention::Rules;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use keeper::{
    catalog::Catalog,
    job::Job,
    notices::{Channel, Notice, Wanted},
    schedule::Schedule,
    service::{Order, Service},
    settings::Settings,
    status::{Ending, Failure, Status, TaskKind},
    task::{Found, Location, Outcome, Task},
};

use crate::world::{World, away, item, job, settings};

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
fn whoever_watches_is_told_once_of_what_only_the_clock_changed() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    let told = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&told);
    let changed = Box::new(move || {
        counting.fetch_add(1, Ordering::Relaxed);
    });
    let settings = settings(vec![job("home", "daily 04:45", &["nas"])]);
    world.service = Service::new(Catalog::in_memory().unwrap(), settings, "1", world.now, changed).unwrap();
    world.settle();
    // Neither of these ends.
    world.later(Duration::from_hours(7));
    assert_eq!(world.step(), [TaskKind::Look]);
    world.later(Duration::from_hours(40));
    assert_eq!(world.step(), [TaskKind::Backup]);
    let before = told.load(Ordering::Relaxed);
    world.later(Duration::from_hours(2));
    for _ in 0..3 {
        assert_eq!(world.step(), []);
        assert_eq!(told.load(Ordering::Relaxed), before + 1);
    }
    assert_eq!(world.status().problems[0].kind, "overdue");
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
fn an_incomplete_backup_is_one_event() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    world.step();
    world.end(TaskKind::Look, World::well);
    for made in 1..=2 {
        world.step();
        world.end(TaskKind::Backup, |world, task| {
            let message = format!("made {made}; incomplete");
            Outcome { ending: Ending::Incomplete, message, ..world.well(task) }
        });
        world.settle();
        let kinds: Vec<String> = world.service.events(None, 9).into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, vec!["backup"; made]);
        let problem = world.status().problems.remove(0);
        assert_eq!((problem.kind.as_str(), problem.message), ("incomplete", format!("made {made}; incomplete")));
        world.now = world.status().jobs[0].next.unwrap();
    }
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
fn what_is_kept_is_decided_anew_where_a_day_is_another() {
    let mut daily = job("home", "daily 04:45", &["nas"]);
    daily.destinations[0].keep = Some(Rules { daily: 7, ..Rules::default() });
    let mut world = World::new(vec![daily]);
    world.zone = TimeZone::get("Europe/Berlin").unwrap();
    // Two days in Berlin, one in UTC.
    let at_night = ["2026-10-31T22:30:00Z", "2026-10-31T23:30:00Z"].map(|at| item("home", at.parse().unwrap()));
    world.held.insert("nas".to_owned(), at_night.to_vec());
    world.settle();
    assert_eq!(world.held["nas"].len(), 3);
    world.zone = TimeZone::UTC;
    assert_eq!(world.step(), [TaskKind::Remove]);
}

#[test]
fn nothing_is_removed_while_a_directory_may_be_the_same_as_another() {
    let mut daily = job("home", "daily 04:45", &["nas", "off"]);
    daily.destinations[0].keep = Some(Rules { daily: 7, ..Rules::default() });
    let answered = |unanswered: Option<&str>| {
        let mut settings = settings(vec![daily.clone()]);
        settings.places = ["nas", "off"].map(|name| (name.to_owned(), format!("/{name}"))).into();
        settings.places.retain(|name, _| unanswered != Some(name.as_str()));
        settings.unanswered = unanswered.map(str::to_owned).into_iter().collect();
        settings
    };
    // Two days in Berlin, one in UTC.
    let at_night = ["2026-10-31T22:30:00Z", "2026-10-31T23:30:00Z"].map(|at| item("home", at.parse().unwrap()));
    let begin = || {
        let mut world = World::new(vec![daily.clone()]);
        world.zone = TimeZone::get("Europe/Berlin").unwrap();
        world.held.insert("nas".to_owned(), at_night.to_vec());
        world.settle();
        world.zone = TimeZone::UTC;
        world
    };
    for unanswered in ["off", "nas"] {
        let mut world = begin();
        world.service.configure(answered(Some(unanswered)));
        assert!(!world.step().contains(&TaskKind::Remove), "{unanswered}");
        world.service.configure(answered(None));
        assert!(world.step().contains(&TaskKind::Remove), "{unanswered}");
    }
    // What was known before a disk fell asleep is still known.
    let mut world = begin();
    world.service.configure(answered(None));
    world.service.configure(answered(Some("off")));
    assert!(world.step().contains(&TaskKind::Remove));
}

#[test]
fn the_only_copy_is_not_deleted_by_mistake() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    world.settle();
    let name = world.held["nas"][0].name.clone();
    let at = |destination: &str| Location { destination: destination.to_owned(), name: name.to_string() };
    let delete = |destination: &str, even_only| Order::Delete { copy: at(destination), even_only };
    world.service.order(delete("nas", false), world.now).unwrap();
    world.step();
    let task = world.running.remove(0);
    assert_eq!(task.task, Task::Delete { copy: at("nas"), even_only: false });
    world.held.get_mut("nas").unwrap().clear();
    world.service.finish(task.id, &Outcome::done("gone", Found::Removed(vec![name.to_string()])), world.now);
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

/// The catalog as the first schema had it.
const FIRST: &str = "
    CREATE TABLE job (name TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE destination (name TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE copy (
        destination TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (destination, name)
    ) WITHOUT ROWID;
    CREATE TABLE note (archive TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT, started INTEGER NOT NULL, task TEXT NOT NULL, ended TEXT
    );
    CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, event TEXT NOT NULL);
    CREATE TABLE problem (key TEXT PRIMARY KEY, since INTEGER NOT NULL, told INTEGER) WITHOUT ROWID;
    INSERT INTO job VALUES ('home', '{\"instance\":\"instance-of-home\",\"started\":{\"\":\"2026-11-02T11:00:00Z\"}}');
    INSERT INTO destination VALUES ('nas', '{\"address\":\"/nas\",\"listed\":\"2026-11-02T11:30:00Z\"}');
    INSERT INTO note VALUES ('a', 'before the move');
    INSERT INTO event (at, event) VALUES (1, '{\"id\":0,\"at\":\"2026-11-02T11:00:00Z\",\"level\":\"ok\",\"kind\":\"backup\",     \"job\":\"home\",\"destination\":null,\"message\":\"made\",\"hint\":null}');
    INSERT INTO problem VALUES ('overdue:home', 1, NULL);
    PRAGMA user_version = 1;
";

#[test]
fn a_catalog_of_the_first_schema_is_taken_over_and_can_be_looked_at_before_that() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(FIRST).unwrap();
    let now: Timestamp = "2026-11-02T12:00:00Z".parse().unwrap();
    let jobs = || vec![job("home", "daily 04:45", &["nas"])];
    let zoned = now.to_zoned(TimeZone::UTC);
    let looked = Service::glance(Catalog::open_to_read(&path).unwrap(), settings(jobs()), "1", &zoned).unwrap();
    assert!(looked.metrics(&zoned).contains("haul_tasks_total{kind=\"backup\",backup_job=\"home\",ending=\"done\"} 0"));
    let (catalog, aside) = Catalog::open(&path).unwrap();
    assert_eq!(aside, None);
    let known = catalog.load().unwrap();
    assert_eq!(known.jobs["home"].instance.as_deref(), Some("instance-of-home"));
    assert_eq!(known.destinations["nas"].listed, Some("2026-11-02T11:30:00Z".parse().unwrap()));
    assert_eq!(catalog.note("a").unwrap().as_deref(), Some("before the move"));
    assert_eq!(catalog.problems().unwrap().len(), 1);
    let mut world = World::on(catalog, jobs(), now);
    assert_eq!(world.service.events(None, 1)[0].message, "made");
    world.service.order(Order::Sync, now).unwrap();
    world.settle();
    drop(world);
    let again = Catalog::open(&path).unwrap().0;
    let counters = World::on(again, jobs(), now).service.metrics(&zoned);
    assert!(counters.contains("haul_tasks_total{kind=\"look\",destination=\"nas\",ending=\"done\"}"), "{counters}");
}

#[test]
fn what_a_channel_was_told_survives_and_one_job_alone_leaves_the_others_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let now: Timestamp = "2026-11-02T12:00:00Z".parse().unwrap();
    let zoned = now.to_zoned(TimeZone::UTC);
    let jobs = || vec![job("barn", "daily 04:45", &["nas"]), job("home", "daily 04:45", &["nas"])];
    let channel = Channel {
        name: "phone".to_owned(),
        wanted: Wanted::Errors,
        jobs: Vec::new(),
        after: Duration::from_hours(1),
        takes_back: false,
    };
    let told = || Settings { channels: vec![channel.clone()], ..settings(jobs()) };
    let service =
        |settings| Service::new(Catalog::open(&path).unwrap().0, settings, "1", now, Box::new(|| ())).unwrap();
    let mut first = World::on(Catalog::open(&path).unwrap().0, jobs(), now);
    first.service.configure(told());
    for _ in 0..4 {
        first.step();
        while let Some(kind) = first.running.first().map(|started| started.task.kind()) {
            first.end(kind, |world, task| if kind == TaskKind::Backup { away() } else { world.well(task) });
        }
    }
    first.step();
    let (due, _) = first.service.notices(&zoned);
    let of: Vec<Option<&str>> = due["phone"].iter().map(Notice::job).collect();
    assert_eq!(of, [Some("barn"), Some("home")], "{due:?}");
    due["phone"].iter().for_each(|notice| first.service.note_told("phone", notice));
    assert!(first.service.notices(&zoned).0.is_empty());
    drop(first);
    // The other one alone: what is known of the first stays, and it is not told again, nor that it is over.
    let alone = service(Settings { only: Some("home".to_owned()), ..told() });
    assert_eq!(alone.notices(&zoned).0.len(), 0);
    let started = alone.step(&zoned).0;
    assert!(started.iter().all(|started| started.task.job() != Some("barn")));
    assert_eq!(alone.status(&zoned).jobs[0].last.as_ref().unwrap().message, "it does not answer");
    drop(alone);
    // Somebody took the channel out of the file, and put it back: it hears what is wrong.
    drop(service(settings(jobs())));
    assert!(service(told()).notices(&zoned).0.contains_key("phone"));
}

fn failed(message: &str, passes: bool) -> Outcome {
    Outcome::failed(Failure { message: message.to_owned(), hint: None, passes })
}

fn kinds(status: &Status) -> Vec<(String, keeper::status::Level)> {
    status.problems.iter().map(|problem| (problem.kind.clone(), problem.level)).collect()
}

#[test]
fn what_fails_at_a_destination_that_answers_is_tried_less_and_less_often() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    world.settle();
    world.held.get_mut("off").unwrap().clear();
    world.service.order(Order::Sync, world.now).unwrap();
    let mut tries = Vec::new();
    for _ in 0..400 {
        world.step();
        while let Some(kind) = world.running.first().map(|started| started.task.kind()) {
            if kind == TaskKind::Copy {
                tries.push(world.now);
                world.end(kind, |_, _| failed("the line broke", true));
            } else {
                world.end(kind, World::well);
            }
            world.step();
        }
        world.later(Duration::from_mins(1));
    }
    let pauses: Vec<i64> = tries.windows(2).map(|two| (two[1].as_second() - two[0].as_second()) / 60).collect();
    assert!(tries.len() < 14 && pauses.windows(2).all(|two| two[0] <= two[1] + 1), "{pauses:?}");
    assert!(pauses.last().is_some_and(|last| *last >= 60), "{pauses:?}");
}

#[test]
fn a_copy_that_cannot_be_checked_is_said_and_holds_up_no_other() {
    let mut home = job("home", "daily 04:45", &["nas"]);
    home.destinations[0].verify_every = Some(Duration::from_hours(30 * 24));
    let mut world = World::new(vec![home]);
    world.settle();
    let old = item("home", world.now - SignedDuration::from_hours(900));
    let older = item("home", world.now - SignedDuration::from_hours(1000));
    world.held.get_mut("nas").unwrap().extend([old.clone(), older.clone()]);
    world.service.order(Order::Sync, world.now).unwrap();
    let mut read = Vec::new();
    for _ in 0..60 {
        world.step();
        while let Some(started) = world.running.first() {
            let (kind, name) = (started.task.kind(), started.task.archive().map(str::to_owned));
            if kind == TaskKind::Verify && name.as_deref() == Some(&*old.name) {
                read.push(name);
                world.end(kind, |_, _| failed("the password is wrong", false));
            } else {
                if kind == TaskKind::Verify {
                    read.push(name);
                }
                world.end(kind, World::well);
            }
            world.step();
        }
        world.later(Duration::from_mins(20));
    }
    assert_eq!(read, [Some(old.name.to_string()), Some(older.name.to_string())], "each once");
    let status = world.status();
    assert_eq!(kinds(&status), [("unchecked".to_owned(), keeper::status::Level::Warning)]);
    assert!(status.problems[0].message.contains(&*old.name), "{}", status.problems[0].message);
}

#[test]
fn a_rehearsal_that_was_cut_off_is_tried_again_before_it_counts_as_a_bad_sign() {
    let mut jobs = vec![job("home", "daily 04:45", &["nas"])];
    jobs[0].rehearse = Some(Schedule::parse("weekly").unwrap());
    let mut world = World::new(jobs);
    let mut tries = 0;
    let mut levels = Vec::new();
    for _ in 0..60 {
        world.step();
        while let Some(kind) = world.running.first().map(|started| started.task.kind()) {
            if kind == TaskKind::Rehearse {
                tries += 1;
                world.end(kind, |_, _| failed("the line broke", true));
            } else {
                world.end(kind, World::well);
            }
            world.step();
            levels.extend(kinds(&world.status()).into_iter().filter(|(kind, _)| kind == "not-proven"));
        }
        world.later(Duration::from_mins(20));
    }
    assert_eq!(tries, 4);
    assert_eq!(levels.first().unwrap().1, keeper::status::Level::Warning);
    assert_eq!(levels.last().unwrap().1, keeper::status::Level::Error);
}

#[test]
fn two_deletions_at_once_do_not_take_the_last_copy_and_nothing_is_ordered_where_nobody_answers() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    world.settle();
    let name = world.held["nas"][0].name.clone();
    let delete = |destination: &str| Order::Delete {
        copy: Location { destination: destination.to_owned(), name: name.to_string() },
        even_only: false,
    };
    world.service.order(delete("nas"), world.now).unwrap();
    let refused = world.service.order(delete("off"), world.now).unwrap_err();
    assert!(refused.message.contains("is the only copy"), "{}", refused.message);
    assert_eq!(world.step(), [TaskKind::Remove]);
    let gone = name.clone();
    world.held.get_mut("nas").unwrap().clear();
    world.end(TaskKind::Remove, |_, _| Outcome::done("removed", Found::Removed(vec![gone.to_string()])));
    world.settle();
    assert!(world.held["nas"].is_empty(), "it is not sent there again");
    world.service.order(Order::Sync, world.now).unwrap();
    world.step();
    while world.running.iter().any(|started| started.task.kind() == TaskKind::Look) {
        world.end(TaskKind::Look, |_, _| away());
    }
    let copy = Location { destination: "off".to_owned(), name: name.to_string() };
    let refused = world.service.order(Order::Delete { copy, even_only: true }, world.now).unwrap_err();
    assert!(refused.message.contains("off can't be reached"), "{}", refused.message);
}

#[test]
fn a_look_at_a_place_that_has_another_address_now_teaches_nothing() {
    let jobs = || vec![job("home", "daily 04:45", &["nas"])];
    let mut world = World::new(jobs());
    world.settle();
    world.service.order(Order::Sync, world.now).unwrap();
    world.step();
    let moved = |address: &str, identity: &str| Settings {
        destinations: BTreeMap::from([("nas".to_owned(), address.to_owned())]),
        identities: BTreeMap::from([("nas".to_owned(), identity.to_owned())]),
        ..settings(jobs())
    };
    world.service.configure(moved("/elsewhere", ""));
    world.end(TaskKind::Look, World::well);
    assert_eq!(world.status().destinations[0].archives, 0);
    assert_eq!(world.step(), [TaskKind::Look], "the new place is looked at");
    world.end(TaskKind::Look, World::well);
    // Another endpoint is another place as well.
    world.service.configure(moved("/elsewhere", "endpoint=http://other"));
    assert_eq!(world.status().destinations[0].archives, 0);
}

#[test]
fn it_is_an_error_at_once_when_no_backup_is_left_and_a_date_ahead_hides_nothing() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    world.settle();
    world.held.get_mut("nas").unwrap().clear();
    world.service.order(Order::Sync, world.now).unwrap();
    world.step();
    world.end(TaskKind::Look, World::well);
    world.step();
    assert_eq!(kinds(&world.status())[0], ("no-backup".to_owned(), keeper::status::Level::Error));
    let ahead = item("home", world.now + SignedDuration::from_hours(24 * 300));
    world.held.get_mut("nas").unwrap().push(ahead);
    world.service.order(Order::Sync, world.now).unwrap();
    world.settle();
    world.later(Duration::from_hours(72));
    assert!(kinds(&world.status()).iter().any(|(kind, _)| kind == "overdue"), "{:?}", world.status().problems);
}

#[test]
fn a_catalog_with_a_damaged_page_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let now: Timestamp = "2026-11-02T12:00:00Z".parse().unwrap();
    let jobs = || vec![job("home", "daily 04:45", &["nas"])];
    let mut world = World::on(Catalog::open(&path).unwrap().0, jobs(), now);
    for number in 0..200 {
        world.held.entry("nas".to_owned()).or_default().push(item("home", now - SignedDuration::from_hours(number)));
    }
    world.settle();
    drop(world);
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    assert!(length > 40_000);
    bytes[8192..length - 4096].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let (catalog, aside) = Catalog::open(&path).unwrap();
    assert!(aside.is_some());
    assert!(catalog.load().unwrap().destinations.is_empty());
}

#[test]
fn what_nobody_looks_for_any_more_is_not_called_over() {
    let jobs = |paused: bool| {
        let mut home = job("home", "daily 04:45", &["nas"]);
        home.paused = paused;
        vec![home, job("barn", "daily 04:45", &["off"])]
    };
    let channel = Channel {
        name: "phone".to_owned(),
        wanted: Wanted::Errors,
        jobs: Vec::new(),
        after: Duration::from_hours(1),
        takes_back: false,
    };
    let with = |jobs: Vec<Job>| Settings { channels: vec![channel.clone()], ..settings(jobs) };
    let mut world = World::new(jobs(false));
    world.service.configure(with(jobs(false)));
    for _ in 0..4 {
        world.step();
        while let Some(kind) = world.running.first().map(|started| started.task.kind()) {
            world.end(kind, |world, task| if task.job() == Some("home") { away() } else { world.well(task) });
        }
    }
    world.step();
    let zoned = world.zoned();
    let told = |world: &World| world.service.notices(&zoned).0.remove("phone").unwrap_or_default();
    let begun = told(&world);
    assert_eq!(begun.iter().map(Notice::kind).collect::<Vec<_>>(), ["problem"]);
    for notice in &begun {
        world.service.note_told("phone", notice);
    }
    let over = |world: &World| world.service.events(None, 50).iter().any(|event| event.kind.ends_with("-over"));
    // Paused, resumed, and gone: it never succeeded.
    world.service.configure(with(jobs(true)));
    world.step();
    assert!(told(&world).is_empty() && !over(&world), "{:?}", world.service.events(None, 50));
    world.service.configure(with(jobs(false)));
    assert_eq!(told(&world).iter().map(Notice::kind).collect::<Vec<_>>(), ["problem"], "it is there again");
    world.service.configure(with(jobs(false).split_off(1)));
    world.step();
    assert!(told(&world).is_empty() && !over(&world));
    // A channel that is reached again is none of these.
    world.service.note_channel("phone", Some(Failure { message: "it is away".to_owned(), hint: None, passes: true }));
    world.step();
    world.service.note_channel("phone", None);
    world.step();
    let events = world.service.events(None, 1);
    assert_eq!((events[0].message.as_str(), &events[0].job), ("Messages arrive again: phone", &None));
}

#[test]
fn what_arrived_and_is_not_listed_yet_is_a_backup_all_the_same() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    world.step();
    world.end(TaskKind::Look, World::well);
    world.step();
    world.end(TaskKind::Backup, World::well);
    // The list is late.
    let late = std::mem::take(world.held.get_mut("nas").unwrap());
    world.step();
    world.end(TaskKind::Look, World::well);
    world.step();
    assert!(kinds(&world.status()).is_empty(), "{:?}", world.status().problems);
    world.held.insert("nas".to_owned(), late);
    world.service.order(Order::Sync, world.now).unwrap();
    world.settle();
    assert_eq!(world.status().jobs[0].copies_of_newest, 1);
}

fn set_schema(path: &Path, schema: i64) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "user_version", schema).unwrap();
}

#[test]
fn what_is_at_a_destination_that_no_job_names_is_shown_and_nothing_else_happens() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas"])]);
    // A new machine: what an earlier one made is to be found before anything is set up.
    let old = item("elsewhere", "2026-10-02T04:45:00Z".parse().unwrap());
    world.held.insert("attic".to_owned(), vec![old.clone()]);
    let mut with = settings(vec![job("home", "daily 04:45", &["nas"])]);
    with.destinations.extend(["attic", "gone"].map(|name| (name.to_owned(), format!("/{name}"))));
    world.service.configure(with);
    assert_eq!(world.step(), [TaskKind::Look; 3]);
    for _ in 0..3 {
        world.end(TaskKind::Look, |world, task| match task {
            Task::Look { destination } if destination == "gone" => away(),
            task => world.well(task),
        });
    }
    assert_eq!(world.step(), [TaskKind::Backup], "no copy is checked, sent or removed there");
    world.end(TaskKind::Backup, World::well);
    let shown = world.service.archives(&world.zoned());
    let found = shown.iter().find(|archive| archive.item.name == old.name).unwrap();
    assert!(found.job.is_none() && *found.copies[0].destination == *"attic");
    assert!(
        world.status().problems.iter().all(|problem| problem.destination.is_none()),
        "{:?}",
        world.status().problems
    );
}
