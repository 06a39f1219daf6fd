//! Supervisor's mounts become what they should be, also the second time, and nobody else's is touched.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::{cell::RefCell, sync::Arc, time::Duration};

use common::{PASSWORD, client, impatient, wanted, world};
use serde_json::json;
use supervisor::{
    Kind, NewBackup, Place, Secret, Supervisor,
    mount::{Kept, Ours, State, Wanted, keep, restore_default},
};
use testkit::supervisor::{Fault, Supervisor as Server, World, mount};

fn ours() -> Ours {
    Ours::at([])
}

async fn kept(client: &Supervisor, wanted: &[Wanted]) -> Kept {
    keep(client, wanted, &ours(), |_| ()).await.unwrap()
}

fn default_of(server: &Server) -> Option<String> {
    server.change(|world| world.default_backup_mount.clone())
}

#[tokio::test]
async fn the_first_mount_is_created_and_the_default_stays_none() {
    let server = Server::start(World::default());
    let client = client(&server);
    let before = RefCell::new(Vec::new());
    let note = |default: Option<&str>| before.borrow_mut().push(default.map(str::to_owned));
    let all = [wanted("haul_nas"), wanted("haul_cloud")];
    let kept = keep(&client, &all, &ours(), note).await.unwrap();
    assert!(kept.is_complete(), "{kept:?}");
    assert_eq!((&kept.changed, &kept.working), (&vec!["haul_nas".to_owned(), "haul_cloud".to_owned()], &kept.changed));
    assert_eq!(*before.borrow(), [None], "told once, before anything changed");
    assert_eq!(server.told(), ["POST /mounts", "POST /mounts", "POST /mounts/options"]);
    assert_eq!(default_of(&server), None);
    let made = server.change(|world| world.mount("haul_nas").unwrap().clone());
    assert_eq!((&made["username"], &made["password"]), (&json!("homeassistant"), &json!(PASSWORD)));
    assert_eq!((&made["usage"], &made["port"]), (&json!("backup"), &json!(8746)));
    let listed = client.mounts().await.unwrap();
    assert_eq!(listed.named("haul_nas").unwrap().state, State::Active);
    // The second time, there is nothing to do, and nothing to note.
    let again = keep(&client, &all, &ours(), |_| panic!("nothing changes")).await.unwrap();
    assert!(again.is_complete() && again.changed.is_empty());
    assert_eq!(server.told().len(), 3);
}

#[tokio::test]
async fn a_default_that_the_user_chose_stays_also_if_it_is_ours() {
    let mut others = world();
    others.mounts.push(mount("nas", "192.168.1.10", "backups"));
    others.default_backup_mount = Some("nas".to_owned());
    let server = Server::start(others);
    let client = client(&server);
    assert!(kept(&client, &[wanted("haul_nas"), wanted("haul_new")]).await.is_complete());
    assert_eq!(default_of(&server).as_deref(), Some("nas"));
    assert_eq!(server.told(), ["POST /mounts"]);
    // An update takes it away from ours, and it gets it back.
    server.change(|world| world.default_backup_mount = Some("haul_nas".to_owned()));
    let renewed = Wanted { is_renewed: true, ..wanted("haul_nas") };
    assert!(kept(&client, &[renewed, wanted("haul_new")]).await.is_complete());
    assert_eq!(default_of(&server).as_deref(), Some("haul_nas"));
    // When it goes, so does its place.
    assert!(kept(&client, &[wanted("haul_new")]).await.is_complete());
    assert_eq!(default_of(&server), None);
}

#[tokio::test]
async fn what_is_not_ours_stays_and_its_name_is_said_to_be_taken() {
    let theirs = mount("haul_nas", "192.168.1.10", "nas");
    let server =
        Server::start(World { mounts: vec![theirs, mount("music", "172.30.33.5", "music")], ..World::default() });
    let client = client(&server);
    let kept = kept(&client, &[wanted("haul_nas")]).await;
    assert_eq!(kept.failed[0].error.kind, Kind::Exists);
    assert!(kept.failed[0].error.advice.contains("rename or remove haul_nas"), "{kept:?}");
    assert!(server.told().is_empty());
    assert_eq!(server.change(|world| world.mounts.len()), 2);
}

