//! Everything that `haul migrate` prints, kept beside this file: read it aloud when it changes. `HAUL_GOLDEN=write`
//! rewrites it.

use std::{fs, path::Path};

use serde_json::{Value, json};
use testkit::{
    home_assistant::{Fake, Mind, TOKEN},
    nobody::Nobody,
    proxy::{Answer, Proxy, Rule},
};

use crate::{Place, run};

/// One case: what is there on both sides, what is typed, and how it ends.
struct Case {
    name: &'static str,
    mind: Mind,
    /// What a proxy in front says to an upload.
    proxy: Option<Answer>,
    /// Done to the old one's directory.
    prepare: fn(&Path),
    args: &'static [&'static str],
    code: i32,
}

impl Case {
    fn new(name: &'static str, code: i32) -> Self {
        let mind = Mind { restores_users: true, ..Mind::default() };
        Self { name, mind, proxy: None, prepare: |_| {}, args: &[], code }
    }

    fn typed(mut self, args: &'static [&'static str]) -> Self {
        self.args = args;
        self
    }

    fn there(mut self, change: impl FnOnce(&mut Mind)) -> Self {
        change(&mut self.mind);
        self
    }

    fn behind(mut self, answer: Answer) -> Self {
        self.proxy = Some(answer);
        self
    }

    fn here(mut self, prepare: fn(&Path)) -> Self {
        self.prepare = prepare;
        self
    }
}

fn manager(state: &str) -> Value {
    json!({ "backups": [], "state": state, "last_action_event": null })
}

fn cases() -> Vec<Case> {
    let nginx = |status, page: &str| {
        Answer::new(status).header("server", "nginx/1.26.3").header("content-type", "text/html").body(page)
    };
    vec![
        Case::new("done", 0),
        Case::new("done-encrypted", 0).typed(&["--password-file", "password"]),
        Case::new("dry-run", 0).typed(&["--dry-run"]),
        Case::new("no-restore", 0).typed(&["--no-restore"]),
        Case::new("replaced", 0).there(|mind| mind.user_made = None).typed(&["--token-file", "token", "--replace", "--yes"]),
        Case::new("set-up", 1).there(|mind| mind.user_made = None),
        Case::new("begun", 1).there(|mind| mind.user_made = Some(true)),
        Case::new("token-alone", 2).there(|mind| mind.user_made = None).typed(&["--token-file", "token"]),
        Case::new("nobody-to-ask", 2).there(|mind| mind.user_made = None).typed(&["--token-file", "token", "--replace"]),
        Case::new("no-room", 1).there(|mind| (mind.user_made, mind.disk_free) = (None, Some(0.0))).typed(&["--token-file", "token", "--replace", "--yes"]),
        Case::new("wrong-token", 1).there(|mind| mind.user_made = None).typed(&["--token-file", "password", "--replace", "--yes"]),
        Case::new("older", 1).there(|mind| mind.version = "2026.10.3"),
        Case::new("too-old", 1).there(|mind| (mind.version, mind.info) = ("2024.12.5", Value::Null)),
        Case::new("version-unseen", 0).there(|mind| mind.has_socket = false),
        Case::new("busy", 1).there(|mind| mind.info = manager("create_backup")),
        Case::new("proxy-limits", 1).behind(nginx(413, "<hr><center>nginx/1.26.3</center>")),
        Case::new("proxy-loses-patience", 1).behind(nginx(504, "<hr><center>nginx/1.26.3</center>")),
        Case::new("proxy-redirects", 1).behind(Answer::new(308).header("server", "Caddy").header("location", "https://ha.example.org/")),
        Case::new("home-assistant-is-full", 1).behind(
            Answer::new(500)
                .header("content-type", "application/octet-stream")
                .header("referrer-policy", "no-referrer")
                .header("x-content-type-options", "nosniff")
                .body("Can't write backup file: [Errno 28] No space left on device"),
        ),
        Case::new("restore-refused", 1)
            .there(|mind| mind.restore = (400, json!({ "code": "restore_failed", "message": "Backup is not a Home Assistant backup" }))),
        Case::new("restore-failed", 4).there(|mind| {
            mind.restores_users = false;
            let failed = json!({ "manager_state": "restore_backup", "stage": null, "state": "failed", "reason": "not enough room" });
            mind.info = json!({ "backups": [], "state": "idle", "last_action_event": failed });
        }),
        Case::new("no-users", 2).here(|config| fs::remove_dir_all(config.join(".storage")).unwrap()),
        Case::new("nobody-may-log-in", 1).here(|config| fs::write(config.join(".storage/auth"), r#"{"data":{"users":[]}}"#).unwrap()),
        Case::new("users-unreadable", 1).here(|config| fs::write(config.join(".storage/auth"), "{").unwrap()),
        Case::new("no-passwords", 3).here(|config| fs::remove_file(config.join(".storage/auth_provider.homeassistant")).unwrap()),
        Case::new("first-page-unfinished", 3).here(|config| fs::remove_file(config.join(".storage/onboarding")).unwrap()),
        Case::new("no-version", 2).here(|config| fs::remove_file(config.join(".HA_VERSION")).unwrap()),
        Case::new("add-ons", 0).typed(&["--dry-run"]).here(|config| fs::write(config.join(".storage/hassio"), "{}").unwrap()),
        Case::new("other-port", 0).typed(&["--dry-run"]).here(|config| listen(config, 9)),
        Case::new("port-taken", 0).typed(&["--dry-run"]).here(|config| {
            // Whoever listens there does so for as long as the tests run.
            let other = Box::leak(Box::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap()));
            listen(config, other.local_addr().unwrap().port());
        }),
        Case::new("uploads-limited", 0)
            .typed(&["--dry-run"])
            .there(|mind| mind.version = "2026.8.1")
            .here(|config| fs::write(config.join(".HA_VERSION"), "2026.7.0").unwrap()),
        Case::new("kept-beside", 0).there(|mind| mind.user_made = None).typed(&["--token-file", "token", "--no-restore"]),
        Case::new("stop-fails", 1).typed(&["--stop-command", "exit 5"]),
        Case::new("start-fails", 3).typed(&["--stop-command", "true", "--start-command", "exit 6"]),
        Case::new("still-stopped", 1).typed(&["--stop-command", "true"]).behind(nginx(413, "<hr><center>nginx/1.26.3</center>")),
        Case::new("start-without-stop", 2).typed(&["--start-command", "true"]),
    ]
}

/// What a Home Assistant that listens at this port keeps of that.
fn listen(config: &Path, port: u16) {
    let http = json!({ "data": { "stable": { "server_port": port, "error": null }, "pending": null, "yaml_migration_done": true } });
    fs::write(config.join(".storage/http"), http.to_string()).unwrap();
}

/// Without what differs from run to run: where it ran, sizes and times.
fn plain(text: &str, place: &Place, url: &str) -> String {
    let text = text.replace(url, "http://new:8123").replace(&place.dir.path().display().to_string(), "HERE");
    // The same machine's other ports.
    let text = text
        .split("http://127.0.0.1:")
        .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join("http://new:8888");
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        let unit = words[at].split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let is_number = words[at - 1].trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
        if matches!(unit, "B" | "kB" | "MB" | "s") && is_number {
            words[at - 1] = if words[at - 1].starts_with('(') { "(N" } else { "N" };
        }
    }
    let text = words.join(" ");
    ["reading", "compressing", "encrypting", "writing"]
        .iter()
        .fold(text, |text, stage| text.replace(&format!("limited by {stage}"), "limited by …"))
}

