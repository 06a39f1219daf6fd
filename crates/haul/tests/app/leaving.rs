//! The app is stopped, as for an update, while Supervisor restores from one of its folders.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{
    supervisor::{Fault, Job, TOKEN},
    wait,
};

use crate::{
    home,
    restores::{ADMINISTRATOR, KEY, OWN, Scene},
};

const STAYS: &str = "Haul stops when that has ended";

impl Scene {
    /// As Supervisor restores: what it has unpacked is here.
    fn unpacks(&self) {
        home::unpacks(&self.supervisor, &self.home, &self.app.mount(&self.supervisor, "haul_nas"));
    }

    fn is_unpacked(&self) -> bool {
        let mount = self.app.mount(&self.supervisor, "haul_nas");
        home::client(&mount, "ls tmpab_cd123/*").contains("backup.json")
    }

    /// Somebody restores under Settings > System > Backups.
    fn restores_itself(&self, what: &str, content: &Value) {
        let slug = self.supervisor.change(|world| world.backups[0]["slug"].as_str().unwrap().to_owned());
        let mut body = json!({ "password": KEY, "location": "haul_nas", "background": true });
        body.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        // Supervisor looks at what Haul made of the backup.
        for (path, body) in
            [("/backups/reload".to_owned(), json!({})), (format!("/backups/{slug}/restore/{what}"), body)]
        {
            let (address, body) = (self.supervisor.url().replace("http://", ""), body.to_string());
            let mut stream = TcpStream::connect(&address).unwrap();
            write!(
                stream,
                "POST {path} HTTP/1.1\r\nHost: supervisor\r\nAuthorization: Bearer {TOKEN}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }

    /// Whether the last restore failed.
    fn errors(&self) -> Vec<(String, String, Option<&'static str>)> {
        self.supervisor.change(|world| world.jobs.iter().flat_map(|job| job.errors.clone()).collect())
    }
}

#[test]
fn a_restore_that_reads_from_here_is_waited_for() {
    let Some(mut scene) = Scene::new() else { return };
    scene.unpacks();
    scene.hold(Some("folders"));
    scene.order("folder=ssl&sure=yes");
    wait::until("it is followed", || scene.status().contains("Supervisor restores the folder ssl"));
    assert!(scene.is_unpacked());
    scene.app.signal(Signal::TERM);
    scene.app.says(STAYS);
    wait::until("it says so", || scene.app.answer(ADMINISTRATOR, "/").contains("Haul is being stopped"));
    let (code, said) = scene.home.haul(&["run", "all"]);
    assert!(code != Some(0) && said.contains("begins nothing any more"), "{said}");
    scene.hold(None);
    scene.app.says("Supervisor restored ssl from");
    let last = scene.app.ends();
    assert!(last.contains("the restore has ended"), "{last}");
    assert_eq!(scene.errors(), [], "all was read back");
    scene.app = scene.home.start(&scene.supervisor);
    scene.app.says("Haul runs again");
}

#[test]
fn without_a_restore_it_stops_at_once() {
    let Some(mut scene) = Scene::new() else { return };
    // What a restore that was broken off has left behind.
    let mount = scene.app.mount(&scene.supervisor, "haul_nas");
    home::client(&mount, "mkdir tmpab_cd123");
    scene.app.signal(Signal::TERM);
    let last = scene.app.ends();
    assert!(last.contains("stopping") && !last.contains(STAYS), "{last}");
}

#[test]
fn a_restore_that_takes_too_long_is_not_waited_for_longer_than_supervisor_waits() {
    let Some(mut scene) = Scene::new() else { return };
    scene.app.end();
    scene.app = scene.home.start_as(&scene.supervisor, &[], &["--timeout", "21"]);
    scene.hold(Some("folders"));
    scene.order("folder=ssl&sure=yes");
    wait::until("it is followed", || scene.status().contains("Supervisor restores the folder ssl"));
    scene.app.signal(Signal::TERM);
    scene.app.says(STAYS);
    let last = scene.app.ends();
    assert!(last.contains("the restore has not ended after 1 s"), "{last}");
    scene.app = scene.home.start(&scene.supervisor);
    scene.hold(None);
    scene.app.says("Supervisor restored ssl from");
}

#[test]
fn whoever_says_it_twice_means_it() {
    let Some(mut scene) = Scene::new() else { return };
    scene.hold(Some("folders"));
    scene.order("folder=ssl&sure=yes");
    for (signal, again) in [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT)] {
        wait::until("it is followed", || scene.status().contains("Supervisor restores the folder ssl"));
        scene.app.signal(signal);
        scene.app.says(STAYS);
        scene.app.signal(again);
        let last = scene.app.ends();
        assert!(!last.contains("has ended") && !last.contains("has not ended"), "{last}");
        scene.app = scene.home.start(&scene.supervisor);
    }
    wait::until("it is followed", || scene.status().contains("Supervisor restores the folder ssl"));
    scene.app.interrupt();
}

#[test]
fn a_restore_that_home_assistant_was_told_to_make_is_waited_for_too() {
    let Some(mut scene) = Scene::new() else { return };
    scene.unpacks();
    scene.hold(Some("folders"));
    scene.restores_itself("partial", &json!({ "folders": ["ssl"] }));
    wait::until("it is unpacked", || scene.is_unpacked());
    scene.app.signal(Signal::TERM);
    scene.app.says(STAYS);
    // Supervisor is busy for a moment, and the folder was used just now.
    scene.supervisor.fault("GET", "/jobs/info", Fault::Says(502, "Bad gateway".to_owned()));
    wait::until("it was asked", || !scene.supervisor.faults_wait());
    scene.hold(None);
    let last = scene.app.ends();
    assert!(last.contains("the restore has ended"), "{last}");
    assert_eq!(scene.errors(), []);
}

#[test]
fn a_restore_that_stops_haul_itself_is_not_waited_for() {
    for (what, content, name, of) in [
        ("partial", json!({ "addons": [OWN] }), "backup_app_restore", Some(OWN)),
        ("full", json!({}), "backup_manager_full_restore", None),
    ] {
        let Some(mut scene) = Scene::new() else { return };
        scene.unpacks();
        scene.hold(Some(if what == "full" { "home_assistant" } else { "apps" }));
        scene.restores_itself(what, &content);
        wait::until("it is unpacked", || scene.is_unpacked());
        let is_it = |job: &Job| {
            job.name == name && job.done == Some(false) && of.is_none_or(|of| job.reference.as_deref() == Some(of))
        };
        wait::until("it is at it", || scene.supervisor.change(|world| world.jobs.iter().any(is_it)));
        scene.app.signal(Signal::TERM);
        let last = scene.app.ends();
        assert!(!last.contains(STAYS), "each would wait for the other: {last}");
    }
}
