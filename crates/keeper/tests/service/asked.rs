//! What somebody asked for and had to wait survives the program, whenever that ends.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use engine::inventory::Item;
use jiff::Timestamp;
use keeper::{
    catalog::Catalog,
    job::Job,
    service::Order,
    status::{CopyStatus, Failure, TaskKind},
    task::{Found, Location, Outcome, Restore, Task},
};

use crate::world::{World, away, job, settings};

/// A catalog on disk, and programs that come and go.
struct Place {
    directory: tempfile::TempDir,
    jobs: Vec<Job>,
    now: Timestamp,
    held: BTreeMap<String, Vec<Item>>,
}

impl Place {
    fn new(jobs: Vec<Job>) -> Self {
        let now = "2026-11-02T12:00:00Z".parse().unwrap();
        Self { directory: tempfile::tempdir().unwrap(), jobs, now, held: BTreeMap::new() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("catalog.db")
    }

    fn start(&mut self) -> World {
        let mut world = World::on(Catalog::open(&self.path()).unwrap().0, self.jobs.clone(), self.now);
        world.held = std::mem::take(&mut self.held);
        world
    }

    /// As kill -9 does it: only what is on disk stays.
    fn kill(&mut self, world: World) {
        (self.now, self.held) = (world.now, world.held);
    }

    fn again(&mut self, world: World) -> World {
        self.kill(world);
        self.start()
    }
}

fn first(world: &World, destination: &str) -> Location {
    Location { destination: destination.to_owned(), name: world.held[destination][0].name.to_string() }
}

fn copy_at(world: &World, destination: &str) -> CopyStatus {
    let archives = world.service.archives(&world.zoned());
    archives.into_iter().flat_map(|archive| archive.copies).find(|copy| copy.destination == *destination).unwrap()
}

fn events(world: &World, kind: &str) -> Vec<String> {
    let events = world.service.events(None, 100).into_iter();
    events.filter(|event| event.kind == kind).map(|event| event.message).collect()
}

/// A world in which a job has a copy at `nas` and at `off`, and `off` is away.
fn with_one_away(place: &mut Place) -> World {
    let mut world = place.start();
    world.settle();
    world.service.order(Order::Sync, world.now).unwrap();
    world.step();
    while !world.running.is_empty() {
        world.end(
            TaskKind::Look,
            |world, task| {
                if task.destination() == Some("off") { away() } else { world.well(task) }
            },
        );
    }
    world
}

fn come_back(world: &mut World) {
    world.later(Duration::from_hours(1));
    assert_eq!(world.step(), [TaskKind::Look], "a pin asks no destination that is away");
    world.end(TaskKind::Look, World::well);
}

#[test]
fn a_backup_that_waits_for_another_is_made_once_by_the_next_program() {
    let mut place = Place::new(vec![job("a", "daily 04:45", &["nas"]), job("b", "daily 04:45", &["off"])]);
    let mut world = place.start();
    world.settle();
    world.later(Duration::from_secs(1));
    let back_up = |job: &str| Order::BackUp { job: job.to_owned() };
    world.service.order(back_up("a"), world.now).unwrap();
    world.step();
    world.service.order(back_up("b"), world.now).unwrap();
    assert_eq!(world.step(), [], "one at a time");
    let mut world = place.again(world);
    world.service.order(back_up("b"), world.now).unwrap();
    world.settle();
    assert_eq!((world.held["nas"].len(), world.held["off"].len()), (2, 2));
    let mut world = place.again(world);
    world.settle();
    assert_eq!((world.held["nas"].len(), world.held["off"].len()), (2, 2), "and not again");
}

#[test]
fn a_pin_waits_for_a_destination_that_is_away() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    let mut world = with_one_away(&mut place);
    let copy = first(&world, "off");
    let pin = |pinned| Order::Pin { copy: copy.clone(), pinned };
    world.service.order(pin(true), world.now).unwrap();
    assert_eq!(world.step(), []);
    assert_eq!((copy_at(&world, "off").pinned, copy_at(&world, "off").pinning), (false, Some(true)));
    assert_eq!(copy_at(&world, "nas").pinning, None);
    // Said twice, and taken back, and said again.
    for pinned in [true, false] {
        world.service.order(pin(pinned), world.now).unwrap();
    }
    assert_eq!(copy_at(&world, "off").pinning, None, "it is not protected anyway");
    world.service.order(pin(true), world.now).unwrap();
    let mut world = place.again(world);
    assert_eq!(copy_at(&world, "off").pinning, Some(true));
    come_back(&mut world);
    assert_eq!(world.step(), [TaskKind::Pin]);
    world.end(TaskKind::Pin, World::well);
    assert_eq!((copy_at(&world, "off").pinned, copy_at(&world, "off").pinning), (true, None));
    let mut world = place.again(world);
    assert_eq!(world.step(), []);
}

