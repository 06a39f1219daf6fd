//! The folder, and what is in it.

use std::time::Duration;

use bytes::Bytes;
use store::{Kind, owner};
use testkit::drive::Call;

use crate::{PART, Rig, archive, begin, parts};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn connecting_and_looking_make_no_folder() {
    let rig = Rig::new();
    let place = rig.connect("gdrive://").await.unwrap();
    assert_eq!(place.label(), "gdrive://Haul");
    assert!(place.list().await.unwrap().is_empty());
    assert!(place.entry("a.tar").await.unwrap().is_none());
    place.delete("a.tar").await.unwrap();
    assert_eq!(place.remove_abandoned().await.unwrap(), 0);
    assert_eq!(rig.folders(), 0);
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    assert_eq!(rig.drive.files()[0].name, "Haul");
}

#[tokio::test]
async fn a_folder_that_was_renamed_is_still_the_one() {
    let rig = Rig::new();
    rig.send(rig.place().await.as_ref(), "a.tar", &archive(9)).await.unwrap();
    let folder = rig.drive.files()[0].id.clone();
    rig.drive.rename(&folder, "Something else");
    let place = rig.place().await;
    rig.send(place.as_ref(), "b.tar", &archive(9)).await.unwrap();
    assert_eq!(rig.folders(), 1);
    assert_eq!(place.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn folders_lie_in_each_other_and_are_distinguished_by_case() {
    let rig = Rig::new();
    for address in
        ["gdrive://Home/Cabin%20%26%20Lake", "gdrive://home", "gdrive://Home/Cabin%20%26%20Lake/", "gdrive://Home"]
    {
        let place = rig.connect(address).await.unwrap();
        rig.send(place.as_ref(), &format!("{}.tar", rig.archives().len()), &archive(9)).await.unwrap();
    }
    let files = rig.drive.files();
    let named = |name: &str| files.iter().filter(|file| file.name == name).collect::<Vec<_>>();
    assert_eq!((named("Home").len(), named("home").len(), named("Cabin & Lake").len()), (1, 1, 1));
    assert_eq!(named("Cabin & Lake")[0].parents, [named("Home")[0].id.clone()]);
    assert_eq!(named("0.tar")[0].parents, named("2.tar")[0].parents);
}

#[tokio::test]
async fn a_path_longer_than_a_property_is_found_again() {
    let rig = Rig::new();
    let address = format!("gdrive://{}/{}", "a".repeat(100), "b".repeat(100));
    for name in ["a.tar", "b.tar"] {
        rig.send(rig.connect(&address).await.unwrap().as_ref(), name, &archive(9)).await.unwrap();
    }
    assert_eq!(rig.folders(), 2);
}

#[tokio::test]
async fn of_two_folders_the_oldest_is_taken() {
    let rig = Rig::new();
    let newer = rig.drive.insert_folder("Backups", &[("haul_folder", "Backups")], HOUR);
    let older = rig.drive.insert_folder("Backups", &[("haul_folder", "Backups")], 2 * HOUR);
    rig.send(rig.place().await.as_ref(), "a.tar", &archive(9)).await.unwrap();
    let file = rig.drive.files().into_iter().find(|file| file.name == "a.tar").unwrap();
    assert_eq!((file.parents == [older.clone()], file.parents == [newer]), (true, false));
    // The one in use goes to the trash: the other is found in the middle of a run, and no third one is made.
    let place = rig.place().await;
    rig.drive.trash(&older);
    rig.send(place.as_ref(), "b.tar", &archive(9)).await.unwrap();
    assert_eq!(rig.folders(), 2);
}

#[tokio::test]
async fn the_folder_of_the_drive_add_on_is_used_as_it_is_where_google_shows_it() {
    let rig = Rig::new();
    let addons = rig.drive.insert_folder("Home Assistant Backups", &[("backup_folder", "true")], HOUR);
    rig.drive.insert(&addons, "Full Backup 2026-11-28 04:45:00.tar", b"12345", HOUR, false);
    rig.drive.insert(&addons, "of another client.tar", b"1", HOUR, true);
    let address = "gdrive://Home%20Assistant%20Backups";
    let place = rig.connect(address).await.unwrap();
    let listed = place.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(&place.read(&listed[0].name, 1..3).await.unwrap()[..], b"23");
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    assert_eq!(
        rig.drive.files().into_iter().find(|file| file.name == "a.tar").unwrap().parents,
        std::slice::from_ref(&addons)
    );
    let notes = place.notes();
    assert!(notes.len() == 1 && notes[0].contains("the folder of the Google Drive add-on"), "{notes:?}");
    // It may give several backups one name. Whoever deletes the one that is listed deletes no other.
    for (age, bytes) in [(3, b"old"), (2, b"new")] {
        let id = rig.drive.insert(&addons, "Nightly.tar", bytes, age * HOUR, false);
        rig.drive.mark(&id, "snapshot_slug", "f00df00d");
    }
    place.delete("Nightly.tar").await.unwrap();
    assert_eq!(&place.read("Nightly.tar", 0..3).await.unwrap()[..], b"new");
    place.delete("Nightly.tar").await.unwrap();
    // It stays the one for the next process, and no other address leads there.
    assert_eq!(rig.connect(address).await.unwrap().list().await.unwrap().len(), 2);
    assert!(rig.connect("gdrive://Haul").await.unwrap().list().await.unwrap().is_empty());
    // In the trash, it is nobody's: the next archive gets a folder of Haul's own.
    rig.drive.trash(&addons);
    let place = rig.connect(address).await.unwrap();
    assert!(place.list().await.unwrap().is_empty());
    rig.send(place.as_ref(), "b.tar", &archive(9)).await.unwrap();
    let file = rig.drive.files().into_iter().find(|file| file.name == "b.tar").unwrap();
    assert!(file.parents != [addons] && !file.trashed);
}

#[tokio::test]
async fn a_folder_that_is_gone_is_made_again_once() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    rig.drive.remove(&rig.drive.files()[0].id);
    assert!(place.list().await.unwrap().is_empty());
    rig.send(place.as_ref(), "b.tar", &archive(9)).await.unwrap();
    rig.send(place.as_ref(), "c.tar", &archive(9)).await.unwrap();
    assert_eq!(rig.folders(), 1);
}

#[tokio::test]
async fn a_folder_in_the_trash_gets_no_second_one_beside_it() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    let folder = rig.drive.files()[0].id.clone();
    rig.drive.trash(&folder);
    let error = rig.send(place.as_ref(), "b.tar", &archive(9)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not create a file in gdrive://Backups: the folder \"Backups\" is in the trash"
    );
    assert_eq!(place.list().await.unwrap_err().kind(), Some(Kind::NotFound));
    assert_eq!(rig.folders(), 1);
    rig.drive.untrash(&folder);
    rig.send(place.as_ref(), "b.tar", &archive(9)).await.unwrap();
}

