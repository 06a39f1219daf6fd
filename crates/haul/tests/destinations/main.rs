//! What a user does with destinations: named ones, remote ones, and the archives there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test fails by panicking"
)]

mod fetching;
mod mounted;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Barrier},
    time::Duration,
};

use serde_json::Value;
use testkit::{
    nextcloud::{self, Nextcloud},
    noise::noise,
    proxy::{Answer, Head, Proxy, Rule},
    s3::S3Server,
    wait,
};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        for directory in ["config/.storage", "out", "xdg"] {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        place.write("config/.HA_VERSION", b"2026.11.0");
        place.write("config/configuration.yaml", b"default_config:\n");
        for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            place.write(&format!("config/.storage/{name}"), b"{}");
        }
        place
    }

    fn write_config(&self, content: &str) {
        fs::create_dir_all(self.path("xdg/haul")).unwrap();
        self.write("xdg/haul/haul.toml", content.as_bytes());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command
            .env("XDG_CONFIG_HOME", self.path("xdg"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("TZ", "Europe/Berlin");
        command.env("HAUL_NEXTCLOUD_USER", nextcloud::USER).env("HAUL_NEXTCLOUD_PASSWORD", nextcloud::PASSWORD);
        command
    }

    fn haul(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn done(&self, args: &[&str]) -> String {
        let output = self.haul(args);
        assert!(output.status.success(), "{args:?}: {} {}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Exit code and standard error of a command.
    fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.haul(args);
        assert!(!output.status.success(), "{args:?}: {}", text(&output.stdout));
        (output.status.code().unwrap(), text(&output.stderr))
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn backup(&self, name: &str) {
        self.done(&["backup", "config", "--to", &format!("out/{name}")]);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Bytes that no compression makes fewer.
#[test]
fn haul_toml_names_destinations_and_defaults() {
    let place = Place::new();
    fs::create_dir(place.path("xdg/haul")).unwrap();
    place.write(
        "xdg/haul/haul.toml",
        b"[destinations.near]\nurl = \"../../out\"\n\n[backup]\nto = \"near\"\nname \
        = \"From the file\"\nuncompressed = true\n",
    );
    assert!(place.done(&["destination", "list"]).starts_with("near  "));
    place.done(&["backup", "config"]);
    place.done(&["backup", "config", "--name", "From the flag"]);
    assert!(
        place
            .command(&["backup", "config"])
            .env("HAUL_NAME", "From the environment")
            .output()
            .unwrap()
            .status
            .success()
    );
    let listed = json(&place.done(&["list", "near", "--json"]));
    let mut titles: Vec<&str> =
        listed["archives"].as_array().unwrap().iter().map(|archive| archive["title"].as_str().unwrap()).collect();
    titles.sort_unstable();
    assert_eq!(titles, ["From the environment", "From the file", "From the flag"]);
    let (code, said) = place.refused(&["list", "naer"]);
    assert_eq!(code, 2);
    assert!(said.contains("did you mean \"near\"?"), "{said}");

    place.write("wrong.toml", b"[backup]\nlevl = \"small\"\n");
    let (code, said) = place.refused(&["--config", "wrong.toml", "backup", "config"]);
    assert_eq!(code, 2);
    assert!(said.contains("wrong.toml, line 2: there is no key \"levl\"; did you mean \"level\"?"), "{said}");
    let (code, said) = place.refused(&["list", "near", "--config", "absent.toml"]);
    assert_eq!(code, 2);
    assert!(said.contains("can't read the configuration file absent.toml"), "{said}");
}

#[test]
fn a_list_tells_ours_from_others_and_damage_from_both() {
    let place = Place::new();
    assert!(place.done(&["list", "out"]).contains("holds no archives"));
    place.backup("mine.tar");
    place.write("out/photos.tar", b"no tar at all");
    place.write("out/readme.txt", b"nothing of interest");
    let whole = fs::read(place.path("out/mine.tar")).unwrap();
    fs::write(place.path("out/torn.tar"), &whole[..whole.len() - 6000]).unwrap();
    let listed = json(&place.done(&["list", "out", "--json"]));
    let by_name = |name: &str| {
        listed["archives"].as_array().unwrap().iter().find(|archive| archive["name"] == name).unwrap().clone()
    };
    let mine = by_name("mine.tar");
    assert_eq!(
        (mine["made_by"].as_str(), mine["verdict"].as_str(), mine["home_assistant"].as_str()),
        (Some("own"), Some("whole"), Some("2026.11.0"))
    );
    assert_eq!(by_name("photos.tar")["made_by"], "unknown");
    assert_eq!(by_name("torn.tar")["verdict"], "damaged");
    assert_eq!(listed["archives"].as_array().unwrap().len(), 3);
    let shown = place.done(&["list", "out"]);
    assert!(shown.contains("not a backup") && shown.contains("DAMAGED") && shown.contains("3 archives"), "{shown}");
}

#[test]
fn what_is_pinned_stays_and_what_nobody_confirms_as_well() {
    let place = Place::new();
    place.backup("a.tar");
    place.backup("b.tar");
    place.done(&["pin", "out/a.tar"]);
    place.done(&["pin", "out/a.tar"]);
    assert!(place.done(&["list", "out"]).contains("pinned"));
    let (code, said) = place.refused(&["rm", "out/a.tar", "--yes"]);
    assert_eq!(code, 1);
    assert!(said.contains("a.tar is pinned; nothing was removed"), "{said}");
    let (code, said) = place.refused(&["rm", "out/b.tar"]);
    assert_eq!(code, 2);
    assert!(said.contains("add --yes"), "{said}");
    assert!(place.refused(&["rm", "out/c.tar", "--yes"]).1.contains("holds no archive c.tar"));
    assert!(place.refused(&["rm", "out", "--yes"]).1.contains("is a destination; expected an archive"));
    place.done(&["unpin", "out/a.tar"]);
    assert_eq!(place.done(&["rm", "out/a.tar", "out/b.tar", "--yes"]).lines().count(), 2);
    assert!(place.names("out").is_empty(), "{:?}", place.names("out"));
}

#[test]
fn prune_shows_a_plan_and_removes_only_when_confirmed() {
    let place = Place::new();
    for name in ["a.tar", "b.tar", "c.tar", "d.tar"] {
        place.backup(name);
    }
    place.write("out/photos.tar", b"no tar at all");
    place.done(&["pin", "out/a.tar"]);
    assert!(place.refused(&["prune", "out", "--yes"]).1.contains("no rule was given"));
    assert_eq!(place.refused(&["prune", "out", "--keep-last", "1"]).0, 2);
    let plan = place.done(&["prune", "out", "--keep-last", "1", "--dry-run"]);
    assert!(
        plan.contains("2 archives to remove")
            && plan.contains("newest whole (as its maker said), last")
            && plan.contains("pinned")
            && plan.contains("not a backup"),
        "{plan}"
    );
    assert_eq!(place.names("out").len(), 6);
    let done = json(&place.done(&["prune", "out", "--keep-last", "1", "--yes", "--json"]));
    assert_eq!(done["removed"].as_array().unwrap().len(), 2);
    assert_eq!(place.names("out"), ["a.tar", "a.tar.pin", "d.tar", "photos.tar"]);
    assert!(place.done(&["prune", "out", "--keep-daily", "7", "--yes"]).contains("Nothing to remove"));
}

#[test]
fn a_directory_is_checked_and_left_as_it_was() {
    let place = Place::new();
    let report = place.done(&["destination", "check", "out", "--measure", "1MiB"]);
    assert!(
        report.contains("Good: the destination keeps every rule")
            && report.contains("speed   up")
            && report.contains("takes bytes at any offset"),
        "{report}"
    );
    let document = json(&place.done(&["destination", "check", "out", "--measure", "1MiB", "--json"]));
    assert_eq!(document["placement"], "random");
    assert!(place.names("out").is_empty(), "{:?}", place.names("out"));
}

#[test]
fn everything_works_from_afar() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Nextcloud::start("")).unwrap();
    let place = Place::new();
    // Too random to shrink, so that fetched bytes can be counted apart from those already there.
    let noise = noise(24 << 20);
    place.write("config/noise.bin", &noise);
    let toml = format!("[destinations.far]\nurl = \"nextcloud://{}/Backups\"\n", server.authority());
    place.write("haul.toml", toml.as_bytes());
    server.place(&format!("/files/{}/Backups/", nextcloud::USER), b"", Duration::ZERO);
    let haul = |args: &[&str]| place.done(&[&["--config", "haul.toml"], args].concat());

    haul(&["backup", "config", "--to", "far/one.tar"]);
    let listed = json(&haul(&["list", "far", "--json"]));
    assert_eq!(
        (listed["archives"][0]["name"].as_str(), listed["archives"][0]["made_by"].as_str()),
        (Some("one.tar"), Some("own")),
        "{listed}"
    );
    assert!(haul(&["verify", "far/one.tar"]).contains("Good: every byte"));
    haul(&["restore", "far/one.tar", "--into", "few", "--only", "configuration.yaml"]);
    assert_eq!(fs::read(place.path("few/configuration.yaml")).unwrap(), b"default_config:\n");
    haul(&["restore", "far/one.tar", "--into", "all"]);
    assert!(fs::read(place.path("all/noise.bin")).unwrap() == noise);
    haul(&["get", "far/one.tar", "--to", "."]);
    assert!(place.done(&["verify", "one.tar"]).contains("Good"));
    haul(&["pin", "far/one.tar"]);
    assert!(haul(&["list", "far"]).contains("pinned"));
    haul(&["unpin", "far/one.tar"]);
    haul(&["rm", "far/one.tar", "--yes"]);
    assert!(haul(&["list", "far"]).contains("holds no archives"));
    assert!(!Path::new(&place.path("state")).exists(), "nothing is kept that nobody needs");
}

#[test]
fn destinations_with_one_address_and_other_settings_are_not_taken_for_each_other() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Nextcloud::start("")).unwrap();
    let place = Place::new();
    place.write("wrong", b"not the password");
    let url = format!("url = \"nextcloud://{}/Backups\"\n", server.authority());
    place.write(
        "haul.toml",
        format!("[destinations.one]\n{url}[destinations.other]\n{url}password_file = \"wrong\"\n").as_bytes(),
    );
    let there = |name: &str| format!("/files/{}/Backups/{name}", nextcloud::USER);
    for name in ["", "a.tar", "b.tar"] {
        server.place(&there(name), b"", Duration::ZERO);
    }
    let (code, said) = place.refused(&["--config", "haul.toml", "rm", "--yes", "one/a.tar", "other/b.tar"]);
    assert_eq!(code, 1, "{said}");
    assert!(server.file(&there("a.tar")).is_some() && server.file(&there("b.tar")).is_some());
}

#[test]
fn standard_output_carries_an_archive_and_nothing_else() {
    let place = Place::new();
    place.backup("a.tar");
    let output = place.haul(&["push", "out/a.tar", "--to", "-", "--progress", "none"]);
    assert!(output.status.success() && output.stdout == fs::read(place.path("out/a.tar")).unwrap());
    assert!(text(&output.stderr).contains("  to    standard output\n"), "{}", text(&output.stderr));
    let output = place.haul(&["backup", "config", "--to", "-", "--progress", "none"]);
    assert!(
        output.status.success() && text(&output.stderr).contains("  to    standard output\n"),
        "{}",
        text(&output.stderr)
    );
    let (code, said) = place.refused(&["backup", "config", "--to", "-", "--to", "-"]);
    assert!(code == 2 && said.contains("more than once"), "{said}");
}

#[test]
fn a_name_never_leads_out_of_its_destination() {
    let place = Place::new();
    place.backup("a.tar");
    for archive in ["s3://bucket/..%2F..%2Fa.tar", "sftp://host/backups/..%2Fa.tar"] {
        let (code, said) = place.refused(&["get", archive, "--to", "out"]);
        assert!(code == 2 && said.contains("not an archive name"), "{said}");
    }
}

/// Two destinations that answer only when both have been called: called one after the other, they would never answer.
#[test]
fn several_destinations_are_called_at_once() {
    let both = Arc::new(Barrier::new(2));
    let ports: Vec<u16> = (0..2)
        .map(|_| {
            let (listener, both) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::clone(&both));
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || {
                let (mut caller, _) = listener.accept().unwrap();
                both.wait();
                let _ = caller.read(&mut [0; 4096]);
                let _ = caller.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            });
            port
        })
        .collect();
    let place = Place::new();
    let urls: Vec<String> = ports.iter().map(|port| format!("webdav://127.0.0.1:{port}/")).collect();
    let mut command = place.command(&["backup", "config", "--to", &urls[0], "--to", &urls[1], "--to", "out", "--json"]);
    command.env("HAUL_WEBDAV_USER", "somebody").env("HAUL_WEBDAV_PASSWORD", "something");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{} {}", text(&output.stdout), text(&output.stderr));
    let report = json(&text(&output.stdout));
    let failed: Vec<&str> =
        report["copies"].as_array().unwrap().iter().filter_map(|copy| copy["error"].as_str()).collect();
    assert_eq!(failed.len(), 2, "{report}");
    assert!(failed.iter().all(|error| error.contains("403")), "{failed:?}");
}

