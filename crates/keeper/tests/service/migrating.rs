//! What moves to another machine because somebody said so.

use keeper::{
    catalog::Catalog,
    service::Order,
    status::{Ending, Failure, Level, TaskKind},
    task::{Found, Location, Migrate, Outcome, Restore, Sources, Task},
};

use crate::world::{World, job};

const NEW: &str = "http://new-host:8123";

fn to(to: &str) -> Migrate {
    Migrate { job: "home".to_owned(), to: to.to_owned(), typed: 4 }
}

fn world(catalog: Catalog) -> World {
    let mut world =
        World::on(catalog, vec![job("home", "daily 04:45", &["nas"])], "2026-11-02T12:00:00Z".parse().unwrap());
    world.settle();
    world
}

fn refused(world: &World, order: Order) -> String {
    world.service.order(order, world.now).unwrap_err().message
}

#[test]
fn it_is_shown_and_its_end_is_told() {
    let mut world = world(Catalog::in_memory().unwrap());
    world.service.order(Order::Migrate(to(NEW)), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Migrate]);
    let progress = &world.running[0].progress;
    progress.report(5, Some(9));
    let shown = || world.status().jobs[0].running[0].clone();
    assert_eq!((shown().doing.as_str(), shown().done, shown().total), ("sending to http://new-host:8123", 5, 9));
    progress.say(Some("restoring: it is starting"));
    assert_eq!((shown().doing.as_str(), shown().total, shown().limited_by), ("restoring: it is starting", 0, None));
    world.end(TaskKind::Migrate, |_, _| Outcome::done("Home Assistant is up again: log in as ada", Found::Nothing));
    let told = |world: &World| {
        let event = world.service.events(None, 1).remove(0);
        (event.level, event.kind, event.message, event.hint)
    };
    let kind = "migrate".to_owned();
    assert_eq!(told(&world), (Level::Ok, kind.clone(), "Home Assistant is up again: log in as ada".to_owned(), None));
    for (outcome, level, says) in [
        (
            Outcome { message: "interrupted; nothing was sent".to_owned(), ..Outcome::cancelled() },
            Level::Warning,
            "interrupted; nothing was sent",
        ),
        (
            Outcome::failed(Failure { message: "it is full".to_owned(), hint: None, passes: true }),
            Level::Error,
            "the move to http://new-host:8123 failed: it is full",
        ),
    ] {
        world.service.order(Order::Migrate(to(NEW)), world.now).unwrap();
        assert_eq!(world.step(), [TaskKind::Migrate]);
        let is_failed = outcome.ending == Ending::Failed;
        world.end(TaskKind::Migrate, |_, _| outcome.clone());
        let (told_level, _, message, hint) = told(&world);
        assert_eq!((told_level, message.as_str(), hint.is_some()), (level, says, is_failed));
        assert!(world.step().is_empty(), "it is not begun again");
    }
}

#[test]
fn one_at_a_time_moves_there_and_none_while_it_is_read_or_replaced() {
    let mut world = world(Catalog::in_memory().unwrap());
    let copy = Location { destination: "nas".to_owned(), name: world.held["nas"][0].name.to_string() };
    let replacing = Restore {
        job: Some("home".to_owned()),
        copy,
        into: "/config".to_owned(),
        only: Vec::new(),
        replace: true,
        key: None,
    };
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Backup]);
    assert_eq!(refused(&world, Order::Migrate(to(NEW))), "a backup of \"home\" is being made");
    world.end(TaskKind::Backup, World::well);
    world.settle();
    world.service.order(Order::Restore(replacing.clone()), world.now).unwrap();
    let said = refused(&world, Order::Migrate(to(NEW)));
    assert_eq!(said, "a backup is being restored in place of what would be moved");
    assert_eq!(world.step(), [TaskKind::Restore]);
    world.end(TaskKind::Restore, |_, _| Outcome::cancelled());
    world.settle();

    world.service.order(Order::Migrate(to(NEW)), world.now).unwrap();
    let said = refused(&world, Order::Migrate(to(NEW)));
    assert_eq!(said, "an installation is being moved to http://new-host:8123 already");
    assert_eq!(refused(&world, Order::Migrate(to("http://other"))), "\"home\" is being moved already");
    let said = refused(&world, Order::Restore(replacing));
    assert_eq!(said, "an installation is being moved, which reads what a restore replaces");
    let unknown = Migrate { job: "none".to_owned(), ..to(NEW) };
    assert_eq!(refused(&world, Order::Migrate(unknown)), "there is no automatic backup \"none\"");
    assert_eq!(world.step(), [TaskKind::Migrate]);
    // A backup that is due waits for it.
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    assert!(world.step().is_empty());
    world.end(TaskKind::Migrate, |_, _| Outcome::cancelled());
    assert_eq!(world.step(), [TaskKind::Backup]);

    let moving = Task::Migrate(to(NEW));
    let backup = |job: &str| Task::Backup { job: job.to_owned(), to: vec!["nas".to_owned()], counts_for: Vec::new() };
    let other = |job: &str, to: &str| Task::Migrate(Migrate { job: job.to_owned(), to: to.to_owned(), typed: 9 });
    for (task, excludes) in [
        (backup("home"), true),
        (backup("cabin"), false),
        (other("cabin", NEW), true),
        (other("cabin", "http://other"), false),
        (Task::Look { destination: "nas".to_owned() }, false),
    ] {
        let both = (moving.excludes(&task, &Sources::new()), task.excludes(&moving, &Sources::new()));
        assert_eq!(both, (excludes, excludes), "{task:?}");
    }
}

#[test]
fn one_that_a_stop_of_the_service_ended_is_told_and_not_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let mut before = world(Catalog::open(&path).unwrap().0);
    before.service.order(Order::Migrate(to(NEW)), before.now).unwrap();
    assert_eq!(before.step(), [TaskKind::Migrate]);
    let now = before.now;
    drop(before);
    let jobs = vec![job("home", "daily 04:45", &["nas"])];
    let mut world = World::on(Catalog::open(&path).unwrap().0, jobs, now);
    let event = &world.service.events(None, 1)[0];
    assert_eq!(event.message, "the move to http://new-host:8123 failed: Haul was stopped while this was running");
    assert!(event.hint.as_ref().unwrap().starts_with("open http://new-host:8123"), "{event:?}");
    assert!(!world.step().contains(&TaskKind::Migrate));
}
