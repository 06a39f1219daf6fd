//! Quick backups of the configuration alone, beside those of everything; and Home Assistant's own key for either.

use std::{fs, sync::Arc};

use testkit::{
    supervisor::{Supervisor, World},
    wait,
};

use crate::home::{Home, archives};

const ALL: &str = "[destinations.nas]\nurl = \"nas\"\n# At home.\n[destinations.usb]\nurl = \"usb\"\n\
                   [jobs.all]\nsource = \"config\"\neverything = true\ndestinations = [\"nas\", \"usb\"]\n\
                   limit = \"90MB/s\"\n";

/// Supervisor, which can't make the backup of everything: the quick one does not wait long for that.
fn supervisor() -> Supervisor {
    let world = World { writing: Some(Arc::new(|_| Err("No space left on device".to_owned()))), ..World::default() };
    Supervisor::start(world)
}

fn text(home: &Home) -> String {
    fs::read_to_string(home.path("haul.toml")).unwrap()
}

fn version(page: &str) -> &str {
    page.split("name=\"version\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap()
}

#[test]
fn a_new_user_gets_quick_backups_with_one_tick() {
    let supervisor = supervisor();
    let home = Home::new("[destinations.nas]\nurl = \"nas\"\n[destinations.box]\nurl = \"haul://box\"\n");
    let app = home.start(&supervisor);
    let form = app.answer("0aa1", "/setup");
    assert!(form.contains("name=\"quick\" value=\"yes\">") && form.contains("without stopping anything"), "{form}");
    let config = home.path("config");
    let answers = |place: &'static str, everything: &'static str, schedule: &'static str| {
        [
            ("source", config.to_str().unwrap().to_owned()),
            ("everything", everything.to_owned()),
            ("quick", "yes".to_owned()),
            ("quick_schedule", schedule.to_owned()),
            ("kind", "existing".to_owned()),
            ("existing.name", place.to_owned()),
            ("schedule", "daily 02:45".to_owned()),
            ("keep", "3".to_owned()),
            ("encryption", "home-assistant".to_owned()),
            ("do", "save".to_owned()),
        ]
    };
    let post = |place, everything, schedule| {
        let answers = answers(place, everything, schedule);
        let fields: Vec<(&str, &str)> = answers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        app.post("0aa1", "/setup", &fields)
    };
    // Nothing of it is written while a part is wrong.
    for (place, schedule, why) in
        [("nas", "often", "quick-wrong"), ("box", "hourly", "Another machine with Haul has one")]
    {
        let refused = post(place, "yes", schedule);
        assert!(refused.starts_with("HTTP/1.1 422") && refused.contains(why), "{refused}");
        assert!(!text(&home).contains("jobs") && !home.path("nas/quick").exists());
    }
    let done = post("nas", "yes", "hourly");
    assert!(done.starts_with("HTTP/1.1 303"), "{done}");
    let said = text(&home);
    for part in [
        "[destinations.nas-quick]\nurl = \"nas/quick\"",
        "[jobs.everything]",
        "everything = true",
        "destinations = [\"nas-quick\"]",
        "schedule = \"hourly\"",
        "keep = { last = 48, daily = 7 }",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(said.matches("password_file = \"secrets/everything-key\"").count(), 2, "{said}");
    let quick = said.split("[jobs.quick]").nth(1).unwrap().split('[').next().unwrap();
    assert!(!quick.contains("everything = true"), "{said}");
    wait::until("the first quick backup is there", || !archives(&home.path("nas/quick")).is_empty());
    // Its own folder is no backup of the other one's.
    let status = home.json(&["status", "--json"]);
    let names: Vec<&str> = status["jobs"].as_array().unwrap().iter().filter_map(|job| job["name"].as_str()).collect();
    assert_eq!(names, ["everything", "quick"]);
    assert!(!app.answer("0aa1", "/settings").contains("Add quick backups"), "there are some");
}

#[test]
fn beside_the_configuration_alone_there_is_nothing_quicker() {
    let supervisor = Supervisor::start(World::default());
    let home = Home::new("[destinations.nas]\nurl = \"nas\"\n");
    let app = home.start(&supervisor);
    let config = home.path("config");
    let done = app.post(
        "0aa1",
        "/setup",
        &[
            ("source", config.to_str().unwrap()),
            ("everything", "no"),
            ("quick", "yes"),
            ("quick_schedule", "hourly"),
            ("kind", "existing"),
            ("existing.name", "nas"),
            ("schedule", "never"),
            ("encryption", "nothing"),
            ("do", "save"),
        ],
    );
    assert!(done.starts_with("HTTP/1.1 303"), "{done}");
    assert!(text(&home).contains("[jobs.home]") && !text(&home).contains("quick"), "{}", text(&home));
}

#[test]
fn quick_backups_are_added_in_the_settings_once() {
    let supervisor = supervisor();
    let home = Home::new(ALL);
    let app = home.start(&supervisor);
    let page = app.answer("0aa1", "/settings");
    assert!(page.contains("Add quick backups") && page.contains("name=\"beside\" value=\"all\""), "{page}");
    let version = version(&page).to_owned();
    let add = |beside: &str, schedule: &str| {
        let fields = [("version", version.as_str()), ("beside", beside), ("quick_schedule", schedule)];
        app.post("0aa1", "/settings/quick", &fields)
    };
    for (beside, schedule, why) in [("none", "hourly", "There is no backup of everything"), ("all", "often", "often")] {
        let refused = add(beside, schedule);
        assert!(refused.starts_with("HTTP/1.1 422") && refused.contains(why), "{refused}");
    }
    let done = add("all", "every 6h");
    assert!(done.contains("/settings?done=quick"), "{done}");
    let said = text(&home);
    for part in [
        "[destinations.nas-quick]\nurl = \"nas/quick\"",
        "[destinations.usb-quick]\nurl = \"usb/quick\"",
        "destinations = [\"nas-quick\", \"usb-quick\"]",
        "keep = { last = 8, daily = 7 }",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!((said.matches("limit = \"90MB/s\"").count(), said.matches("# At home.").count()), (2, 1), "{said}");
    // Pressing the button twice makes one of it.
    let again = add("all", "every 6h");
    assert!(again.contains("was changed meanwhile") && text(&home) == said, "{again}");
    wait::until("both have one", || ["nas", "usb"].iter().all(|at| !archives(&home.path(at).join("quick")).is_empty()));
}

#[test]
fn two_automatic_backups_of_one_home_assistant_do_not_share_a_location() {
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(ALL);
    let app = home.start(&supervisor);
    let fields = [("name", "more"), ("source", "config"), ("destinations", "nas"), ("encryption", "nothing")];
    let refused = app.post("0aa1", "/settings/job", &fields);
    let hint = "Add a location with a folder of its own";
    assert!(refused.contains("id=\"destinations-wrong\"") && refused.contains(hint), "{refused}");
}

#[test]
fn a_job_takes_over_home_assistants_own_key_when_it_has_one() {
    const OWN_KEY: &str = "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG";
    let supervisor = Supervisor::start(World::default());
    let home = Home::new(ALL);
    let app = home.start(&supervisor);
    let form = app.answer("0aa1", "/settings/jobs/all");
    assert!(form.contains("With Home Assistant’s own encryption key") && !form.contains(OWN_KEY), "{form}");
    let fields = [
        ("source", "config"),
        ("everything", "yes"),
        ("destinations", "nas"),
        ("destinations", "usb"),
        ("encryption", "home-assistant"),
    ];
    supervisor.change(|world| world.backup_config["create_backup"]["password"] = serde_json::json!(null));
    let refused = app.post("0aa1", "/settings/jobs/all", &fields);
    assert!(refused.starts_with("HTTP/1.1 422") && refused.contains("id=\"key-wrong\""), "{refused}");
    assert!(!text(&home).contains("password_file"), "least of all without a key");
    supervisor.change(|world| world.backup_config["create_backup"]["password"] = serde_json::json!(OWN_KEY));
    let done = app.post("0aa1", "/settings/jobs/all", &fields);
    assert!(done.contains("/settings?done=saved-key"), "{done}");
    let file =
        text(&home).split("password_file = \"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    assert_eq!(fs::read_to_string(home.path(&file.unwrap())).unwrap().trim(), OWN_KEY);
}