#[test]
fn an_address_that_is_none_is_wrong_usage_and_leads_to_the_right_one() {
    let place = Place::new();
    for (address, words) in [
        ("https://x/y", "webdavs://x/y"),
        ("//nas/ha", "mount the share"),
        ("s3:b/x", "s3://b/x"),
        ("user@nas:/x", "sftp://user@nas/x"),
        ("s3://", "names no bucket"),
        ("sftp://me:hunter2@nas/x", "contains a password"),
    ] {
        let (code, error) = place.refused(&["backup", "config", "--to", address]);
        assert_eq!(code, 2, "{address}: {error}");
        assert!(
            error.contains(words)
                && !error.contains("mkdir")
                && !error.contains("connect")
                && !error.contains("hunter2"),
            "{address}: {error}"
        );
    }
    assert_eq!(place.names("."), ["config", "out", "xdg"]);
}

#[test]
fn a_bare_word_says_where_destinations_were_looked_for() {
    let place = Place::new();
    let mut command = place.command(&["backup", "config", "--to", "offsite"]);
    let output = command.env_remove("XDG_CONFIG_HOME").output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    // Without HOME the password database knows the home directory.
    let home = std::env::home_dir().map(|home| home.join(".config/haul/haul.toml").display().to_string());
    assert!(
        error.contains("\"offsite\" is neither a directory on this machine nor a destination")
            && !error.contains("mkdir"),
        "{error}"
    );
    assert!(error.contains("/etc/haul/haul.toml") || home.is_some_and(|home| error.contains(&home)), "{error}");
}

