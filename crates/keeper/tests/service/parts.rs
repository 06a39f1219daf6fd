//! What Home Assistant's Supervisor restores because somebody said so.

use std::time::Duration;

use jiff::SignedDuration;
use keeper::{
    catalog::Catalog,
    notices::{Channel, Notice, Told, Wanted},
    service::Order,
    status::{Ending, Failure, TaskKind},
    task::{Found, Location, Outcome, Restore, RestoreParts, Sources, Task},
};

use crate::world::{World, job};

fn parts(name: &str) -> RestoreParts {
    RestoreParts {
        job: Some("home".to_owned()),
        copy: Location { destination: "nas".to_owned(), name: name.to_owned() },
        slug: "f00df00d".to_owned(),
        storage: "haul_nas".to_owned(),
        home_assistant: true,
        apps: [("core_ssh".to_owned(), "Terminal & SSH".to_owned())].into(),
        folders: Vec::new(),
        ordered: "2026-11-02T12:00:00Z".parse().unwrap(),
        key: 0,
    }
}

fn with_a_backup(catalog: Catalog) -> (World, String) {
    let mut world =
        World::on(catalog, vec![job("home", "daily 04:45", &["nas"])], "2026-11-02T12:00:00Z".parse().unwrap());
    world.settle();
    let name = world.held["nas"][0].name.to_string();
    (world, name)
}

#[test]
fn nothing_is_backed_up_or_restored_besides_and_it_can_not_be_stopped() {
    let (mut world, name) = with_a_backup(Catalog::in_memory().unwrap());
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Backup]);
    let refused = world.service.order(Order::RestoreParts(parts(&name)), world.now).unwrap_err();
    assert_eq!(refused.message, "a backup is being made");
    world.end(TaskKind::Backup, World::well);
    world.settle();

    world.service.order(Order::RestoreParts(parts(&name)), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::RestoreParts]);
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    assert!(!world.step().contains(&TaskKind::Backup), "it would read what is replaced");
    let later = RestoreParts { ordered: world.now, ..parts(&name) };
    let files = Restore {
        job: None,
        copy: later.copy.clone(),
        into: "/look".to_owned(),
        only: Vec::new(),
        replace: false,
        key: None,
    };
    for order in [Order::RestoreParts(later), Order::Restore(files)] {
        let refused = world.service.order(order, world.now).unwrap_err();
        assert_eq!(refused.message, "a backup is being restored already");
    }
    let run = world.status().jobs[0].running[0].id;
    let refused = world.service.order(Order::Cancel { run }, world.now).unwrap_err();
    assert!(refused.message.contains("can't be stopped"), "{refused:?}");
    world.end(TaskKind::RestoreParts, |_, _| Outcome::done("Supervisor restored it", Found::Nothing));
    assert_eq!(world.service.events(None, 1)[0].message, "Supervisor restored it");
    assert!(world.step().contains(&TaskKind::Backup));
}

#[test]
fn it_is_followed_by_the_next_service_and_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let (mut world, name) = with_a_backup(Catalog::open(&path).unwrap().0);
    world.service.order(Order::RestoreParts(parts(&name)), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::RestoreParts]);
    let (now, told) = (world.now, world.service.events(None, 1)[0].id);
    drop(world);
    // Neither its job nor its destination matters any more.
    let mut world = World::on(Catalog::open(&path).unwrap().0, vec![job("other", "daily 04:45", &["usb"])], now);
    assert_eq!(world.service.events(None, 1)[0].id, told, "its end is not known yet");
    assert!(world.step().contains(&TaskKind::RestoreParts));
    world.end(TaskKind::RestoreParts, |_, _| {
        Outcome::failed(Failure { message: "how it ended is not known".to_owned(), hint: None, passes: true })
    });
    let event = &world.service.events(None, 1)[0];
    assert_eq!(
        (event.kind.as_str(), event.message.clone()),
        ("restore", "how it ended is not known".to_owned()),
        "that it was not restored is nothing that this can know"
    );
    assert!(!world.step().contains(&TaskKind::RestoreParts), "whatever failed, it is not begun again");
    assert_eq!(world.service.runs(None, None, 1)[0].ending, Ending::Failed);
}

