//! `haul app` beside a Supervisor that is played by its protocol, with Samba's client as the machine's and the library
//! that Supervisor writes its backups with.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod first_minutes;
mod frame;
mod home;
mod image;
mod insides;
mod leaving;
mod linux;
mod quick;
mod restores;

use std::{
    fs,
    sync::{Arc, Mutex},
};

use home::{Home, archives, python, verdict};
use serde_json::{Value, json};
use testkit::{
    drive::Drive,
    mosquitto::Mosquitto,
    supervisor::{Fault, Order, Supervisor, World, writer},
    wait,
    wsgidav::{self, Wsgidav},
};

const ONE: &str = "[destinations.nas]\nurl = \"nas\"\n";
const JOB: &str = "[jobs.all]\nsource = \"config\"\neverything = true\ndestinations = [\"nas\"]\n";

#[test]
fn each_destination_becomes_a_network_storage_and_what_home_assistant_writes_there_stays_as_it_is() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(ONE);
    let mut app = home.start(&supervisor);
    let mount = app.mount(&supervisor, "haul_nas");
    assert_eq!((mount["share"].as_str(), mount["usage"].as_str()), (Some("nas"), Some("backup")));
    // Supervisor makes the first storage the usual place for backups, which nobody asked for.
    wait::until("that is undone", || supervisor.change(|world| world.default_backup_mount.is_none()));

    // A backup of its own, encrypted: byte for byte.
    let spec = writer::spec("Automatic backup", json!({ "compressed": true, "password": "secret" }));
    writer::write(&python, &home.path("own.tar"), &home.path("config"), &spec);
    let said = home::put(&mount, &home.path("own.tar"), "own.tar");
    app.says("nas: Home Assistant wrote own.tar");
    assert!(fs::read(home.path("nas/own.tar")).unwrap() == fs::read(home.path("own.tar")).unwrap(), "{said}");

    // A destination that goes takes its storage with it, one that comes gets one.
    home.configure("[destinations.usb-disk]\nurl = \"usb\"\n");
    app.mount(&supervisor, "haul_usb_disk");
    wait::until("the other is removed", || supervisor.change(|world| world.mount("haul_nas").is_none()));
    assert!(home.path("nas/own.tar").exists());

    // What another has made is nobody's business.
    supervisor.change(|world| world.mounts.push(testkit::supervisor::mount("haul_mine", "192.168.1.9", "x")));
    home.configure(ONE);
    app.mount(&supervisor, "haul_nas");
    assert!(supervisor.change(|world| world.mount("haul_mine").is_some()));
}

#[test]
fn everything_is_backed_up_through_the_storage_and_made_anew() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!(
        "{ONE}[destinations.second]\nurl = \"second\"\n{}password_file = \"key\"\n",
        JOB.replace("[\"nas\"]", "[\"nas\", \"second\"]")
    ));
    fs::create_dir(home.path("second")).unwrap();
    fs::write(home.path("key"), "correct horse battery staple").unwrap();
    home::writes(&supervisor, &python, &home, |_| {});
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    app.mount(&supervisor, "haul_second");
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(0), "{said}");

    let asked = supervisor.asked().into_iter().find(|asked| asked.path == "/backups/new/full").unwrap().body;
    assert_eq!((&asked["compressed"], &asked["password"]), (&json!(false), &Value::Null), "{asked}");
    assert_eq!(asked["location"], json!(["haul_nas"]), "{asked}");
    assert!(supervisor.told().contains(&"POST /backups/reload".to_owned()), "it has to read what became of it");
    // One archive at both, compressed and encrypted by Haul, and whole.
    let names = archives(&home.path("nas"));
    assert_eq!((names.len(), archives(&home.path("second"))), (1, names.clone()));
    let (one, other) = (home.path("nas").join(&names[0]), home.path("second").join(&names[0]));
    assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap());
    assert_eq!(
        verdict(&home, &one),
        "whole",
        "{}",
        home.haul(&["verify", one.to_str().unwrap(), "--password-file", "key"]).1
    );
    let description = home.json(&["inspect", one.to_str().unwrap(), "--json", "--password-file", "key"]);
    assert_eq!(description["manifest"]["protected"], json!(true));
    let parts: Vec<&str> =
        description["parts"].as_array().unwrap().iter().filter_map(|part| part["name"].as_str()).collect();
    let expected = ["homeassistant.tar.gz", "core_ssh.tar.gz", "core_mosquitto.tar.gz", "share.tar.gz", "ssl.tar.gz"];
    assert_eq!(parts, expected);
    // As it went in.
    let listed = home.haul(&["cat", one.to_str().unwrap(), "core_ssh.tar.gz: ./addon.json", "--password-file", "key"]);
    assert!(listed.1.contains("core_ssh"), "{listed:?}");
}