#[test]
fn killed_between_any_two_steps_nothing_is_lost_and_nothing_repeated() {
    for kind in [TaskKind::Pin, TaskKind::Verify] {
        for killed_at in 0..6 {
            let mut place = Place::new(vec![job("home", "daily 04:45", &["nas"])]);
            let mut world = place.start();
            world.settle();
            let copy = first(&world, "nas");
            let order = match kind {
                TaskKind::Pin => Order::Pin { copy, pinned: true },
                _ => Order::Verify(copy),
            };
            let done = |world: &World| {
                let runs = world.service.runs(None, None, 100).into_iter();
                runs.filter(|run| run.kind == kind && run.ending == keeper::status::Ending::Done).count()
            };
            let before = done(&world);
            world.service.order(order, world.now).unwrap();
            for step in 0.. {
                if step == killed_at {
                    world = place.again(world);
                }
                world.later(Duration::from_mins(2));
                world.step();
                let Some(next) = world.running.first().map(|started| started.task.kind()) else { break };
                if step + 1 == killed_at {
                    // Begun, and not ended.
                    world = place.again(world);
                    continue;
                }
                world.end(next, World::well);
            }
            assert_eq!(done(&world) - before, 1, "{kind:?}, killed at {killed_at}");
        }
    }
}

#[test]
fn what_can_not_be_done_any_more_is_forgotten_and_said() {
    let jobs = || vec![job("home", "daily 04:45", &["nas", "off"]), job("other", "daily 04:45", &["usb"])];
    let mut place = Place::new(jobs());
    let mut world = with_one_away(&mut place);
    let (copy, usb) = (first(&world, "off"), first(&world, "usb"));
    world.service.order(Order::Pin { copy: copy.clone(), pinned: true }, world.now).unwrap();
    // Somebody removes it there meanwhile.
    world.held.get_mut("off").unwrap().clear();
    let mut world = place.again(world);
    come_back(&mut world);
    assert!(!world.step().contains(&TaskKind::Pin));
    assert_eq!(
        events(&world, "pin"),
        [format!("{} at off was not protected from removal: it is no longer there", copy.name)]
    );
    while let Some(next) = world.running.first().map(|started| started.task.kind()) {
        world.end(next, World::well);
    }
    world.settle();

    // Its destination is no longer one, and the job of another order is none.
    world.service.order(Order::Pin { copy: usb, pinned: true }, world.now).unwrap();
    world.service.order(Order::BackUp { job: "other".to_owned() }, world.now).unwrap();
    place.jobs = vec![job("home", "daily 04:45", &["nas", "off"])];
    let mut world = place.again(world);
    world.settle();
    let said = events(&world, "pin");
    assert!(said[0].ends_with("there is no location \"usb\" any more"), "{said:?}");
    let said = events(&world, "backup");
    assert_eq!(
        said[0],
        "the backup of other that was asked for was not made: there is no automatic backup \"other\" any more"
    );
}