#[test]
fn what_it_reads_stays_and_what_it_does_not_touch_goes_on() {
    let restoring = Task::RestoreParts(parts("a.tar"));
    let at = |destination: &str| Location { destination: destination.to_owned(), name: "b.tar".to_owned() };
    let delete = |destination: &str| Task::Delete { copy: at(destination), even_only: false };
    for (task, excludes) in [
        (delete("nas"), true),
        (delete("usb"), false),
        (Task::Verify { job: None, copy: at("nas") }, false),
        (Task::Look { destination: "nas".to_owned() }, false),
        (restoring.clone(), true),
    ] {
        let both = (restoring.excludes(&task, &Sources::new()), task.excludes(&restoring, &Sources::new()));
        assert_eq!(both, (excludes, excludes), "{task:?}");
    }
}

#[test]
fn one_of_which_nothing_is_heard_is_a_problem_until_there_is_news() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let (mut world, name) = with_a_backup(Catalog::open(&path).unwrap().0);
    world.service.order(Order::RestoreParts(parts(&name)), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::RestoreParts]);
    assert!(world.wake.unwrap() <= world.now + SignedDuration::from_secs(60), "nobody rings when it falls silent");
    let silent = || Some(("Nothing new has been heard".to_owned(), "look at the log".to_owned()));
    world.running[0].progress.complain(silent());
    world.step();
    let problem = world.status().problems.remove(0);
    assert_eq!((problem.kind.as_str(), problem.hint.as_deref()), ("restore-silent", Some("look at the log")));
    let here = Channel {
        name: "here".to_owned(),
        wanted: Wanted::Problems,
        jobs: Vec::new(),
        after: Duration::from_hours(1),
        takes_back: true,
    };
    let due = here.due(&Told::default(), std::slice::from_ref(&problem), &[], world.now);
    assert_eq!(due.notices, [Notice::Begun(problem)], "it has lasted already");

    // The next program has yet to look.
    let now = world.now;
    drop(world);
    let mut world = World::on(Catalog::open(&path).unwrap().0, vec![job("home", "daily 04:45", &["nas"])], now);
    assert!(world.step().contains(&TaskKind::RestoreParts));
    let is_over = |world: &World| world.service.events(None, 1)[0].kind == "restore-silent-over";
    assert!(!is_over(&world), "it is as silent as before");
    let at = world.running.iter().position(|started| started.task.kind() == TaskKind::RestoreParts).unwrap();
    world.running[at].progress.complain(silent());
    world.running[at].progress.say(Some("restoring"));
    world.step();
    assert!(!is_over(&world));
    world.running[at].progress.complain(None);
    world.step();
    assert!(is_over(&world));
    assert!(world.status().problems.iter().all(|problem| problem.kind != "restore-silent"));
}

#[test]
fn a_program_that_is_to_stop_begins_nothing_and_says_so() {
    let (mut world, name) = with_a_backup(Catalog::in_memory().unwrap());
    world.service.order(Order::RestoreParts(parts(&name)), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::RestoreParts]);
    world.service.leave(world.now + SignedDuration::from_secs(280));
    let refused = world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap_err();
    assert!(refused.message.contains("begins nothing any more"), "{refused:?}");
    world.end(TaskKind::RestoreParts, |_, _| Outcome::done("Supervisor restored it", Found::Nothing));
    world.later(Duration::from_hours(24));
    assert_eq!(world.step(), [], "whatever is due");
    let status = world.status();
    let problem = status.problems.iter().find(|problem| problem.kind == "stopping").unwrap();
    assert!(problem.hint.as_deref().unwrap().contains("12:04"), "{problem:?}");
}
