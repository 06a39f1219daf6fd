//! What has to wait, with the real program killed meanwhile.

use std::fs;

use serde_json::json;
use testkit::wait;

use crate::home::{Home, TWO};

#[test]
fn a_pin_waits_for_a_location_that_is_away_also_if_the_service_is_killed() {
    let home = Home::new(TWO);
    let service = home.serve();
    home.settled(2);
    let [name] = &home.archives("nas")[..] else { panic!("one archive") };
    fs::rename(home.path("off"), home.path("elsewhere")).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("it is away", || home.status()["destinations"][1]["away"].is_object());
    let archive = || home.ask("GET", "archives").unwrap()["archives"][0].clone();
    let id = archive()["id"].as_str().unwrap().to_owned();
    assert_eq!(home.send("POST", &format!("archives/{id}/pin"), &json!({})).0, 202);
    let is_marked = |place: &str| home.archives(place).len() > 1;
    wait::until("the other copy is protected", || is_marked("nas"));
    assert_eq!(archive()["copies"][1]["pinning"], true, "{}", archive());
    let page = home.text("GET", &format!("/backups/{id}")).unwrap();
    assert!(page.contains("protected as soon as it can be reached") && page.contains(">Release<"), "{page}");
    assert_eq!(home.send("PUT", &format!("archives/{id}/note"), &json!({"text": "before the move"})).0, 202);
    // It is killed.
    drop(service);
    let _service = home.serve();
    assert_eq!(archive()["copies"][1]["pinning"], true, "{}", archive());
    assert_eq!(archive()["note"], "before the move");
    fs::rename(home.path("elsewhere"), home.path("off")).unwrap();
    home.ask("POST", "sync").unwrap();
    wait::until("it is protected there, too", || archive()["copies"][1]["pinned"] == true);
    assert!(is_marked("off"), "{name}");
    assert!(archive()["copies"][1]["pinning"].is_null());
}
