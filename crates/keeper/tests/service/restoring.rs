//! What is restored because somebody said so.

use keeper::{
    catalog::Catalog,
    service::Order,
    settings::Settings,
    status::{Level, TaskKind},
    sync::Removal,
    task::{Found, Location, Outcome, Restore, Sources, Task},
};

use crate::world::{World, away, job, settings};

fn restore(name: &str) -> Restore {
    Restore {
        job: Some("home".to_owned()),
        copy: Location { destination: "nas".to_owned(), name: name.to_owned() },
        into: "/look".to_owned(),
        only: Vec::new(),
        replace: false,
        key: None,
    }
}

fn with_a_backup(catalog: Catalog) -> (World, String) {
    let mut world =
        World::on(catalog, vec![job("home", "daily 04:45", &["nas"])], "2026-11-02T12:00:00Z".parse().unwrap());
    world.settle();
    let name = world.held["nas"][0].name.clone();
    (world, name.to_string())
}

#[test]
fn it_waits_for_nothing_that_does_not_matter_and_is_told() {
    let (mut world, name) = with_a_backup(Catalog::in_memory().unwrap());
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    let copy = Location { destination: "nas".to_owned(), name: name.clone() };
    world.service.order(Order::Verify(copy), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Backup, TaskKind::Verify]);
    world.service.order(Order::Restore(restore(&name)), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Restore], "somebody waits for it");
    let running = &world.status().jobs[0].running;
    assert!(running.iter().any(|task| task.kind == TaskKind::Restore && task.doing == "restoring"), "{running:?}");
    let again = world.service.order(Order::Restore(restore(&name)), world.now).unwrap_err();
    assert!(again.message.contains("is being restored into /look already"), "{}", again.message);
    let replacing = Restore { into: "/config".to_owned(), replace: true, ..restore(&name) };
    let refused = world.service.order(Order::Restore(replacing.clone()), world.now).unwrap_err();
    assert!(refused.message.contains("a backup is being made"), "{}", refused.message);
    world.end(TaskKind::Restore, |_, _| Outcome::done("a.tar was restored into /look", Found::Nothing));
    world.end(TaskKind::Backup, World::well);
    let event = &world.service.events(None, 1)[0];
    assert_eq!((event.level, event.kind.as_str()), (Level::Ok, "backup"));
    let event = &world.service.events(None, 2)[1];
    assert_eq!((event.kind.as_str(), event.message.as_str()), ("restore", "a.tar was restored into /look"));
    // A backup waits for what would be taken away under it.
    world.service.order(Order::Restore(replacing), world.now).unwrap();
    assert!(world.step().contains(&TaskKind::Restore));
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    assert!(!world.step().contains(&TaskKind::Backup));
    world.end(TaskKind::Restore, |_, _| Outcome::cancelled());
    assert!(world.service.events(None, 1)[0].message.contains("was stopped; nothing was changed"));
    assert!(world.step().contains(&TaskKind::Backup));
}

#[test]
fn what_it_reads_stays_while_it_reads() {
    let restoring = Task::Restore(restore("a.tar"));
    let at = |destination: &str| Location { destination: destination.to_owned(), name: "b.tar".to_owned() };
    let remove = |destination: &str| Task::Remove {
        job: "home".to_owned(),
        destination: destination.to_owned(),
        removals: Vec::<Removal>::new(),
    };
    for (task, excludes) in [
        (remove("nas"), true),
        (remove("off"), false),
        (Task::Delete { copy: at("nas"), even_only: false }, true),
        (Task::Verify { job: None, copy: at("nas") }, false),
        (Task::Look { destination: "nas".to_owned() }, false),
        (Task::Restore(Restore { into: "/other".to_owned(), ..restore("a.tar") }), false),
        (restoring.clone(), true),
    ] {
        let both = (restoring.excludes(&task, &Sources::new()), task.excludes(&restoring, &Sources::new()));
        assert_eq!(both, (excludes, excludes), "{task:?}");
    }
}

#[test]
fn one_that_a_stop_of_the_service_ended_is_told_and_not_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let (mut world, name) = with_a_backup(Catalog::open(&path).unwrap().0);
    world.service.order(Order::Restore(restore(&name)), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Restore]);
    let now = world.now;
    drop(world);
    let jobs = vec![job("home", "daily 04:45", &["nas"])];
    let mut world = World::on(Catalog::open(&path).unwrap().0, jobs, now);
    let event = &world.service.events(None, 1)[0];
    assert_eq!(event.message, format!("{name} was not restored into /look: Haul was stopped while this was running"));
    assert!(!world.step().contains(&TaskKind::Restore));
}

#[test]
fn what_belongs_to_no_job_is_shown_and_can_be_stopped() {
    let (mut world, name) = with_a_backup(Catalog::in_memory().unwrap());
    let copy = Location { destination: "nas".to_owned(), name };
    world.service.order(Order::Pin { copy, pinned: true }, world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Pin]);
    let status = world.status();
    assert!(status.jobs[0].running.is_empty());
    let [running] = &status.running[..] else { panic!("{:?}", status.running) };
    assert_eq!((running.kind, running.destination.as_deref()), (TaskKind::Pin, Some("nas")));
    world.service.order(Order::Cancel { run: running.id }, world.now).unwrap();
    assert!(world.running[0].cancel.is_cancelled());
    world.end(TaskKind::Pin, |_, _| away());
    assert!(world.status().running.is_empty());
}

#[test]
fn what_it_replaces_holds_up_only_backups_that_read_it() {
    let jobs = || vec![job("cabin", "daily 04:45", &["off"]), job("home", "daily 04:45", &["nas"])];
    for (cabin, is_held_up) in [
        (Some("/srv/cabin"), false),
        (Some("/srv/homely"), false),
        (Some("/srv/home"), true),
        (Some("/srv/home/part"), true),
        (Some("/srv"), true),
        // Its file system does not answer.
        (None, true),
    ] {
        let mut world = World::new(jobs());
        let sources = [("home", Some("/srv/home")), ("cabin", cabin)];
        let sources = sources.into_iter().filter_map(|(name, real)| Some((name.to_owned(), real?.into()))).collect();
        world.service.configure(Settings { sources, ..settings(jobs()) });
        world.settle();
        let name = world.held["nas"][0].name.to_string();
        // As the jobs name it, which may be a link.
        let replacing = || Order::Restore(Restore { into: "/config".to_owned(), replace: true, ..restore(&name) });
        world.service.order(replacing(), world.now).unwrap();
        assert_eq!(world.step(), [TaskKind::Restore]);
        world.service.order(Order::BackUp { job: "cabin".to_owned() }, world.now).unwrap();
        assert_eq!(world.step().contains(&TaskKind::Backup), !is_held_up, "{cabin:?}");
        world.end(TaskKind::Restore, |_, _| Outcome::cancelled());
        world.step();
        let refused = world.service.order(replacing(), world.now);
        assert_eq!(refused.is_err(), is_held_up, "{cabin:?}");
        assert!(refused.err().is_none_or(|refused| refused.message.contains("a backup is being made")));
    }
}
