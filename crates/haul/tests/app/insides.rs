//! What a newcomer sees of a backup before anything is restored, and what the emergency kit says of network storage.

use testkit::supervisor::{Supervisor, World, mount};

use crate::home::{Home, archives, python, writes};

const JOB: &str = "[destinations.nas]\nurl = \"nas\"\n[jobs.all]\nsource = \"config\"\neverything = true\n\
                   destinations = [\"nas\"]\npassword_file = \"key\"\n";

#[test]
fn a_backup_shows_its_apps_and_folders_before_anything_is_restored() {
    let Some(python) = python() else { return };
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(JOB);
    std::fs::write(home.path("key"), "correct horse battery staple").unwrap();
    writes(&supervisor, &python, &home, |_| {});
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(0), "{said}");
    let list = app.answer("0aa1", "/backups");
    let id = list.split("/backups/").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let page = app.answer("0aa1", &format!("/backups/{id}"));
    for part in ["Terminal &amp; SSH", "App core_ssh, version 9.17.0", "Mosquitto broker", "<strong>Share</strong>"] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("<em>missing</em>") && !page.contains("Haul is reading this"), "{page}");

    // What was read is known from now on, also if the copy is away.
    let name = archives(&home.path("nas")).remove(0);
    std::fs::rename(home.path("nas").join(&name), home.path("away.tar")).unwrap();
    let page = app.answer("0aa1", &format!("/backups/{id}"));
    assert!(page.contains("Terminal &amp; SSH"), "{page}");
}

#[test]
fn the_emergency_kit_says_what_is_behind_a_folder_of_network_storage() {
    let supervisor = Supervisor::start(World::default());
    supervisor.change(|world| {
        let mut nas = mount("nas", "192.168.1.9", "backups");
        nas.insert("usage".to_owned(), serde_json::json!("share"));
        world.mounts.push(nas);
    });
    let home = Home::new(&JOB.replace("url = \"nas\"", "url = \"/share/nas/everything\"\nmust_be_mounted = true"));
    std::fs::write(home.path("key"), "correct horse battery staple").unwrap();
    let app = home.start(&supervisor);
    let behind = "/share/nas is network storage: the Windows share backups of 192.168.1.9.";
    let page = app.answer("0aa1", "/recovery");
    assert!(page.contains(behind), "{page}");
    let kit = app.post("0aa1", "/settings/kit", &[]);
    assert!(kit.contains(&behind.replace("&#39;", "'")) && kit.contains("correct horse battery staple"), "{kit}");
    assert!(!kit.contains("somebody's password"), "that is nobody's business");
}
