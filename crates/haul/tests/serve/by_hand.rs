//! Commands by hand where jobs have their backups, and where their configuration has a mistake.

use std::fs;

use crate::home::{Home, TWO};

/// A backup under the job's first key, while the job has another one by now.
fn with_two_keys() -> (Home, String) {
    let keyed = |keys: &str| TWO.replace("keep =", &format!("{keys}\nkeep ="));
    let home = Home::new(&keyed("password_file = \"old key\""));
    fs::write(home.path("old key"), "the first key\n").unwrap();
    let (code, said) = home.haul(&["run", "home"]);
    assert_eq!(code, 0, "{said}");
    fs::write(home.path("new key"), "the second key\n").unwrap();
    home.configure(&keyed("password_file = \"new key\"\nearlier_password_files = [\"old key\"]"));
    let name = home.archives("nas").remove(0);
    (home, name)
}

#[test]
fn an_archive_opens_with_a_key_of_the_job_that_made_it() {
    let (home, name) = with_two_keys();
    let by_name = format!("nas/{name}");
    let by_path = home.path("nas").join(&name).display().to_string();
    let used = format!("using the key of the job home, {}", home.path("old key").display());
    let into = home.path("restored").display().to_string();
    let repaired = home.path("repaired.tar").display().to_string();
    for args in [
        &["verify", &by_name][..],
        &["verify", &by_path],
        &["inspect", &by_name],
        &["ls", &by_name],
        &["cat", &by_name, "configuration.yaml"],
        &["diff", &by_name, &by_path],
        &["rehearse", &by_name],
        &["restore", &by_name, "--into", &into],
        &["repair", &by_name, "--to", &repaired, "--decrypt"],
    ] {
        let (code, said) = home.haul(args);
        assert!(code == 0 && said.contains(&used), "{args:?} ends with {code}: {said}");
    }
    // Elsewhere it is nobody's.
    let moved = home.path("moved.tar");
    fs::copy(home.path("nas").join(&name), &moved).unwrap();
    let (code, said) = home.haul(&["verify", moved.to_str().unwrap()]);
    assert!(code == 2 && said.contains("give it with --password-file"), "{said}");
}

#[test]
fn where_no_key_fits_it_is_said_where_the_right_one_may_be() {
    let (home, name) = with_two_keys();
    let archive = format!("nas/{name}");
    fs::write(home.path("wrong"), "not this one").unwrap();
    for command in ["verify", "ls", "inspect"] {
        let (code, said) = home.haul(&[command, &archive, "--password-file", "wrong"]);
        let advised =
            format!("leave the password out to use the key of the job home, {}", home.path("new key").display());
        assert!(code == 1 && said.contains(&advised), "{command}: {code}: {said}");
    }
    fs::write(home.path("old key"), "lost").unwrap();
    for command in ["verify", "ls", "inspect"] {
        let (code, said) = home.haul(&[command, &archive]);
        let files = format!("({}, {})", home.path("new key").display(), home.path("old key").display());
        let advised = format!("no key of the job home fits {files}; give the one from an emergency kit");
        assert!(code == 2 && said.contains(&advised), "{command}: {code}: {said}");
    }
    // One that can't be read is named, and the others are tried.
    fs::write(home.path("old key"), "the first key").unwrap();
    fs::remove_file(home.path("new key")).unwrap();
    let (code, said) = home.haul(&["verify", &archive]);
    assert!(code == 0 && said.contains("can't read the password file"), "{said}");
}

