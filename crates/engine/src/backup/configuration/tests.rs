#![allow(clippy::unwrap_used)]
use std::fs;

use super::*;

fn config(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const URL: &str = "mysql://ha:hunter2@core-mariadb/ha?charset=utf8mb4";

fn default() -> History {
    History::Here(RECORDER.to_vec())
}

/// In each of these forms Home Assistant finds the same address.
#[test]
fn a_history_elsewhere_is_found_in_every_form() {
    let at_top = |text: &str| vec![("configuration.yaml".to_owned(), text.replace("URL", URL))];
    let with = |text: &str, name: &str, content: &str| {
        [at_top(text), vec![(name.to_owned(), content.replace("URL", URL))]].concat()
    };
    for (form, files) in [
        ("plain", at_top("default_config:\n\nrecorder:\n  # keep\n  purge_keep_days: 30\n  db_url: URL\nhttp:\n")),
        ("quoted", at_top("recorder:\n  \"db_url\": 'URL'\n")),
        ("flow", at_top("recorder: {db_url: \"URL\"}\n")),
        ("folded", at_top("recorder:\n  db_url: >-\n    URL\n")),
        ("byte order mark", at_top("\u{feff}recorder:\n  db_url: URL\n")),
        ("windows", at_top("recorder:\r\n  db_url: URL\r\n")),
        ("anchor", at_top("x: &db URL\nrecorder:\n  db_url: *db\n")),
        ("merge", at_top("x: &r\n  db_url: URL\nrecorder:\n  <<: *r\n")),
        ("tagged lists", at_top("light: !include_dir_list lights\nrecorder:\n  db_url: URL\n")),
        ("secret", with("recorder:\n  db_url: !secret db\n", "secrets.yaml", "wifi: x\ndb: URL\n")),
        ("include", with("recorder: !include recorder.yaml\n", "recorder.yaml", "db_url: \"URL\"\n")),
        ("included address", with("recorder:\n  db_url: !include url.yaml\n", "url.yaml", "URL\n")),
        ("absolute include", with("recorder: !include /config/r/recorder.yaml\n", "r/recorder.yaml", "db_url: URL\n")),
        ("merged directory", with("recorder: !include_dir_merge_named rec/\n", "rec/r.yaml", "db_url: URL\n")),
        (
            "named packages",
            with(
                "homeassistant:\n  packages: !include_dir_named pkgs\n",
                "pkgs/deep/r.yaml",
                "recorder:\n  db_url: URL\n",
            ),
        ),
        (
            "merged packages",
            with(
                "homeassistant:\n  packages: !include_dir_merge_named pkgs\n",
                "pkgs/r.yaml",
                "mine:\n  recorder:\n    db_url: URL\n",
            ),
        ),
        (
            "package by include",
            with("homeassistant:\n  packages:\n    r: !include r.yaml\n", "r.yaml", "recorder:\n  db_url: URL\n"),
        ),
        ("package in place", at_top("homeassistant:\n  packages:\n    r:\n      recorder:\n        db_url: URL\n")),
        (
            "core by include",
            with(
                "homeassistant: !include core.yaml\n",
                "core.yaml",
                "packages:\n  r:\n    recorder:\n      db_url: URL\n",
            ),
        ),
        (
            "secret beside the package",
            [
                with(
                    "homeassistant:\n  packages: !include_dir_named pkgs\n",
                    "pkgs/r.yaml",
                    "recorder:\n  db_url: !secret db\n",
                ),
                vec![("pkgs/secrets.yaml".to_owned(), format!("db: {URL}\n"))],
            ]
            .concat(),
        ),
        (
            "secret above the package",
            [
                with(
                    "homeassistant:\n  packages: !include_dir_named pkgs\n",
                    "pkgs/r.yaml",
                    "recorder:\n  db_url: !secret db\n",
                ),
                vec![("secrets.yaml".to_owned(), format!("db: {URL}\n"))],
            ]
            .concat(),
        ),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        match history(config(&files).path()) {
            History::Elsewhere(note) => {
                assert!(note.contains("MariaDB") && !note.contains("hunter2"), "{form}: {note}");
            }
            other => panic!("{form}: {other:?}"),
        }
    }
}

#[test]
fn what_only_home_assistant_can_know_is_reported_as_unknown() {
    for (files, why) in [
        (&[("configuration.yaml", "recorder:\n  db_url: !env_var DB\n")][..], "environment variable DB"),
        (&[("configuration.yaml", "recorder:\n  db_url: !secret db\n")], "the secret db"),
        (&[("configuration.yaml", "recorder: !include recorder.yaml\n")], "recorder.yaml can't be read"),
        (&[("configuration.yaml", "recorder: {db_url: \n- x")], "parse configuration.yaml as YAML"),
        (
            &[
                ("configuration.yaml", "homeassistant:\n  packages: !include_dir_named p\n"),
                ("p/a.yaml", "recorder: ["),
            ],
            "parse p/a.yaml as YAML",
        ),
    ] {
        match history(config(files).path()) {
            History::Unknown(note) => assert!(note.contains(why) && note.contains("could not find out"), "{note}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[test]
fn a_history_in_the_config_directory_is_found() {
    assert_eq!(history(config(&[]).path()), default());
    for text in [
        "recorder:\n  commit_interval: 5\nother:\n  db_url: mysql://x\n",
        "recorder:\n  #db_url: mysql://x\n",
        "recorder:\n",
        "recorder:\n  db_url: sqlite:////config/home-assistant_v2.db\n",
        "recorder:\n  db_url: sqlite:///./home-assistant_v2.db?timeout=5\n",
        "automation: !include nowhere.yaml\nlambda: !lambda x\n",
    ] {
        assert_eq!(history(config(&[("configuration.yaml", text)]).path()), default(), "{text}");
    }
    // One that breaks has nothing to say about the recorder.
    let broken =
        [("configuration.yaml", "homeassistant:\n  packages: !include_dir_named p\n"), ("p/a.yaml", "light: [")];
    assert_eq!(history(config(&broken).path()), default());
    let dir = config(&[]);
    let own = format!("recorder:\n  db_url: sqlite:///{}/db/history.db\n", dir.path().display());
    for text in [
        own.as_str(),
        "recorder:\n  db_url: sqlite:////config/db/history.db\n",
        "recorder:\n  db_url: sqlite:///db/history.db\n",
    ] {
        fs::write(dir.path().join("configuration.yaml"), text).unwrap();
        assert_eq!(history(dir.path()), History::Here(b"db/history.db".to_vec()), "{text}");
    }
}

#[test]
fn an_sqlite_history_outside_is_reported() {
    for (url, says) in [
        ("sqlite:////mnt/ram/ha.db", "/mnt/ram/ha.db"),
        ("sqlite:///../ha.db", "../ha.db"),
        ("sqlite:////config/../ha.db", "/config/../ha.db"),
        ("sqlite://", "in memory only"),
        ("sqlite:///:memory:", "in memory only"),
    ] {
        match history(config(&[("configuration.yaml", &format!("recorder:\n  db_url: \"{url}\"\n"))]).path()) {
            History::Elsewhere(note) => assert!(note.contains(says), "{note}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn files_that_include_each_other_come_to_an_end() {
    let files = [
        ("configuration.yaml", "recorder: !include a.yaml\n"),
        ("a.yaml", "!include b.yaml\n"),
        ("b.yaml", "!include a.yaml\n"),
    ];
    assert_eq!(history(config(&files).path()), default());
}

#[test]
fn what_the_start_needs_from_outside_is_reported() {
    let text = "http:\n  ssl_certificate: /ssl/fullchain.pem\n  ssl_key: /config/ssl/key.pem\nautomation: !include \
        /share/a.yaml\n\
                homeassistant:\n  allowlist_external_dirs:\n    - /media\n    - www\nscript: !include scripts.yaml\n";
    let note = files_outside(config(&[("configuration.yaml", text)]).path()).unwrap();
    assert!(note.contains("/media, /share/a.yaml, /ssl/fullchain.pem outside"), "{note}");
    assert_eq!(
        files_outside(
            config(&[("configuration.yaml", "http:\n  ssl_key: ssl/key.pem\nscript: !include a/../b.yaml\n")]).path()
        ),
        None
    );
}

#[test]
fn where_it_listens_is_what_http_says() {
    let at =
        |text: &str| listening(config(&[("configuration.yaml", text), ("http.yaml", "server_port: 8444\n")]).path());
    let on = |port, tls| Some(Listening { port, tls });
    assert_eq!(at("default_config:\n"), None);
    assert_eq!(at("http:\n  use_x_forwarded_for: true\n"), on(Some(8123), false));
    assert_eq!(at("http:\n  server_port: 8888\n"), on(Some(8888), false));
    assert_eq!(at("http: !include http.yaml\n"), on(Some(8444), false));
    assert_eq!(
        at("http:\n  server_port: 443\n  ssl_certificate: /ssl/fullchain.pem\n  ssl_key: /ssl/privkey.pem\n"),
        on(Some(443), true)
    );
    assert_eq!(at("http:\n  server_port: !env_var PORT\n"), on(None, false));
    assert_eq!(
        at("homeassistant:\n  packages:\n    web:\n      http:\n        server_port: 8555\n"),
        on(Some(8555), false)
    );
}