#[test]
fn a_pin_that_fails_for_a_while_is_tried_again_and_one_that_can_not_be_is_told() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas"])]);
    let mut world = place.start();
    world.settle();
    let copy = first(&world, "nas");
    world.service.order(Order::Pin { copy: copy.clone(), pinned: true }, world.now).unwrap();
    world.step();
    world.end(TaskKind::Pin, |_, _| away());
    assert_eq!((events(&world, "pin"), copy_at(&world, "nas").pinning), (Vec::new(), Some(true)));
    assert_eq!(world.step(), [TaskKind::Look]);
    world.end(TaskKind::Look, World::well);
    assert_eq!(world.step(), [], "not at once");
    world.later(Duration::from_mins(1));
    assert_eq!(world.step(), [TaskKind::Pin]);
    // Taken back while it runs.
    world.service.order(Order::Pin { copy: copy.clone(), pinned: false }, world.now).unwrap();
    world.end(TaskKind::Pin, |_, _| away());
    world.later(Duration::from_hours(2));
    world.settle();
    assert!(!world.held["nas"][0].pinned);
    world.service.order(Order::Pin { copy, pinned: true }, world.now).unwrap();
    world.step();
    let never = Failure { message: "nothing can be written here".to_owned(), hint: None, passes: false };
    world.end(TaskKind::Pin, |_, _| Outcome::failed(never));
    assert_eq!(events(&world, "pin")[0], "nothing can be written here");
    assert_eq!(copy_at(&world, "nas").pinning, None);
}

#[test]
fn a_restore_that_never_began_is_told_and_not_begun_later() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    let mut world = place.start();
    world.settle();
    let copy = first(&world, "nas");
    let into = "/restored".to_owned();
    let restore = Restore { job: None, copy: copy.clone(), into, only: Vec::new(), replace: false, key: Some(1) };
    world.service.order(Order::Restore(restore), world.now).unwrap();
    let mut world = place.again(world);
    assert!(!world.step().contains(&TaskKind::Restore));
    let said = format!("{} was not restored into /restored: Haul was stopped before it began", copy.name);
    assert_eq!(events(&world, "restore"), [said]);
}

#[test]
fn one_job_alone_does_not_do_what_the_service_was_asked_for_and_keeps_it() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas"]), job("other", "daily 04:45", &["usb"])]);
    let mut world = place.start();
    world.settle();
    let copy = first(&world, "usb");
    world.service.order(Order::Pin { copy, pinned: true }, world.now).unwrap();
    place.kill(world);
    let mut alone = place.start();
    let mut settings = settings(place.jobs.clone());
    settings.only = Some("home".to_owned());
    alone.service.configure(settings);
    alone.service.order(Order::BackUp { job: "home".to_owned() }, alone.now).unwrap();
    alone.service.withdraw();
    assert_eq!(alone.step(), []);
    alone.service.order(Order::BackUp { job: "home".to_owned() }, alone.now).unwrap();
    assert_eq!(alone.step(), [TaskKind::Backup]);
    alone.end(TaskKind::Backup, World::well);
    let mut world = place.again(alone);
    assert!(world.step().contains(&TaskKind::Pin));
    assert!(matches!(&world.running[0].task, Task::Pin { .. }));
}

#[test]
fn a_catalog_of_the_third_schema_is_taken_over() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas"])]);
    let mut world = place.start();
    world.settle();
    place.kill(world);
    let third = "DROP TABLE asked; PRAGMA user_version = 3";
    rusqlite::Connection::open(place.path()).unwrap().execute_batch(third).unwrap();
    assert_eq!(Catalog::open_to_read(&place.path()).unwrap().asked().unwrap(), []);
    let world = place.start();
    world.service.order(Order::Verify(first(&world, "nas")), world.now).unwrap();
    let mut world = place.again(world);
    assert_eq!(world.step(), [TaskKind::Verify]);
    let verdict = world.well(&world.running[0].task.clone());
    assert!(matches!(verdict.found, Found::Verified(_)));
}

#[test]
fn a_deletion_that_was_cut_off_leaves_what_is_the_only_copy_by_then() {
    for even_only in [false, true] {
        let mut place = Place::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
        let mut world = place.start();
        world.settle();
        let copy = first(&world, "nas");
        world.service.order(Order::Delete { copy: copy.clone(), even_only }, world.now).unwrap();
        assert_eq!(world.step(), [TaskKind::Remove]);
        let mut world = place.again(world);
        // Somebody removes the other one meanwhile.
        world.held.get_mut("off").unwrap().clear();
        world.service.order(Order::Sync, world.now).unwrap();
        while world.step().contains(&TaskKind::Look) || !world.running.is_empty() {
            let next = world.running.first().unwrap().task.kind();
            if next == TaskKind::Remove {
                break;
            }
            // What is off is known first.
            let at = world.running.iter().position(|one| one.task.destination() == Some("off")).unwrap_or_default();
            world.running.swap(0, at);
            world.end(next, World::well);
        }
        let begun = world.running.iter().any(|one| matches!(one.task, Task::Delete { .. }));
        assert_eq!(begun, even_only);
        let told = format!("{} at nas was not deleted: it is the only copy of this backup now", copy.name);
        assert_eq!(events(&world, "delete"), if even_only { Vec::new() } else { vec![told] });
    }
}

