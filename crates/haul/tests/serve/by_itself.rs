//! The service, left alone.

use std::fs;

use testkit::{
    s3::{ACCESS_KEY, S3Server, SECRET_KEY},
    wait,
};

use crate::home::{Home, TWO};

#[test]
fn the_first_backup_is_made_at_once_and_every_copy_is_verified() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    assert_eq!(home.archives("nas"), home.archives("off"));
    let status = home.status();
    assert_eq!(status["level"], "ok", "{status}");
    let headline = status["headline"].as_str().unwrap();
    assert!(headline.starts_with("2 whole copies, newest just now, both checked; next "), "{headline}");
}

#[test]
fn a_copy_that_is_lost_or_damaged_comes_back_from_the_other_place() {
    let home = Home::new(TWO);
    let service = home.serve();
    home.settled(2);
    let [name] = &home.archives("nas")[..] else { panic!("one archive") };
    let good = fs::read(home.path("off").join(name)).unwrap();
    fs::remove_file(home.path("nas").join(name)).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("the copy is back", || home.path("nas").join(name).exists());
    home.settled(2);
    assert_eq!(fs::read(home.path("nas").join(name)).unwrap(), good);
    // Half of it: known at the next look.
    fs::write(home.path("nas").join(name), &good[..good.len() / 2]).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("the half one is replaced", || {
        let names = home.archives("nas");
        names.len() == 1 && fs::read(home.path("nas").join(&names[0])).is_ok_and(|bytes| bytes == good)
    });
    drop(service);
}

#[test]
fn a_destination_that_was_away_catches_up() {
    let home = Home::new(TWO);
    fs::remove_dir(home.path("off")).unwrap();
    let _service = home.serve();
    home.settled(1);
    let status = home.status();
    assert_eq!(status["level"], "warning", "{status}");
    assert!(home.log().contains("off can't be reached"), "{}", home.log());
    fs::create_dir(home.path("off")).unwrap();
    home.ask("POST", "sync").unwrap();
    home.settled(2);
    assert_eq!(home.archives("nas"), home.archives("off"));
    assert_eq!(home.status()["level"], "ok");
    wait::until("the log says that it is back", || home.log().contains("The destination can be reached again: off"));
}

#[test]
fn a_catalog_that_is_lost_or_damaged_costs_no_backup_and_repeats_none() {
    let home = Home::new(TWO);
    drop({
        let service = home.serve();
        home.settled(2);
        service
    });
    let before = home.archives("nas");
    for damage in ["gone", "noise"] {
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            let _ = fs::remove_file(home.path("state").join(name));
        }
        if damage == "noise" {
            fs::write(home.path("state/catalog.db"), "this is no database, however long it may be".repeat(100))
                .unwrap();
        }
        let _service = home.serve();
        // Nobody verified these copies, as far as the new catalog knows.
        home.settled(2);
        assert_eq!(home.archives("nas"), before, "{damage}: {}", home.log());
    }
    assert!(home.log().contains("could not be read and is kept as"), "{}", home.log());
}

#[test]
fn old_archives_go_when_newer_ones_are_verified() {
    let home = Home::new(&TWO.replace("last = 3", "last = 2"));
    for _ in 0..4 {
        let (code, said) = home.haul(&["run", "home"]);
        assert_eq!(code, 0, "{said}");
    }
    let _service = home.serve();
    wait::until("two are left at each", || home.archives("nas").len() == 2 && home.archives("off").len() == 2);
    home.settled(2);
    assert_eq!(home.archives("nas"), home.archives("off"));
}

#[test]
fn killed_at_any_moment_it_goes_on_and_leaves_no_half_copy() {
    let home = Home::new(TWO);
    // Begun again at once so often.
    for _ in 0..3 {
        let service = home.serve();
        drop(service);
    }
    let _service = home.serve();
    home.settled(2);
    for name in ["nas", "off"] {
        for archive in home.archives(name) {
            let (code, said) = home.haul(&["verify", &format!("{name}/{archive}")]);
            assert_eq!(code, 0, "{said}");
        }
    }
    assert_eq!(home.archives("nas"), home.archives("off"));
}