#[test]
fn a_name_that_no_other_command_would_find_is_refused_before_anything_is_sent() {
    let place = Place::new();
    place.done(&["backup", "config", "--to", "a.tar"]);
    let archive = fs::read(place.path("a.tar")).unwrap();
    let long = format!("{}.tar", "n".repeat(248));
    for name in ["plain", "x.TAR", &long] {
        place.write(name, &archive);
        let (code, error) = place.refused(&["push", name, "--to", "out"]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("NAME.tar"), "{error}");
        let (code, _) = place.refused(&["get", "a.tar", "--to", &format!("out/{name}")]);
        assert_eq!(code, 2);
    }
    assert_eq!(place.names("out"), Vec::<String>::new());
    place.done(&["push", "plain", "--to", "out/named.tar"]);
    assert_eq!(place.names("out"), ["named.tar"]);
}

#[test]
fn a_rate_is_understood_as_a_flag_and_as_a_key() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Nextcloud::start("")).unwrap();
    let place = Place::new();
    server.place(&format!("/files/{}/Backups/", nextcloud::USER), b"", Duration::ZERO);
    let toml = format!("[destinations.far]\nurl = \"nextcloud://{}/Backups\"\nlimit = \"2MB/s\"\n", server.authority());
    place.write("haul.toml", toml.as_bytes());
    place.done(&["--config", "haul.toml", "backup", "config", "--to", "far/one.tar"]);
    place.done(&["--config", "haul.toml", "get", "far/one.tar", "--to", "one.tar", "--limit", "1MB/s"]);
    place.done(&["--config", "haul.toml", "push", "one.tar", "--to", "far/two.tar", "--limit", "500kB/s"]);
    let (code, error) = place.refused(&["backup", "config", "--to", "out", "--limit", "fast"]);
    assert!(code == 2 && error.contains("write it like 500kB/s or 2MB/s"), "{error}");
    place.write("haul.toml", b"[destinations.far]\nurl = \"/b\"\nlimit = \"1B/s\"\n");
    let (code, error) = place.refused(&["--config", "haul.toml", "list", "far"]);
    assert!(code == 2 && error.contains("haul.toml, line 3: limit:"), "{error}");
}

