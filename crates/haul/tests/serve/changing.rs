//! Jobs that are changed: what differs at one destination, commands, and another key. What a change does not concern
//! stays as it is written.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use testkit::wait;

use crate::home::{Home, TWO};

const JOB: &str = "# the places
[destinations.nas]
url = \"nas\"
[destinations.off]
url = \"off\"

[jobs.home] # the house
source = \"config\"
schedule = \"daily 04:45\" # early
destinations = [\"nas\", \"off\"]
password_file = \"key\"
level = \"fast\"
boot = \"\"\"
exec hass \\
  --config $HAUL_REHEARSAL_CONFIG
\"\"\"
before = \"true\" # nothing to stop

[jobs.home.at.off] # far away
limit = \"5MB/s\" # slow
keep = { daily = 14 }
";

fn configuration(home: &Home) -> String {
    fs::read_to_string(home.path("haul.toml")).unwrap()
}

fn encrypted() -> Home {
    let home = Home::new(JOB);
    fs::write(home.path("key"), "the first key\n").unwrap();
    home
}

/// The fields of a job's form, as a browser would send them unchanged.
fn form(page: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&"))
    };
    let mut fields = Vec::new();
    let form = page.split("data-keep").nth(1).unwrap().split("</form>").next().unwrap();
    for tag in form.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap()) {
        let is_choice = tag.contains("type=\"radio\"") || tag.contains("type=\"checkbox\"");
        if !is_choice || tag.contains(" checked") {
            fields.push((attribute(tag, "name").unwrap(), attribute(tag, "value").unwrap_or_default()));
        }
    }
    for area in form.split("<textarea").skip(1) {
        let (tag, rest) = area.split_once('>').unwrap();
        // A browser drops the first line break, and sends two characters for each.
        let text = rest.split("</textarea>").next().unwrap();
        let text = text.strip_prefix('\n').unwrap_or(text).replace('\n', "\r\n");
        fields.push((attribute(tag, "name").unwrap(), text));
    }
    fields
}