#[test]
fn a_backup_that_is_due_at_the_start_waits_until_supervisor_has_mounted() {
    let Some(python) = python() else { return };
    let mounting = Arc::new(|_: &Value| {
        std::thread::sleep(std::time::Duration::from_secs(3));
        true
    });
    let supervisor = Supervisor::start(World { mounting: Some(mounting), ..World::default() });
    let home = Home::new(&format!("{ONE}{JOB}"));
    home::writes(&supervisor, &python, &home, |_| {});
    let _app = home.start(&supervisor);
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(archives(&home.path("nas")).len(), 1);
}

#[test]
fn a_backup_waits_for_another_one_of_home_assistant_and_nobody_is_alarmed() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!("{ONE}{JOB}"));
    home::writes(&supervisor, &python, &home, |_| {});
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    supervisor.change(|world| world.state = "freeze");
    let (code, said) = home.haul(&["run", "all"]);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("Waiting: Home Assistant is making another backup or restoring one"), "{said}");
    assert!(!said.contains("blocked from execution"), "{said}");
    let status = home.json(&["status", "--json"]);
    let problem = status["problems"].as_array().unwrap().iter().find(|problem| problem["kind"] == "waiting").unwrap();
    assert_eq!(problem["level"], "warning", "{status}");
    assert!(problem["hint"].as_str().unwrap().starts_with("Haul tries again at"), "{status}");
    assert!(supervisor.change(|world| world.notifications.is_empty()), "it has not lasted");
    supervisor.change(|world| world.state = "running");
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_supervisor_loses_is_named_in_its_own_words() {
    let Some(python) = python() else { return };
    let mut world = World::default();
    world.unsavable.insert("core_ssh", "Pre-backup command failed with exit code 1");
    let supervisor = Supervisor::start(world);
    let home = Home::new(&format!("{ONE}{JOB}"));
    home::writes(&supervisor, &python, &home, |spec| spec["apps"][0]["empty"] = json!(true));
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(3), "{said}");
    let named = "Terminal & SSH (core_ssh): Pre-backup command failed with exit code 1";
    assert!(said.contains(named), "{said}");
    let name = archives(&home.path("nas")).remove(0);
    assert_eq!(verdict(&home, &home.path("nas").join(name)), "incomplete");
}

#[test]
fn a_backup_that_is_still_on_its_way_when_supervisor_has_ended_is_waited_for() {
    let Some(python) = python() else { return };
    let mut world = World::default();
    world.unsavable.insert("core_ssh", "Pre-backup command failed with exit code 1");
    let supervisor = Arc::new(Supervisor::start(world));
    let home = Home::new(&format!("{ONE}{JOB}"));
    home::writes_on(&supervisor, &python, &home);
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("Pre-backup command failed with exit code 1"), "{said}");
    assert_eq!(archives(&home.path("nas")).len(), 1);
}