#[test]
fn everything_is_printed_in_plain_words() {
    for case in cases() {
        let (place, fake) = (Place::lived_in("2026.11.0", 1 << 20), Fake::start(case.mind));
        place.write("password", "sesame");
        place.write("token", TOKEN);
        let line = case.proxy.map(|answer| {
            let line = Proxy::http(fake.address).unwrap();
            line.rule(Rule::when(|head| head.method == "POST").always().answer(answer));
            line
        });
        let url = line.as_ref().map_or_else(|| fake.url(), Proxy::url);
        let port = url.rsplit(':').next().unwrap();
        listen(&place.path("config"), port.parse().unwrap());
        (case.prepare)(&place.path("config"));
        let (code, said) =
            run(&mut place.migrate(&place.path("config"), &url, &[case.args, &["--progress", "none"]].concat()));
        let said = plain(&said, &place, &url);
        assert_eq!(code, case.code, "{}: {said}", case.name);
        kept(case.name, &said);
    }
}

#[test]
fn what_is_no_home_assistant_is_distinguished() {
    let place = Place::lived_in("2026.11.0", 1 << 20);
    let fake = Fake::start(Mind::default());
    let line = Proxy::http(fake.address).unwrap();
    line.rule(
        Rule::when(|_| true)
            .always()
            .answer(Answer::new(200).header("content-type", "text/html").body("<title>FRITZ!Box</title>")),
    );
    let (code, said) = run(&mut place.migrate(&place.path("config"), &line.url(), &[]));
    assert_eq!(code, 1);
    kept("something-else", &plain(&said, &place, &line.url()));
    let nobody = Nobody::new().unwrap();
    let url = nobody.url().unwrap();
    let (code, said) = run(&mut place.migrate(&place.path("config"), &url, &[]));
    assert_eq!(code, 1);
    kept("nothing-there", &plain(&said, &place, &url));
    let (code, said) = run(&mut place.migrate(&place.path("config"), "new:8123", &[]));
    assert_eq!(code, 2);
    kept("no-address", &plain(&said, &place, "http://new:8123"));
}

fn kept(name: &str, said: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/migrate/{name}.txt"));
    if std::env::var_os("HAUL_GOLDEN").is_some() {
        fs::write(&golden, said).unwrap();
    }
    assert_eq!(said, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
}