fn encoded(fields: &[(String, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

#[test]
fn what_a_form_does_not_change_stays_as_it_is_written() {
    let home = encrypted();
    let _service = home.serve();
    let page = home.text("GET", "/settings/jobs/home").unwrap();
    for shown in ["only who has logged in with the password", "name=\"at.off.limit\" value=\"5MB/s\"", "exec hass"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let mut fields = form(&page);
    let (code, answer) = home.post("/settings/jobs/home", &encoded(&fields));
    assert_eq!(code, 303, "{answer}");
    assert_eq!(configuration(&home), JOB, "nothing was changed");

    let mut set = |name: &str, value: &str| {
        let field = fields.iter_mut().find(|(field, _)| field == name).unwrap_or_else(|| panic!("{name}"));
        value.clone_into(&mut field.1);
    };
    set("at.nas.hours", "22:00-06:00");
    set("at.off.limit", "1MB/s");
    set("at.off.daily", "7");
    set("after", "true; true");
    set("version", "");
    let (code, answer) = home.post("/settings/jobs/home", &encoded(&fields));
    assert_eq!(code, 303, "{answer}");
    let expected = JOB
        .replace("limit = \"5MB/s\"", "limit = \"1MB/s\"")
        .replace("daily = 14", "daily = 7")
        .replace("# nothing to stop\n", "# nothing to stop\nafter = \"true; true\"\n")
        + "\n[jobs.home.at.nas]\nhours = \"22:00-06:00\"\n";
    assert_eq!(configuration(&home), expected);

    // A mistake is told beside its field.
    let (_, settings) = home.send("GET", "settings", &Value::Null);
    let mut settings = settings["jobs"][0]["settings"].clone();
    assert_eq!(settings["at"]["off"]["limit"], "1MB/s", "{settings}");
    settings["at"]["off"]["limit"] = json!("fast");
    let (code, answer) = home.send("PUT", "jobs/home", &json!({"settings": settings}));
    assert_eq!((code, &answer["field"]), (422, &json!("at.off.limit")), "{answer}");
}

#[test]
fn a_job_with_another_key_still_checks_what_it_made_with_the_one_before() {
    let home = encrypted();
    // Both of one day stay.
    let without_boot = [JOB.split("boot =").next().unwrap(), JOB.split("\"\"\"\n").nth(2).unwrap()].concat();
    home.configure(&without_boot.replace("keep = { daily = 14 }\n", ""));
    let _service = home.serve();
    home.settled(2);
    let (code, made) = home.send("POST", "jobs/home/key", &Value::Null);
    assert_eq!(code, 201, "{made}");
    let key = made["key"].as_str().unwrap();
    let text = configuration(&home);
    for line in ["password_file = \"secrets/home-key\"", "earlier_password_files = [\"key\"]"] {
        assert!(text.contains(line), "{text}");
    }
    let file = home.path("secrets/home-key");
    assert_eq!(fs::read_to_string(&file).unwrap(), key);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    home.ask("POST", "jobs/home/run").unwrap();
    let archives = || home.ask("GET", "archives").unwrap()["archives"].clone();
    wait::until("there are two", || archives().as_array().is_some_and(|all| all.len() == 2));
    home.settled(2);

    // The old one is read with the old key, and so is what is in it.
    let old = archives()[1]["id"].as_str().unwrap().to_owned();
    let name = archives()[1]["copies"][0]["name"].as_str().unwrap().to_owned();
    let ended = |kind: &str| -> Vec<String> {
        let runs = home.ask("GET", "runs").unwrap();
        let runs = runs.as_array().unwrap_or_else(|| panic!("{runs}")).iter();
        let of_it = runs.filter(|run| run["kind"] == kind && run["message"].as_str().unwrap().contains(&name));
        of_it.map(|run| format!("{} {}", run["ending"], run["message"])).collect()
    };
    for (kind, times) in [("verify", 2), ("rehearse", 1)] {
        let before = ended(kind).len();
        home.ask("POST", &format!("archives/{old}/{kind}")).unwrap();
        wait::until(format!("{kind}: {}", home.log()), || ended(kind).len() >= before + times);
        assert!(ended(kind).iter().all(|run| run.starts_with("\"done\"")), "{:?}", ended(kind));
    }
    let (code, contents) = home.send("GET", &format!("archives/{old}/contents?folder=.storage"), &Value::Null);
    assert_eq!(code, 200, "{contents}");
    let events = home.text("GET", "/api/v1/events").unwrap();
    assert!(!events.contains("wrong") && !home.log().contains("wrong"), "{}", home.log());
    for copy in archives()[1]["copies"].as_array().unwrap() {
        assert_eq!(copy["verdict"]["whole"], true, "{copy}");
    }

    // Without the old key, it can't be read.
    fs::remove_file(home.path("key")).unwrap();
    let (code, answer) = home.send("GET", &format!("archives/{old}/contents"), &Value::Null);
    assert!(code == 409 && answer["error"].as_str().unwrap().contains("can't read the password file"), "{answer}");
}

#[test]
fn the_emergency_kit_comes_again_and_the_events_tell_of_it() {
    let home = encrypted();
    let _service = home.serve();
    home.settled(2);
    assert_eq!(home.send("POST", "jobs/home/key", &Value::Null).0, 201);
    let (code, kit) = home.post("/settings/kit", "owner=");
    assert_eq!(code, 200, "{kit}");
    let new = fs::read_to_string(home.path("secrets/home-key")).unwrap();
    for line in ["HAUL EMERGENCY KIT", "your backups of Home Assistant (home):", &new, "the first key", "    off: "] {
        assert!(kit.contains(line), "{line}\n{kit}");
    }
    fs::remove_file(home.path("key")).unwrap();
    let (code, without) = home.post("/settings/kit", "owner=");
    assert!(
        code == 200 && without.contains(&new) && without.contains("Haul can't read the password file"),
        "{without}"
    );
    // A pipe that nobody writes into holds up nobody.
    let file = home.path("secrets/home-key");
    fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (code, without) = home.post("/settings/kit", "owner=");
    assert!(code == 200 && without.contains("is no file that can be read again"), "{without}");
    let events = home.text("GET", "/api/v1/events").unwrap();
    assert!(events.contains("the emergency kit with the encryption keys was downloaded on this machine"), "{events}");
    let log = home.log();
    assert!(!events.contains(&new) && !log.contains(&new) && !log.contains("the first key"));
}

#[test]
fn a_password_that_was_kept_for_one_host_is_not_sent_to_another() {
    let evil = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    evil.set_nonblocking(true).unwrap();
    let home = Home::new(&format!(
        "{JOB}[destinations.dav]\nurl = \"webdavs://dav.invalid/backups\"\nuser = \"me\"\npassword_file = \"dav-password\"\n"
    ));
    for name in ["key", "dav-password"] {
        fs::write(home.path(name), "secret").unwrap();
    }
    let _service = home.serve();
    let url = format!("http://{}/evil", evil.local_addr().unwrap());
    let asked = json!({ "kind": "webdav", "fields": { "url": url, "user": "me" } });
    let answer = home.tell("destinations/dav/try", &asked);
    assert_eq!(answer["error"], "`password`: this was kept for another host", "{answer}");
    assert_eq!(evil.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody called");
    // Who types it again means it.
    let asked = json!({ "kind": "webdav", "fields": { "url": url, "user": "me", "password": "another" } });
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| home.tell("destinations/dav/try", &asked));
        let (socket, _) = wait::found("it calls", || evil.accept().ok());
        drop((socket, evil));
        answer.join().unwrap()
    });
    assert!(!answer["error"].as_str().unwrap().contains("kept for another host"), "{answer}");
}

#[test]
fn what_a_killed_change_left_goes_when_the_service_starts() {
    let home = Home::new(TWO);
    // A process that ended, of this machine since it started.
    let own = format!("-{}-", std::process::id());
    let leftover = store::owner::temporary_name().replace(&own, "-4194305-");
    fs::create_dir(home.path("secrets")).unwrap();
    fs::write(home.path("secrets/nas-password"), "secret").unwrap();
    fs::write(home.path("secrets/by-hand"), "secret").unwrap();
    fs::write(home.path("secrets").join(&leftover), "nas-password\n").unwrap();
    fs::write(home.path(&leftover), TWO).unwrap();
    let _service = home.serve();
    assert!(!home.path(&leftover).exists() && !home.path("secrets").join(&leftover).exists());
    assert!(!home.path("secrets/nas-password").exists() && home.path("secrets/by-hand").exists());
}
