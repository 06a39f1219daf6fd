//! Copies that are damaged, lost or out of reach, and what is said of them.

use jiff::Timestamp;
use keeper::{
    catalog::Catalog,
    service::{Order, Service},
    settings::Settings,
    status::{CopyVerdict, Failure, Level, TaskKind},
    task::{Found, Location, Outcome, Task},
};

use crate::world::{World, away, job, settings};

/// Does everything until nothing is due. What is read is damaged at `nas` under the name `bad`.
fn settle(world: &mut World, bad: &str) {
    loop {
        world.step();
        let Some(started) = world.running.first() else { return };
        world.now += std::time::Duration::from_secs(1);
        let kind = started.task.kind();
        world.end(kind, |world, task| match task {
            Task::Verify { copy, .. } if copy.destination == "nas" && copy.name == bad => {
                let verdict = CopyVerdict { whole: false, damaged: true, sentence: "cut".into(), samples: false };
                Outcome::done("damaged", Found::Verified(verdict))
            }
            Task::Remove { destination, removals, .. } => {
                let gone: Vec<String> = removals.iter().map(|removal| removal.name.clone()).collect();
                world.held.get_mut(destination).unwrap().retain(|item| gone.iter().all(|name| item.name != **name));
                Outcome::done("removed", Found::Removed(gone))
            }
            task => world.well(task),
        });
    }
}

#[test]
fn a_damaged_copy_goes_also_if_it_was_read_after_the_one_in_its_place() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    settle(&mut world, "");
    let bad = world.held["nas"][0].name.clone();
    let copy = Location { destination: "nas".to_owned(), name: bad.to_string() };
    world.service.order(Order::Verify(copy.clone()), world.now).unwrap();
    // The one in its place is there, and the damaged one is read once more after that, as when its file was changed.
    world.step();
    world.end(TaskKind::Verify, |_, _| {
        let verdict = CopyVerdict { whole: false, damaged: true, sentence: "cut".into(), samples: false };
        Outcome::done("damaged", Found::Verified(verdict))
    });
    while world.held["nas"].len() < 2 {
        world.later(std::time::Duration::from_secs(1));
        world.step();
        let kind = world.running[0].task.kind();
        world.end(kind, World::well);
    }
    world.later(std::time::Duration::from_mins(1));
    world.service.order(Order::Verify(copy), world.now).unwrap();
    world.later(std::time::Duration::from_mins(1));
    settle(&mut world, &bad);
    let left: Vec<String> = world.held["nas"].iter().map(|item| item.name.to_string()).collect();
    assert!(left.len() == 1 && left[0] != *bad, "{left:?}");
    assert_eq!(world.status().level, Level::Ok);
}

#[test]
fn a_copy_out_of_reach_is_said_to_be_that() {
    let mut world = World::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    settle(&mut world, "");
    assert!(world.status().headline.starts_with("2 whole copies, newest"), "{}", world.status().headline);
    world.service.order(Order::Sync, world.now).unwrap();
    world.step();
    world.end(TaskKind::Look, |_, _| away());
    world.end(TaskKind::Look, World::well);
    assert!(world.status().headline.starts_with("2 whole copies, 1 of them out of reach, newest"));
}

#[test]
fn the_worst_job_is_named_first() {
    let jobs = || vec![job("attic", "daily 04:45", &["nas"]), job("home", "daily 04:45", &["off"])];
    let mut world = World::new(jobs());
    settle(&mut world, "");
    for (name, level) in [("attic", true), ("home", false)] {
        world.service.order(Order::BackUp { job: name.to_owned() }, world.now).unwrap();
        world.step();
        world.end(TaskKind::Backup, |world, task| {
            if level { Outcome { ending: keeper::status::Ending::Incomplete, ..world.well(task) } } else { away() }
        });
        settle(&mut world, "");
    }
    let headline = world.status().headline;
    assert!(
        headline.starts_with("Several backups need a look, first of all home: The last backup failed"),
        "{headline}"
    );
}

#[test]
fn who_is_only_called_is_not_forgotten_when_the_configuration_is_read_again() {
    let jobs = vec![job("home", "daily 04:45", &["nas"])];
    let with = || Settings { pings: vec!["watchdog".to_owned()], ..settings(jobs.clone()) };
    let now = Timestamp::UNIX_EPOCH;
    let service = Service::new(Catalog::in_memory().unwrap(), with(), "1", now, Box::new(|| ())).unwrap();
    let failure = Failure { message: "connection refused".to_owned(), hint: None, passes: true };
    service.note_channel("watchdog", Some(failure));
    let zoned = now.to_zoned(jiff::tz::TimeZone::UTC);
    let is_told = || service.status(&zoned).problems.iter().any(|problem| problem.kind == "notify-failed");
    assert!(is_told());
    service.configure(with());
    assert!(is_told(), "nobody has reached it since");
    service.configure(settings(jobs.clone()));
    assert!(!is_told(), "nobody calls it any more");
}
