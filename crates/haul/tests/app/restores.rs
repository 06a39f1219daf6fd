//! Backups that Supervisor restores because somebody said so on the page.

use std::{fs, sync::Arc};

use serde_json::{Value, json};
use testkit::{
    supervisor::{Fault, Supervisor, World},
    wait,
};

use crate::home::{self, App, Home, archives};

const KEY: &str = "correct horse battery staple";
const CONFIG: &str = "[destinations.nas]\nurl = \"nas\"\n[jobs.all]\nsource = \"config\"\neverything = true\n\
     destinations = [\"nas\"]\npassword_file = \"key\"\n";
const ADMINISTRATOR: &str = "0aa1";
const OWN: &str = "a1b2c3d4_haul";

/// A home with one encrypted backup of everything, Haul too.
struct Scene {
    supervisor: Supervisor,
    home: Home,
    app: App,
}

impl Scene {
    fn new() -> Option<Self> {
        let python = home::python()?;
        let supervisor = Supervisor::start(World::default());
        supervisor.change(|world| {
            let mut own = world.apps[0].clone();
            (own["slug"], own["name"]) = (json!(OWN), json!("Haul"));
            world.apps.push(own);
        });
        let home = Home::new(CONFIG);
        fs::write(home.path("key"), KEY).unwrap();
        home::writes(&supervisor, &python, &home, |_| {});
        let app = home.start(&supervisor);
        app.mount(&supervisor, "haul_nas");
        let (code, said) = home.haul(&["run", "all"]);
        assert_eq!(code, Some(0), "{said}");
        // It knows the backup as it wrote it, until it looks again.
        let nas = home.path("nas");
        let looking = move |backups: &mut Vec<Value>| {
            let file = nas.join(archives(&nas).remove(0));
            let size = fs::metadata(file).unwrap().len();
            for backup in backups {
                (backup["protected"], backup["password"]) = (json!(true), json!(KEY));
                backup["location_attributes"]["haul_nas"] = json!({ "protected": true, "size_bytes": size });
            }
        };
        supervisor.change(|world| world.looking = Some(Arc::new(looking)));
        Some(Self { supervisor, home, app })
    }

    fn path(&self) -> String {
        let answer = self.app.answer(ADMINISTRATOR, "/api/v1/archives");
        let (_, rest) = answer.split_once("\"id\":\"").unwrap_or_else(|| panic!("{answer}"));
        format!("/backups/{}/restore-parts", rest.split_once('"').unwrap().0)
    }

    fn post(&self, form: &str) -> String {
        let fields: Vec<(&str, &str)> = form.split('&').filter_map(|field| field.split_once('=')).collect();
        self.app.post(ADMINISTRATOR, &self.path(), &fields)
    }

    /// After a start, it takes Haul a moment to know that Supervisor reaches the location.
    fn order(&self, form: &str) {
        wait::until("it is taken", || self.post(form).contains("/events?done=restore-parts"));
    }

    /// What Supervisor was asked to restore.
    fn orders(&self) -> Vec<Value> {
        let asked = self.supervisor.asked().into_iter();
        asked.filter(|asked| asked.path.contains("/restore/")).map(|asked| asked.body).collect()
    }

    fn hold(&self, stage: Option<&'static str>) {
        self.supervisor.change(|world| world.hold_at = stage);
    }

    fn status(&self) -> String {
        self.home.json(&["status", "--json"]).to_string()
    }
}

/// A page begins every sentence with a capital letter.
fn says_so(answer: &str, what: &str) -> bool {
    answer.to_lowercase().contains(&what.to_lowercase())
}

const CHOSEN: &str = "home_assistant=yes&app=core_ssh&folder=ssl";

