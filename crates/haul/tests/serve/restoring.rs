//! A backup is restored because somebody said so on the page or by the API.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use testkit::wait;

use crate::home::{Home, TWO};

impl Home {
    fn first_archive(&self) -> String {
        let archives = self.ask("GET", "archives").unwrap();
        archives["archives"][0]["id"].as_str().unwrap().to_owned()
    }

    fn restore(&self, what: &Value) -> Value {
        self.tell(&format!("archives/{}/restore", self.first_archive()), what)
    }

    /// The newest event about a restore that says so.
    fn restored(&self, says: &str) -> Value {
        self.told("restore", says)
    }
}

#[test]
fn a_backup_is_restored_into_a_directory_of_its_own() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    let into = home.path("look");
    assert_eq!(home.restore(&json!({ "into": into })), json!({ "accepted": true }));
    let event = home.restored("was restored into");
    assert_eq!((&event["level"], &event["job"]), (&"ok".into(), &"home".into()), "{event}");
    let read = |directory: &str, name: &str| fs::read(home.path(directory).join(name)).unwrap();
    for name in ["configuration.yaml", ".storage/core.uuid", "automations.yaml"] {
        assert_eq!(read("look", name), read("config", name), "{name}");
    }
    // Haul's own place is private, and each restore there has a directory of its own.
    for number in ["", "-2"] {
        let name = home.archives("nas")[0].replace(".tar", number);
        home.restore(&json!({}));
        home.restored(&format!("restored/{name}: "));
        assert!(home.path("state/restored").join(&name).join("configuration.yaml").exists(), "{name}");
    }
    let mode = fs::metadata(home.path("state/restored")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // Some of it, from the other place.
    let some = json!({ "into": home.path("some"), "only": ["automations.yaml", " "], "destination": "off" });
    home.restore(&some);
    home.restored("some: 1 entry");
    let names: Vec<_> = fs::read_dir(home.path("some")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["automations.yaml"]);
}

#[test]
fn what_can_not_be_is_said_before_it_begins() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/mine"), "mine").unwrap();
    std::os::unix::fs::symlink(home.path("nas"), home.path("link")).unwrap();
    let at = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let cases = [
        (json!({ "into": "look" }), "`into`: \"look\" is not the whole path of a directory"),
        (json!({ "into": at("nas/../look") }), "is not the whole path of a directory"),
        (json!({ "into": at("full") }), "full is not empty"),
        (json!({ "into": at("full/mine") }), "mine is not a directory"),
        (json!({ "into": at("nowhere/look") }), "nowhere/look can't be made: no such file or directory"),
        (json!({ "into": at("nas/look") }), "is in the way of the location \"nas\""),
        (json!({ "into": at("link/look") }), "is in the way of the location \"nas\""),
        (json!({ "into": at("config/look") }), "is in the way of what \"home\" backs up"),
        (json!({ "into": at("state/look") }), "is in the way of Haul's own directory"),
        (json!({ "into": at("state") }), "is in the way of Haul's own directory"),
        (json!({ "into": "/" }), "is in the way of"),
        (json!({ "into": at("look"), "only": ["/etc/passwd"] }), "`only`: "),
        (
            json!({ "into": at("look"), "only": ["no-such-file"] }),
            "`only`: nothing in the backup is called no-such-file",
        ),
        (json!({ "into": at("look"), "only": [".storage", "automation.yaml"] }), "is called automation.yaml"),
        (json!({ "into": at("look"), "destination": "elsewhere" }), "`destination`: "),
        (json!({ "into": at("look"), "force": true }), "unknown field `force`"),
    ];
    for (what, says) in cases {
        let answer = home.restore(&what);
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(says)), "{what}: {answer}");
    }
    assert_eq!(home.tell("archives/none/restore", &json!({ "into": at("look") }))["error"], "There is no such backup.");
    assert!(!home.path("look").exists());
    assert_eq!(fs::read(home.path("full/mine")).unwrap(), b"mine");
    let mistyped = home.restore(&json!({ "into": at("look"), "only": ["automation.yaml"] }));
    assert!(mistyped["hint"].as_str().is_some_and(|hint| hint.contains("automations.yaml")), "{mistyped}");
}

