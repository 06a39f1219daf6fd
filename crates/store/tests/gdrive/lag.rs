//! A Drive whose searches lag behind what it has accepted: what was committed is the truth, whatever a search shows.

use std::{sync::Arc, time::Duration};

use store::{
    Bridge, Checked, Expected, Kind, Store,
    contract::{self, ContractOptions},
    outbound::{Network, Outbound, Outcome, Target},
    owner,
};
use testkit::drive::{Call, Fault, Ways};

use crate::{PART, Rig, archive, begin, completed, parts};

/// Longer than any run here asks.
const LONG: Ways = Ways {
    lag: 1_000_000,
    stale_listings: false,
    no_size: 0,
    no_md5: 0,
    abusive: false,
    reversed: false,
    limit_zero: false,
    shared: false,
    bare_range: false,
};

/// A backup as the engine makes it: the store is asked again after the end.
fn back_up(rig: &Rig, store: &Arc<dyn Store>, name: &str, bytes: &[u8]) -> Outcome {
    let bridge = Bridge::start().unwrap();
    let target = Target::Remote { sink: store.clone(), name: name.to_owned(), context: None };
    let mut outbound =
        Outbound::prepare(vec![target], Some(Network { bridge: &bridge, context: &rig.context }), false).unwrap();
    outbound.begin(Expected { least: Some(bytes.len() as u64), ..Expected::default() }).unwrap();
    outbound.append(bytes).unwrap();
    outbound.finish().pop().unwrap()
}

#[test]
fn a_backup_arrives_however_far_the_searches_lag() {
    for (lag, stale_listings) in [(1, false), (2, false), (1_000_000, false), (1, true), (2, true), (1_000_000, true)] {
        let rig = Rig::new();
        rig.drive.behave(Ways { lag, stale_listings, ..Ways::default() });
        let bridge = Bridge::start().unwrap();
        let store = bridge.wait(rig.connect("gdrive://Backups")).unwrap();
        let bytes = archive(3 * PART + 5);
        let outcome = back_up(&rig, &store, "a.tar", &bytes);
        assert!(outcome.result.is_ok(), "lag {lag}, stale {stale_listings}: {:?}", outcome.result.err());
        assert_eq!(rig.archives(), ["a.tar"]);
        // Who asks next sees it too, and does not take its name.
        bridge.wait(async {
            let entries = store.list().await.unwrap();
            assert_eq!((entries.len(), entries[0].size), (1, bytes.len() as u64));
            assert_eq!(store.entry("a.tar").await.unwrap().unwrap().size, bytes.len() as u64);
            assert_eq!(store.create("a.tar", Expected::default()).await.err().unwrap().kind(), Some(Kind::Exists));
            assert_eq!(store.remove_abandoned().await.unwrap(), 0);
        });
        assert_eq!(rig.archives(), ["a.tar"]);
    }
}

#[tokio::test]
async fn a_lagging_drive_keeps_the_contract() {
    let rig = Rig::new();
    rig.drive.behave(Ways { reversed: true, ..LONG });
    let place = rig.place().await;
    let options = ContractOptions { settle: Duration::from_secs(2), longest: Duration::from_mins(1) };
    let findings = contract::check(place.as_ref(), &options, &mut |_| ()).await.findings;
    let broken: Vec<_> = findings.iter().filter(|finding| !finding.is_fine()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(rig.archives(), Vec::<String>::new());
    rig.is_clean();
}

#[tokio::test]
async fn a_search_that_did_not_look_everywhere_is_no_list() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    for _ in 0..2 {
        rig.drive.script(Call::List, [Fault::Incomplete]);
        let error = place.list().await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("may lack archives"), "{error}");
        rig.drive.script(Call::List, [Fault::Incomplete]);
        assert!(place.remove_abandoned().await.is_err());
    }
    assert_eq!(place.list().await.unwrap().len(), 1);
    assert_eq!(rig.archives(), ["a.tar"]);
}

#[tokio::test]
async fn another_process_finds_a_name_that_was_given_just_now() {
    let rig = Rig::new();
    rig.drive.behave(LONG);
    rig.send(rig.place().await.as_ref(), "a.tar", &archive(PART)).await.unwrap();
    let next = rig.place().await;
    assert_eq!(next.entry("a.tar").await.unwrap().unwrap().size, PART as u64);
    assert_eq!(next.create("a.tar", Expected::default()).await.err().unwrap().kind(), Some(Kind::Exists));
    assert!(next.entry("A.tar").await.unwrap().is_none(), "names are compared here, letter by letter");
}

#[tokio::test]
async fn the_next_run_does_not_remove_an_archive_that_is_listed_under_its_old_name() {
    let rig = Rig::new();
    let folder = {
        rig.send(rig.place().await.as_ref(), "first.tar", &archive(9)).await.unwrap();
        rig.drive.files()[0].id.clone()
    };
    rig.drive.behave(Ways { stale_listings: true, ..LONG });
    // Of a process that has ended, and was older than it seems.
    let dead = owner::temporary_name().replace(&format!("-{}-", std::process::id()), &format!("-{}-", u32::MAX));
    let id = rig.drive.insert(&folder, &dead, b"archive", Duration::from_hours(1), false);
    rig.drive.give_name(&id, "second.tar");
    let place = rig.place().await;
    assert_eq!(place.remove_abandoned().await.unwrap(), 0);
    assert_eq!(rig.archives(), ["second.tar", "first.tar"]);
}