#[test]
fn a_backup_that_supervisor_can_not_make_leaves_nothing_and_says_why() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!("{ONE}{JOB}"));
    let mut app = home.start(&supervisor);
    let mount = app.mount(&supervisor, "haul_nas");

    // Nothing is written at all.
    supervisor.change(|world| world.writing = Some(Arc::new(|_| Err("Can't write: disk is on fire".to_owned()))));
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code != Some(0) && said.contains("disk is on fire"), "{code:?} {said}");

    // Half of it is, and Supervisor removes that.
    home::writes_half(&supervisor, &python, &home);
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code != Some(0) && said.contains("No space left on device"), "{said}");
    wait::until("nothing is left", || fs::read_dir(home.path("nas")).unwrap().next().is_none());

    // It comes when nobody waits for it any more: not encrypted, so it does not stay.
    let name = Arc::new(Mutex::new(None));
    let ordered = Arc::clone(&name);
    let refusing = move |order: &Order| {
        *ordered.lock().unwrap() = Some(order.filename.clone());
        Err("Interrupted".to_owned())
    };
    supervisor.change(|world| world.writing = Some(Arc::new(refusing)));
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code != Some(0) && said.contains("Interrupted"), "{said}");
    writer::write(&python, &home.path("late.tar"), &home.path("config"), &writer::spec("Late", json!({})));
    let late = name.lock().unwrap().take().unwrap();
    home::put(&mount, &home.path("late.tar"), &late);
    app.says(&format!("could not write {late}: it was ordered by Haul, which does not wait for it any more"));
    assert!(fs::read_dir(home.path("nas")).unwrap().next().is_none());

    // Another backup is under way.
    supervisor.change(|world| world.state = "freeze");
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code != Some(0) && said.contains("Waiting: Home Assistant is making another backup"), "{said}");
}

#[test]
fn the_usual_place_for_backups_is_set_back_by_the_next_start_too() {
    let mut world = World::default();
    world.mounts.push(testkit::supervisor::mount("mine", "192.168.1.9", "x"));
    let supervisor = Supervisor::start(world);
    let home = Home::new(ONE);
    // An app was killed after Supervisor had made Haul's storage the usual place.
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    drop(app);
    supervisor.change(|world| world.default_backup_mount = Some("haul_nas".to_owned()));
    fs::write(home.path("state/default-backup-mount"), "mine").unwrap();
    let _app = home.start(&supervisor);
    let is_mine = || supervisor.change(|world| world.default_backup_mount.as_deref() == Some("mine"));
    wait::until("it is what it was", is_mine);
}

#[test]
fn a_configuration_with_a_mistake_keeps_the_app_from_nothing_and_takes_no_storage_away() {
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(ONE);
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    // While it runs, what was in force stays; nobody can mend the file in an app.
    home.configure("[destinations.nas]\nulr = \"nas\"\n");
    drop(app);
    let mut app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    assert_eq!(fs::read_to_string(home.path("haul.toml")).unwrap(), ONE);
    assert!(fs::read_to_string(home.path("state/haul.toml.broken")).unwrap().contains("ulr"));
    assert!(!supervisor.told().contains(&"DELETE /mounts/haul_nas".to_owned()), "{:?}", supervisor.told());
    app.end();

    // Without one that was in force there is nothing to go by.
    fs::remove_file(home.path("state/haul.toml.good")).unwrap();
    home.configure("[destinations.nas]\nulr = \"nas\"\n");
    let (code, said) = home.haul(&["app", "--supervisor", &supervisor.url()]);
    assert!(code == Some(2) && said.contains("line 2"), "{code:?} {said}");
}

#[test]
fn what_supervisor_does_not_say_is_not_taken_for_whole() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!("{ONE}{JOB}"));
    home::writes(&supervisor, &python, &home, |_| {});
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    for _ in 0..40 {
        supervisor.fault("GET", "/jobs/*", Fault::Says(500, "{}".to_owned()));
    }
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code == Some(3) && said.contains("could not save"), "{code:?} {said}");
}

#[test]
fn an_order_whose_answer_is_lost_is_followed_to_its_end() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!("{ONE}{JOB}"));
    home::writes(&supervisor, &python, &home, |_| {});
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    supervisor.fault("POST", "/backups/new/full", Fault::Unanswered);
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(archives(&home.path("nas")).len(), 1);
    assert_eq!(
        supervisor.told().iter().filter(|told| *told == "POST /backups/new/full").count(),
        1,
        "it is not asked twice"
    );

    // It did not arrive either.
    supervisor.fault("POST", "/backups/new/full", Fault::Says(500, "no JSON".to_owned()));
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code != Some(0) && said.contains("could not start a full backup"), "{code:?} {said}");
}

