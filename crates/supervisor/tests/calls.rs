//! What the calls say of a Supervisor, as of 2026 and of 2025: the whole life of a backup, its job, rights, the broker,
//! Core.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::{Arc, Mutex};

use common::{KEY, SLUG, client, world};
use serde_json::json;
use supervisor::{Apps, Content, Copy, Job, JobKind, Kind, NewBackup, Place, Restore, Secret, Started, Supervisor};
use testkit::supervisor::{Fault, Role, Supervisor as Server, World};

fn mount() -> Place {
    Place::Mount("haul_nas".to_owned())
}

/// The job, once it is done.
async fn done(client: &Supervisor, started: &Started) -> Job {
    loop {
        let job = client.job(&started.job).await.unwrap();
        if job.is_done() {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

/// The job, once it is at a stage.
async fn at(client: &Supervisor, started: &Started, stage: &str) -> Job {
    loop {
        let job = client.job(&started.job).await.unwrap();
        if job.stage.as_deref() == Some(stage) {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

/// An answer with this data.
fn says(data: &serde_json::Value) -> Fault {
    Fault::Says(200, json!({ "result": "ok", "data": data }).to_string())
}

#[tokio::test]
async fn a_full_backup_goes_through_its_stages_to_a_place_in_the_list() {
    let server = Server::start(world());
    server.change(|world| world.hold_at = Some("apps"));
    let client = client(&server);
    let new = NewBackup {
        filename: Some("nightly-2026-11-28.tar".to_owned()),
        password: Some(Secret::new(KEY)),
        compressed: false,
        places: vec![mount()],
        extra: json!({ "haul.job": "nightly" }).as_object().unwrap().clone(),
        ..NewBackup::named("Nightly")
    };
    let started = client.new_full(&new).await.unwrap();
    assert_eq!(started.slug, None, "nobody waits for it");
    let job = at(&client, &started, "apps").await;
    assert_eq!((job.kind(), job.is_done(), job.done), (JobKind::Backup, false, Some(false)));
    assert_eq!(job.children[0].name.as_deref(), Some("backup_store_homeassistant"));
    assert_eq!(client.info().await.unwrap().state.as_deref(), Some("freeze"));
    // A second one has to wait, and is told so.
    let error = client.new_full(&new).await.unwrap_err();
    assert_eq!((error.kind, error.is_transient()), (Kind::Busy, true));
    assert_eq!(
        error.to_string(),
        "could not start a full backup: Supervisor says: 'BackupManager.do_backup_full' blocked from execution, system \
         is not running - freeze"
    );
    server.change(|world| world.hold_at = None);
    let job = done(&client, &started).await;
    assert!(job.all_errors().is_empty());
    let slug = job.reference.unwrap();
    let backups = client.backups().await.unwrap();
    let made = backups.iter().find(|backup| backup.slug == slug).unwrap();
    assert_eq!(made.copies(), [Copy { place: mount(), protected: Some(true), size: Some(10_240) }]);
    let details = client.backup(&slug).await.unwrap();
    assert_eq!(details.backup.slug, slug);
    assert_eq!(details.backup.compressed, Some(false));
    assert_eq!(details.backup.copies(), made.copies());
    assert_eq!(details.apps.iter().map(|app| app.slug.as_str()).collect::<Vec<_>>(), ["core_ssh", "core_mosquitto"]);
    assert_eq!(details.folders, ["share", "addons/local", "ssl", "media"]);
    assert_eq!(details.extra.unwrap()["haul.job"], "nightly");
    assert_eq!(details.homeassistant.as_deref(), Some("2026.11.0"));
}

#[tokio::test]
async fn a_backup_writes_what_the_test_says_where_its_mount_is() {
    let server = Server::start(world());
    let seen = Arc::new(Mutex::new(None));
    let told = Arc::clone(&seen);
    server.change(|world| {
        world.writing = Some(Arc::new(move |order| {
            *told.lock().unwrap() = Some(order.clone());
            Ok(123)
        }));
    });
    let client = client(&server);
    let content = Content {
        homeassistant: true,
        apps: Apps::These(vec!["core_ssh".to_owned(), "gone".to_owned()]),
        folders: vec!["ssl".to_owned()],
    };
    let new = NewBackup { places: vec![mount(), Place::Local], ..NewBackup::named("Some") };
    let new = NewBackup { homeassistant_exclude_database: Some(true), ..new };
    done(&client, &client.new_partial(&new, &content).await.unwrap()).await;
    let order = seen.lock().unwrap().take().unwrap();
    let at = order.mount.as_ref().unwrap();
    assert_eq!(
        (&at["server"], &at["port"], &at["username"]),
        (&json!("172.30.33.5"), &json!(8746), &json!("somebody"))
    );
    assert!(!order.is_full && order.homeassistant && order.excludes_database && order.compressed);
    assert_eq!((order.apps, order.folders), (vec!["core_ssh".to_owned()], vec!["ssl".to_owned()]));
    let made = client.backup(&order.slug).await.unwrap().backup;
    let places: Vec<_> = made.copies().into_iter().map(|copy| copy.place).collect();
    assert_eq!(places, [Place::Local, mount()]);
    assert_eq!(made.kind.as_deref(), Some("partial"));
}

#[tokio::test]
async fn what_fails_in_a_backup_is_in_its_job_with_its_part() {
    let server = Server::start(world());
    server.change(|world| {
        world.unsavable.insert("core_ssh", "Can't write tarfile:\n no space");
    });
    let client = client(&server);
    let new = NewBackup::named("n");
    let job = done(&client, &client.new_full(&new).await.unwrap()).await;
    let failed = job.all_errors();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0.name.as_deref(), Some("backup_app_save"));
    assert_eq!(failed[0].0.reference.as_deref(), Some("core_ssh"));
    assert_eq!(failed[0].1.message.as_deref(), Some("Can't write tarfile: no space"));
    assert!(client.backup(job.reference.as_deref().unwrap()).await.is_ok(), "the backup is there all the same");
    // What breaks the whole backup leaves nothing in the list.
    server.change(|world| world.writing = Some(Arc::new(|_| Err("[Errno 112] Host is down".to_owned()))));
    let job = done(&client, &client.new_full(&new).await.unwrap()).await;
    assert_eq!(job.all_errors()[0].1.message.as_deref(), Some("[Errno 112] Host is down"));
    assert_eq!(client.backup(job.reference.as_deref().unwrap()).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(client.info().await.unwrap().state.as_deref(), Some("running"));
}

#[tokio::test]
async fn old_and_new_words_are_the_same_to_us() {
    for version in ["2025.01.0", "2026.07.3", "2026.07.4", "2026.08.0"] {
        let server = Server::start(World { version, ..world() });
        server.change(|world| world.hold_at = Some("apps"));
        let client = client(&server);
        let started = client.new_full(&NewBackup::named("n")).await.unwrap();
        at(&client, &started, "apps").await;
        server.change(|world| world.hold_at = None);
        let job = done(&client, &started).await;
        let names: Vec<_> = job.children.iter().map(|child| child.name.as_deref().unwrap()).collect();
        let expected = [
            "backup_store_homeassistant",
            "backup_store_apps",
            "backup_store_folders",
            "backup_store_supervisor_config",
        ];
        assert_eq!(names, expected, "{version}");
        assert_eq!(job.children[1].children[0].name.as_deref(), Some("backup_app_save"), "{version}");
        let all = client.jobs().await.unwrap();
        let part = &job.children[1].children[1].uuid;
        assert_eq!(all.iter().find_map(|root| root.find(part)).unwrap().reference.as_deref(), Some("core_mosquitto"));
    }
}

#[tokio::test]
async fn the_shapes_of_2025_and_of_the_second_api_are_read() {
    let server = Server::start(world());
    let client = client(&server);
    // As in January 2025: no attributes of locations; errors without a stage.
    let old = json!({ "backups": [{
        "slug": "aa", "name": "Old", "date": "2025-01-20T00:00:00+00:00", "type": "full", "size": 1.5,
        "size_bytes": 1_572_864, "location": null, "locations": [null, "nas"], "protected": true, "compressed": true,
        "content": { "homeassistant": true, "addons": ["a"], "folders": [] },
    }] });
    server.fault("GET", "/backups", says(&old));
    let backups = client.backups().await.unwrap();
    let copy = |place| Copy { place, protected: Some(true), size: Some(1_572_864) };
    assert_eq!(backups[0].copies(), [copy(Place::Local), copy(Place::Mount("nas".to_owned()))]);
    assert_eq!(backups[0].content.apps, ["a"]);
    let jobs = json!({ "ignore_conditions": [], "jobs": [{
        "name": "backup_manager_full_backup", "reference": "aa", "uuid": "1", "progress": 0, "stage": "addons",
        "done": false, "errors": [{ "type": "BackupError", "message": "x" }],
        "child_jobs": [{ "name": "backup_store_addons", "reference": null, "uuid": "2", "progress": 12.5, "stage": null,
            "done": null, "errors": null, "child_jobs": null }],
    }] });
    server.fault("GET", "/jobs/info", says(&jobs));
    let jobs = client.jobs().await.unwrap();
    assert_eq!((jobs[0].stage.as_deref(), jobs[0].errors[0].stage.as_deref()), (Some("apps"), None));
    assert_eq!(jobs[0].children[0].name.as_deref(), Some("backup_store_apps"));
    assert!((jobs[0].children[0].progress - 12.5).abs() < f64::EPSILON);
    // The second API's word.
    server.fault("GET", "/addons", says(&json!({ "apps": [{ "slug": "a", "new": [1] }] })));
    assert_eq!(client.apps().await.unwrap()[0].slug, "a");
}

#[tokio::test]
async fn what_is_missing_or_null_is_empty() {
    let server = Server::start(world());
    let client = client(&server);
    for nothing in [json!({}), json!({ "supervisor": null, "features": null, "arch": null })] {
        server.fault("GET", "/info", says(&nothing));
        let info = client.info().await.unwrap();
        assert!(info.supervisor.is_none() && !info.can_mount());
    }
    for nothing in [json!({}), json!({ "slug": null, "ip_address": null, "ingress_port": null, "host_network": null })]
    {
        server.fault("GET", "/addons/self/info", says(&nothing));
        assert_eq!(client.own_app().await.unwrap().address(), None);
    }
    for address in ["0.0.0.0", "None", ""] {
        server.fault("GET", "/addons/self/info", says(&json!({ "ip_address": address })));
        assert_eq!(client.own_app().await.unwrap().address(), None);
    }
    for nothing in [json!({}), json!({ "backups": null }), json!({ "backups": [{}] })] {
        server.fault("GET", "/backups", says(&nothing));
        let all = client.backups().await.unwrap();
        assert!(all.iter().all(|backup| backup.slug.is_empty() && backup.copies()[0].place == Place::Local));
    }
    let nulls = json!({ "slug": null, "size_bytes": null, "location_attributes": null, "locations": null, "addons": null,
        "content": null, "extra": null, "folders": null, "protected": null });
    server.fault("GET", "/backups/f00df00d/info", says(&nulls));
    assert_eq!(client.backup(SLUG).await.unwrap().backup.size(), None);
    server.fault("GET", "/mounts", says(&json!({ "default_backup_mount": null, "mounts": [{ "name": "a" }, {}] })));
    assert_eq!(client.mounts().await.unwrap().mounts.len(), 2);
    server.fault("GET", "/mounts", says(&json!({})));
    assert!(client.mounts().await.unwrap().mounts.is_empty());
    server.fault("GET", "/jobs/info", says(&json!({ "jobs": [{ "uuid": null, "progress": null, "errors": [{}] }] })));
    assert_eq!(client.jobs().await.unwrap()[0].kind(), JobKind::Other);
}

#[tokio::test]
async fn what_runs_here_and_where_this_app_is() {
    let server = Server::start(world());
    let client = client(&server);
    let info = client.info().await.unwrap();
    assert_eq!(info.supervisor.as_deref(), Some("2026.08.0"));
    assert_eq!(info.homeassistant.as_deref(), Some("2026.11.0"));
    assert_eq!((info.arch.as_deref(), info.timezone.as_deref()), (Some("aarch64"), Some("Europe/Berlin")));
    assert!(info.can_mount());
    let own = client.own_app().await.unwrap();
    assert_eq!((own.slug.as_str(), own.address().unwrap().to_string().as_str()), ("a1b2c3d4_haul", "172.30.33.5"));
    assert_eq!(own.ingress_url.unwrap(), format!("{}/", own.ingress_entry.unwrap()));
    assert_eq!(client.apps().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_backup_is_deleted_where_it_is_said_and_nowhere_else() {
    let server = Server::start(world());
    let client = client(&server);
    assert_eq!(client.delete_backup(SLUG, &[]).await.unwrap_err().kind, Kind::Invalid);
    client.delete_backup(SLUG, &[Place::Local]).await.unwrap();
    let left: Vec<_> = client.backups().await.unwrap()[0].copies().into_iter().map(|copy| copy.place).collect();
    assert_eq!(left, [mount()]);
    client.delete_backup(SLUG, &[Place::Local]).await.expect("there is none there any more");
    let error = client.delete_backup(SLUG, &[Place::Mount("nowhere".to_owned())]).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    client.delete_backup(SLUG, &[mount()]).await.unwrap();
    let error = client.delete_backup(SLUG, &[mount()]).await.unwrap_err();
    assert_eq!(error.to_string(), "could not delete the backup f00df00d: Supervisor says: Backup does not exist");
}

#[tokio::test]
async fn a_restore_needs_the_right_password_and_says_how_it_went() {
    let server = Server::start(world());
    let client = client(&server);
    let content = Content { homeassistant: true, apps: Apps::These(vec!["core_ssh".to_owned()]), folders: Vec::new() };
    let how = |password: &str| Restore { password: Some(Secret::new(password)), place: Some(mount()) };
    let error = client.restore_partial(SLUG, &how("wrong"), &content).await.unwrap_err();
    assert_eq!(
        (error.kind, error.said.as_deref()),
        (Kind::WrongPassword, Some("Invalid password for backup f00df00d"))
    );
    let all = Content { apps: Apps::All, ..content.clone() };
    assert_eq!(client.restore_partial(SLUG, &how(KEY), &all).await.unwrap_err().kind, Kind::Invalid);
    let started = client.restore_partial(SLUG, &how(KEY), &content).await.unwrap();
    let job = done(&client, &started).await;
    assert_eq!((job.kind(), job.all_errors().len()), (JobKind::Restore, 0));
    server.change(|world| world.restoring = Some(Arc::new(|_| Err("Can't restore".to_owned()))));
    let job = done(&client, &client.restore_full(SLUG, &how(KEY)).await.unwrap()).await;
    assert_eq!(job.all_errors()[0].1.message.as_deref(), Some("Can't restore"));
    let elsewhere = Restore { place: Some(Place::Mount("else".to_owned())), ..how(KEY) };
    assert_eq!(client.restore_full(SLUG, &elsewhere).await.unwrap_err().kind, Kind::Refused);
}

#[tokio::test]
async fn a_mount_that_is_down_and_a_full_disk_are_told_apart() {
    let server = Server::start(World { mounting: Some(Arc::new(|_| false)), ..world() });
    let client = client(&server);
    let on_mount = NewBackup { places: vec![mount()], ..NewBackup::named("n") };
    let error = client.new_full(&on_mount).await.unwrap_err();
    assert_eq!(error.kind, Kind::MountDown);
    assert_eq!(error.to_string(), "could not start a full backup: Supervisor says: Backup mount 'haul_nas' is down");
    // As said in 2025.
    let old = r#"{"result":"error","message":"haul_nas is down, cannot back-up to it"}"#;
    server.fault("POST", "/backups/new/full", Fault::Says(400, old.to_owned()));
    assert_eq!(client.new_full(&on_mount).await.unwrap_err().kind, Kind::MountDown);
    server.change(|world| world.free_space = 1.5);
    let local = NewBackup { places: vec![Place::Local], ..NewBackup::named("n") };
    assert_eq!(client.new_full(&local).await.unwrap_err().kind, Kind::Full);
    let nowhere = NewBackup { places: vec![Place::Mount("nowhere".to_owned())], ..NewBackup::named("n") };
    assert_eq!(client.new_full(&nowhere).await.unwrap_err().kind, Kind::NotFound);
    let bad = NewBackup { filename: Some("a/b.tar".to_owned()), ..NewBackup::named("n") };
    let error = client.new_full(&bad).await.unwrap_err();
    assert!(error.reason.contains("does not match regular expression"), "{error}");
}

#[tokio::test]
async fn a_supervisor_that_restarts_in_a_backup_knows_nothing_of_it() {
    let server = Server::start(world());
    server.change(|world| world.hold_at = Some("home_assistant"));
    let client = client(&server);
    let started = client.new_full(&NewBackup::named("n")).await.unwrap();
    server.unplug();
    assert_eq!(client.job(&started.job).await.unwrap_err().kind, Kind::Unreachable);
    server.plug();
    assert_eq!(client.job(&started.job).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(client.backups().await.unwrap().len(), 1);
    // What it finds when it looks is in the list again.
    server.change(|world| world.looking = Some(Arc::new(Vec::clear)));
    client.reload_backups().await.unwrap();
    assert!(client.backups().await.unwrap().is_empty());
}

#[tokio::test]
async fn rights_are_those_of_the_role() {
    let server = Server::start(World { role: Role::Backup, ..world() });
    let client = client(&server);
    client.backups().await.unwrap();
    client.jobs().await.unwrap();
    client.own_app().await.unwrap();
    assert_eq!(client.mounts().await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(client.apps().await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(client.job("1234").await.unwrap_err().kind, Kind::Forbidden);
    server.change(|world| world.role = Role::Default);
    assert_eq!(client.backups().await.unwrap_err().kind, Kind::Forbidden);
    server.change(|world| world.hassio_api = false);
    client.info().await.unwrap();
    client.own_app().await.unwrap();
    assert_eq!(client.jobs().await.unwrap_err().kind, Kind::Forbidden);
    // A token that nobody knows.
    let stranger = Supervisor::at(&server.url(), Secret::new("stranger"), supervisor::Timeouts::default()).unwrap();
    assert_eq!(stranger.info().await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(stranger.core().users().await.unwrap_err().kind, Kind::Forbidden);
}

#[tokio::test]
async fn the_broker_is_there_or_not_or_not_for_us() {
    let server = Server::start(world());
    let client = client(&server);
    assert!(client.mqtt().await.unwrap().is_none());
    server.change(|world| {
        world.mqtt = Some(json!({ "addon": "core_mosquitto", "host": "core-mosquitto", "port": 1883, "ssl": null,
            "protocol": "3.1.1" }));
    });
    let mqtt = client.mqtt().await.unwrap().unwrap();
    assert_eq!((mqtt.host.as_str(), mqtt.port, mqtt.ssl), ("core-mosquitto", 1883, false));
    assert!(mqtt.username.is_none() && mqtt.password.is_none());
    server.change(|world| world.wants_mqtt = false);
    let error = client.mqtt().await.unwrap_err();
    assert_eq!((error.kind, error.said.as_deref()), (Kind::Forbidden, Some("No access to mqtt service!")));
}

#[tokio::test]
async fn core_says_who_is_an_administrator() {
    let server = Server::start(world());
    let client = client(&server);
    let core = client.core();
    for (id, is_one) in [("0aa1", true), ("0bb2", true), ("0cc3", false), ("", false), ("0dd4", false)] {
        assert_eq!(core.is_administrator(id).await.unwrap(), is_one, "{id}");
    }
    // Who may not log in any more is none, however high.
    server.change(|world| world.users[0]["is_active"] = json!(false));
    assert!(!core.is_administrator("0aa1").await.unwrap());
    server
        .change(|world| world.users = json!([{ "id": null, "group_ids": null, "is_owner": true, "is_active": true }]));
    assert!(!core.is_administrator("").await.unwrap());
    server.change(|world| world.homeassistant_api = false);
    assert_eq!(core.is_administrator("0aa1").await.unwrap_err().kind, Kind::Forbidden);
}

#[tokio::test]
async fn core_says_how_it_makes_backups_and_its_key_is_not_shown() {
    let server = Server::start(world());
    let client = client(&server);
    let config = client.core().backup_config().await.unwrap();
    assert!(config.automatic_backups_configured);
    assert_eq!(config.create_backup.password.as_ref().unwrap().expose(), "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG");
    assert_eq!((config.retention.copies, config.retention.days), (Some(3), None));
    assert_eq!((config.schedule.recurrence.as_deref(), config.schedule.time.as_deref()), (Some("daily"), None));
    assert!(!format!("{config:?}").contains("AAAA"));
    server.change(|world| world.backup_config = json!({ "create_backup": null, "schedule": null, "retention": null }));
    assert!(client.core().backup_config().await.unwrap().create_backup.password.is_none());
}

#[tokio::test]
async fn core_performs_actions_that_it_has() {
    let server = Server::start(world());
    let client = client(&server);
    let create = json!({ "notification_id": "haul_x", "title": "Title", "message": "Message" });
    client.core().act("persistent_notification.create", create).await.unwrap();
    let shown = |server: &Server| server.change(|world| world.notifications.clone());
    assert_eq!(shown(&server)["haul_x"], ("Title".to_owned(), "Message".to_owned()));
    let gone = json!({ "notification_id": "haul_x" });
    client.core().act("persistent_notification.dismiss", gone.clone()).await.unwrap();
    client.core().act("persistent_notification.dismiss", gone).await.unwrap();
    assert!(shown(&server).is_empty());
    let unknown = client.core().act("notify.nobody", json!({ "message": "x" })).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
    assert!(unknown.reason.contains("Service notify.nobody not found"), "{unknown}");
    let wrong = client.core().act("persistent_notification.create", json!({ "text": "x" })).await.unwrap_err();
    assert_eq!(wrong.kind, Kind::Refused);
}
