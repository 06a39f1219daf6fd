//! Restores over directories in which something is mounted: nothing is moved that would take a mount along.

use std::fs;

use super::{Mounted, Place, Said, write};

fn with_archive() -> Place {
    let place = Place::new();
    fs::create_dir_all(place.path("config/www")).unwrap();
    write(&place.path("config/www/f"), "new");
    assert_eq!(place.haul(&["backup", "config", "--to", "a.tar"]).0, 0);
    fs::create_dir_all(place.path("new/www")).unwrap();
    fs::create_dir_all(place.path("new/media")).unwrap();
    write(&place.path("new/www/f"), "old");
    place
}

fn refused(place: &Place, said: &Said, mounts: &str, commands: &str) {
    let top = place.dir.path().canonicalize().unwrap();
    let words = format!(
        "haul: {mounts} mounted inside new\n  nothing was changed; unmount first ({commands}), restore, and mount \
         again\n"
    );
    assert_eq!(said.1.replace(&format!("{}/", top.display()), ""), words);
    assert_eq!(said.0, 1);
}

#[test]
fn what_is_mounted_in_the_target_is_named_and_nothing_is_moved() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let restore = ["restore", "a.tar", "--into", "new", "--replace"];
    for target_is_mounted in [false, true] {
        let place = with_archive();
        let target = target_is_mounted.then(|| Mounted::new(&place.path("new")));
        for name in ["media", "www"] {
            fs::create_dir_all(place.path("new").join(name)).unwrap();
        }
        write(&place.path("new/mine"), "mine");
        let media = Mounted::new(&place.path("new/media"));
        write(&place.path("new/media/song"), "song");
        refused(&place, &place.haul(&restore), "new/media is", "`umount new/media`");
        assert!(place.path("new/media/song").exists() && place.path("new/mine").exists());
        assert_eq!(place.names(), ["a.tar", "config", "new"]);
        let www = Mounted::new(&place.path("new/www"));
        refused(&place, &place.haul(&restore), "new/media and new/www are", "`umount new/www`, `umount new/media`");

        // Of single files only what is in their way matters.
        let only = |pattern: &'static str| place.haul(&[&restore[..], &["--only", pattern]].concat());
        refused(&place, &only("www/f"), "new/www is", "`umount new/www`");
        assert_eq!(only("configuration.yaml"), Said(0, String::new()));
        drop(www);
        assert_eq!(only("www/f"), Said(0, String::new()));
        assert!(place.path("new/media/song").exists());
        drop(media);
        assert_eq!(place.haul(&restore), Said(0, String::new()));
        drop(target);
    }
}

#[test]
fn a_mount_that_is_passed_over_or_covered_is_in_nobodys_way() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = with_archive();
    fs::create_dir(place.path("new/media/below")).unwrap();
    let covered = Mounted::new(&place.path("new/media/below"));
    let target = Mounted::new(&place.path("new"));
    fs::create_dir(place.path("new/lost+found")).unwrap();
    let found = Mounted::new(&place.path("new/lost+found"));
    write(&place.path("new/mine"), "mine");
    assert_eq!(place.haul(&["restore", "a.tar", "--into", "new", "--replace"]), Said(0, String::new()));
    drop(found);
    drop(target);
    drop(covered);
}

#[test]
fn a_directory_that_counts_as_empty_is_restored_into() {
    for inside in ["lost+found", ".haul-restore-0123456789ab/tree"] {
        let place = with_archive();
        fs::remove_dir_all(place.path("new")).unwrap();
        fs::create_dir_all(place.path("new").join(inside)).unwrap();
        assert_eq!(place.haul(&["restore", "a.tar", "--into", "new"]), Said(0, String::new()), "{inside}");
        assert!(place.path("new/configuration.yaml").exists());
        assert_eq!(place.path("new/lost+found").exists(), inside == "lost+found");
        assert!(!place.path("new/.haul-restore-0123456789ab").exists());
    }
}
