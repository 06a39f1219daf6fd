//! Real ones: an instance that runs and is written to moves into fresh ones, plain over a connection that breaks and
//! encrypted, and into one that others set up.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use testkit::{
    proxy::{Answer, Death, Proxy, Rule},
    rig::{self, Running, Version},
};

use crate::{PASSWORD, Place, noise, run, text};

/// Sets a state again and again.
const WRITER: &str = "
import json, sys, time, urllib.request
url, token = sys.argv[1:]
for n in range(10**9):
    body = json.dumps({'state': str(n)}).encode()
    headers = {'Authorization': 'Bearer ' + token, 'Content-Type': 'application/json'}
    urllib.request.urlopen(urllib.request.Request(url + '/api/states/sensor.writer', body, headers)).read()
    time.sleep(0.05)
";
/// The writer's states in a history, and how many of the numbers up to the largest are missing.
const COUNT: &str = "
import sqlite3, sys
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
rows = db.execute(\"select cast(state as integer) from states join states_meta using (metadata_id) where \
states_meta.entity_id = 'sensor.writer' and state glob '[0-9]*'\")
seen = {row[0] for row in rows}
print(len(seen), len(set(range(max(seen, default=0) + 1)) - seen))
";

struct Writer(Child);

impl Writer {
    fn start(old: &Running, token: &str) -> Self {
        Self(Command::new("python3").args(["-c", WRITER, &old.url, token]).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_home_assistant_moves_and_its_users_and_history_are_there() {
    if !rig::is_ready().unwrap() {
        return;
    }
    let place = Place::new();
    let old = Running::start(Version::OLD, &place.path("old"), Some("ada")).unwrap();
    let token = fs::read_to_string(place.path("old.token")).unwrap();
    let _writer = Writer::start(&old, token.trim());
    fs::create_dir(old.config.join("www")).unwrap();
    fs::write(old.config.join("www/noise.bin"), noise(12 << 20)).unwrap();

    let new = Running::start(Version::OLD, &place.path("new"), None).unwrap();
    plain_over_a_line_that_breaks(&place, &old, &new);
    assert_moved(&place, &new, token.trim());
    one_that_is_set_up_is_left_alone(&place, &old, &new);

    let second = Running::start(Version::OLD, &place.path("second"), None).unwrap();
    what_can_not_work_is_refused(&place, &old, &second);
    encrypted_and_stopped(&place, &old, &second);
    assert_moved(&place, &second, token.trim());

    let other = Running::start(Version::OLD, &place.path("other"), Some("bob")).unwrap();
    one_set_up_by_others_is_replaced(&place, &old, &other);
    assert_moved(&place, &other, token.trim());
}

/// As on a machine of its own: it leaves the port it had, and listens where the restored configuration says.
#[test]
fn a_restored_home_assistant_is_followed_to_the_port_of_its_configuration() {
    if !rig::is_ready().unwrap() {
        return;
    }
    for version in Version::ALL {
        let place = Place::new();
        let old = Running::start(version, &place.path("old"), Some("ada")).unwrap();
        let (url, config) = (old.url.clone(), old.config.clone());
        drop(old);
        if version == Version::OLD {
            // Newer ones keep it in `.storage/http`.
            let port = url.rsplit_once(':').unwrap().1;
            let yaml = fs::read_to_string(config.join("configuration.yaml")).unwrap();
            fs::write(config.join("configuration.yaml"), yaml.replace("!env_var HAUL_RIG_PORT", port)).unwrap();
        }
        let mut new = Running::start_following_the_port(version, &place.path("new")).unwrap();
        assert_ne!(new.url, url);
        let (code, said) = run(&mut place.migrate(&config, &new.url, &[]));
        rig::tell(&said);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains(&format!("uses another port: after the restore Home Assistant answers at {url}\n")),
            "{said}"
        );
        assert!(said.contains(&format!("restored: log in as ada at {url}\n")), "{said}");
        new.url = url;
        assert_is_known(&new, fs::read_to_string(place.path("old.token")).unwrap().trim());
    }
}

fn plain_over_a_line_that_breaks(place: &Place, old: &Running, new: &Running) {
    let line = Proxy::http(new.address().unwrap()).unwrap();
    line.cut_at([6 << 20], Death::Reset);
    let (code, said) = run(&mut place.migrate(&old.config, &line.url(), &[]));
    rig::tell(&said);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("users ada") || said.contains("user ada"), "{said}");
    assert!(said.contains("sent again: could not upload to "), "{said}");
    assert!(said.contains(&format!("restored: log in as ada at {}\n", line.url())), "{said}");
    assert!(line.uploaded() > 18 << 20, "it began anew: {}", line.uploaded());
}

fn one_that_is_set_up_is_left_alone(place: &Place, old: &Running, new: &Running) {
    let (code, said) = run(&mut place.migrate(&old.config, &new.url, &[]));
    assert!(
        code == 1 && said.contains("does not accept a backup without a login: it is set up already"),
        "{code} {said}"
    );
    let token = place.path("old.token").display().to_string();
    let (code, said) = run(&mut place.migrate(&old.config, &new.url, &["--token-file", &token, "--replace", "--yes"]));
    assert!(code == 2 && said.contains(": the token is one of its own"), "{code} {said}");
}

fn what_can_not_work_is_refused(place: &Place, old: &Running, new: &Running) {
    let line = Proxy::http(new.address().unwrap()).unwrap();
    let page = "<hr><center>nginx/1.26.3</center>";
    line.rule(
        Rule::when(|head| head.method == "POST")
            .always()
            .answer(Answer::new(413).header("server", "nginx/1.26.3").body(page).hasty()),
    );
    let (code, said) = run(&mut place.migrate(&old.config, &line.url(), &[]));
    assert!(code == 1 && said.contains("set client_max_body_size 0; for it in nginx"), "{code} {said}");

    let newer = place.path("newer");
    fs::create_dir_all(newer.join(".storage")).unwrap();
    for name in ["auth", "auth_provider.homeassistant", "onboarding"] {
        fs::copy(old.config.join(".storage").join(name), newer.join(".storage").join(name)).unwrap();
    }
    fs::write(newer.join(".HA_VERSION"), "2031.1.0").unwrap();
    let (code, said) = run(&mut place.migrate(&newer, &new.url, &[]));
    assert!(
        code == 1 && said.contains("runs Home Assistant 2025.6.3 and would refuse a backup from the newer 2031.1.0"),
        "{code} {said}"
    );
    assert_eq!(backups(new), 0);

    let (code, said) = run(&mut place.migrate(&old.config, &new.url, &["--dry-run"]));
    assert!(code == 0 && said.contains("All checks passed. Nothing was sent."), "{code} {said}");
    assert_eq!(backups(new), 0);
}

fn encrypted_and_stopped(place: &Place, old: &Running, new: &Running) {
    let (code, said) = run(&mut place.migrate(&old.config, &new.url, &["--no-restore"]));
    assert!(code == 0 && said.contains("nothing was restored"), "{code} {said}");
    assert_eq!(backups(new), 1);
    let password = place.write("password", PASSWORD).display().to_string();
    let commands = ["--stop-command", "echo stop >> order", "--start-command", "echo start >> order"];
    let output = place
        .migrate(&old.config, &new.url, &[&["--password-file", &password, "--json"], &commands[..]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::said(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["status"], &document["from"]["logins"][0]),
        (&"restored".into(), &"ada".into()),
        "{document}"
    );
    assert_eq!(document["sent"]["backup"]["archive"]["protected"], true);
    assert_eq!(fs::read_to_string(place.path("order")).unwrap(), "stop\nstart\n");
}

fn one_set_up_by_others_is_replaced(place: &Place, old: &Running, other: &Running) {
    let token = place.path("other.token").display().to_string();
    let (code, said) = run(&mut place.migrate(&old.config, &other.url, &["--token-file", &token]));
    assert!(code == 2 && said.contains("use --replace"), "{code} {said}");
    let (code, said) = run(&mut place.migrate(&old.config, &other.url, &["--token-file", &token, "--replace"]));
    assert!(code == 2 && said.contains("add --yes"), "{code} {said}");
    assert_eq!(backups(other), 0);
    let (code, said) =
        run(&mut place.migrate(&old.config, &other.url, &["--token-file", &token, "--replace", "--yes"]));
    assert!(code == 0 && said.contains(&format!("restored: log in as ada at {}\n", other.url)), "{code} {said}");
}

/// The old users can do what they could.
fn assert_is_known(new: &Running, token: &str) {
    let script = "import sys, urllib.request\nrequest = urllib.request.Request(sys.argv[1] + '/api/config', \
        headers={'Authorization': 'Bearer ' + sys.argv[2]})\nprint(urllib.request.urlopen(request).status)";
    let asked = Command::new("python3").args(["-c", script, &new.url, token]).output().unwrap();
    assert_eq!(text(&asked.stdout).trim(), "200", "{}", text(&asked.stderr));
}

/// They can, and the writer's states are there without a gap.
fn assert_moved(place: &Place, new: &Running, token: &str) {
    assert_is_known(new, token);
    let database = new.config.join("home-assistant_v2.db");
    let counted =
        Command::new("python3").args(["-c", COUNT]).arg(&database).current_dir(place.dir.path()).output().unwrap();
    let counted = text(&counted.stdout) + &text(&counted.stderr);
    let numbers: Vec<u64> = counted.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [states, missing] = numbers[..] else { panic!("{counted}") };
    rig::tell(&format!("{states} states of the writer, {missing} missing"));
    assert!(states > 10 && missing == 0, "{counted}");
}

/// How many archives lie in an instance's own folder.
fn backups(instance: &Running) -> usize {
    let folder = instance.config.join("backups");
    fs::read_dir(folder)
        .map_or(0, |entries| entries.filter(|entry| is_archive(&entry.as_ref().unwrap().path())).count())
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tar")
}