#[test]
fn a_configuration_that_is_wrong_is_told_and_the_old_one_stays() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    home.configure(&TWO.replace("daily 04:45", "daily 25:00"));
    wait::until("it is told", || home.status()["configuration"]["problem"].is_string());
    let status = home.status();
    assert_eq!((&status["level"], &status["jobs"][0]["schedules"][0]), (&"warning".into(), &"daily 04:45".into()));
    assert!(home.log().contains("haul.toml, line 7"), "{}", home.log());
    home.configure(&TWO.replace("daily 04:45", "daily 05:15"));
    wait::until("the new one is in force", || home.status()["jobs"][0]["schedules"][0] == "daily 05:15");
    assert_eq!(home.status()["level"], "ok");
}

#[test]
fn what_can_not_pass_stops_and_says_so() {
    let home = Home::new(&TWO.replace("keep =", "password_file = \"missing\"\nkeep ="));
    let _service = home.serve();
    wait::until("it has failed", || home.status()["level"] == "error");
    let status = home.status();
    let problem = &status["problems"][0];
    assert_eq!(problem["kind"], "backup-failed", "{status}");
    let (message, hint) = (problem["message"].as_str().unwrap(), problem["hint"].as_str().unwrap());
    assert!(message.contains("can't read the password file"), "{message}");
    assert!(hint.contains("does not try again before the next time it is due"), "{hint}");
    assert!(home.archives("nas").is_empty());
    // With the file, the next run succeeds.
    fs::write(home.path("missing"), "secret").unwrap();
    home.ask("POST", "jobs/home/run").unwrap();
    home.settled(2);
    assert_eq!(home.status()["level"], "ok");
}

#[test]
fn commands_run_around_a_backup_and_the_second_whatever_happens() {
    let hooks = "before = \"echo before >> order; test ! -e fail\"\nafter = \"echo after >> order\"\nkeep =";
    let home = Home::new(&TWO.replace("keep =", hooks));
    fs::write(home.path("fail"), "").unwrap();
    let (code, said) = home.haul(&["run", "home"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the command before the backup failed (exit code 1)"), "{said}");
    assert!(home.archives("nas").is_empty());
    fs::remove_file(home.path("fail")).unwrap();
    assert_eq!(home.haul(&["run", "home"]).0, 0);
    assert_eq!(fs::read_to_string(home.path("order")).unwrap(), "before\nafter\nbefore\nafter\n");
    let slow = "before = \"sleep 600\"\nafter = \"echo woken >> order\"\nhook_timeout = \"1s\"\nkeep =";
    home.configure(&TWO.replace("keep =", slow));
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 1 && said.contains("did not end within its time limit"), "{said}");
    assert!(fs::read_to_string(home.path("order")).unwrap().ends_with("woken\n"));
}

#[test]
fn a_rehearsal_proves_that_the_newest_backup_restores() {
    let home = Home::new(&TWO.replace("keep =", "rehearse = \"weekly\"\nkeep ="));
    let _service = home.serve();
    wait::until("it is proved", || home.status()["jobs"][0]["proven"].is_object());
    let status = home.status();
    let sentence = status["jobs"][0]["proven"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("Proved: "), "{sentence}");
    let left = fs::read_dir(home.path("state/rehearse")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing of it stays");
}

#[test]
fn an_archive_passes_from_one_far_place_to_another() {
    let server = S3Server::start(&["one", "two"]).unwrap();
    let bucket = |name: &str| {
        let url = server.url();
        format!(
            "[destinations.{name}]\nurl = \"s3://{name}/ha\"\nendpoint = \"{url}\"\nallow_http = true\naccess_key_id = \
             \"{ACCESS_KEY}\"\nsecret_access_key_file = \"secret\"\n"
        )
    };
    let job = "[jobs.home]\nsource = \"config\"\nschedule = \"daily 04:45\"\ndestinations = [\"one\", \"two\"]\n";
    let home = Home::new(&format!("{}{}{job}", bucket("one"), bucket("two")));
    fs::write(home.path("secret"), SECRET_KEY).unwrap();
    let _service = home.serve();
    home.settled(2);
    let keys = server.keys("two");
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let sent = server.directory().join("two").join(key);
    let good = fs::read(&sent).unwrap();
    fs::remove_file(&sent).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("it is back", || fs::read(&sent).is_ok_and(|bytes| bytes == good));
    home.settled(2);
    assert_eq!(server.unfinished(), 0);
}
