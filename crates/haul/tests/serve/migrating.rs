//! What a job backs up moves to another machine because somebody said so on the page or by the API.

use std::fs;

use serde_json::{Value, json};
use testkit::{
    home_assistant::{Fake, Mind, TOKEN},
    noise::noise,
    proxy::Proxy,
    rig::{self, Running, Version},
    wait,
};

use crate::home::{Home, TWO};

const KEY: &str = "the-key-for-the-way";

/// One that restores what it gets.
fn fresh() -> Fake {
    Fake::start(Mind { restores_users: true, ..Mind::default() })
}

/// One that is set up, and does the same for whoever has its token.
fn used() -> Fake {
    Fake::start(Mind { restores_users: true, user_made: None, ..Mind::default() })
}

impl Home {
    fn migrate(&self, what: &Value) -> Value {
        self.tell("jobs/home/migrate", what)
    }

    /// The number of the move that runs.
    fn moving(&self) -> Option<i64> {
        let running = self.status()["jobs"][0]["running"].as_array().unwrap().clone();
        running.iter().find(|task| task["kind"] == "migrate").and_then(|task| task["id"].as_i64())
    }

    fn keeps_no_secret(&self) {
        for name in ["state/catalog.db", "state/catalog.db-wal", "log"] {
            let bytes = fs::read(self.path(name)).unwrap_or_default();
            for secret in [TOKEN, KEY] {
                assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{name} holds {secret}");
            }
        }
    }
}

#[test]
fn a_fresh_one_is_looked_at_and_then_becomes_what_the_old_one_is() {
    let hooks = "before = \"echo before >> order\"\nafter = \"echo after >> order\"\n";
    let (home, new) = (Home::new(&format!("{TWO}{hooks}")), fresh());
    let service = home.serve();
    home.settled(2);
    fs::remove_file(home.path("order")).unwrap();
    let seen = home.migrate(&json!({ "to": new.url(), "check_only": true }));
    assert_eq!(seen["from"]["about"], "Home Assistant 2026.11.0, user demo", "{seen}");
    let about = "Home Assistant 2026.11.0 (Home Assistant OS), fresh";
    assert_eq!((&seen["to"]["about"], &seen["to"]["address"]), (&about.into(), &new.url().into()), "{seen}");
    assert!(seen["notes"].to_string().contains("the commands before and after a backup run"), "{seen}");
    assert!(new.mind().uploads.is_empty() && home.moving().is_none() && !home.path("order").exists());
    assert_eq!(home.migrate(&json!({ "to": new.url(), "key": KEY })), json!({ "accepted": true }));
    let event = home.told("migrate", "is up again after");
    let message = event["message"].as_str().unwrap();
    assert!(message.starts_with("Home Assistant 2026.11.0 is up again after "), "{event}");
    assert!(message.ends_with(&format!(": log in as demo at {}", new.url())), "{event}");
    assert_eq!((&event["level"], &event["job"]), (&"ok".into(), &"home".into()), "{event}");
    assert_eq!(fs::read_to_string(home.path("order")).unwrap(), "before\nafter\n");
    let mind = new.mind();
    assert_eq!((mind.uploads.len(), mind.restores.len(), &mind.restores[0]["password"]), (1, 1, &KEY.into()));
    drop(service);
    home.keeps_no_secret();
}

#[test]
fn one_that_is_set_up_is_replaced_only_with_its_token_and_if_that_is_meant() {
    let (home, new) = (Home::new(TWO), used());
    let service = home.serve();
    home.settled(2);
    let url = new.url();
    for (what, field, says) in [
        (json!({ "to": url }), "token", "does not accept a backup without a login: it is set up already"),
        (json!({ "to": url, "token": KEY, "replace": true }), "token", "it does not accept the token"),
        (json!({ "to": url, "token": TOKEN }), "replace", "is set up already, and a restore replaces everything in it"),
        (json!({ "to": "new-host:8123" }), "to", "does not begin with http://"),
        (json!({ "to": "http://ada:sesame@new-host:8123" }), "to", "contains a user name or password"),
        (json!({ "to": "http://127.0.0.1:1" }), "to", "could not find Home Assistant at"),
        (json!({ "to": " " }), "to", "the address is missing"),
        (json!({ "to": url, "encrypt": true }), "key", "its backups have no encryption key"),
        (json!({ "to": url, "key": "two\nlines" }), "key", "a line break"),
    ] {
        let (code, answer) = home.send("POST", "jobs/home/migrate", &what);
        assert_eq!((code, &answer["field"]), (422, &field.into()), "{what}: {answer}");
        let text = answer.to_string();
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(says)), "{what}: {answer}");
        for no in ["--", "sesame", TOKEN, KEY] {
            assert!(!text.contains(no), "the page has no options, and nothing that was typed is shown: {text}");
        }
    }
    let (code, answer) = home.send("POST", "jobs/none/migrate", &json!({ "to": url }));
    assert_eq!((code, answer["error"].as_str()), (404, Some("There is no such job.")));
    fs::rename(home.path("config/.storage/auth"), home.path("auth")).unwrap();
    let answer = home.migrate(&json!({ "to": url, "token": TOKEN, "replace": true }));
    assert!(answer["error"].as_str().unwrap().contains("has no .storage/auth"), "{answer}");
    fs::rename(home.path("auth"), home.path("config/.storage/auth")).unwrap();
    assert!(new.mind().uploads.is_empty() && new.mind().restores.is_empty());

    home.migrate(&json!({ "to": url, "token": TOKEN, "replace": true }));
    home.told("migrate", &format!("log in as demo at {url}"));
    assert_eq!(new.mind().restores.len(), 1);
    drop(service);
    home.keeps_no_secret();
}

