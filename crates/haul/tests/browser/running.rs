//! A house whose backups go on by themselves, until something is wrong.

use std::fs;

use testkit::{
    s3::{ACCESS_KEY, S3Server, SECRET_KEY},
    wait,
};

use crate::{
    home::{Home, TWO},
    look::Looks,
    site::{PASSWORD, Site},
};

pub(crate) fn a_house_in_trouble(looks: &Looks<'_>) {
    let browser = looks.browser;
    let site = Site::start(Home::new(TWO));
    site.come_in(browser);
    site.home.settled(2);
    // A second backup, to compare with.
    site.home.ask("POST", "jobs/home/run").unwrap();
    wait::until("it is made", || site.home.ask("GET", "archives").is_some_and(|all| all["total"] == 2));
    site.home.settled(2);
    browser.says("2 whole copies");

    every_page(looks, &site);
    settings_are_changed_beside_hand_edits(looks, &site);
    somebody_is_told(looks, &site);
    a_location_is_away(looks, &site);
    a_slow_backup_is_watched_and_stopped(looks, &site);
    // Nothing listens to the service when it ends.
    browser.visit("about:blank");
}

fn every_page(looks: &Looks<'_>, site: &Site) {
    let archives = site.home.ask("GET", "archives").unwrap();
    let id = |number: usize| archives["archives"][number]["id"].as_str().unwrap().to_owned();
    let (new, old) = (id(0), id(1));
    let pages = [
        ("two-copies", "/".to_owned()),
        ("compare", format!("/backups/{new}/compare?with={old}")),
        ("delete", format!("/backups/{new}/delete")),
        ("restore", format!("/backups/{new}/restore")),
        ("events", "/events".to_owned()),
        ("log", "/log".to_owned()),
        ("settings", "/settings".to_owned()),
        ("add-job", "/settings/job".to_owned()),
        ("job", "/settings/jobs/home".to_owned()),
        ("remove-job", "/settings/jobs/home/remove".to_owned()),
        ("add-channel", "/settings/channel".to_owned()),
        ("mqtt", "/settings/mqtt".to_owned()),
        ("add-location", "/settings/location".to_owned()),
        ("location", "/settings/locations/nas".to_owned()),
        ("remove-location", "/settings/locations/nas/remove".to_owned()),
        ("recovery", "/recovery".to_owned()),
        ("nothing-here", "/nothing/here".to_owned()),
    ];
    for (name, path) in pages {
        looks.browser.visit(&site.at(&path));
        looks.at(name);
    }
}

fn somebody_is_told(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    browser.visit(&site.at("/settings"));
    browser.click_text("a", "Add a notification");
    // Everything that is wrong stands beside its field, and what was typed stays.
    browser.fill("#name", "my phone");
    browser.click("input[value=email]");
    browser.fill("[id='email.smtp']", "mail.example.net");
    browser.fill("[id='email.password']", "s3cret");
    browser.fill("#after", "0s");
    browser.click_text("button", "Save");
    browser.says("To is missing.");
    browser.says("Whose password is this?");
    browser.says("Use letters, digits, - and _ for the name.");
    browser.says("\"0s\" is no time at all");
    looks.at("channel-wrong");
    let kept = browser.run("return document.querySelector('[id=\"email.password\"]').value", &[]);
    assert_eq!(kept, "s3cret", "the script puts it back");
    browser.click("input[value=command]");
    browser.fill("#name", "script");
    browser.fill("[id='command.command']", "cat > told.json");
    browser.fill("#after", "");
    browser.click_text("button", "Send a test message");
    browser.says("A test message was sent");
    assert!(site.home.path("told.json").exists());
    looks.at("channel-tried");
    browser.click_text("button", "Save");
    browser.says("The change is saved, and in force.");
    // One that fails says so where it is set.
    browser.visit(&site.at("/settings/channels/script"));
    browser.fill("[id='command.command']", "false");
    browser.click_text("button", "Save");
    browser.says("The change is saved, and in force.");
    looks.at("settings-told");
    browser.visit(&site.at("/settings/mqtt"));
    browser.fill("[id='mqtt.url']", "127.0.0.1:1");
    browser.click_text("button", "Try this broker");
    browser.says("The broker at 127.0.0.1:1 can't be reached");
    looks.at("mqtt-away");
    browser.click_text("button", "Save");
    browser.says("The change is saved, and in force.");
    browser.says("Home Assistant is not told by MQTT");
    looks.at("settings-mqtt-away");
    browser.visit(&site.at("/settings/mqtt/remove"));
    browser.click_text("button", "Remove");
    browser.says("It is removed.");
    browser.visit(&site.at("/settings/channels/script/remove"));
    browser.click_text("button", "Remove");
    browser.says("It is removed.");
}