/// Progress says what slows the upload down, also if the archive goes into a pipe.
#[test]
fn a_rate_is_kept_on_standard_output_and_named_as_the_limit() {
    let place = Place::new();
    place.write("config/noise.bin", &noise(3_200_000));
    let output = place.haul(&["backup", "config", "--to", "-", "--limit", "400kB/s", "--progress", "plain"]);
    assert!(output.status.success() && output.stdout.len() > 3_200_000, "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(
        said.lines().any(|line| line.starts_with("backing up ") && line.contains("limited by the rate limit")),
        "{said}"
    );
    assert!(
        said.lines().any(|line| line.starts_with("  rate  ") && line.ends_with("limited by the rate limit")),
        "{said}"
    );
}

/// A server stops its list at the first file that it can't open, and says so only behind the list's end.
#[test]
fn a_list_that_may_lack_archives_removes_nothing_and_says_so() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Nextcloud::start("")).unwrap();
    let proxy = Proxy::http(server.authority().parse().unwrap()).unwrap();
    let place = Place::new();
    let there = |name: &str| format!("/files/{}/Backups/{name}", nextcloud::USER);
    server.place(&there(""), b"", Duration::ZERO);
    place.write(
        "haul.toml",
        format!("[destinations.far]\nurl = \"nextcloud://{}/Backups\"\n", proxy.address()).as_bytes(),
    );
    for name in ["one.tar", "two.tar"] {
        place.done(&["--config", "haul.toml", "backup", "config", "--to", &format!("far/{name}")]);
    }
    let folder = "/remote.php/dav/files/ha%20ul/Backups/";
    let item = format!(
        "<d:response><d:href>{folder}</d:href><d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop></d:propstat></d:response>"
    );
    let cut =
        format!("<?xml version=\"1.0\"?><d:multistatus xmlns:d=\"DAV:\">{item}</d:multistatus>Internal Server Error");
    let lists = |head: &Head| head.method == "PROPFIND" && head.header("depth") == Some("1");
    proxy
        .rule(Rule::when(lists).always().answer(Answer::new(207).header("content-type", "application/xml").body(&cut)));
    let wait = ["--give-up-after", "1s"];
    for command in [&["list", "far"][..], &["prune", "far", "--keep-last", "1", "--yes"]] {
        let (code, said) = place.refused(&[&["--config", "haul.toml"], command, &wait].concat());
        assert!(code == 1 && said.contains("could not list"), "{command:?}: {said}");
        assert!(server.file(&there("one.tar")).is_some() && server.file(&there("two.tar")).is_some(), "{command:?}");
    }
    // What asks for a name needs no list.
    place.done(&["--config", "haul.toml", "get", "far/one.tar", "--to", "fetched.tar"]);
    place.done(&["--config", "haul.toml", "pin", "far/one.tar"]);
    place.done(&["--config", "haul.toml", "push", "fetched.tar", "--to", "far/three.tar"]);
    let (code, said) = place.refused(&["--config", "haul.toml", "rm", "--yes", "far/one.tar"]);
    assert!(code == 1 && said.contains("is pinned"), "{said}");
    for name in ["one.tar", "two.tar", "three.tar"] {
        assert!(server.file(&there(name)).is_some(), "{name}");
    }
}