#[test]
fn parts_of_a_backup_are_restored_into_home_assistant_and_followed() {
    let Some(mut scene) = Scene::new() else { return };
    let page = scene.app.answer(ADMINISTRATOR, &scene.path());
    for shown in [
        "Version 2026.11.0",
        "with the history",
        "Terminal &amp; SSH",
        "<strong>Share</strong>",
        "<strong>Haul</strong>",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains(&format!("value=\"{OWN}\"")) && !page.contains("name=\"key\""), "{page}");
    assert!(
        scene.supervisor.told().contains(&"POST /backups/reload".to_owned()),
        "it knew what it wrote, not encrypted"
    );

    // What is wrong is said before anything is asked.
    for (form, says) in [
        (CHOSEN.to_owned(), "Tick the box"),
        ("sure=yes".to_owned(), "nothing is chosen"),
        (format!("{CHOSEN}&sure=yes&key=wrong"), "this encryption key is wrong"),
        (format!("sure=yes&app={OWN}"), "Haul itself is not in it"),
        ("sure=yes&folder=config".to_owned(), "is not in this backup"),
    ] {
        let answer = scene.post(&form);
        assert!(answer.starts_with("HTTP/1.1 422") && says_so(&answer, says), "{form}: {answer}");
    }
    scene.supervisor.change(|world| world.state = "freeze");
    let answer = scene.post(&format!("{CHOSEN}&sure=yes"));
    assert!(says_so(&answer, "holds everything still for a backup"), "{answer}");
    scene.supervisor.change(|world| world.state = "running");
    assert!(scene.orders().is_empty());

    // With every restore, network storage is what it was: this app had another address then.
    let old = testkit::supervisor::mount("haul_nas", "172.30.33.99", "nas");
    scene.supervisor.change(|world| world.saved_mounts.push(old));
    scene.hold(Some("home_assistant"));
    let answer = scene.post(&format!("{CHOSEN}&sure=yes"));
    assert!(answer.contains("/events?done=restore-parts"), "{answer}");
    wait::until("it is followed", || scene.status().contains("Supervisor restores Home Assistant"));
    // One at a time, and no backup of what is being replaced.
    let answer = scene.post(&format!("{CHOSEN}&sure=yes"));
    assert!(says_so(&answer, "restoring a backup already"), "{answer}");
    scene.hold(None);
    scene.app.says("Supervisor restored Home Assistant, Terminal & SSH, ssl from");
    let is_back = || scene.supervisor.change(|world| world.mount("haul_nas").unwrap()["server"] == "127.0.0.1");
    wait::until("its storage leads to Haul again", is_back);
    let orders = scene.orders();
    let wanted = json!({
        "homeassistant": true, "addons": ["core_ssh"], "folders": ["ssl"], "password": KEY, "location": "haul_nas",
        "background": true,
    });
    assert_eq!(orders, [wanted]);
    assert!(!scene.home.path("state/restore-by-supervisor.json").exists());
}

#[test]
fn a_restore_goes_on_while_the_app_is_killed_and_is_followed_by_the_next() {
    let Some(mut scene) = Scene::new() else { return };
    scene.hold(Some("apps"));
    scene.order("app=core_ssh&sure=yes");
    wait::until("it is followed", || scene.status().contains("Supervisor restores the app Terminal & SSH"));
    scene.app.end();
    // No key is left behind by it.
    for entry in fs::read_dir(scene.home.path("state")).unwrap() {
        let content = fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!content.windows(KEY.len()).any(|window| window == KEY.as_bytes()));
    }
    scene.app = scene.home.start(&scene.supervisor);
    wait::until("it is followed again", || scene.status().contains("Supervisor restores the app Terminal & SSH"));
    scene.hold(None);
    scene.app.says("Supervisor restored Terminal & SSH from");

    // Stopped as an update does it, after an order whose answer was lost.
    scene.hold(Some("apps"));
    scene.supervisor.fault("POST", "/backups/*", Fault::Unanswered);
    scene.order("app=core_ssh&sure=yes");
    wait::until("it is followed", || scene.status().contains("Supervisor restores the app Terminal & SSH"));
    scene.app.interrupt();
    scene.app = scene.home.start(&scene.supervisor);
    scene.hold(None);
    scene.app.says("Supervisor restored Terminal & SSH from");
    assert_eq!(scene.orders().len(), 2, "neither was asked twice");
}