fn a_location_is_away(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    let (place, aside) = (site.home.path("off"), site.home.path("unplugged"));
    fs::rename(&place, &aside).unwrap();
    browser.visit(&site.at("/"));
    browser.click_text("button", "Sync now");
    browser.says("A location can't be reached: off");
    let card = browser.run("return document.querySelector('.problem').innerText", &[]);
    let card = card.as_str().unwrap();
    // What happened, why, and what to do.
    assert!(card.contains("does not exist") && card.contains("Check the path."), "{card}");
    looks.at("away");
    fs::rename(&aside, &place).unwrap();
    browser.click_text(".problem button", "Try again now");
    browser.wait("the card is gone", "!document.querySelector('.problem')", &[]);
    browser.says("2 whole copies");
}

fn a_slow_backup_is_watched_and_stopped(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    let server = S3Server::start(&["far"]).unwrap();
    fs::write(site.home.path("secret"), SECRET_KEY).unwrap();
    let url = server.url();
    // Minutes of work, so that there is something to see.
    site.home.configure(&format!(
        "{TWO}[destinations.far]\nurl = \"s3://far/ha\"\nendpoint = \"{url}\"\nallow_http = true\naccess_key_id = \
         \"{ACCESS_KEY}\"\nsecret_access_key_file = \"secret\"\n[jobs.slow]\nsource = \"config\"\ndestinations = \
         [\"far\"]\nlimit = \"30kB/s\"\n"
    ));
    browser.click("form[action$='/jobs/slow/run'] button");
    browser.says("The backup has begun.");
    browser.wait("progress is shown", "document.querySelector('.running progress').getAttribute('value') > 0", &[]);
    browser.says("limited by the rate limit");
    looks.at("running");
    // Its log comes by itself. The code that let the first visitor in is none of it.
    browser.click(".running a[href$='/log']");
    let page = browser.run("return document.body.innerText", &[]);
    assert!(
        page.as_str().unwrap().contains("haul serve is running") && !page.as_str().unwrap().contains("first visit")
    );
    browser.says("slow: a backup to far begins");
    site.home.ask("POST", "jobs/home/run").unwrap();
    browser.says("home: a backup to nas and off begins");
    site.home.settled(2);
    browser.visit(&site.at("/"));
    browser.click(".running button");
    browser.says("It is being stopped.");
    browser.wait("it is stopped", "!document.querySelector('.running')", &[]);
    assert_eq!(server.keys("far"), Vec::<String>::new(), "half a backup is none");
}

fn settings_are_changed_beside_hand_edits(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    let text = || fs::read_to_string(site.home.path("haul.toml")).unwrap();
    browser.visit(&site.at("/settings"));
    browser.click_text(".what a", "home");
    browser.fill("#schedule", "daily 25:00");
    browser.click_text("button", "Save");
    browser.wait("it is said beside it", "document.querySelector('#schedule-wrong')", &[]);
    looks.at("job-wrong");
    // Meanwhile somebody edits the file.
    site.home.configure(&format!("# by hand\n{}", text()));
    browser.fill("#schedule", "daily 05:15");
    browser.click_text("button", "Save");
    browser.says("The configuration file was changed meanwhile, so nothing was saved.");
    assert!(text().contains("daily 04:45"));
    browser.click_text("button", "Save");
    browser.says("The change is saved, and in force.");
    assert_eq!(text(), format!("# by hand\n{}", TWO.replace("04:45", "05:15")));
    site.home.configure(TWO);

    // The emergency kit again.
    browser.visit(&site.at("/settings"));
    browser.fill("#owner", "not the password");
    browser.click_text("button", "Download the emergency kit");
    browser.wait("it is refused", "document.querySelector('#owner-wrong')", &[]);
    browser.fill("#owner", PASSWORD);
    browser.click_text("button", "Download the emergency kit");
    wait::until("it is downloaded", || {
        site.home.text("GET", "/api/v1/events").is_some_and(|events| events.contains("the emergency kit"))
    });
    browser.visit(&site.at("/events"));
    browser.says("The emergency kit with the encryption keys was downloaded by 127.0.0.1.");
}