#[test]
fn a_destination_that_needs_sizes_first_gets_a_copy_if_another_one_takes_it_at_once() {
    let (Some(python), Some(server)) = (python(), Wsgidav::start()) else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!(
        "{ONE}[destinations.dav]\nurl = \"webdav://{}@{}/backups\"\npassword_file = \"dav\"\nallow_http = true\n{}",
        wsgidav::USER,
        server.authority(),
        JOB.replace("[\"nas\"]", "[\"nas\", \"dav\"]")
    ));
    fs::write(home.path("dav"), wsgidav::PASSWORD).unwrap();
    home::writes(&supervisor, &python, &home, |_| {});
    let mut app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code == Some(0) && said.contains("dav gets a copy of it next"), "{code:?} {said}");
    app.says("dav: a copy of");
    let name = archives(&home.path("nas")).remove(0);
    wait::until("the copy is there", || server.files().join("backups").join(&name).exists());
    let status = home.json(&["status", "--json"]);
    assert!(status["problems"].as_array().unwrap().iter().all(|problem| problem["destination"] != "dav"), "{status}");
}

#[test]
fn google_drive_alone_gets_everything_and_what_home_assistant_writes_although_it_needs_sizes_first() {
    let Some(python) = python() else { return };
    let (supervisor, drive) = (Supervisor::start(World::default()), Drive::start());
    let home = Home::new(&format!(
        "[destinations.drive]\nurl = \"gdrive://Backups\"\n{}password_file = \"key\"\n",
        JOB.replace("[\"nas\"]", "[\"drive\"]")
    ));
    fs::write(home.path("key"), "correct horse battery staple").unwrap();
    home.signs_in(&drive);
    home::writes(&supervisor, &python, &home, |_| {});
    let mut app = home.start_with(&supervisor, &home::drive_variables(&drive));
    let mount = app.mount(&supervisor, "haul_drive");
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code == Some(0) && said.contains("sent to drive twice"), "{code:?} {said}");
    let files = || drive.files().into_iter().filter(|file| !file.is_folder).collect::<Vec<_>>();
    assert_eq!(files().len(), 1, "the first copy is removed");
    let one = home.path("one.tar");
    fs::write(&one, drive.content(&files()[0].id).unwrap()).unwrap();
    assert_eq!(verdict(&home, &one), "whole");
    assert!(supervisor.told().contains(&"POST /backups/reload".to_owned()), "Supervisor reads it as it is now");

    // Home Assistant's own, byte for byte.
    let spec = writer::spec("Automatic backup", json!({ "compressed": true, "password": "secret" }));
    writer::write(&python, &home.path("own.tar"), &home.path("config"), &spec);
    let said = home::put(&mount, &home.path("own.tar"), "own.tar");
    app.says("drive: Home Assistant wrote own.tar");
    let own = files().into_iter().find(|file| file.name == "own.tar").unwrap_or_else(|| panic!("{said}"));
    assert!(drive.content(&own.id).unwrap() == fs::read(home.path("own.tar")).unwrap(), "{said}");
    assert_eq!((files().len(), drive.open_sessions()), (2, 0));
}

#[test]
fn it_ends_at_once_although_supervisor_gives_no_answer() {
    let supervisor = Supervisor::start(World::default());
    for _ in 0..20 {
        supervisor.fault("GET", "/mounts", Fault::Silent);
    }
    let home = Home::new(ONE);
    let mut app = home.start(&supervisor);
    wait::until("it is asked", || supervisor.asked().iter().any(|asked| asked.path == "/mounts"));
    app.interrupt();
}

