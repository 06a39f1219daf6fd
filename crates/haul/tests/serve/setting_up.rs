//! Locations that need more than answers, set up with the real service: a host's key that nobody knows yet, a sign-in at
//! Google, another machine's pairing code, a disk of its own.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::{Value, json};
use testkit::{
    drive::{CLIENT_ID, CLIENT_SECRET, Drive},
    sshd::{self, Sshd},
    wait,
};

use crate::{
    home::{Home, TWO},
    receiving::Receiving,
};

const USER: &str = "root";

/// What a location's call of the API says.
fn asking(kind: &str, fields: &Value) -> Value {
    json!({"kind": kind, "fields": fields})
}

fn configuration(home: &Home) -> String {
    fs::read_to_string(home.path("haul.toml")).unwrap()
}

#[test]
fn a_host_s_key_is_shown_and_only_that_one_is_trusted() {
    if !sshd::is_installed() {
        return;
    }
    let (mut server, home) = (Sshd::start("").unwrap(), Home::new(TWO));
    let _service = home.serve();
    let mut fields = json!({
        "host": format!("127.0.0.1:{}", server.port()), "user": USER, "path": server.root(),
        "key_file": server.user_key(),
    });
    let try_it = |fields: &Value| home.send("POST", "destinations/box/try", &asking("sftp", fields));
    let (code, answer) = try_it(&fields);
    assert_eq!((code, &answer["field"]), (422, &json!("host_key")), "{answer}");
    let shown = answer["offer"].as_str().unwrap().to_owned();
    let is_the_server_s = |kind: &str| {
        let listed = Command::new("ssh-keygen").arg("-lf").arg(server.path(&format!("host_{kind}.pub"))).output();
        String::from_utf8(listed.unwrap().stdout).unwrap().contains(&shown)
    };
    assert!(is_the_server_s("ed25519") || is_the_server_s("ecdsa"), "{shown}");
    assert!(answer["error"].as_str().unwrap().contains(&shown), "{answer}");
    // The page says the same, with a button that accepts exactly this one.
    let form = form_urlencoded(&[
        ("kind", "sftp"),
        ("do", "try"),
        ("sftp.host", fields["host"].as_str().unwrap()),
        ("sftp.user", USER),
        ("sftp.path", server.root().to_str().unwrap()),
        ("sftp.key_file", server.user_key().to_str().unwrap()),
    ]);
    let (_, page) = home.post("/settings/location", &form);
    assert!(page.contains(&format!("name=\"accept:sftp.host_key\" value=\"{shown}\"")), "{page}");
    let accepting = format!("{}&{}", form.replace("do=try&", ""), form_urlencoded(&[("accept:sftp.host_key", &shown)]));
    let (_, page) = home.post("/settings/location", &accepting);
    assert!(page.contains("This location works.") && page.contains(&format!("value=\"{shown}\"")), "{page}");

    // Nothing is trusted by being looked at.
    assert_eq!(try_it(&fields).1["offer"], json!(shown));
    let (code, answer) = home.send("PUT", "destinations/box", &asking("sftp", &fields));
    assert_eq!((code, &answer["offer"]), (422, &json!(shown)), "a backup would only fail later: {answer}");
    assert!(!configuration(&home).contains("host_key"));
    fields["host_key"] = json!(shown);
    let (code, answer) = try_it(&fields);
    assert_eq!(code, 200, "{answer}");
    let (code, answer) = home.send("PUT", "destinations/box", &asking("sftp", &fields));
    assert_eq!(code, 204, "{answer}");
    assert!(configuration(&home).contains(&format!("host_key = \"{shown}\"")), "{}", configuration(&home));

    server.change_host_keys().unwrap();
    let (code, answer) = try_it(&fields);
    assert_eq!((code, &answer["field"], &answer["offer"]), (422, &json!("host_key"), &Value::Null), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("ITS KEY IS NOT THE CONFIGURED ONE"), "{answer}");
    assert!(answer["hint"].as_str().unwrap().contains("impersonating"), "{answer}");
}

