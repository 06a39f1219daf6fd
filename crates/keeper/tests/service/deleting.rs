//! A copy that is deleted by hand, and what goes by the rules at the same time.

use std::time::Duration;

use engine::retention::Rules;
use keeper::{
    service::Order,
    status::TaskKind,
    task::{Location, Outcome, Task},
};

use crate::world::{World, job};

/// Two days' backups at both destinations. The older one at `off` goes as soon as the newer one is listed there.
fn before_one_goes() -> (World, Location) {
    let mut home = job("home", "daily 04:45", &["nas", "off"]);
    home.destinations[1].keep = Some(Rules { last: 1, ..Rules::default() });
    let mut world = World::new(vec![home]);
    world.settle();
    world.later(Duration::from_hours(24));
    loop {
        world.step();
        let is_made = world.held["off"].len() == 2;
        let is_last = |task: &Task| is_made && matches!(task, Task::Look { destination } if destination == "off");
        let Some(at) = world.running.iter().position(|started| !is_last(&started.task)) else { break };
        let started = world.running.remove(at);
        let outcome = world.well(&started.task);
        world.service.finish(started.id, &outcome, world.now);
    }
    assert_eq!((world.held["off"].len(), world.running.len()), (2, 1));
    let oldest = world.held["nas"].iter().min_by_key(|item| item.date).unwrap();
    let copy = Location { destination: "nas".to_owned(), name: oldest.name.to_string() };
    (world, copy)
}

#[test]
fn a_copy_is_not_deleted_on_account_of_one_that_leaves() {
    let (mut world, copy) = before_one_goes();
    let delete = |even_only| Order::Delete { copy: copy.clone(), even_only };
    world.service.order(delete(false), world.now).unwrap();
    world.end(TaskKind::Look, World::well);
    assert_eq!(world.step(), [TaskKind::Remove]);
    let told = &world.service.events(None, 9);
    let said = |text: &str| told.iter().any(|event| event.message.contains(text));
    assert!(said("was not deleted: it is the only copy of this backup now"), "{told:?}");
    assert!(world.service.order(delete(false), world.now).unwrap_err().message.contains("is the only copy"));
    world.service.order(delete(true), world.now).unwrap();
    world.step();
    let is_begun = world.running.iter().any(|started| matches!(started.task, Task::Delete { .. }));
    assert!(is_begun, "whoever says that both may go means it");
}

#[test]
fn a_copy_does_not_leave_while_another_one_is_deleted() {
    let (mut world, copy) = before_one_goes();
    world.service.order(Order::Delete { copy, even_only: false }, world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Remove], "deleting is a kind of removing");
    world.end(TaskKind::Look, World::well);
    assert_eq!(world.step(), []);
    world.end(TaskKind::Remove, |_, _| Outcome::cancelled());
    assert!(world.step().contains(&TaskKind::Remove));
    let leaves = |task: &Task| matches!(task, Task::Remove { destination, .. } if destination == "off");
    assert!(world.running.iter().any(|started| leaves(&started.task)));
}