#[test]
fn what_a_killed_restore_left_is_removed_when_the_service_starts_unless_somebody_works_on_it() {
    use std::os::fd::AsFd;
    let home = Home::new(TWO);
    let left = |name: &str| {
        let stage = home.path("state/restored").join(name);
        fs::create_dir_all(stage.join("tree/.storage")).unwrap();
        fs::write(stage.join("tree/.storage/auth"), "secrets").unwrap();
        (fs::File::create(stage.join("lock")).unwrap(), stage)
    };
    let (_, dead) = left(".haul-restore-0123456789ab");
    let (lock, alive) = left(".haul-restore-ba9876543210");
    rustix::fs::flock(lock.as_fd(), rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (_, other) = left("a backup that was restored");
    let _service = home.serve();
    wait::until("it is gone", || !dead.exists());
    assert!(alive.join("tree/.storage/auth").exists() && other.join("tree/.storage/auth").exists());
}

#[test]
fn nobody_else_reads_what_is_in_the_state_directory() {
    use std::os::unix::fs::MetadataExt;
    let home = Home::new(TWO);
    // What made it may have been anybody.
    fs::set_permissions(home.path("state"), fs::Permissions::from_mode(0o755)).unwrap();
    let _service = home.serve();
    home.settled(2);
    let mut looked = 0;
    let mut waiting = vec![home.path("state")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            assert_eq!(about.mode() & 0o077, 0, "{} has the mode {:o}", path.display(), about.mode());
            looked += 1;
            if about.is_dir() {
                waiting.push(path);
            }
        }
    }
    assert!(looked > 3, "{looked}");
}

#[test]
fn a_backup_takes_the_place_of_what_is_there_and_that_is_kept() {
    let home = Home::new(TWO);
    let _service = home.serve();
    home.settled(2);
    fs::write(home.path("config/automations.yaml"), "spoilt").unwrap();
    home.restore(&json!({ "replace": true }));
    let event = home.restored("holds what was there before");
    assert_eq!(event["level"], "ok", "{event}");
    assert_ne!(fs::read(home.path("config/automations.yaml")).unwrap(), b"spoilt");
    let kept = fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.filter(|path| path.to_str().unwrap().contains("config.before-restore-")).collect::<Vec<_>>();
    assert_eq!(fs::read(kept[0].join("automations.yaml")).unwrap(), b"spoilt");
}

#[test]
fn a_key_that_is_typed_opens_what_the_jobs_key_does_not_and_is_kept_nowhere() {
    let home = Home::new(&format!("{TWO}password_file = \"key\"\n"));
    fs::write(home.path("key"), "the-first-key").unwrap();
    let service = home.serve();
    home.settled(2);
    fs::write(home.path("key"), "the-second-key").unwrap();
    let refused = home.restore(&json!({ "into": home.path("look") }));
    let says = |answer: &Value, what: &str| assert!(answer["error"].as_str().unwrap().contains(what), "{answer}");
    says(&refused, "`key`: no encryption key that Haul knows opens this backup");
    says(
        &home.restore(&json!({ "into": home.path("look"), "key": "no-key-of-it" })),
        "`key`: this encryption key is wrong",
    );
    home.restore(&json!({ "into": home.path("look"), "key": " the-first-key\n" }));
    home.restored("was restored into");
    assert!(home.path("look/configuration.yaml").exists());
    drop(service);
    for name in ["state/catalog.db", "state/catalog.db-wal", "log"] {
        let bytes = fs::read(home.path(name)).unwrap_or_default();
        for key in ["the-first-key", "no-key-of-it"] {
            assert!(!bytes.windows(key.len()).any(|part| part == key.as_bytes()), "{name} holds {key}");
        }
    }
}