#[test]
fn what_was_checked_is_what_is_moved() {
    let (home, new) = (Home::new(TWO), fresh());
    let service = home.serve();
    home.settled(2);
    let form =
        |fields: &[(&str, &str)]| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let press = |fields: &[(&str, &str)]| home.post("/jobs/home/migrate", &form(fields));
    let check = |fields: &[(&str, &str)]| {
        let (code, page) = press(fields);
        assert_eq!(code, 200, "{page}");
        assert!(page.contains("Both machines are ready") && !page.contains(TOKEN), "{page}");
        let (_, rest) = page.split_once("name=\"checked\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    // Somebody sets it up meanwhile.
    let checked = check(&[("to", &new.url())]);
    new.think(|mind| mind.user_made = None);
    let (code, page) = press(&[("checked", &checked)]);
    assert_eq!(code, 422);
    assert!(page.contains("It is set up already") || page.contains("it is set up already"), "{page}");
    // With a token it could be replaced now, but nobody agreed to that.
    new.think(|mind| mind.user_made = Some(false));
    let typed = [("to", &*new.url()), ("token", TOKEN), ("replace", "yes")];
    let checked = check(&typed);
    new.think(|mind| mind.user_made = None);
    let (code, page) = press(&[("checked", &checked)]);
    assert_eq!(code, 422);
    assert!(page.contains("has changed: it was Home Assistant 2026.11.0 (Home Assistant OS), fresh"), "{page}");
    assert!(page.contains(&format!("value=\"{}\"", new.url())), "the address stays: {page}");
    let (code, page) = press(&[("checked", &checked)]);
    assert_eq!(code, 422);
    assert!(page.contains("What was checked is no longer known"), "{page}");
    assert!(new.mind().uploads.is_empty() && home.moving().is_none());
    let checked = check(&typed);
    assert_eq!(press(&[("checked", &checked)]).0, 303);
    home.told("migrate", "is up again after");
    drop(service);
    home.keeps_no_secret();
}

#[test]
fn one_that_is_stopped_restores_nothing_and_leaves_nothing_there() {
    let (home, new) = (Home::new(TWO), fresh());
    let mut service = home.serve();
    home.settled(2);
    // More than all buffers on the way hold.
    fs::write(home.path("config/noise.bin"), noise(16 << 20)).unwrap();
    let line = Proxy::http(new.address).unwrap();
    let begin = || {
        line.throttle(None);
        let sent = line.uploaded();
        line.throttle(Some(40_000));
        assert_eq!(home.migrate(&json!({ "to": line.url() })), json!({ "accepted": true }));
        wait::until("it sends", || line.uploaded() > sent + 20_000);
    };
    begin();
    let again = home.migrate(&json!({ "to": line.url() }));
    let says = format!("an installation is being moved to {} already", line.url());
    assert_eq!(again["error"], says.as_str(), "{again}");
    home.tell(&format!("runs/{}/cancel", home.moving().unwrap()), &json!({}));
    let event = home.told("migrate", "interrupted while sending to");
    let says = format!("interrupted while sending to {}; nothing was restored", line.url());
    assert_eq!((&event["level"], &event["message"]), (&"warning".into(), &says.into()), "{event}");
    begin();
    // The service ends with it, and the next one does not begin it again.
    drop(service);
    line.throttle(None);
    service = home.serve();
    let event = home.told("migrate", "Haul was stopped while this was running");
    let says = format!("the move to {} failed: Haul was stopped while this was running", line.url());
    assert_eq!((&event["level"], &event["message"]), (&"error".into(), &says.into()), "{event}");
    assert!(home.moving().is_none() && new.mind().uploads.is_empty() && new.mind().restores.is_empty());
    drop(service);
}

#[test]
fn a_real_one_of_today_becomes_what_the_old_one_was() {
    if !rig::is_ready().unwrap() {
        return;
    }
    let home = Home::new(&TWO.replace("\"config\"", "\"old\""));
    let old = Running::start(Version::TODAY, &home.path("old"), Some("ada")).unwrap();
    let was_at = old.url.clone();
    drop(old);
    let _service = home.serve();
    home.settled(2);
    let new = Running::start_following_the_port(Version::TODAY, &home.path("new")).unwrap();
    assert_eq!(home.migrate(&json!({ "to": new.url })), json!({ "accepted": true }));
    let event = home.told("migrate", "");
    let message = event["message"].as_str().unwrap();
    assert!(message.starts_with("Home Assistant 2026.11.0 is up again after "), "{event}");
    assert!(message.ends_with(&format!(": log in as ada at {was_at}")), "{event}");
}