#[test]
fn what_is_protected_again_while_its_release_hangs_stays_protected() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    let mut world = place.start();
    world.settle();
    let copy = first(&world, "off");
    let pin = |pinned| Order::Pin { copy: copy.clone(), pinned };
    world.service.order(pin(true), world.now).unwrap();
    world.settle();
    world.service.order(pin(false), world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Pin]);
    world.service.order(Order::BackUp { job: "home".to_owned() }, world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Backup]);
    world.end(TaskKind::Backup, |world, task| {
        let mut outcome = world.well(task);
        if let Found::Made { copies, .. } = &mut outcome.found {
            copies
                .iter_mut()
                .filter(|(name, _)| name == "off")
                .for_each(|(_, copy)| *copy = Err(away().failure().unwrap()));
        }
        outcome
    });
    world.service.order(pin(true), world.now).unwrap();
    world.end(TaskKind::Pin, |_, _| away());
    for _ in 0..3 {
        world.later(Duration::from_hours(2));
        world.settle();
    }
    assert!(world.held["off"].iter().any(|item| item.pinned));
}

#[test]
fn what_waits_for_the_destination_of_a_paused_job_is_done_when_that_is_back() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    let world = with_one_away(&mut place);
    let copy = first(&world, "off");
    world.service.order(Order::Pin { copy, pinned: true }, world.now).unwrap();
    place.jobs[0].paused = true;
    let mut world = place.again(world);
    come_back(&mut world);
    world.settle();
    assert!(world.held["off"][0].pinned);
}

#[test]
fn what_was_asked_of_one_place_is_not_done_at_another_that_has_its_name() {
    for is_running in [false, true] {
        let mut place = Place::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
        let mut world = place.start();
        world.settle();
        let copy = first(&world, "nas");
        if !is_running {
            world.service.order(Order::Sync, world.now).unwrap();
            world.step();
        }
        world.service.order(Order::Delete { copy: copy.clone(), even_only: false }, world.now).unwrap();
        assert_eq!(world.step().contains(&TaskKind::Remove), is_running);
        let mut moved = settings(place.jobs.clone());
        moved.destinations.insert("nas".to_owned(), "/elsewhere".to_owned());
        world.service.configure(moved.clone());
        if is_running {
            // It was done, where it was asked for.
            world.end(TaskKind::Remove, |_, _| Outcome::done("", Found::Removed(vec![copy.name.clone()])));
        }
        world.settle();
        let mut world = place.again(world);
        world.service.configure(moved);
        world.settle();
        assert!(world.held["nas"].iter().any(|item| copy.name == *item.name));
        let told = format!("{} at nas was not deleted: \"nas\" is another place now", copy.name);
        assert_eq!(events(&world, "delete"), if is_running { Vec::new() } else { vec![told] });
    }
}

#[test]
fn a_deletion_that_was_cut_off_after_it_was_done_is_done() {
    let mut place = Place::new(vec![job("home", "daily 04:45", &["nas", "off"])]);
    let mut world = place.start();
    world.settle();
    let copy = first(&world, "nas");
    world.service.order(Order::Delete { copy: copy.clone(), even_only: false }, world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Remove]);
    world.held.get_mut("nas").unwrap().clear();
    let mut world = place.again(world);
    world.service.order(Order::Sync, world.now).unwrap();
    world.settle();
    assert_eq!(events(&world, "delete"), [format!("removed {} from nas", copy.name)]);
    assert!(world.held["nas"].is_empty(), "and it is not sent there again");
}
