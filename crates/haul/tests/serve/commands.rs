//! The commands beside the service and without it.

use std::fs;

use testkit::wait;

use crate::home::{Home, TWO};

#[test]
fn run_makes_the_backup_itself_or_lets_the_service_make_it() {
    let home = Home::new(TWO);
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 0 && said.starts_with("home: backed up "), "{said}");
    assert_eq!((home.archives("nas").len(), home.archives("off").len()), (1, 1));
    let _service = home.serve();
    home.settled(2);
    let (code, said) = home.haul(&["run", "home"]);
    assert!(code == 0 && said.contains("home: backed up "), "{said}");
    assert_eq!(home.archives("nas").len(), 2);
    let (code, said) = home.haul(&["run", "hom"]);
    assert!(code == 2 && said.contains("there is no job \"hom\"") && said.contains("known: home"), "{said}");
}

#[test]
fn status_and_jobs_say_the_same_with_and_without_the_service() {
    let home = Home::new(TWO);
    let (code, said) = home.haul(&["status"]);
    assert!(code == 3 && said.starts_with("No backup yet"), "{said}");
    assert_eq!(home.haul(&["run", "home"]).0, 0);
    let (code, alone) = home.haul(&["status"]);
    assert!(code == 0 && alone.starts_with("2 whole copies, newest just now, both checked\n"), "{alone}");
    let (_, document) = home.haul(&["status", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["jobs"][0]["copies_of_newest"], 2);
    let _service = home.serve();
    home.settled(2);
    let (_, said) = home.haul(&["status"]);
    let (same, next) = said.lines().next().unwrap().split_once("; next ").unwrap();
    assert_eq!((Some(same), next.ends_with("04:45")), (alone.lines().next(), true));
    let (code, said) = home.haul(&["jobs"]);
    assert!(code == 0 && said.contains("daily 04:45") && said.contains("nas, off"), "{said}");
}

#[test]
fn a_paused_job_rests_until_it_is_resumed() {
    let home = Home::new(TWO);
    let before = fs::read_to_string(home.path("haul.toml")).unwrap();
    let (code, said) = home.haul(&["pause", "home"]);
    assert!(code == 0 && said.contains("is paused"), "{said}");
    let _service = home.serve();
    assert!(home.status()["jobs"][0]["paused"].as_bool().unwrap());
    assert!(home.haul(&["jobs"]).1.contains("paused"));
    assert!(home.archives("nas").is_empty());
    assert_eq!(home.haul(&["resume", "home"]).0, 0);
    home.settled(2);
    assert_eq!(fs::read_to_string(home.path("haul.toml")).unwrap(), before);
}

#[test]
fn two_services_on_one_state_directory_are_refused() {
    let home = Home::new(TWO);
    let _service = home.serve();
    let (code, said) = home.haul(&["serve", "--listen", "none"]);
    assert!(code == 1 && said.contains("is working with the state directory"), "{said}");
    assert!(home.ask("GET", "status").is_some(), "the first one still answers");
}

#[test]
fn what_is_wrong_is_one_sentence_before_anything_starts() {
    let home = Home::new(&TWO.replace("\"nas\", \"off\"", "\"nas\", \"of\""));
    let (code, said) = home.haul(&["serve", "--listen", "none"]);
    assert!(code == 2 && said.contains("there is no destination \"of\"; did you mean \"off\"?"), "{said}");
    home.configure(TWO);
    fs::remove_dir(home.path("state")).unwrap();
    fs::write(home.path("state"), "a file").unwrap();
    let (code, said) = home.haul(&["serve", "--listen", "none"]);
    assert!(code == 1 && said.contains("can't use the state directory"), "{said}");
    fs::remove_file(home.path("state")).unwrap();
    for listen in ["nonsense", "127.0.0.1:99999"] {
        let (code, said) = home.haul(&["serve", "--listen", listen]);
        assert!(code == 2 && said.contains(&format!("{listen:?} is not an address with a port")), "{said}");
    }
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    let home = Home::new(TWO);
    let mut service = home.serve();
    home.settled(2);
    let process = rustix::process::Pid::from_raw(i32::try_from(service.0.id()).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let mut status = None;
    wait::until("it has ended", || {
        status = service.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(!home.path("state/haul.sock").exists());
}

#[test]
fn a_job_is_rehearsed_with_and_without_the_service_and_the_result_is_known() {
    let home = Home::new(TWO);
    let (code, said) = home.haul(&["rehearse", "home"]);
    assert!(code == 1 && said.contains("no location of \"home\" has a whole backup"), "{said}");
    assert_eq!(home.haul(&["run", "home"]).0, 0);
    let (code, said) = home.haul(&["rehearse", "home"]);
    assert!(code == 0 && said.contains("Proved"), "{said}");
    let proven = |home: &Home| home.haul(&["status"]).1.lines().filter(|line| line.contains("proven")).count();
    assert_eq!(proven(&home), 1);
    let (code, said) = home.haul(&["rehearse", "home", "--in-memory"]);
    assert!(code == 2 && said.contains("home is a job"), "{said}");
    let (code, said) = home.haul(&["rehearse", "hom"]);
    assert!(code == 2 && said.contains("neither an archive nor a job") && said.contains("(known: home)"), "{said}");
    let (code, said) = home.haul(&["serve", "--listen", "70000"]);
    assert!(code == 2 && said.contains("\"70000\" is not an address with a port"), "{said}");
    let service = home.serve();
    let (code, said) = home.haul(&["rehearse", "home", "--json"]);
    assert!(code == 0 && said.contains("\"ending\": \"done\""), "{said}");
    drop(service);
    fs::remove_file(home.path("state/catalog.db")).unwrap();
    let (code, said) = home.haul(&["rehearse", "home"]);
    assert_eq!(code, 0, "what is there is looked at first: {said}");
    assert_eq!(home.archives("nas").len(), 1, "no backup is made for it");
}

#[test]
fn two_runs_at_once_both_make_a_backup() {
    let home = Home::new(TWO);
    let first = home.begin(&["run", "home"]);
    let (code, said) = home.haul(&["run", "home"]);
    assert_eq!(code, 0, "{said}");
    assert!(testkit::wait::ended(first).status.success());
    assert_eq!(home.archives("nas").len(), 2);
}
