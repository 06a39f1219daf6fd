//! What is over and what is not: nobody is alarmed without need, and nobody is told that all is well too early.

use std::time::Duration;

use keeper::{
    notices::{Channel, Notice, Wanted},
    service::Order,
    settings::Settings,
    status::{Ending, Failure, Level, TaskKind, WAITING},
    task::Outcome,
};

use crate::{
    kinds,
    world::{World, away, job, settings},
};

fn at(destination: &str) -> Settings {
    let channel = Channel {
        name: "phone".to_owned(),
        wanted: Wanted::Problems,
        jobs: Vec::new(),
        after: Duration::from_hours(1),
        takes_back: false,
    };
    Settings { channels: vec![channel], ..settings(vec![job("home", "daily 04:45", &[destination])]) }
}

/// What the phone hears, and remembers.
fn told(world: &World) -> Vec<String> {
    let notices = world.service.notices(&world.zoned()).0.remove("phone").unwrap_or_default();
    for notice in &notices {
        world.service.note_told("phone", notice);
    }
    let said = |notice: &Notice| format!("{}: {}", notice.kind(), notice.problem().unwrap().kind);
    notices.iter().map(said).collect()
}

fn over(world: &World) -> Vec<String> {
    let events = world.service.events(None, 50);
    events.iter().filter(|event| event.kind.ends_with("-over")).map(|event| event.kind.clone()).collect()
}

fn looks(world: &mut World) {
    while world.step().contains(&TaskKind::Look) {
        world.end(TaskKind::Look, World::well);
    }
}

fn backs_up(world: &mut World, outcome: impl FnOnce(&mut World, &keeper::task::Task) -> Outcome) {
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    world.step();
    world.end(TaskKind::Backup, outcome);
    looks(world);
}

#[test]
fn a_job_with_new_locations_has_lost_nothing_and_is_well_when_a_backup_is_there() {
    let mut world = World::new(Vec::new());
    world.service.configure(at("nas"));
    world.settle();
    assert_eq!((kinds(&world.status()), told(&world)), (Vec::new(), Vec::new()));

    // It is known for longer than a backup may be old.
    world.now = world.now.checked_add(Duration::from_hours(15)).unwrap();
    world.service.configure(at("usb"));
    assert_eq!((kinds(&world.status()), told(&world)), (Vec::new(), Vec::new()), "nobody has looked yet");
    looks(&mut world);
    let problems = world.status().problems;
    assert_eq!(kinds(&world.status()), [("no-backup".to_owned(), Level::Warning)]);
    assert_eq!(problems[0].message, "No backup at the new locations yet");
    assert_eq!(told(&world), Vec::<String>::new());

    backs_up(&mut world, |_, _| away());
    assert!(kinds(&world.status()).contains(&("no-backup".to_owned(), Level::Warning)), "{:?}", world.status());
    assert_eq!((told(&world), over(&world)), (vec!["problem: backup-failed".to_owned()], Vec::new()));

    // Elsewhere again before there is one: that is no end of it either.
    world.service.configure(at("drive"));
    assert_eq!(world.step(), [TaskKind::Look]);
    assert_eq!(over(&world), Vec::<String>::new());
    world.end(TaskKind::Look, World::well);
    looks(&mut world);
    backs_up(&mut world, World::well);
    assert_eq!(kinds(&world.status()), []);
    let mut ended = over(&world);
    ended.sort();
    assert_eq!(ended, ["backup-failed-over", "no-backup-over"]);
}

#[test]
fn a_job_that_fails_after_its_backups_were_lost_still_has_none() {
    let mut world = World::new(Vec::new());
    world.service.configure(at("nas"));
    world.settle();
    world.held.get_mut("nas").unwrap().clear();
    world.service.order(Order::Sync, world.now).unwrap();
    looks(&mut world);
    assert_eq!(told(&world), ["problem: no-backup"]);
    backs_up(&mut world, |_, _| away());
    assert!(kinds(&world.status()).contains(&("no-backup".to_owned(), Level::Error)), "{:?}", world.status().problems);
    assert_eq!((told(&world), over(&world)), (vec!["problem: backup-failed".to_owned()], Vec::new()));
}

#[test]
fn a_problem_that_another_one_hides_is_not_over() {
    let mut world = World::new(Vec::new());
    world.service.configure(at("nas"));
    world.settle();
    backs_up(&mut world, |world, task| Outcome { ending: Ending::Incomplete, ..world.well(task) });
    world.later(Duration::from_hours(2));
    assert_eq!(told(&world), ["problem: incomplete"]);
    backs_up(&mut world, |_, _| away());
    assert_eq!((told(&world), over(&world)), (vec!["problem: backup-failed".to_owned()], Vec::new()));
    // Neither does waiting end a failure.
    backs_up(&mut world, |_, _| waiting());
    assert_eq!((told(&world), over(&world)), (Vec::new(), Vec::new()));
    backs_up(&mut world, World::well);
    assert_eq!(over(&world).len(), 3, "{:?}", over(&world));
}

fn waiting() -> Outcome {
    let message = format!("{WAITING}Home Assistant is making another backup or restoring one");
    Outcome::failed(Failure { message, hint: None, passes: true })
}

#[test]
fn a_home_assistant_that_is_busy_is_no_failure_and_told_only_when_that_lasts() {
    let mut world = World::new(Vec::new());
    world.service.configure(at("nas"));
    world.settle();
    backs_up(&mut world, |_, _| waiting());
    let status = world.status();
    assert_eq!(kinds(&status), [("waiting".to_owned(), Level::Warning)]);
    assert!(status.problems[0].hint.as_deref().unwrap().starts_with("Haul tries again at "), "{:?}", status.problems);
    assert_eq!(told(&world), Vec::<String>::new());
    world.now = world.now.checked_add(Duration::from_hours(1)).unwrap();
    assert_eq!(told(&world), ["problem: waiting"]);
}
