//! How the configuration comes into force: one way for an editor and for the page, whatever does not answer meanwhile.

use std::fs;

use serde_json::json;
use testkit::wait;

use crate::home::{Home, TWO};

fn lines(home: &Home, says: &str) -> usize {
    home.log().lines().filter(|line| line.contains(says)).count()
}

#[test]
fn a_share_that_never_answers_holds_up_nothing_when_the_configuration_is_read_again() {
    let home = Home::new(TWO);
    fs::create_dir(home.path("dead")).unwrap();
    let dead = home.path("dead");
    let late = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=openat,open:delay_enter=600000000", "-P"];
    let late: Vec<&str> = late.into_iter().chain(dead.to_str()).collect();
    let _service = home.serve_in(&late, "none");
    home.settled(2);
    home.configure(&format!("{TWO}[jobs.other]\nsource = \"dead\"\ndestinations = [\"nas\"]\n"));
    wait::until(format!("the new job is known\n{}", home.log()), || home.status()["jobs"][1]["name"] == "other");
    wait::until("it is said", || lines(&home, "dead can't be read: its file system does not answer") >= 1);
    home.ask("POST", "jobs/home/run").unwrap();
    wait::until("backups go on", || home.archives("nas").len() == 2);
    home.configure(TWO);
    wait::until("it is gone again", || home.status()["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1));
}

#[test]
fn what_the_page_changes_is_in_force_at_once_and_not_read_a_second_time() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    assert_eq!(home.send("POST", "jobs/home/pause", &json!({})).0, 202);
    assert_eq!(home.status()["jobs"][0]["paused"], true);
    assert_eq!(lines(&home, "the configuration was changed on the page"), 1);
    // What somebody writes after it is read.
    home.configure(&TWO.replace("04:45", "05:15"));
    wait::until("the file is read", || home.status()["jobs"][0]["schedules"][0] == "daily 05:15");
    assert_eq!((home.status()["jobs"][0]["paused"].clone(), lines(&home, "was read again")), (json!(false), 1));
    // What can't be done leaves both as they are.
    assert_eq!(home.send("POST", "jobs/nobody/pause", &json!({})).0, 404);
    assert_eq!(lines(&home, "the configuration was"), 2);
}
