//! Backups that Supervisor restores because somebody said so on the page.

use std::{fs, sync::Arc};

use serde_json::{Value, json};
use testkit::{
    supervisor::{Fault, Supervisor, World},
    wait,
};

use crate::home::{self, App, Home, archives};

pub(crate) const KEY: &str = "correct horse battery staple";
const CONFIG: &str = "[destinations.nas]\nurl = \"nas\"\n[jobs.all]\nsource = \"config\"\neverything = true\n\
     destinations = [\"nas\"]\npassword_file = \"key\"\n";
pub(crate) const ADMINISTRATOR: &str = "0aa1";
pub(crate) const OWN: &str = "a1b2c3d4_haul";
/// Haul as it was installed from another repository.
const OTHER: &str = "local_haul";

/// A home with one encrypted backup of everything, Haul too.
pub(crate) struct Scene {
    pub(crate) supervisor: Supervisor,
    pub(crate) home: Home,
    pub(crate) app: App,
}

impl Scene {
    pub(crate) fn new() -> Option<Self> {
        let python = home::python()?;
        let supervisor = Supervisor::start(World::default());
        supervisor.change(|world| {
            let mut own = world.apps[0].clone();
            (own["slug"], own["name"]) = (json!(OWN), json!("Haul"));
            let mut other = own.clone();
            other["slug"] = json!(OTHER);
            world.apps.extend([own, other]);
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
        self.post_to(&self.path(), form)
    }

    pub(crate) fn post_to(&self, path: &str, form: &str) -> String {
        let fields: Vec<(&str, &str)> = form.split('&').filter_map(|field| field.split_once('=')).collect();
        self.app.post(ADMINISTRATOR, path, &fields)
    }

    /// After a start, it takes Haul a moment to know that Supervisor reaches the location.
    pub(crate) fn order(&self, form: &str) {
        wait::until("it is taken", || self.post(form).contains("/events?done=restore-parts"));
    }

    /// What Supervisor was asked to restore.
    fn orders(&self) -> Vec<Value> {
        let asked = self.supervisor.asked().into_iter();
        asked.filter(|asked| asked.path.contains("/restore/")).map(|asked| asked.body).collect()
    }

    pub(crate) fn hold(&self, stage: Option<&'static str>) {
        self.supervisor.change(|world| world.hold_at = stage);
    }

    pub(crate) fn status(&self) -> String {
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
    assert!(!page.contains("_haul\"") && !page.contains("name=\"key\""), "{page}");
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
        (format!("sure=yes&app={OTHER}"), "Haul itself is not in it"),
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
}

#[test]
fn what_supervisor_does_is_followed_by_the_next_app_when_one_was_killed() {
    let Some(mut scene) = Scene::new() else { return };
    scene.hold(Some("apps"));
    scene.order("app=core_ssh&sure=yes");
    wait::until("it is followed", || scene.status().contains("Supervisor restores the app Terminal & SSH"));
    scene.app.end();
    // As if a kill, or a full disk, kept its end from being written down.
    let catalog = || ["", "-wal"].map(|part| scene.home.path(&format!("state/catalog.db{part}")));
    let unended = catalog().map(|path| fs::read(path).unwrap_or_default());
    // No key is left behind by it.
    for entry in fs::read_dir(scene.home.path("state")).unwrap() {
        let content = fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!content.windows(KEY.len()).any(|window| window == KEY.as_bytes()));
    }
    scene.app = scene.home.start(&scene.supervisor);
    wait::until("it is followed again", || scene.status().contains("Supervisor restores the app Terminal & SSH"));
    scene.hold(None);
    scene.app.says("Supervisor restored Terminal & SSH from");
    let loses_its_end = |scene: &mut Scene| {
        scene.app.end();
        let _ = fs::remove_file(scene.home.path("state/catalog.db-shm"));
        let paths = ["", "-wal"].map(|part| scene.home.path(&format!("state/catalog.db{part}")));
        paths.iter().zip(&unended).for_each(|(path, content)| fs::write(path, content).unwrap());
    };
    loses_its_end(&mut scene);
    scene.app = scene.home.start(&scene.supervisor);
    scene.app.says("Supervisor restored Terminal & SSH from");
    // Without its note, nothing is known, least of all that nothing was restored.
    loses_its_end(&mut scene);
    fs::write(scene.home.path("state/restore-by-supervisor.json"), "{").unwrap();
    scene.app = scene.home.start(&scene.supervisor);
    let line = scene.app.says("it is not known whether");
    assert!(line.contains("look whether everything works before you restore it again"), "{line}");
    assert_eq!(scene.orders().len(), 1, "it is not asked again");

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
fn what_supervisor_has_unpacked_stays_whatever_becomes_of_its_location_meanwhile() {
    let Some(scene) = Scene::new() else { return };
    let mount = scene.app.mount(&scene.supervisor, "haul_nas");
    scene.hold(Some("folders"));
    scene.order("folder=ssl&sure=yes");
    wait::until("it is followed", || scene.status().contains("Supervisor restores the folder ssl"));
    let part = scene.home.path("part");
    fs::write(&part, "what was in the folder").unwrap();
    let said = home::client(&mount, &format!("mkdir tmpab_cd123; put {} tmpab_cd123/part", part.display()));
    assert!(!said.contains("NT_STATUS"), "{said}");

    let before = scene.post_to("/settings/locations/nas/remove", "");
    assert!(says_so(&before, "Supervisor is restoring a backup from the location nas"), "{before}");
    // The file may be changed by anybody. The new folder is there as soon as this is in force.
    let usb = CONFIG.replace("url = \"nas\"\n", "url = \"nas\"\nlimit = \"5M\"\n[destinations.usb]\nurl = \"usb\"\n");
    scene.home.configure(&usb);
    let mut other = mount.clone();
    other["share"] = json!("usb");
    wait::until("the new folder is served", || !home::client(&other, "ls").contains("NT_STATUS"));
    let back = scene.home.path("back");
    let get = format!("get tmpab_cd123/part {}", back.display());
    let said = home::client(&mount, &get);
    assert_eq!(fs::read_to_string(&back).unwrap_or_default(), "what was in the folder", "{said}");

    scene.hold(None);
    // Then the folder is what the file says.
    wait::until("it is made anew", || home::client(&mount, &get).contains("NT_STATUS"));
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

    // Network storage is not back, of which Supervisor says nothing.
    let mut down = testkit::supervisor::mount("media", "192.168.1.10", "media");
    scene.supervisor.change(|world| {
        world.unrestorable.clear();
        world.mounts.push(down.clone());
        down.insert("state".to_owned(), json!("failed"));
        world.saved_mounts = vec![down];
    });
    scene.order("app=core_ssh&sure=yes");
    let line = scene.app.says("and now the network storage media does not work");
    assert!(line.contains("warning: ") && line.contains("Settings > System > Storage"), "{line}");

    // Or leads elsewhere, as it did then.
    let media = |server: &str| testkit::supervisor::mount("media", server, "media");
    scene.supervisor.change(|world| {
        world.mounts.retain(|mount| mount["name"] != "media");
        world.mounts.push(media("192.168.1.10"));
        world.saved_mounts = vec![media("192.168.1.99")];
    });
    scene.order("app=core_ssh&sure=yes");
    let says = "and now the network storage media leads to //192.168.1.99/media instead of //192.168.1.10/media";
    let line = scene.app.says(says);
    assert!(!line.contains("warning") && line.contains("comes back as it is in the backup"), "{line}");
    assert!(scene.app.answer(ADMINISTRATOR, "/events").contains(says), "the page says the same");

    // All of it, and what became of network storage is said all the same.
    scene.supervisor.change(|world| {
        world.saved_mounts = vec![media("192.168.1.10")];
        world.restoring = Some(Arc::new(|_| Err("Restore error, see supervisor logs".to_owned())));
    });
    scene.order(forms);
    let line = scene.app.says("Supervisor broke off the restore of");
    assert!(line.contains("media leads to //192.168.1.10/media instead of"), "{line}");
    assert!(line.contains(": Restore error, see supervisor logs") && !line.contains("was not restored"), "{line}");
    assert!(line.contains("Settings > System > Logs > Supervisor"), "{line}");
    scene.supervisor.change(|world| {
        world.saved_mounts.clear();
        world.restoring = None;
    });

    // It refuses, somebody else was faster, it fails and may have begun.
    let not = "was not restored: ";
    for (status, said, begins, says) in [
        (400, "Must update supervisor first.", not, "Must update supervisor first"),
        (400, "Another job is running for job group backup_manager", not, "Another job is running"),
        (500, "Internal", "it is not known whether", "Supervisor says: Internal"),
    ] {
        let answer = json!({ "result": "error", "message": said }).to_string();
        scene.supervisor.fault("POST", "/backups/*", Fault::Says(status, answer));
        scene.order(forms);
        let line = scene.app.says(begins);
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
    let line = scene.app.says("Supervisor was restarted and does not know any more how the restore ended");
    assert!(line.contains("it is not known whether"), "{line}");

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
fn a_restore_of_which_nothing_is_heard_is_told() {
    let Some(mut scene) = Scene::new() else { return };
    scene.app.end();
    scene.app = scene.home.start_as(&scene.supervisor, &[], &["--silence", "1"]);
    scene.hold(Some("apps"));
    scene.order("app=core_ssh&sure=yes");
    let says = "Supervisor has said nothing new for less than a minute about the restore of";
    wait::until("it is said", || scene.status().contains(says));
    assert!(scene.app.answer(ADMINISTRATOR, "/").contains("No news of a restore"));
    let told = |scene: &Scene| scene.supervisor.change(|world| format!("{:?}", world.notifications));
    wait::until("all are told", || told(&scene).contains("No news of a restore"));
    scene.hold(None);
    scene.app.says("Supervisor restored Terminal & SSH from");
    wait::until("it is over", || !told(&scene).contains("No news of a restore"));
    assert!(!scene.status().contains(says));
}

#[test]
fn a_key_that_haul_does_not_know_is_asked_for() {
    let Some(mut scene) = Scene::new() else { return };
    fs::write(scene.home.path("key"), "another one").unwrap();
    let page = scene.app.answer(ADMINISTRATOR, &scene.path());
    assert!(page.contains("name=\"key\"") && page.contains("No encryption key that Haul knows"), "{page}");
    let answer = scene.post("folder=ssl&sure=yes");
    assert!(says_so(&answer, "no encryption key that Haul knows opens this backup"), "{answer}");
    let answer = scene.post("folder=ssl&sure=yes&key=");
    assert!(says_so(&answer, "Enter the encryption key."), "{answer}");
    scene.post(&format!("folder=ssl&sure=yes&key={KEY}"));
    scene.app.says("Supervisor restored ssl from");
    assert_eq!(scene.orders()[0]["password"], KEY);
}