#[tokio::test]
async fn one_that_does_not_work_is_reloaded_and_if_that_fails_updated() {
    // It can be mounted only with the new password.
    let mounting = Arc::new(|mount: &serde_json::Value| mount["password"] == PASSWORD);
    let server = Server::start(World { mounting: Some(mounting), ..world() });
    let client = client(&server);
    assert_eq!(client.mounts().await.unwrap().mounts[0].state, State::Down);
    let kept = kept(&client, &[wanted("haul_nas")]).await;
    assert!(kept.is_complete(), "{kept:?}");
    assert_eq!(server.told(), ["POST /mounts/haul_nas/reload", "PUT /mounts/haul_nas"]);
    assert_eq!(client.mounts().await.unwrap().mounts[0].state, State::Active);
    // One that only lost its server comes back by itself.
    server.change(|world| world.mounts[0].insert("state".to_owned(), json!("failed")));
    assert!(self::kept(&client, &[wanted("haul_nas")]).await.is_complete());
    assert_eq!(server.told().len(), 3);
}

#[tokio::test]
async fn one_that_cannot_be_mounted_is_said_in_supervisors_words_and_the_others_are_kept() {
    let mounting = Arc::new(|mount: &serde_json::Value| mount["name"] != "haul_bad");
    let server = Server::start(World { mounting: Some(mounting), ..World::default() });
    let client = client(&server);
    let kept = kept(&client, &[wanted("haul_bad"), wanted("haul_good")]).await;
    assert_eq!((kept.working.as_slice(), kept.failed.len()), (&["haul_good".to_owned()][..], 1));
    assert_eq!(kept.failed[0].error.kind, Kind::MountFailed);
    assert_eq!(
        kept.failed[0].error.to_string(),
        "could not create the network storage haul_bad: Supervisor says: Mounting haul_bad did not succeed. Check host \
         logs for errors from mount or systemd unit mnt-data-supervisor-mounts-haul_bad.mount for details"
    );
    assert!(client.mounts().await.unwrap().named("haul_bad").is_none());
    assert_eq!(default_of(&server), None);
}