#[tokio::test]
async fn no_second_folder_is_made_because_the_first_is_not_found_yet() {
    for address in ["gdrive://Backups", "gdrive://Home/Cabin"] {
        let rig = Rig::new();
        rig.drive.behave(LONG);
        rig.send(rig.connect(address).await.unwrap().as_ref(), "a.tar", &archive(9)).await.unwrap();
        let folders = rig.folders();
        // The same machine, and then another one, which knows nothing but what the Drive says.
        rig.send(rig.connect(address).await.unwrap().as_ref(), "b.tar", &archive(9)).await.unwrap();
        rig.forget_folders();
        let other = rig.connect(address).await.unwrap();
        rig.send(other.as_ref(), "c.tar", &archive(9)).await.unwrap();
        assert_eq!(rig.folders(), folders, "{address}");
        assert_eq!(other.list().await.unwrap().len(), 3, "{address}");
    }
}

#[tokio::test]
async fn a_folder_that_was_moved_is_known_by_its_id_while_searches_lag() {
    let rig = Rig::new();
    rig.drive.behave(LONG);
    rig.send(rig.place().await.as_ref(), "a.tar", &archive(9)).await.unwrap();
    let elsewhere = rig.drive.insert_folder("Elsewhere", &[], Duration::from_hours(5));
    let folder = rig.drive.files().into_iter().find(|file| file.name == "Backups").unwrap().id;
    rig.drive.move_to(&folder, &elsewhere);
    assert_eq!(rig.place().await.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_several_folders_with_the_mark_all_are_read_and_that_is_reported() {
    let rig = Rig::new();
    let newer = rig.drive.insert_folder("Backups", &[("haul_folder", "Backups")], Duration::from_hours(1));
    let older = rig.drive.insert_folder("Backups", &[("haul_folder", "Backups")], Duration::from_hours(2));
    rig.drive.insert(&newer, "new.tar", b"123", Duration::from_hours(1), false);
    rig.drive.insert(&older, "old.tar", b"12345", Duration::from_hours(1), false);
    rig.drive.behave(Ways { reversed: true, ..Ways::default() });
    let place = rig.place().await;
    let mut names: Vec<String> = place.list().await.unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    assert_eq!(names, ["new.tar", "old.tar"]);
    assert_eq!(&place.read("new.tar", 1..3).await.unwrap()[..], b"23");
    assert_eq!(place.create("new.tar", Expected::default()).await.err().unwrap().kind(), Some(Kind::Exists));
    rig.send(place.as_ref(), "third.tar", &archive(9)).await.unwrap();
    assert_eq!(rig.drive.files().into_iter().find(|file| file.name == "third.tar").unwrap().parents, [older]);
    let notes = place.notes();
    assert!(notes.len() == 1 && notes[0].starts_with("2 folders of this Drive are marked as \"Backups\""), "{notes:?}");
    place.delete("new.tar").await.unwrap();
    assert_eq!(rig.archives(), ["old.tar", "third.tar"]);
}

#[tokio::test]
async fn a_size_that_is_not_said_is_asked_again_and_nothing_is_removed() {
    for (no_size, no_md5, checked) in
        [(2, 0, Checked::Checksum), (1000, 0, Checked::Checksum), (1000, 1000, Checked::Size)]
    {
        let rig = Rig::new();
        let place = rig.place().await;
        rig.drive.behave(Ways { no_size, no_md5, ..Ways::default() });
        assert_eq!(rig.send(place.as_ref(), "a.tar", &archive(2 * PART)).await.unwrap(), checked);
        assert_eq!(place.entry("a.tar").await.unwrap().unwrap().size, 2 * PART as u64);
        // Another process that does not know either does not call it empty.
        if no_size == 1000 {
            let other = rig.place().await;
            assert!(other.entry("a.tar").await.unwrap_err().is_transient());
            assert!(other.list().await.unwrap_err().is_transient());
        }
        assert_eq!(rig.archives(), ["a.tar"]);
    }
}

#[tokio::test]
async fn a_file_that_is_not_seen_right_after_it_was_made_is_asked_for_again() {
    let rig = Rig::new();
    let place = rig.place().await;
    let bytes = archive(PART);
    let upload = begin(place.as_ref(), "a.tar").await;
    upload.put(&parts(&bytes, PART)[0]).await.unwrap();
    rig.drive.script(Call::Get, [Fault::Status { status: 404, reason: "notFound", retry_after: None }]);
    assert!(upload.commit(&completed(&bytes)).await.unwrap_err().is_transient());
    assert_eq!(upload.commit(&completed(&bytes)).await.unwrap(), Checked::Checksum);
    assert_eq!(rig.drive.received(), bytes.len() as u64);
}

#[tokio::test]
async fn a_name_that_is_there_twice_is_removed_twice() {
    let rig = Rig::new();
    let place = rig.place().await;
    rig.send(place.as_ref(), "a.tar", &archive(9)).await.unwrap();
    let folder = rig.drive.files()[0].id.clone();
    for n in 1..3 {
        rig.drive.insert(&folder, "b.tar", &[n], Duration::from_hours(n.into()), false);
    }
    assert_eq!(place.list().await.unwrap().len(), 2);
    place.delete("b.tar").await.unwrap();
    assert_eq!(rig.archives(), ["a.tar"]);
    // What this process put there is removed by its id: one of the same name that came from elsewhere is not its own.
    rig.drive.insert(&folder, "a.tar", b"other", Duration::from_hours(1), false);
    place.delete("a.tar").await.unwrap();
    assert_eq!(rig.archives(), ["a.tar"]);
    rig.place().await.delete("a.tar").await.unwrap();
    assert_eq!(rig.archives(), Vec::<String>::new());
}