#[test]
fn a_folder_that_is_mistyped_is_noticed_and_a_closed_port_answers_at_once() {
    let home = Home::new(TWO);
    let _service = home.serve();
    // Nobody listens there: the first attempt says so, and nothing is tried again.
    let fields = json!({"host": "127.0.0.1:1", "user": USER, "path": "/x", "key_file": "key"});
    fs::write(home.path("key"), "").unwrap();
    let (code, answer) = home.send("POST", "destinations/box/try", &asking("sftp", &fields));
    let error = answer["error"].as_str().unwrap();
    assert_eq!(code, 422, "{answer}");
    assert!(!error.contains("gave up") && !home.log().contains("trying again"), "{answer}\n{}", home.log());
    if !sshd::is_installed() {
        return;
    }
    let server = Sshd::start("").unwrap();
    let mistyped = server.root().join("mistyped");
    let mut fields = json!({
        "host": format!("127.0.0.1:{}", server.port()), "user": USER, "path": mistyped, "key_file": server.user_key(),
    });
    let (_, answer) = home.send("POST", "destinations/box/try", &asking("sftp", &fields));
    fields["host_key"] = answer["offer"].clone();
    for (method, path) in [("POST", "destinations/box/try"), ("PUT", "destinations/box")] {
        let (code, answer) = home.send(method, path, &asking("sftp", &fields));
        assert_eq!((code, &answer["field"]), (422, &json!("path")), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("does not exist"), "{answer}");
        assert!(answer["hint"].as_str().unwrap().contains("tick the box below"), "{answer}");
        assert!(!mistyped.exists());
    }
    // Whoever means it gets it.
    fields["new_folder"] = json!("true");
    let (code, answer) = home.send("POST", "destinations/box/try", &asking("sftp", &fields));
    assert_eq!(code, 200, "{answer}");
    assert!(answer["tried"].as_array().unwrap().iter().any(|line| line == "the folder did not exist, so Haul made it"));
    let (code, answer) = home.send("PUT", "destinations/box", &asking("sftp", &fields));
    assert_eq!(code, 204, "{answer}");
    assert!(mistyped.exists() && !configuration(&home).contains("new_folder"), "{}", configuration(&home));
}