#[tokio::test]
async fn a_long_list_comes_in_pages_and_shows_what_is_ours() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "it's 7 \\ 8.tar", &archive(9)).await.unwrap();
    let folder = rig.drive.files()[0].id.clone();
    for n in 0..10 {
        rig.drive.insert(&folder, &format!("{n}.tar"), &[n], HOUR, false);
    }
    rig.drive.insert(&folder, "foreign.tar", b"x", HOUR, true);
    rig.drive.insert(&folder, &owner::temporary_name(), b"x", HOUR, false);
    let trashed = rig.drive.insert(&folder, "trashed.tar", b"x", HOUR, false);
    rig.drive.trash(&trashed);
    rig.drive.set_page_limit(3);
    let before = rig.drive.count(Call::List);
    let mut names: Vec<String> = place.list().await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(rig.drive.count(Call::List) - before, 4);
    names.sort();
    let mut wanted: Vec<String> = (0..10).map(|n| format!("{n}.tar")).collect();
    wanted.push("it's 7 \\ 8.tar".to_owned());
    assert_eq!(names, wanted);
    let entry = place.entry("it's 7 \\ 8.tar").await.unwrap().unwrap();
    assert_eq!(entry.size, 9);
    assert!(entry.modified.unwrap().elapsed().unwrap() < HOUR);
    assert!(place.entry("trashed.tar").await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_list_has_shown_is_read_without_another_question() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(3 * PART);
    for name in ["a.tar", "b.tar"] {
        rig.send(&*place, name, &bytes).await.unwrap();
    }
    // As after a start.
    let place = rig.place().await;
    place.list().await.unwrap();
    let questions = || rig.drive.count(Call::List) + rig.drive.count(Call::Get);
    let before = questions();
    for name in ["a.tar", "b.tar"] {
        assert!(place.read(name, 100..200).await.unwrap() == bytes[100..200]);
    }
    assert_eq!(questions(), before);
}

#[tokio::test]
async fn what_dead_runs_left_is_swept_and_the_living_are_spared() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    let folder = rig.drive.files()[0].id.clone();
    let dead = owner::temporary_name().replace(&format!("-{}-", std::process::id()), &format!("-{}-", u32::MAX));
    rig.drive.insert(&folder, &dead, b"x", Duration::ZERO, false);
    rig.drive.insert(&folder, ".haul-00000000-00000000-1-1-00000000.part", b"x", 200 * HOUR, false);
    let others = rig.drive.insert(&folder, ".haul-00000000-00000000-1-1-00000001.part", b"x", HOUR, false);
    let kept = rig.drive.insert(&folder, &owner::lasting_name(), b"x", HOUR, false);
    let bytes = archive(PART);
    let upload = begin(place.as_ref(), "b.tar").await;
    upload.put(&parts(&bytes, PART)[0]).await.unwrap();
    assert_eq!(place.remove_abandoned().await.unwrap(), 2);
    assert_eq!(place.remove_abandoned().await.unwrap(), 0);
    upload.commit(&crate::completed(&bytes)).await.unwrap();
    rig.drive.remove(&others);
    rig.drive.remove(&kept);
    assert_eq!(rig.archives(), ["a.tar", "b.tar"]);
}

#[tokio::test]
async fn an_archive_that_was_replaced_by_hand_is_found_again() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "a.tar", &Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(&place.read("a.tar", 0..5).await.unwrap()[..], b"first");
    let files = rig.drive.files();
    rig.drive.remove(&files[1].id);
    assert_eq!(place.read("a.tar", 0..5).await.unwrap_err().kind(), Some(Kind::NotFound));
    rig.drive.insert(&files[0].id, "a.tar", b"second", HOUR, false);
    assert_eq!(&place.read("a.tar", 0..6).await.unwrap()[..], b"second");
}
