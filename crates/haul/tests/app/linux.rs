//! The app's storages as the kernel of Home Assistant OS mounts them.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use serde_json::json;
use testkit::{
    linux::Linux,
    supervisor::{Order, Supervisor, World, writer},
};

use super::home::{Home, archives, verdict};

#[test]
fn what_haul_ordered_is_made_anew_from_what_a_kernel_writes() {
    let Some(linux) = Linux::boot() else { return };
    let home = Home::new(
        "[destinations.nas]\nurl = \"nas\"\n[jobs.all]\nsource = \"config\"\neverything = true\n\
         destinations = [\"nas\"]\npassword_file = \"key\"\n",
    );
    fs::write(home.path("key"), "correct horse battery staple").unwrap();
    assert!(
        std::process::Command::new("cp")
            .arg("-r")
            .args([home.path("config"), linux.shared().join("config")])
            .status()
            .unwrap()
            .success()
    );
    let supervisor = Supervisor::start(World::default());
    let linux = Mutex::new(linux);
    let writing = move |order: &Order| {
        let mut linux = linux.lock().unwrap();
        let mount = order.mount.as_ref().unwrap();
        let text = |key: &str| mount[key].as_str().unwrap();
        linux.mount(text("share"), &mount["port"].to_string(), text("username"), text("password"));
        let spec = writer::spec(&order.name, json!({ "slug": order.slug, "compressed": order.compressed }));
        fs::write(linux.shared().join("spec"), spec.to_string()).unwrap();
        let file = format!("/mnt/{}", order.filename);
        linux.run(&format!(
            "python /shared/write.py {file} /shared/config < /shared/spec && stat -c %s {file}; umount /mnt"
        ))?;
        Ok(0)
    };
    supervisor.change(|world| world.writing = Some(Arc::new(writing)));
    let app = home.start(&supervisor);
    app.mount(&supervisor, "haul_nas");
    let (code, said) = home.haul(&["run", "all"]);
    assert_eq!(code, Some(0), "{said}");
    let names = archives(&home.path("nas"));
    assert_eq!(names.len(), 1);
    let archive = home.path("nas").join(&names[0]);
    assert_eq!(verdict(&home, &archive), "whole", "{said}");
    let listed =
        home.haul(&["cat", archive.to_str().unwrap(), "core_ssh.tar.gz: ./addon.json", "--password-file", "key"]);
    assert!(listed.1.contains("core_ssh"), "{listed:?}");
}