/// A key that can store and read, and delete nothing: the check learns it, says what it means, and names the one
/// archive that it had to leave.
#[test]
fn a_key_that_may_not_delete_is_checked_and_reported() {
    let server = S3Server::start(&["bucket"]).unwrap();
    let proxy = Proxy::http(server.address()).unwrap();
    let refusal = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    proxy.rule(
        Rule::when(|head| head.method == "DELETE")
            .always()
            .answer(Answer::new(403).header("content-type", "application/xml").body(refusal)),
    );
    let place = Place::new();
    let check = |more: &[&str]| {
        let mut command = place.command(&[&["destination", "check", "s3://bucket/home"], more].concat());
        command.env("AWS_ENDPOINT_URL", proxy.url()).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", testkit::s3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", testkit::s3::SECRET_KEY);
        command.output().unwrap()
    };
    let output = check(&[]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(!said.contains("BROKEN") && said.contains("Good, and append-only: backups work"), "{said}");
    let archives: Vec<String> = server.keys("bucket").into_iter().filter(|key| key.ends_with(".tar")).collect();
    assert_eq!(archives.len(), 1, "{archives:?}");
    assert!(
        said.contains(archives[0].trim_start_matches("home/")) && said.contains("delete it with an account that may"),
        "{said}"
    );
    assert!(text(&output.stderr).contains("this key may not delete"), "{}", text(&output.stderr));
    let document = json(&text(&check(&["--json"]).stdout));
    assert_eq!((document["append_only"].as_bool(), document["speed"].is_null()), (Some(true), true), "{document}");
}