#[test]
fn a_folder_of_this_machine_is_made_for_whoever_says_so_in_one_that_is_there() {
    let home = Home::new(TWO);
    let _service = home.serve();
    let new = home.path("a/share/everything");
    let mut fields = json!({ "path": new });
    let (code, answer) = home.send("PUT", "destinations/share", &asking("local", &fields));
    assert_eq!((code, &answer["field"]), (422, &json!("path")), "{answer}");
    assert!(answer["hint"].as_str().unwrap().contains("tick the box below"), "{answer}");
    // What is missing may be a disk.
    fields["new_folder"] = json!("true");
    let (code, answer) = home.send("PUT", "destinations/share", &asking("local", &fields));
    assert_eq!((code, &answer["field"]), (422, &json!("path")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("the folder that it is to be in does not exist"), "{answer}");
    fs::create_dir_all(new.parent().unwrap()).unwrap();
    let (code, answer) = home.send("PUT", "destinations/share", &asking("local", &fields));
    assert_eq!(code, 204, "{answer}");
    assert!(new.is_dir() && !configuration(&home).contains("new_folder"), "{}", configuration(&home));

    // Nothing is made while something else is wrong.
    let inside = home.path("config/copies");
    let fields = json!({ "path": inside, "new_folder": "true" });
    let (code, answer) = home.send("PUT", "destinations/inside", &asking("local", &fields));
    assert!(code == 422 && answer["error"].as_str().unwrap().contains("in the config directory"), "{answer}");
    let elsewhere = home.path("a/share/other");
    let fields = json!({ "path": elsewhere, "new_folder": "true" });
    let (code, answer) = home.send("PUT", "destinations/no.name", &asking("local", &fields));
    assert_eq!((code, &answer["field"]), (422, &json!("name")), "{answer}");
    assert!(!inside.exists() && !elsewhere.exists());
    // Trying it makes it, and says so.
    let (code, answer) = home.send("POST", "destinations/other/try", &asking("local", &fields));
    assert!(code == 200 && elsewhere.is_dir(), "{answer}");
    assert!(answer["tried"].as_array().unwrap().iter().any(|line| line == "the folder did not exist, so Haul made it"));
}

#[test]
fn set_up_says_everything_that_is_wrong_at_once() {
    let home = Home::new(TWO);
    let _service = home.serve();
    let (code, page) = home.post(
        "/setup",
        &form_urlencoded(&[
            ("source", "other"),
            ("other_source", home.path("nas").to_str().unwrap()),
            ("kind", "s3"),
            ("s3.endpoint", "https://s3.example"),
            ("schedule", "other"),
            ("other_schedule", "daily 25:00"),
            ("keep", "none"),
            ("encryption", "key"),
        ]),
    );
    assert_eq!(code, 422);
    for field in ["s3.bucket", "s3.access_key_id", "s3.secret_access_key", "keep", "key"] {
        assert!(page.contains(&format!("id=\"{field}-wrong\"")), "{field}: {page}");
    }
    for words in ["is not a config directory: it has no .HA_VERSION", "25:00", "Enter your encryption key."] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[test]
fn copies_on_the_disk_of_home_assistant_are_said_to_be_no_more_than_that() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    let words = "All copies are on this machine's disk. If it dies, they are lost too.";
    let page = home.text("GET", "/").unwrap();
    assert!(page.contains("If it dies, they are lost too."), "{page}");
    let (code, text) = home.haul(&["status"]);
    assert!(code == 0 && text.contains(words), "it is no problem: {code} {text}");
    let Ok(disk) = tempfile::tempdir_in("/dev/shm") else { return };
    home.configure(&TWO.replace("url = \"off\"", &format!("url = \"{}\"", disk.path().display())));
    wait::until("one is elsewhere", || home.status()["jobs"][0]["advice"] == Value::Null);
}

#[test]
fn google_is_signed_in_to_from_the_page() {
    let (drive, home) = (Drive::start(), Home::new(TWO));
    let at = drive.address();
    let variables = [("API", Drive::api_url(at)), ("UPLOAD", Drive::upload_url(at)), ("OAUTH", Drive::oauth_url(at))];
    let variables: Vec<String> = variables.iter().map(|(name, url)| format!("HAUL_GDRIVE_{name}_URL={url}")).collect();
    let through: Vec<&str> = std::iter::once("env").chain(variables.iter().map(String::as_str)).collect();
    let _service = home.serve_in(&through, "none");

    let path = asking("gdrive", &json!({"path": "Backups"}));
    let begin = |fields: &Value| home.send("POST", "destinations/cloud/sign-in", &asking("gdrive", fields));
    let client = json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
    for (fields, field) in [
        (json!({}), "client_id"),
        (json!({"client_id": CLIENT_ID}), "client_secret"),
        (json!({"client_id": "nobody", "client_secret": CLIENT_SECRET}), "client_id"),
    ] {
        let (code, answer) = begin(&fields);
        assert_eq!((code, &answer["field"]), (422, &json!(field)), "{answer}");
    }
    let (code, answer) = home.send("PUT", "destinations/cloud", &path);
    assert_eq!((code, &answer["field"]), (422, &json!("client_id")), "nobody has signed in: {answer}");
    assert_eq!(home.send("GET", "sign-in", &Value::Null).0, 404);

    // Somebody refuses; somebody else cancels.
    let ended = || {
        wait::found("the sign-in ends", || {
            let (_, state) = home.send("GET", "sign-in", &Value::Null);
            (state["state"] != "waiting").then_some(state)
        })
    };
    let (_, waiting) = begin(&client);
    drive.deny(waiting["code"].as_str().unwrap());
    let refused = ended();
    assert_eq!(refused["state"], "failed", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("access was denied"), "{refused}");
    assert_eq!(begin(&client).1["state"], "waiting");
    drive.expire_codes();
    let late = ended();
    assert!(late["message"].as_str().unwrap().contains("nobody typed the code in time"), "{late}");
    let (_, cancelled) = begin(&client);
    assert_eq!(cancelled["state"], "waiting", "{cancelled}");
    assert_eq!(home.send("DELETE", "sign-in", &Value::Null).0, 204);
    assert_eq!(home.send("GET", "sign-in", &Value::Null).0, 404);

    // Two tabs: the same code, on the page, too.
    let (code, waiting) = begin(&client);
    assert_eq!((code, &waiting["address"]), (200, &json!("https://www.google.com/device")), "{waiting}");
    assert_ne!(waiting["code"], cancelled["code"]);
    assert_eq!(begin(&client).1, waiting);
    let (code, answer) = begin(&json!({"client_id": "another", "client_secret": "x"}));
    assert_eq!(code, 422, "{answer}");
    let shown = home.text("GET", "/settings/location").unwrap();
    assert!(shown.contains(waiting["code"].as_str().unwrap()), "{shown}");
    drive.approve(waiting["code"].as_str().unwrap());
    let done = ended();
    assert_eq!(done["message"], "signed in to Google Drive of tester@example.org, 16.1 GB free", "{done}");
    let token = home.path("state/gdrive-token.json");
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);

    let (code, answer) = home.send("POST", "destinations/cloud/try", &path);
    assert_eq!(code, 200, "{answer}");
    let (code, answer) = home.send("PUT", "destinations/cloud", &path);
    assert_eq!(code, 204, "{answer}");
    assert!(configuration(&home).contains("url = \"gdrive://Backups\""), "{}", configuration(&home));
    assert_eq!(home.send("GET", "sign-in", &Value::Null).0, 404, "it has served its turn");
    // One for a location that nobody saves changes nothing of it; once it is saved, it counts.
    let used = || fs::read(&token).unwrap();
    let before = used();
    let other = asking("gdrive", &json!({"path": "Elsewhere"}));
    let sign_in_for_other = || {
        let (code, waiting) = home.send("POST", "destinations/other/sign-in", &asking("gdrive", &client));
        assert_eq!(code, 200, "{waiting}");
        drive.approve(waiting["code"].as_str().unwrap());
        assert_eq!(ended()["state"], "done");
        assert_eq!(home.send("POST", "destinations/other/try", &other).0, 200);
    };
    sign_in_for_other();
    let unsaved = home.path("state/gdrive-token.json.unsaved");
    assert!(used() == before && unsaved.exists());
    assert_eq!(fs::metadata(&unsaved).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(home.send("DELETE", "sign-in", &Value::Null).0, 204);
    assert!(used() == before && !unsaved.exists());
    sign_in_for_other();
    let (code, answer) = home.send("PUT", "destinations/other", &other);
    assert_eq!(code, 204, "{answer}");
    assert!(used() != before && !unsaved.exists());
    // It ends, and begins anew with the client that is kept.
    drive.revoke();
    let (code, answer) = home.send("POST", "destinations/cloud/try", &path);
    assert_eq!((code, &answer["field"]), (422, &json!("client_id")), "{answer}");
    let (_, waiting) = begin(&json!({}));
    drive.approve(waiting["code"].as_str().unwrap());
    assert_eq!(ended()["state"], "done");
    let (code, answer) = home.send("POST", "destinations/cloud/try", &path);
    assert_eq!(code, 200, "{answer}");
    let told = [configuration(&home), home.log(), shown, done.to_string(), home.text("GET", "/api/v1/events").unwrap()];
    for secret in drive.secrets().iter().map(String::as_str).chain([CLIENT_SECRET]) {
        assert!(told.iter().all(|text| !text.contains(secret)));
    }
}

#[test]
fn another_machine_is_paired_with_by_its_code() {
    let home = Home::new(TWO);
    let there = tempfile::tempdir().unwrap();
    let mut receive = Command::new(env!("CARGO_BIN_EXE_haul"));
    receive.args(["receive", "--listen", "127.0.0.1:0", "--to"]).arg(there.path());
    receive.env_clear().env("HOME", there.path()).env("HAUL_STATE", there.path().join("state"));
    let receiving = Receiving::start(&mut receive, "Receiving into");
    let _service = home.serve();

    let host = receiving.url.trim_start_matches("haul://");
    let with = |code: &str| asking("machine", &json!({"host": host, "code": code}));
    for (typed, words) in [("", "this machine is not paired with it"), ("babab-babab", "the pairing code is wrong")] {
        for (method, path) in [("POST", "destinations/attic/try"), ("PUT", "destinations/attic")] {
            let (code, answer) = home.send(method, path, &with(typed));
            assert_eq!((code, &answer["field"]), (422, &json!("code")), "{answer}");
            assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
            assert!(answer["hint"].as_str().unwrap().contains("`haul receive` shows"), "{answer}");
        }
    }
    assert!(!configuration(&home).contains("attic"));
    // Saving pairs as trying does, and what is paired stays so.
    let (code, answer) = home.send("PUT", "destinations/attic", &with(&receiving.code));
    assert_eq!(code, 204, "{answer}");
    let (code, answer) = home.send("POST", "destinations/attic/try", &with(""));
    assert_eq!(code, 200, "{answer}");
    let text = configuration(&home);
    assert!(text.contains(&format!("url = \"haul://{host}\"")) && !text.contains(&receiving.code), "{text}");
    assert!(!home.log().contains(&receiving.code));
}

#[test]
fn a_folder_on_a_disk_of_its_own_is_used_only_while_that_is_mounted() {
    let home = Home::new(TWO);
    let _service = home.serve();
    let is_there = |name: &str| {
        let text = configuration(&home);
        text.split(&format!("[destinations.{name}]"))
            .nth(1)
            .unwrap()
            .split('[')
            .next()
            .unwrap()
            .contains("must_be_mounted = true")
    };
    let put = |name: &str, folder: &Path, said: Option<bool>| {
        let mut fields = json!({"path": folder});
        if let Some(said) = said {
            fields["must_be_mounted"] = json!(said.to_string());
        }
        home.send("PUT", &format!("destinations/{name}"), &asking("local", &fields)).0
    };
    // On the disk of what is backed up.
    let near = json!({"path": home.path("off"), "must_be_mounted": "true"});
    let (_, tried) = home.send("POST", "destinations/near/try", &asking("local", &near));
    assert!(tried.to_string().contains("makes no difference"), "{tried}");
    assert_eq!(put("near", &home.path("off"), Some(true)), 204);
    assert!(!is_there("near"));
    assert_eq!(
        put("nas", &home.path("nas"), Some(true)),
        422,
        "whoever wants it for a known one hears that it can't be"
    );
    let Ok(disk) = tempfile::tempdir_in("/dev/shm") else { return };
    assert_eq!(put("disk", disk.path(), None), 204);
    assert!(is_there("disk"), "{}", configuration(&home));
    assert_eq!(put("disk", disk.path(), Some(false)), 204);
    assert!(!is_there("disk"));
    assert_eq!(put("disk", disk.path(), None), 204);
    assert!(!is_there("disk"), "what was said before holds");
    assert_eq!(put("disk", disk.path(), Some(true)), 204);
    assert!(is_there("disk"));
    let (_, page) = home.post(
        "/settings/location",
        &form_urlencoded(&[("kind", "local"), ("local.path", disk.path().to_str().unwrap()), ("do", "try")]),
    );
    assert!(page.contains("Haul writes there only while it is mounted"), "{page}");
}

#[test]
fn set_up_takes_a_location_that_is_there() {
    let home = Home::new(TWO);
    sample::create(&home.path("cottage"), &sample::Options { database_bytes: 100_000, seed: 4 }).unwrap();
    let _service = home.serve();
    let page = home.text("GET", "/setup").unwrap();
    assert!(page.contains("value=\"existing\" checked") && page.contains("<option>off</option>"), "{page}");
    let cottage = home.path("cottage");
    let answers = |place: &str| {
        form_urlencoded(&[
            ("source", "other"),
            ("other_source", cottage.to_str().unwrap()),
            ("kind", "existing"),
            ("existing.name", place),
            ("schedule", "never"),
            ("encryption", "nothing"),
        ])
    };
    let (code, page) = home.post("/setup", &answers("attic"));
    assert!(code == 422 && page.contains("There is no location"), "{page}");
    assert_eq!(home.post("/setup", &answers("nas")).0, 303);
    let text = configuration(&home);
    assert!(text.contains("[jobs.home2]") && text.contains("destinations = [\"nas\"]"), "{text}");
    assert_eq!(text.matches("[destinations.").count(), 2, "{text}");
}

fn form_urlencoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}
