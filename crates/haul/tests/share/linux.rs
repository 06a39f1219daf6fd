//! Folders as the kernel of Home Assistant OS mounts them.

use std::{fs, path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{
    linux::Linux,
    moto::Moto,
    proxy::{Death, Proxy},
    python,
    supervisor::writer,
    wait,
};

use super::{PASSWORD, Sharing, haul, home, names};

const NAS: &str = "[destinations.nas]\nurl = \"nas\"\n";

/// One that has the scripts beside this file, and a configuration.
fn linux() -> Option<Linux> {
    let linux = Linux::boot()?;
    for script in ["copying.py", "restoring.py"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/share").join(script);
        fs::copy(from, linux.shared().join(script)).unwrap();
    }
    let options = sample::Options { database_bytes: 2 << 20, seed: 7 };
    sample::create(&linux.shared().join("config"), &options).unwrap();
    // As beside a recorder that runs.
    fs::write(linux.shared().join("config/home-assistant_v2.db-wal"), "").unwrap();
    Some(linux)
}

/// Has it write a backup as Supervisor does, and gives that backup.
fn write(linux: &mut Linux, to: &str, spec: &Value) -> Vec<u8> {
    fs::write(linux.shared().join("spec"), spec.to_string()).unwrap();
    let said = linux.run(&format!("python /shared/write.py {to} /shared/config /shared/copy.tar < /shared/spec"));
    assert!(said.is_ok(), "{said:?}");
    fs::read(linux.shared().join("copy.tar")).unwrap()
}

/// A backup in a file.
fn archive(linux: &mut Linux) -> Vec<u8> {
    write(linux, "/tmp/a.tar", &writer::spec("A", json!({})))
}

/// What `haul verify` says of an archive in a word.
fn verdict(home: &Path, archive: &str) -> String {
    let output = haul(home, &["verify", archive, "--password-file", "password", "--json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    said["judgement"]["verdict"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_supervisor_writes_arrives_byte_for_byte_and_a_restore_writes_nothing() {
    let Some(mut linux) = linux() else { return };
    let home = home(NAS);
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    linux.mount("nas", &sharing.port, "ha", PASSWORD);
    for (name, compressed, password) in
        [("plain", false, None), ("gz", true, None), ("v3", false, Some(PASSWORD)), ("v3-gz", true, Some(PASSWORD))]
    {
        let spec = writer::spec(name, json!({ "compressed": compressed, "password": password }));
        let written = write(&mut linux, &format!("/mnt/{name}.tar"), &spec);
        assert!(sharing.line().starts_with(&format!("Received {name}.tar (")));
        let file = format!("nas/{name}.tar");
        let arrived = fs::read(path.join(&file)).unwrap();
        assert!(arrived == written, "{name}: {} bytes of {}", arrived.len(), written.len());
        assert_eq!(verdict(path, &file), "whole", "{name}");
        // It is there for the writer, too.
        let said = linux.run(&format!("cmp /mnt/{name}.tar /shared/copy.tar"));
        assert!(said.is_ok(), "{said:?}");
    }
    let before = names(&path.join("nas"));
    for name in ["plain", "v3-gz"] {
        linux.start(&format!("python /shared/restoring.py /mnt/{name}.tar"));
        linux.says("unpacked");
        assert_eq!(names(&path.join("nas")), before);
        linux.tell("go on");
        let said = linux.end().unwrap();
        assert!(said.contains("core_ssh.tar") && said.contains("./backup.json") && !said.contains("tmp"), "{said}");
    }
    assert_eq!(names(&path.join("nas")), before);
    // All is said that there is to say.
    linux.run("rm /mnt/gz.tar; umount /mnt").unwrap();
    assert_eq!(sharing.line(), "Deleted gz.tar");
}

#[test]
fn a_restart_ends_the_backup_that_is_written_and_the_mount_works_again() {
    let Some(mut linux) = linux() else { return };
    let home = home(NAS);
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    linux.mount("nas", &sharing.port, "ha", PASSWORD);
    let archive = archive(&mut linux);
    for signal in [Signal::KILL, Signal::INT] {
        linux.start("python /shared/copying.py /tmp/a.tar /mnt/a.tar 3000000");
        linux.says("half");
        wait::until("it arrives", || !names(&path.join("nas")).is_empty());
        sharing.end(signal);
        sharing = Sharing::listening(&sharing.address(), path, &["nas"]);
        linux.tell("go on");
        let said = linux.end().unwrap_err();
        assert!(said.contains("could not write"), "{said}");
        linux.run("python /shared/copying.py /tmp/a.tar /mnt/a.tar").unwrap();
        assert!(fs::read(path.join("nas/a.tar")).unwrap() == archive);
        assert_eq!(names(&path.join("nas")), ["a.tar"], "{signal:?}");
        linux.run("rm /mnt/a.tar").unwrap();
    }
}

#[test]
fn a_connection_that_breaks_costs_no_backup() {
    let Some(mut linux) = linux() else { return };
    let home = home(NAS);
    let path = home.path();
    let mut sharing = Sharing::start(path, &["nas"]);
    let proxy = Proxy::raw(sharing.address().parse().unwrap()).unwrap();
    linux.mount("nas", &proxy.address().port().to_string(), "ha", PASSWORD);
    let archive = archive(&mut linux);
    // Between two writes: it connects again, opens the file anew, and goes on.
    linux.start("python /shared/copying.py /tmp/a.tar /mnt/a.tar 3000000");
    linux.says("half");
    let before = proxy.connections();
    proxy.sever(Death::Reset);
    wait::until("it connects again", || proxy.connections() > before);
    linux.tell("go on");
    let said = linux.end();
    assert!(said.is_ok(), "{said:?}");
    assert!(sharing.line().starts_with("Received a.tar ("));
    assert!(fs::read(path.join("nas/a.tar")).unwrap() == archive);

    // In the middle of one: Linux 6.12 tells the writer.
    proxy.cut_at([proxy.uploaded() + 3_500_000], Death::Reset);
    let said = linux.run("python /shared/copying.py /tmp/a.tar /mnt/b.tar");
    assert!(said.as_ref().is_err_and(|said| said.contains("could not write")), "{said:?}");
    assert_eq!(sharing.line(), "Could not receive b.tar: the program that wrote it removed it");
    assert_eq!(names(&path.join("nas")), ["a.tar"]);
    linux.run("python /shared/copying.py /tmp/a.tar /mnt/b.tar").unwrap();
}

#[test]
fn a_destination_that_stalls_is_waited_for_and_one_that_is_gone_fails_the_backup() {
    let Some(python) = python::with_securetar("SecureTarArchive") else { return };
    let (Some(mut linux), Some(moto)) = (linux(), Moto::start(&["bucket"]).unwrap()) else { return };
    let proxy = Proxy::http(moto.address()).unwrap();
    let home = home(&format!(
        "[destinations.nas]\nurl = \"s3://bucket/home\"\nendpoint = \"{}\"\naccess_key_id = \"key\"\n\
         secret_access_key_file = \"secret\"\nallow_http = true\n",
        proxy.url()
    ));
    let path = home.path();
    fs::write(path.join("secret"), "secret").unwrap();
    let mut sharing = Sharing::start(path, &["nas"]);
    linux.mount("nas", &sharing.port, "ha", PASSWORD);
    let archive = archive(&mut linux);

    // Longer than one write may wait.
    assert!(archive.len() > 12 << 20, "it fits into what waits without a write that waits");
    linux.start("python /shared/copying.py /tmp/a.tar /mnt/a.tar 2000000");
    linux.says("half");
    proxy.down_for(Duration::from_secs(12));
    linux.tell("go on");
    let said = linux.end();
    assert!(said.is_ok(), "{said:?}");
    assert!(sharing.line().starts_with("Received a.tar ("));
    linux.run("cmp /mnt/a.tar /tmp/a.tar").unwrap();

    // More than there is memory for, and for longer, after the destination has taken the first part.
    linux.run("umount /mnt").unwrap();
    drop(sharing);
    let mut sharing = Sharing::start(path, &["nas", "--memory", "8MiB"]);
    linux.mount("nas", &sharing.port, "ha", PASSWORD);
    let much = json!({ "apps": [{ "slug": "much", "name": "Much", "version": "1", "bytes": 60 << 20 }] });
    let (file, config) = (linux.shared().join("b.tar"), linux.shared().join("config"));
    writer::write(&python, &file, &config, &writer::spec("B", much));
    linux.start("python /shared/copying.py /shared/b.tar /mnt/b.tar 20000000");
    linux.says("half");
    wait::until("the destination has begun", || moto.unfinished("bucket").unwrap() == 1);
    proxy.down();
    linux.tell("go on");
    let said = linux.end().unwrap_err();
    assert!(said.contains("No space left on device"), "{said}");
    let said = sharing.line();
    assert!(said.starts_with("Could not receive b.tar: the destination is away or took nothing for "), "{said}");
    proxy.up();
    let said = linux.run("ls /mnt").unwrap();
    assert!(said.contains("a.tar") && !said.contains("b.tar"), "{said}");
}
