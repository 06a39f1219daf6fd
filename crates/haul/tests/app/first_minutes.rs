//! What Home Assistant's users see without having set up anything.

use std::fs;

use serde_json::json;
use testkit::{
    supervisor::{Supervisor, World},
    wait,
};

use crate::home::Home;

const FAILING: &str = "[destinations.nas]\nurl = \"nas\"\n[jobs.home]\nsource = \"gone\"\ndestinations = [\"nas\"]\nschedule = \"daily\"\n";

fn notification(supervisor: &Supervisor) -> Option<(String, String)> {
    supervisor.change(|world| {
        let mut all = world.notifications.iter();
        let (id, shown) = all.find(|(id, _)| id.starts_with("haul_backup_failed_"))?;
        assert!(!id.contains("home"), "{id}");
        Some(shown.clone())
    })
}

fn gets_its_source(home: &Home) {
    assert!(
        std::process::Command::new("cp")
            .arg("-r")
            .args([home.path("config"), home.path("gone")])
            .status()
            .unwrap()
            .success()
    );
    let (code, said) = home.haul(&["run", "home"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_problem_is_a_notification_as_long_as_it_lasts() {
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(FAILING);
    let app = home.start(&supervisor);
    let (title, message) = wait::found("it is told", || notification(&supervisor));
    // All users of Home Assistant see it, administrators or not.
    assert_eq!(title, "Haul: backups are not safe");
    assert_eq!(message, "The last backup failed. Open Haul to see more.");

    // Nobody set it up, and it can be silenced, not removed.
    let settings = app.answer("0aa1", "/settings");
    assert!(settings.contains("/settings/channels/home-assistant"), "{settings}");
    assert!(settings.contains("devices in Home Assistant by themselves"), "{settings}");
    let form = app.answer("0aa1", "/settings/channels/home-assistant");
    assert!(form.contains("This Home Assistant") && !form.contains("Remove…"), "{form}");
    let removed = app.post("0aa1", "/settings/channels/home-assistant/remove", &[]);
    assert!(removed.contains("Have it send nothing"), "{removed}");

    gets_its_source(&home);
    wait::until("it is over", || notification(&supervisor).is_none());
}

#[test]
fn a_core_that_is_away_is_told_later_and_a_phone_needs_no_token() {
    let supervisor = Supervisor::start(World::default());
    supervisor.change(|world| world.core_answers = false);
    let home = Home::new(FAILING);
    let _app = home.start(&supervisor);
    let failed = || {
        let status = home.json(&["status", "--json"]);
        status["problems"].as_array().unwrap().iter().any(|problem| problem["key"] == "notify-failed:home-assistant")
    };
    wait::until("that it is not told is a problem", failed);
    supervisor.change(|world| world.core_answers = true);
    home.configure(&format!(
        "{FAILING}[notify.phone]\nhome_assistant = \"supervisor\"\nservice = \"notify.mobile_app_phone\"\n"
    ));
    wait::until("it is told", || notification(&supervisor).is_some());
    // Only its owner sees what it shows.
    let is_told = |(title, message): &(String, String)| title.ends_with(": home") && message.contains("gone");
    wait::until("so is the phone", || supervisor.change(|world| world.messages.iter().any(is_told)));
    wait::until("all is told", || !failed());
}

#[test]
fn whoever_wants_no_notifications_sees_none_any_more() {
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(FAILING);
    let app = home.start(&supervisor);
    wait::until("it is told", || notification(&supervisor).is_some());
    let said = app.post(
        "0aa1",
        "/settings/channels/home-assistant",
        &[("kind", "supervisor"), ("on", "nothing"), ("do", "save")],
    );
    assert!(said.starts_with("HTTP/1.1 303"), "{said}");
    let text = fs::read_to_string(home.path("haul.toml")).unwrap();
    assert!(text.contains("home_assistant = \"supervisor\"") && text.contains("on = \"nothing\""), "{text}");
    wait::until("it is taken back", || notification(&supervisor).is_none());
    // And stays away.
    let told = || supervisor.asked().iter().filter(|asked| asked.path == "call_service").count();
    let before = told();
    assert_ne!(home.haul(&["run", "home"]).0, Some(0));
    assert_eq!((told(), json!(notification(&supervisor))), (before, json!(null)));
    // Removing what the file says of it brings it back.
    let said = app.post("0aa1", "/settings/channels/home-assistant/remove", &[]);
    assert!(said.starts_with("HTTP/1.1 303"), "{said}");
    wait::until("it is told again", || notification(&supervisor).is_some());
}

#[test]
fn outside_of_an_app_no_supervisor_leads_to_home_assistant() {
    let home = Home::new("[notify.here]\nhome_assistant = \"supervisor\"\n");
    let (code, said) = home.haul(&["notify", "check"]);
    assert!(code == Some(1) && said.contains("this is no app of Home Assistant"), "{code:?} {said}");
    home.configure("[notify.here]\nhome_assistant = \"supervisor\"\ntoken_file = \"x\"\n");
    let (code, said) = home.haul(&["notify", "check"]);
    assert!(code == Some(2) && said.contains("Supervisor needs no token"), "{said}");
}

const OWN_KEY: &str = "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG";

#[test]
fn home_assistants_own_backups_are_described_and_taken_over_with_their_key() {
    let supervisor = Supervisor::start(World::default());
    let home = Home::new("[destinations.nas]\nurl = \"nas\"\n");
    let app = home.start(&supervisor);
    let form = app.answer("0aa1", "/setup");
    for said in [
        "daily at 04:45",
        "this machine",
        "the newest 3",
        "They are only on this machine’s disk",
        "value=\"daily 02:45\"",
        "value=\"home-assistant\" checked",
    ] {
        assert!(form.contains(said), "{said}\n{form}");
    }
    assert!(!form.contains(OWN_KEY));

    let config = home.path("config");
    let answers = [
        ("source", config.to_str().unwrap()),
        ("kind", "existing"),
        ("existing.name", "nas"),
        ("schedule", "other"),
        ("other_schedule", "daily 02:45"),
        ("keep", "3"),
        ("encryption", "home-assistant"),
        ("do", "save"),
    ];
    // There is none any more: nothing is set up, least of all without a key.
    supervisor.change(|world| world.backup_config["create_backup"]["password"] = json!(null));
    let refused = app.post("0aa1", "/setup", &answers);
    assert!(refused.starts_with("HTTP/1.1 422") && refused.contains("no encryption key"), "{refused}");
    supervisor.change(|world| world.core_answers = false);
    let refused = app.post("0aa1", "/setup", &answers);
    assert!(refused.starts_with("HTTP/1.1 422") && refused.contains("does not answer behind Supervisor"), "{refused}");
    assert!(!fs::read_to_string(home.path("haul.toml")).unwrap().contains("jobs"));

    supervisor.change(|world| {
        world.core_answers = true;
        world.backup_config["create_backup"]["password"] = json!(OWN_KEY);
    });
    let done = app.post("0aa1", "/setup", &answers);
    assert!(done.starts_with("HTTP/1.1 303") && done.contains("/setup/key"), "{done}");
    let page = app.answer("0aa1", "/setup/key");
    assert!(page.contains("the encryption key of Home Assistant’s own backups") && !page.contains(OWN_KEY), "{page}");
    assert!(app.answer("0aa1", "/setup/kit").contains(OWN_KEY), "the kit has it");
    let text = fs::read_to_string(home.path("haul.toml")).unwrap();
    assert!(text.contains("schedule = \"daily 02:45\"") && !text.contains(OWN_KEY), "{text}");
    let key = text.split("password_file = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert_eq!(fs::read_to_string(home.path(key)).unwrap().trim(), OWN_KEY);
    // What Home Assistant does is left alone.
    assert!(supervisor.asked().iter().all(|asked| !asked.path.starts_with("backup/config/update")));
    wait::until("the first backup is there", || fs::read_dir(home.path("nas")).unwrap().next().is_some());
}
