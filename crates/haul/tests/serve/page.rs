//! What the page and the API show of the real service.

use crate::home::{Home, TWO};

#[test]
fn prometheus_gets_what_is_known() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    let text = home.text("GET", "/metrics").unwrap();
    for line in ["haul_backup_newest_copies{backup_job=\"home\"} 2", "haul_destination_up{destination=\"nas\"} 1"] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn the_log_tells_what_a_job_does_and_nothing_of_what_its_commands_print() {
    let home = Home::new(&format!(
        "{}before = \"echo the-token\"\nafter = \"echo the-token >&2; exit 1\"\n",
        TWO.replace("[\"nas\", \"off\"]", "[\"nas\"]")
    ));
    let _service = home.serve();
    home.settled(1);
    let lines = || -> Vec<String> {
        let log = home.ask("GET", "log?limit=1000").unwrap();
        log.as_array().unwrap().iter().rev().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    };
    testkit::wait::until("the end of the backup is logged", || lines().iter().any(|line| line.contains("backed up")));
    let lines = lines();
    let at =
        |what: &str| lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {lines:?}"));
    assert!(lines[0].starts_with("configuration "), "{lines:?}");
    let steps =
        ["home: a backup to nas begins", "home: the command before the backup runs", "the command after", "backed up"];
    assert!(steps.map(at).is_sorted(), "{lines:?}");
    at("nas: the check of ");
    let text = home.text("GET", "/log.txt").unwrap();
    assert!(text.contains("a backup to nas begins") && home.log().contains("the-token") && !text.contains("the-token"));
}

#[test]
fn the_inside_of_an_archive_can_be_seen_and_taken_out() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    let archives = home.ask("GET", "archives").unwrap();
    let archive = archives.as_array().map_or(&archives["archives"][0], |all| &all[0]);
    let id = archive["id"].as_str().unwrap_or_else(|| panic!("{archives}")).to_owned();
    let contents = home.ask("GET", &format!("archives/{id}/contents?folder=.storage")).unwrap();
    let names = contents["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap());
    assert!(names.clone().any(|name| name == "core.uuid"), "{contents}");
    let uuid = home.ask("GET", &format!("archives/{id}/file?path=.storage/core.uuid")).unwrap();
    assert_eq!(uuid["data"]["uuid"], "a1b2c3");
}