#[test]
fn a_mistake_in_the_configuration_hides_nothing_of_what_is_known() {
    let home = Home::new(TWO);
    let wrong = TWO.replace("daily 04:45", "dayly");
    home.configure(&wrong);
    let (code, said) = home.haul(&["status"]);
    let headline =
        "haul.toml has a mistake, and the service is not running: no backup is made until both are put right\n";
    assert!(code == 2 && said.contains("haul.toml, line 7"), "nothing is known yet: {said}");
    assert!(said.starts_with(headline) && !said.contains("NEWEST WHOLE"), "{said}");
    home.configure(TWO);
    assert_eq!(home.haul(&["run", "home"]).0, 0);
    home.configure(&wrong);
    // Without the service: what its catalog holds.
    let (code, said) = home.haul(&["status"]);
    assert!(code == 2 && said.contains("haul.toml, line 7") && said.contains("NEWEST WHOLE"), "{code}: {said}");
    assert!(said.starts_with(headline), "{said}");
    let (code, said) = home.haul(&["status", "--json"]);
    assert!(code == 2 && said.contains("\"exit_code\": 2"), "{code}: {said}");
    let (code, said) = home.haul(&["status", "--alive"]);
    assert!(code == 1 && said.contains("the service is not running"), "{code}: {said}");
    // With it: what it knows, by the configuration that it goes by.
    home.configure(TWO);
    let _service = home.serve();
    home.settled(2);
    home.configure(&wrong);
    testkit::wait::until("the service has seen it", || home.status()["configuration"]["problem"].is_string());
    let (code, said) = home.haul(&["status"]);
    assert!(code == 2 && said.contains("2 whole copies") && said.contains("haul.toml, line 7"), "{code}: {said}");
    assert_eq!(home.haul(&["status", "--alive"]).0, 0);
    let (code, said) = home.haul(&["verify", "nas/x.tar"]);
    assert!(code == 2 && !said.contains("copies"), "{said}");
}

#[test]
fn without_the_service_nothing_is_said_to_come_by_itself() {
    let home = Home::new(TWO);
    let service = home.serve();
    home.settled(2);
    let (_, said) = home.haul(&["status"]);
    assert!(said.contains("; next ") && !said.contains("is not running"), "{said}");
    drop(service);
    for args in [["status"], ["jobs"]] {
        let (code, said) = home.haul(&args);
        assert!(code == 0 && said.contains("the service is not running: nothing happens by itself"), "{said}");
        assert!(!said.contains("next ") && !said.contains("NEXT"), "{said}");
        assert_eq!(said.contains(" DUE "), args == ["jobs"], "{said}");
    }
    let (_, said) = home.haul(&["status", "--json"]);
    assert!(said.contains("\"next\": null"), "{said}");
}

#[test]
fn a_state_directory_that_depends_on_where_haul_is_started_is_refused() {
    let home = Home::new(TWO);
    for args in [&["status"][..], &["run", "home"], &["serve", "--listen", "none"]] {
        let (code, said) = home.haul_in(&["env", "HAUL_STATE=state/../here"], args);
        assert!(code == 2 && said.contains("HAUL_STATE names state/../here, which is not"), "{code}: {said}");
    }
    // The XDG specification says that a relative one counts as none; so does an empty one.
    for variable in ["HAUL_STATE=", "XDG_STATE_HOME=here"] {
        let (code, said) = home.haul_in(&["env", "-u", "HAUL_STATE", variable], &["status"]);
        assert!(code == 3 && said.contains("No backup"), "{code}: {said}");
    }
    assert!(!home.path("here").exists());
}

#[test]
fn two_names_for_one_place_are_noticed_however_they_are_written() {
    let home = Home::new(TWO);
    for written in ["nas", "./nas/", "nas//"] {
        home.configure(&TWO.replace("url = \"off\"", &format!("url = \"{written}\"")));
        let (code, said) = home.haul(&["run", "home"]);
        assert!(code == 2 && said.contains("are the same place, so there would be one copy, not two"), "{said}");
    }
    // Nobody is to wait for a share because of a link, so that is noticed later.
    fs::remove_dir(home.path("off")).unwrap();
    std::os::unix::fs::symlink("nas", home.path("off")).unwrap();
    home.configure(TWO);
    home.haul(&["run", "home"]);
    let (code, said) = home.haul(&["status"]);
    assert!(code == 3 && said.contains("there is one copy where two are meant"), "{code}: {said}");
}
