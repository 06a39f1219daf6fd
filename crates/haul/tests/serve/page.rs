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