#[test]
fn what_goes_wrong_in_a_restore_is_said_in_supervisors_own_words() {
    let Some(mut scene) = Scene::new() else { return };
    let forms = "app=core_ssh&app=core_mosquitto&sure=yes";
    // An app fails, and the others are restored.
    scene.supervisor.change(|world| world.unrestorable = [("core_ssh", "Can't restore backup core_ssh")].into());
    scene.order(forms);
    let line = scene.app.says("Supervisor did not restore all of");
    assert!(line.contains("Terminal & SSH: Can't restore backup core_ssh; the rest is restored"), "{line}");

    // All of it.
    scene.supervisor.change(|world| {
        world.unrestorable.clear();
        world.restoring = Some(Arc::new(|_| Err("Restore error, see supervisor logs".to_owned())));
    });
    scene.order(forms);
    let line = scene.app.says("was not restored: Supervisor broke it off: Restore error, see supervisor logs");
    assert!(line.contains("Settings > System > Logs > Supervisor"), "{line}");
    scene.supervisor.change(|world| world.restoring = None);

    // It refuses, it fails before it begins, somebody else was faster.
    for (status, said, says) in [
        (400, "Must update supervisor first.", "Must update supervisor first"),
        (400, "Another job is running for job group backup_manager", "Another job is running"),
        (500, "Internal", "Supervisor says: Internal"),
    ] {
        let answer = json!({ "result": "error", "message": said }).to_string();
        scene.supervisor.fault("POST", "/backups/*", Fault::Says(status, answer));
        scene.order(forms);
        let line = scene.app.says("was not restored: ");
        assert!(line.contains(says), "{line}");
    }

    // It is gone for a moment, then for good: it forgets its jobs when it restarts.
    scene.hold(Some("apps"));
    scene.order(forms);
    wait::until("it is followed", || scene.status().contains("Supervisor restores the app"));
    scene.supervisor.fault("GET", "/jobs/*", Fault::Says(502, "Bad gateway".to_owned()));
    scene.supervisor.fault("GET", "/jobs/*", Fault::Short);
    scene.supervisor.fault("GET", "/jobs/*", Fault::Says(403, "403: Forbidden".to_owned()));
    scene.supervisor.fault("GET", "/jobs/*", Fault::Says(200, "<html>".to_owned()));
    wait::until("it was asked so often", || !scene.supervisor.faults_wait());
    assert!(scene.status().contains("Supervisor restores the app"), "it is followed all the same");
    scene.supervisor.unplug();
    scene.hold(None);
    scene.supervisor.plug();
    scene.app.says("Supervisor was restarted and does not know any more how the restore ended");

    // Supervisor has something else there, or nothing.
    scene.supervisor.change(|world| {
        world.looking = None;
        world.backups[0]["location_attributes"]["haul_nas"]["size_bytes"] = json!(1);
    });
    let page = scene.app.answer(ADMINISTRATOR, &scene.path());
    assert!(says_so(&page, "has another file with the id of"), "{page}");
    scene.supervisor.change(|world| world.backups.clear());
    let page = scene.app.answer(ADMINISTRATOR, &scene.path());
    assert!(page.contains("Supervisor does not find") && page.contains("Try again"), "{page}");
    // It does not reach it: it has lost the storage, and can't mount it again.
    scene.supervisor.change(|world| {
        world.mounts.clear();
        world.mounting = Some(Arc::new(|_| false));
    });
    scene.home.configure(&format!("{CONFIG}schedule = \"daily 04:45\"\n"));
    let says = "Supervisor does not reach nas as a network storage";
    wait::until("it says so", || scene.app.answer(ADMINISTRATOR, &scene.path()).contains(says));
    let answer = scene.post(forms);
    assert!(answer.contains(says) && answer.contains("upload it in Home Assistant"), "{answer}");
}

#[test]
fn a_key_that_haul_does_not_know_is_asked_for() {
    let Some(mut scene) = Scene::new() else { return };
    fs::write(scene.home.path("key"), "another one").unwrap();
    let page = scene.app.answer(ADMINISTRATOR, &scene.path());
    assert!(page.contains("name=\"key\"") && page.contains("No key that Haul knows"), "{page}");
    let answer = scene.post("folder=ssl&sure=yes");
    assert!(says_so(&answer, "no encryption key that Haul knows opens this backup"), "{answer}");
    let answer = scene.post("folder=ssl&sure=yes&key=");
    assert!(says_so(&answer, "Enter the encryption key."), "{answer}");
    scene.post(&format!("folder=ssl&sure=yes&key={KEY}"));
    scene.app.says("Supervisor restored ssl from");
    assert_eq!(scene.orders()[0]["password"], KEY);
}
