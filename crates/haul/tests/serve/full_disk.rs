//! The state directory's disk has no room.

use std::{fs, io::Write, process::Command};

use crate::home::{Home, TWO};

struct Mounted<'h>(&'h Home);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path("state")).status();
    }
}

#[test]
fn the_service_starts_and_makes_backups_though_its_own_disk_is_full() {
    let home = Home::new(TWO);
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(home.path("state")).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "a small file system can't be mounted");
        let _ = writeln!(std::io::stderr(), "skipped: this needs to mount a small file system");
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
