//! The catalog's disk has no room.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use jiff::Timestamp;
use keeper::{catalog::Catalog, service::Order, status::TaskKind};

use crate::world::{World, job};

/// A file system with room for two megabytes.
struct Disk(PathBuf);

impl Disk {
    fn at(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&path).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(path));
        }
        assert!(std::env::var_os("CI").is_none(), "a small file system can't be mounted");
        let _ = writeln!(std::io::stderr(), "skipped: this needs to mount a small file system");
        None
    }

    fn fill(&self) {
        assert!(fs::write(self.0.join("filler"), vec![1; 3 << 20]).is_err());
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    fn catalog(&self) -> PathBuf {
        self.0.join("catalog.db")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn on(path: &Path, now: Timestamp) -> World {
    World::on(Catalog::open_or_drift(path).unwrap().0, vec![job("home", "daily 04:45", &["nas"])], now)
}

fn problems(world: &World) -> Vec<String> {
    world.status().problems.into_iter().map(|problem| problem.kind).collect()
}

#[test]
fn a_disk_that_is_full_at_the_start_holds_up_no_backup_and_what_was_learned_is_kept_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::at(directory.path().join("state")) else { return };
    disk.fill();
    let mut world = on(&disk.catalog(), "2026-11-02T12:00:00Z".parse().unwrap());
    world.settle();
    assert_eq!((world.held["nas"].len(), problems(&world)), (1, vec!["state".to_owned()]));
    let text = world.status().problems[0].message.clone();
    assert!(text.contains("catalog.db") && text.contains("full"), "{text}");
    world.service.order(Order::Note { archive: "a".to_owned(), text: "kept".to_owned() }, world.now).unwrap();
    disk.empty();
    // Nothing happens meanwhile: it is tried again by itself.
    world.now = world.wake.unwrap();
    world.step();
    assert_eq!(problems(&world), [] as [&str; 0]);
    let now = world.now;
    let runs = world.service.runs(None, None, 9);
    drop(world);
    let mut again =
        World::on(Catalog::open(&disk.catalog()).unwrap().0, vec![job("home", "daily 04:45", &["nas"])], now);
    assert_eq!((again.step(), again.service.runs(None, None, 9)), (vec![], runs));
    assert_eq!(Catalog::open_to_read(&disk.catalog()).unwrap().note("a").unwrap().as_deref(), Some("kept"));
}

#[test]
fn a_disk_that_is_read_only_is_told_of_in_plain_words() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::at(directory.path().join("state")) else { return };
    let made_read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap();
    assert!(made_read_only.success());
    let world = on(&disk.catalog(), "2026-11-02T12:00:00Z".parse().unwrap());
    let expected = format!("can't use {}: read-only file system", disk.catalog().display());
    assert_eq!(world.status().problems[0].message, format!("Haul can't write down what it does: {expected}"));
    assert_eq!(Catalog::open(&disk.catalog()).err().unwrap().to_string(), expected);
}

#[test]
fn what_a_full_disk_holds_is_known_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::at(directory.path().join("state")) else { return };
    let mut world = on(&disk.catalog(), "2026-11-02T12:00:00Z".parse().unwrap());
    world.settle();
    world.service.order(Order::Note { archive: "a".to_owned(), text: "kept".to_owned() }, world.now).unwrap();
    // It is killed while it looks, with everything still in the log.
    world.service.order(Order::Sync, world.now).unwrap();
    assert_eq!(world.step(), [TaskKind::Look]);
    let (now, held, runs) = (world.now, world.held.clone(), world.service.runs(None, None, 9));
    for name in ["catalog.db", "catalog.db-wal"] {
        fs::copy(disk.0.join(name), directory.path().join(name)).unwrap();
    }
    drop(world);
    for name in ["catalog.db", "catalog.db-wal"] {
        fs::copy(directory.path().join(name), disk.0.join(name)).unwrap();
    }
    let _ = fs::remove_file(disk.0.join("catalog.db-shm"));
    disk.fill();
    let mut again = on(&disk.catalog(), now);
    assert_eq!(again.service.runs(None, None, 9), runs);
    assert_eq!(again.step(), [TaskKind::Look], "what was cut off is begun again, and no backup is");
    again.held = held;
    again.end(TaskKind::Look, World::well);
    assert_eq!((again.step(), problems(&again)), (vec![], vec!["state".to_owned()]));
    disk.empty();
    again.later(Duration::from_mins(1));
    again.step();
    assert_eq!(problems(&again), [] as [&str; 0]);
    assert_eq!(Catalog::open_to_read(&disk.catalog()).unwrap().note("a").unwrap().as_deref(), Some("kept"));
}