#[test]
fn what_haul_ordered_before_a_restart_is_not_kept_as_it_comes_and_what_is_protected_is_not_deleted() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!("{ONE}{JOB}"));
    let mut app = home.start(&supervisor);
    let mount = app.mount(&supervisor, "haul_nas");
    // Not encrypted yet, as every order is written.
    writer::write(&python, &home.path("own.tar"), &home.path("config"), &writer::spec("Ordered", json!({})));
    home::put(&mount, &home.path("own.tar"), "haul_everything_2026-11-28_04.45_00000000.tar");
    app.says("it was ordered by Haul, which does not wait for it any more");
    wait::until("nothing of it is left", || fs::read_dir(home.path("nas")).unwrap().next().is_none());

    home::put(&mount, &home.path("own.tar"), "own.tar");
    app.says("nas: Home Assistant wrote own.tar");
    let (code, said) = home.haul(&["pin", "nas/own.tar"]);
    assert_eq!(code, Some(0), "{said}");
    // The next look at the destination knows it.
    home::put(&mount, &home.path("own.tar"), "other.tar");
    wait::until("it is known", || app.answer("0aa1", "/api/v1/archives").contains("\"pinned\":true"));
    home::client(&mount, "del own.tar");
    app.says("own.tar is kept");
    assert!(archives(&home.path("nas")).contains(&"own.tar".to_owned()));
}

#[test]
fn only_administrators_see_the_page_and_only_through_supervisor() {
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(&format!("{ONE}{JOB}"));
    let app = home.start(&supervisor);
    assert_eq!(app.page("0aa1", "/"), "HTTP/1.1 200 OK");
    assert!(app.page("0bb2", "/").contains("200"));
    for user in ["0cc3", "nobody", ""] {
        assert!(app.page(user, "/").contains("403"), "{user}");
        assert!(app.page(user, "/api/v1/status").contains("403"), "{user}");
    }
    assert!(app.page("", "/healthz").contains("200"));
    // Core is starting.
    supervisor.change(|world| world.core_answers = false);
    assert!(app.page("0dd4", "/").contains("503"));
    assert!(app.page("0aa1", "/").contains("200"), "who was let in a moment ago stays in");
}

#[test]
fn a_supervisor_that_is_not_there_yet_is_asked_again_and_its_broker_is_used() {
    let Some(mut broker) = Mosquitto::new() else { return };
    broker.start();
    let supervisor = Supervisor::start(World::default());
    supervisor.unplug();
    let home = Home::new(&format!("{ONE}{JOB}"));
    let app = home.start(&supervisor);
    supervisor.change(|world| {
        world.mqtt = Some(json!({
            "host": "127.0.0.1", "port": broker.port(), "ssl": false, "protocol": "3.1.1", "username": "", "password": "",
        }));
    });
    supervisor.plug();
    app.mount(&supervisor, "haul_nas");
    let heard = broker.listen();
    wait::until("the broker hears of it", || heard.last().values().any(|said| said == "online"));
}

#[test]
fn outside_of_home_assistant_it_says_what_to_use_instead() {
    let home = Home::new("");
    let (code, said) = home.haul(&["app"]);
    assert!(code == Some(2) && said.contains("haul serve"), "{said}");
    let home = Home::new(&format!("{ONE}{}", JOB.replace("everything", "exclude = [\"x\"]\neverything")));
    let (code, said) = home.haul(&["jobs"]);
    assert!(code == Some(2) && said.contains("exclude"), "{said}");
    let home = Home::new(&format!("{ONE}{JOB}"));
    let (code, said) = home.haul(&["run", "all"]);
    assert!(code != Some(0) && said.contains("only the app on Home Assistant OS"), "{said}");
}

#[test]
fn the_documentations_example_is_one_and_two_jobs_in_one_folder_are_refused() {
    let text = include_str!("../../../../docs/HAOS.md");
    let example = text.split("```toml\n").nth(1).and_then(|text| text.split("```").next()).unwrap();
    let home = Home::new(example);
    let (code, said) = home.haul(&["jobs"]);
    assert!(code == Some(0) && said.contains("nas-quick") && said.contains("everything"), "{said}");
    home.configure(&example.replace("[\"nas-quick\"]", "[\"nas\"]"));
    let (code, said) = home.haul(&["jobs"]);
    assert!(code == Some(2) && said.contains("each would remove what the other keeps"), "{said}");
}