#[tokio::test]
async fn a_backup_that_is_under_way_is_not_interrupted() {
    let server = Server::start(world());
    server.change(|world| world.hold_at = Some("home_assistant"));
    let client = client(&server);
    let new = NewBackup { places: vec![Place::Mount("haul_nas".to_owned())], ..NewBackup::named("n") };
    client.new_full(&new).await.unwrap();
    let renewed = Wanted { is_renewed: true, ..wanted("haul_nas") };
    let kept = kept(&client, &[renewed.clone(), wanted("haul_new")]).await;
    assert_eq!((kept.failed[0].name.as_str(), kept.failed[0].error.kind), ("haul_nas", Kind::Busy));
    assert_eq!(kept.changed, ["haul_new"], "what interrupts nobody is done");
    let told: Vec<_> = server.told().into_iter().filter(|told| told.contains("haul_nas")).collect();
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(self::kept(&client, &[]).await.failed.len(), 2, "nor is it removed");
    server.change(|world| world.hold_at = None);
    testkit::wait::until_async("the backup has ended", || server.change(|world| world.state == "running")).await;
    assert!(self::kept(&client, &[renewed, wanted("haul_new")]).await.is_complete());
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_found_to_have_happened() {
    let server = Server::start(World::default());
    server.fault("POST", "/mounts", Fault::Unanswered);
    let client = client(&server);
    let kept = kept(&client, &[wanted("haul_nas")]).await;
    assert_eq!((kept.failed[0].error.kind, default_of(&server)), (Kind::Broken, None), "the default is looked after");
    let again = self::kept(&client, &[wanted("haul_nas")]).await;
    assert!(again.is_complete() && again.changed.is_empty(), "{again:?}");
}

#[tokio::test]
async fn a_crash_between_the_mount_and_its_default_can_be_made_good() {
    let server = Server::start(World::default());
    // The answer comes when nobody waits any more, so what follows is as after a crash.
    server.fault("POST", "/mounts/options", Fault::Says(500, String::new()));
    let client = client(&server);
    let noted = RefCell::new(None);
    let note = |default: Option<&str>| *noted.borrow_mut() = Some(default.map(str::to_owned));
    let kept = keep(&client, &[wanted("haul_nas")], &ours(), note).await.unwrap();
    assert!(!kept.is_complete() && kept.failed.is_empty());
    assert_eq!(kept.default.as_ref().unwrap().kind, Kind::Failing);
    assert_eq!(default_of(&server).as_deref(), Some("haul_nas"));
    restore_default(&client, noted.into_inner().unwrap().as_deref(), &ours()).await.unwrap();
    assert_eq!(default_of(&server), None);
}

#[tokio::test]
async fn somebody_else_may_be_faster() {
    let server = Server::start(world());
    let client = client(&server);
    let gone =
        r#"{"result":"error","message":"No mount exists with name haul_nas","error_key":"mount_not_found_error"}"#;
    server.fault("DELETE", "/mounts/haul_nas", Fault::Says(404, gone.to_owned()));
    assert!(kept(&client, &[]).await.is_complete(), "that it is gone is what was wanted");
    let exists = r#"{"result":"error","message":"A mount already exists with name haul_new"}"#;
    server.fault("POST", "/mounts", Fault::Says(400, exists.to_owned()));
    let kept = kept(&client, &[wanted("haul_nas"), wanted("haul_new")]).await;
    assert_eq!(kept.failed[0].error.kind, Kind::Exists);
}

#[tokio::test]
async fn without_an_answer_about_the_mounts_nothing_is_done() {
    let server = Server::start(world());
    server.fault("GET", "/mounts", Fault::Silent);
    let error = keep(&impatient(&server), &[], &ours(), |_| panic!("nothing is known")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Broken);
    // Nor without an answer whether a backup is under way.
    server.fault("GET", "/jobs/info", Fault::Says(500, String::new()));
    let kept_so = kept(&client(&server), &[]).await;
    assert!(!kept_so.is_complete() && kept_so.changed.is_empty() && server.told().is_empty());
    let late = Fault::Late(Duration::from_millis(20));
    server.fault("DELETE", "/mounts/haul_nas", late);
    assert!(kept(&client(&server), &[]).await.is_complete());
}

#[tokio::test]
async fn what_supervisor_refuses_repeats_no_password() {
    let server = Server::start(World::default());
    let client = client(&server);
    let names = Wanted { name: "haul-nas".to_owned(), ..wanted("") };
    let error = client.create_mount(&names).await.unwrap_err();
    assert_eq!(
        error.reason,
        "Supervisor says: does not match regular expression ^[A-Za-z0-9_]+$ for dictionary value @ data['name']. Got \
         'haul-nas'"
    );
    // Word for word what Supervisor says to a mount that is read-only: all of the request.
    let body =
        r#"{"result":"error","message":"Backup mounts cannot be read only. Got {'password': 'sesame-of-the-mount'}"}"#;
    server.fault("POST", "/mounts", Fault::Says(400, body.to_owned()));
    let error = client.create_mount(&wanted("haul_nas")).await.unwrap_err();
    assert!(
        !format!("{error:?}").contains(PASSWORD) && error.reason.contains("Got {'password': '(secret)'}"),
        "{error}"
    );
    for wrong in [
        Wanted { user: String::new(), ..wanted("haul_nas") },
        Wanted { password: Secret::new(""), ..wanted("haul_nas") },
        Wanted { password: Secret::new("a\nusername=root"), ..wanted("haul_nas") },
    ] {
        assert_eq!(client.create_mount(&wrong).await.unwrap_err().kind, Kind::Invalid);
        assert_eq!(client.update_mount(&wrong).await.unwrap_err().kind, Kind::Invalid);
    }
    server.change(|world| world.features.retain(|feature| *feature != "mount"));
    assert_eq!(client.create_mount(&wanted("haul_nas")).await.unwrap_err().kind, Kind::Unsupported);
}
