//! The state directory's disk has no room.

use std::{fs, io::Write, process::Command};

use crate::home::{Home, TWO};

struct Mounted<'h>(&'h Home);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path("state")).status();
    }
}

fn mount(home: &Home, options: &str) -> bool {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(home.path("state")).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "a small file system can't be mounted");
        let _ = writeln!(std::io::stderr(), "skipped: this needs to mount a small file system");
        return false;
    }
    true
}

#[test]
fn the_service_works_on_though_its_own_disk_has_become_read_only() {
    let home = Home::new(TWO);
    if !mount(&home, "size=4m") {
        return;
    }
    let _mounted = Mounted(&home);
    assert_eq!(home.haul(&["run", "home"]).0, 0);
    assert!(mount(&home, "remount,ro"));
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 0 && home.archives("nas").len() == 2, "{said}");
    // A place that is new gets what the others have.
    fs::create_dir(home.path("nas2")).unwrap();
    home.configure(&TWO.replace("url = \"nas\"", "url = \"nas2\""));
    let mut service = home.begin(&["serve", "--listen", "none"]);
    testkit::wait::until("copies are there", || home.archives("nas2").len() == 2);
    service.kill().unwrap();
    let said = service.wait_with_output().unwrap().stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("commands do not reach the service") && said.contains("can't write down"), "{said}");
}

#[test]
fn the_service_starts_and_makes_backups_though_its_own_disk_is_full() {
    let home = Home::new(TWO);
    if !mount(&home, "size=1m") {
        return;
    }
    let _mounted = Mounted(&home);
    let fill = || assert!(fs::write(home.path("state/filler"), vec![1; 2 << 20]).is_err());
    fill();
    let service = home.serve();
    home.settled(2);
    let problems = home.status()["problems"].to_string();
    assert!(problems.contains("can't write down what it does") && problems.contains("full"), "{problems}");
    assert!(home.log().contains("catalog.db: database or disk is full; make room in the state directory"));
    drop(service);
    // By hand as well.
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 0 && said.contains("home: "), "{code}: {said}");
    // What there is of a catalog is read while there is room, and known when there is none.
    fs::remove_file(home.path("state/filler")).unwrap();
    let service = home.serve();
    home.settled(2);
    assert_eq!(home.status()["problems"], serde_json::json!([]));
    let runs = home.ask("GET", "runs").unwrap();
    drop(service);
    fill();
    let service = home.serve();
    assert_eq!(home.ask("GET", "runs").unwrap(), runs);
    drop(service);
    let (_, said) = home.haul(&["status"]);
    assert!(said.contains("2 whole copies"), "{said}");
}