#[test]
fn an_archive_that_is_much_smaller_than_the_last_one_is_reported() {
    let place = Place::new();
    let noise = |length: u64| {
        let mut bytes = Vec::new();
        fs::File::open("/dev/urandom").unwrap().take(length).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let said = |args: &[&str]| {
        let output = place.haul(&[&["backup", "config", "--to", "out"], args].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    place.write("config/.storage/core.uuid", b"{\"data\": {\"uuid\": \"one\"}}");
    place.write("config/large.bin", &noise(400_000));
    assert!(!said(&["--name", "first"]).contains("the last one at this destination"));
    assert!(!said(&["--name", "same"]).contains("the last one at this destination"));
    place.write("password", b"secret\n");
    fs::remove_file(place.path("config/large.bin")).unwrap();
    let told = said(&["--name", "small"]);
    assert!(
        told.contains("the last one at this destination")
            && told.contains("everything else")
            && told.contains("instead of 400 kB"),
        "{told}"
    );
    assert!(!said(&["--name", "again"]).contains("the last one at this destination"), "the last one is as small");
    // Another instance's archive says nothing.
    place.write("config/large.bin", &noise(400_000));
    said(&["--name", "large"]);
    fs::remove_file(place.path("config/large.bin")).unwrap();
    place.write("config/.storage/core.uuid", b"{\"data\": {\"uuid\": \"two\"}}");
    assert!(!said(&["--name", "other"]).contains("the last one at this destination"));
    // Packed in another way it is no smaller.
    place.write("config/zeros.bin", &vec![b'x'; 900_000]);
    said(&["--name", "stored", "--uncompressed"]);
    assert!(!said(&["--name", "packed"]).contains("the last one at this destination"));
    // Without its password nobody can look into it.
    place.write("config/large.bin", &noise(400_000));
    said(&["--name", "completed", "--password-file", "password"]);
    fs::remove_file(place.path("config/large.bin")).unwrap();
    let told = said(&["--name", "open"]);
    assert!(told.contains("the last one at this destination") && !told.contains("everything else"), "{told}");
}

/// Whoever only looks has mistyped a folder that is not there; a backup makes it and says so.
#[test]
fn a_folder_that_is_not_there_is_made_by_a_backup_alone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Nextcloud::start("")).unwrap();
    let place = Place::new();
    let far = format!("nextcloud://{}/Bakcups", server.authority());
    for args in
        [&["list", &far][..], &["prune", &far, "--keep-last", "1", "--yes"], &["verify", &format!("{far}/a.tar")]]
    {
        let (code, said) = place.refused(args);
        assert!(
            code == 2 && said.contains("the folder does not exist") && said.contains("check the path"),
            "{args:?}: {code} {said}"
        );
    }
    assert!(!server.paths().iter().any(|path| path.contains("Bakcups")), "{:?}", server.paths());
    let first = place.haul(&["backup", "config", "--to", &format!("{far}/a.tar")]);
    assert!(
        first.status.success()
            && text(&first.stderr).contains(&format!("note: {far} did not exist; Haul created the folder")),
        "{}",
        text(&first.stderr)
    );
    let second = place.haul(&["backup", "config", "--to", &format!("{far}/b.tar")]);
    assert!(second.status.success() && !text(&second.stderr).contains("did not exist"), "{}", text(&second.stderr));
}

/// The local copy is complete, the other is on its way when the user stops it.
#[test]
fn an_interruption_between_two_copies_says_which_one_is_missing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Nextcloud::start("")).unwrap();
    let place = Place::new();
    place.write("config/noise.bin", &noise(3_200_000));
    let far = format!("nextcloud://{}/", server.authority());
    let mut running = place
        .command(&["backup", "config", "--to", "out/a.tar", "--to", &format!("{far}a.tar"), "--limit", "16kB/s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait::until("the local copy stands", || {
        assert!(running.try_wait().unwrap().is_none(), "the local copy does not wait for the other");
        place.path("out/a.tar").exists()
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    let output = running.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains(&format!("failed: {}: interrupted", far.trim_end_matches('/'))), "{said}");
    assert!(
        text(&output.stdout).contains("NOT everywhere") && text(&output.stdout).contains("out/a.tar"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(place.names("out"), ["a.tar"]);
}
