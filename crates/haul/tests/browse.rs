//! `haul ls`, `cat` and `diff` as a user sees them: output, messages, and exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use testkit::noise::noise;
use testkit::s3::{self, S3Server};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.path("config/.storage")).unwrap();
        fs::create_dir_all(place.path("config/www")).unwrap();
        place.write("config/.HA_VERSION", b"2026.11.0");
        place.write("config/configuration.yaml", b"default_config:\n");
        place.write("config/.storage/auth", b"{\"users\": []}");
        for name in ["auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            place.write(&format!("config/.storage/{name}"), b"{}");
        }
        place.write("config/www/\x1b[2J.txt", b"odd");
        place.write("config/noise.bin", &noise(3 << 20));
        place.write("secret", b"correct horse\n");
        place.write("other", b"battery staple\n");
        place
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
        command.env("HOME", self.dir.path()).env("TZ", "Europe/Berlin");
        command
    }

    fn haul(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that must succeed and have nothing else to say.
    fn done(&self, args: &[&str]) -> String {
        let output = self.haul(args);
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {}", said(&output));
        text(&output.stdout)
    }

    /// Exit code and standard error of a command that prints nothing.
    fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.haul(args);
        assert!(output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
        (output.status.code().unwrap(), text(&output.stderr))
    }

    fn backup(&self, to: &str, more: &[&str]) {
        let output = self.haul(&[&["backup", "config", "--to", to], more].concat());
        assert!(output.status.success(), "{}", said(&output));
    }

    /// An archive as Home Assistant lays it out, by the library that Home Assistant uses: no index, and more than one
    /// inner archive.
    fn foreign(&self, name: &str) {
        const MAKE: &str = "\
import io, json, sys, tarfile
def inner(root, arc):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as tar:
        tar.add(root, arcname=arc)
    return out.getvalue()
with tarfile.open(sys.argv[1], 'w:') as outer:
    meta = \
    {'slug': '12345678', 'version': 2, 'name': 'Its own', 'date': '2026-11-22T04:30:00+00:00', 'type': 'partial', 'compressed': True,
            'protected': False, 'homeassistant': {'version': '2026.11.0', 'exclude_database': False}, 'folders': \
            ['ssl'], 'addons': []}
    for name, body in (('./backup.json', json.dumps(meta).encode()), ('homeassistant.tar.gz', inner('config', \
    'data')), ('ssl.tar.gz', inner('ssl', '.'))):
        info = tarfile.TarInfo(name)
        info.size = len(body)
        outer.addfile(info, io.BytesIO(body))
";
        fs::create_dir_all(self.path("ssl")).unwrap();
        self.write("ssl/fullchain.pem", b"-----BEGIN");
        let made = Command::new("python3").args(["-c", MAKE, name]).current_dir(self.dir.path()).status().unwrap();
        assert!(made.success());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_archive_is_listed_whole_or_by_a_pattern() {
    let place = Place::new();
    place.backup("a.tar", &[]);
    let all = place.done(&["ls", "a.tar"]);
    let names: Vec<&str> = all.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            ".HA_VERSION",
            ".storage",
            ".storage/auth",
            ".storage/auth_provider.homeassistant",
            ".storage/core.config_entries",
            ".storage/onboarding",
            "configuration.yaml",
            "noise.bin",
            "www",
            "www/\\x1b[2J.txt"
        ]
    );
    assert_eq!(
        place.done(&["ls", "a.tar", ".storage/auth"]),
        "-            13  .storage/auth\n",
        "no column where nothing is known"
    );
    assert_eq!(place.done(&["ls", "a.tar", "www"]).lines().count(), 2, "a directory takes all below it along");
    std::os::unix::fs::symlink("../configuration.yaml", place.path("config/www/linked")).unwrap();
    // It notes that Core drops relative links.
    assert!(place.haul(&["backup", "config", "--to", "links.tar"]).status.success());
    let linked = place.done(&["ls", "links.tar", "www/linked"]);
    assert_eq!(linked, "l             0  www/linked -> ../configuration.yaml\n");
    let linked = json(&place.done(&["ls", "links.tar", "www/linked", "--json"]));
    assert_eq!(linked["entries"][0]["link"], "../configuration.yaml", "{linked}");
    let listed = json(&place.done(&["ls", "a.tar", "**/auth", "--json"]));
    assert_eq!(
        (&listed["used_index"], &listed["entries"][0]["path"], &listed["entries"][0]["size"]),
        (&true.into(), &".storage/auth".into(), &13.into())
    );
    assert_eq!((&listed["entries"][0]["type"], &listed["entries"][0]["mode"]), (&"file".into(), &Value::Null));
    let nothing = "haul: a.tar holds nothing that matches *.yml\n  patterns are relative to the config directory, for \
        example '.storage/core.*'\n";
    assert_eq!(place.refused(&["ls", "a.tar", "*.yml"]), (1, nothing.to_owned()));
    let (code, said) = place.refused(&["ls", "a.tar", "/config"]);
    assert!(code == 2 && said.contains("is absolute"), "{said}");
}

#[test]
fn one_file_is_printed_and_nothing_else() {
    let place = Place::new();
    for (name, more) in
        [("plain.tar", &[][..]), ("completed.tar", &["--password-file", "secret"]), ("bare.tar", &["--uncompressed"])]
    {
        place.backup(name, more);
        let password: &[&str] = if name == "completed.tar" { more } else { &[] };
        for file in ["noise.bin", ".storage/auth", "./configuration.yaml"] {
            let output = place.haul(&[&["cat", name, file], password].concat());
            assert!(output.status.success() && output.stderr.is_empty(), "{name} {file}: {}", text(&output.stderr));
            assert!(output.stdout == fs::read(place.path("config").join(file)).unwrap(), "{name} {file}");
        }
    }
    assert_eq!(place.done(&["cat", "plain.tar", "www/\\x1b[2J.txt"]), "odd", "as ls shows it");
    let (code, said) = place.refused(&["cat", "plain.tar", "auth"]);
    assert_eq!(
        (code, said.lines().next().unwrap()),
        (1, "haul: the archive does not contain auth; there is .storage/auth, .storage/auth_provider.homeassistant")
    );
    let (code, said) = place.refused(&["cat", "plain.tar", "www/"]);
    assert_eq!((code, said.lines().next().unwrap()), (1, "haul: www is a directory, not a file"));
    let (code, said) = place.refused(&["cat", "plain.tar", "\x1b[31m"]);
    assert!(code == 1 && !said.contains('\x1b'), "{said}");
}

#[test]
fn passwords_are_asked_for_and_wrong_ones_are_reported() {
    let place = Place::new();
    place.backup("completed.tar", &["--password-file", "secret"]);
    for command in [
        &["ls", "completed.tar"][..],
        &["cat", "completed.tar", "configuration.yaml"],
        &["diff", "completed.tar", "completed.tar"],
    ] {
        let (code, said) = place.refused(command);
        assert!(code == 2 && said.contains("completed.tar is encrypted: a password is needed"), "{said}");
        let (code, said) = place.refused(&[command, &["--password-file", "other"]].concat());
        assert!(code == 1 && said.contains("the password is wrong"), "{said}");
        let output = place.command(command).env("HAUL_PASSWORD", "correct horse").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn home_assistants_own_archives_are_streamed_and_that_is_reported() {
    let place = Place::new();
    place.foreign("its.tar");
    let output = place.haul(&["ls", "its.tar", "configuration.yaml"]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), "note: its.tar has no index, so Haul reads it to its end\n".to_owned())
    );
    let line = text(&output.stdout);
    assert!(line.starts_with("-rw-r--r--            16  20") && line.ends_with("  configuration.yaml\n"), "{line}");
    let all = text(&place.haul(&["ls", "its.tar", "--all"]).stdout);
    assert!(all.ends_with("  ssl.tar.gz: fullchain.pem\n"), "{all}");
    let output = place.haul(&["cat", "its.tar", "ssl.tar.gz: fullchain.pem"]);
    assert_eq!(
        (text(&output.stdout).as_str(), text(&output.stderr).as_str()),
        ("-----BEGIN", "note: its.tar has no index, so Haul reads it up to the file\n")
    );
    let listed = json(&text(&place.haul(&["ls", "its.tar", "--all", "--json"]).stdout));
    let last = listed["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["archive"], &last["path"], &last["mode"]),
        (&"ssl.tar.gz".into(), &"fullchain.pem".into(), &"0644".into())
    );
    assert!(last["modified"].as_str().unwrap().ends_with('Z'));

    let whole = fs::read(place.path("its.tar")).unwrap();
    place.write("cut.tar", &whole[..whole.len() / 2]);
    let output = place.haul(&["cat", "cut.tar", "noise.bin"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("haul: the archive is damaged at "), "{}", text(&output.stderr));
    assert!(fs::read(place.path("config/noise.bin")).unwrap().starts_with(&output.stdout), "no wrong byte");
    assert_eq!(place.haul(&["ls", "cut.tar"]).status.code(), Some(4));
    place.write("page.tar", b"<html>");
    assert_eq!(place.refused(&["ls", "page.tar"]).0, 4);
}

#[test]
fn two_archives_are_compared() {
    let place = Place::new();
    place.backup("a.tar", &[]);
    place.backup("same.tar", &["--password-file", "secret", "--level", "small"]);
    place.foreign("its.tar");
    assert_eq!(
        place.done(&["diff", "a.tar", "same.tar", "--password-file", "secret"]),
        "No differences in 10 entries\n"
    );
    assert_eq!(text(&place.haul(&["diff", "a.tar", "its.tar"]).stdout), "No differences in 10 entries\n");

    place.write("config/configuration.yaml", b"default_config:#");
    place.write("config/.storage/auth", b"{}");
    place.write("config/new.yaml", b"");
    fs::remove_file(place.path("config/noise.bin")).unwrap();
    place.backup("b.tar", &["--password-file", "other"]);
    let expected = "\
- noise.bin  (3.1 MB)
+ new.yaml  (0 B)
~ .storage/auth  (13 B -> 2 B)
~ configuration.yaml  (16 B, other content)
1 removed, 1 added, 2 changed, 7 the same
";
    for a in ["a.tar", "same.tar"] {
        let output = place.haul(&["diff", a, "b.tar", "--password-file", "secret", "--password-file-b", "other"]);
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str(), text(&output.stderr).as_str()),
            (Some(1), expected, "")
        );
    }
    let (code, said) = place.refused(&["diff", "same.tar", "b.tar", "--password-file", "secret"]);
    assert!(code == 1 && said.starts_with("haul: b.tar: the password is wrong"), "{said}");
    let output = place.haul(&["diff", "a.tar", "b.tar", "--password-file", "other", "--json"]);
    let report = json(&text(&output.stdout));
    assert_eq!(
        (&report["status"], &report["same"], &report["changed"][0]["after"]["size"]),
        (&"different".into(), &7.into(), &2.into())
    );
    assert_eq!((&report["removed"][0]["path"], &report["removed"][0]["after"]), (&"noise.bin".into(), &Value::Null));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    place.backup("a.tar", &[]);
    place.foreign("its.tar");
    for command in
        [&["cat", "a.tar", "noise.bin"][..], &["cat", "its.tar", "noise.bin", "--progress", "none"], &["ls", "a.tar"]]
    {
        let mut child = place.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let noted = text(&output.stderr).lines().all(|line| line.starts_with("note: its.tar has no index"));
        assert!(output.status.success() && noted, "{command:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_terminal_is_spared_what_is_no_text() {
    let place = Place::new();
    place.write("config/steer.txt", b"a\x1b[2Jb");
    place.backup("a.tar", &[]);
    if Command::new("script").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "script is missing");
        eprintln!("skipped: there is no `script` to make a terminal");
        return;
    }
    let on_terminal = |arguments: &str| {
        let typed = format!("{} cat a.tar {arguments}", env!("CARGO_BIN_EXE_haul"));
        let output = Command::new("script")
            .args(["-qec", &typed, "/dev/null"])
            .current_dir(place.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code().unwrap(), text(&output.stdout))
    };
    let (code, shown) = on_terminal("configuration.yaml");
    assert!(code == 0 && shown.contains("default_config:"), "{shown}");
    for binary in ["noise.bin", "steer.txt"] {
        let (code, shown) = on_terminal(binary);
        assert!(code == 2 && shown.contains("the file is not text, and standard output is a terminal"), "{shown}");
    }
    let (code, shown) = on_terminal("steer.txt --force");
    assert!(code == 0 && shown.contains("a\x1b[2Jb"), "{shown}");
}

#[test]
fn destinations_far_away_are_looked_into_like_files() {
    let place = Place::new();
    let server = S3Server::start(&["bucket"]).unwrap();
    let far = |args: &[&str]| {
        let mut command = place.command(args);
        command.env("AWS_ENDPOINT_URL", server.url()).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY).output().unwrap()
    };
    let sent = far(&["backup", "config", "--to", "s3://bucket/a.tar", "--to", "b.tar"]);
    assert!(sent.status.success(), "{}", said(&sent));
    place.write("haul.toml", b"[destinations.offsite]\nurl = \"s3://bucket\"\n");
    for archive in ["s3://bucket/a.tar", "offsite/a.tar"] {
        let printed = far(&["--config", "haul.toml", "cat", archive, "configuration.yaml"]);
        assert_eq!((text(&printed.stdout).as_str(), text(&printed.stderr).as_str()), ("default_config:\n", ""));
        assert_eq!(text(&far(&["--config", "haul.toml", "ls", archive]).stdout), place.done(&["ls", "b.tar"]));
        let about = |output: &Output| text(&output.stdout).split_once(": ").unwrap().1.to_owned();
        let inspected = far(&["--config", "haul.toml", "inspect", archive]);
        assert_eq!(about(&inspected), about(&place.haul(&["inspect", "b.tar"])), "{}", text(&inspected.stderr));
        let compared = far(&["--config", "haul.toml", "diff", archive, "b.tar"]);
        assert_eq!(
            (compared.status.code(), text(&compared.stdout).as_str()),
            (Some(0), "No differences in 10 entries\n"),
            "{}",
            text(&compared.stderr)
        );
    }
    let missing = far(&["cat", "s3://bucket/none.tar", "configuration.yaml"]);
    assert!(!missing.status.success() && missing.stdout.is_empty());
}

#[test]
fn every_command_counts_the_same_entries() {
    let place = Place::new();
    let printed = |args: &[&str]| text(&place.haul(args).stdout);
    let tells = |args: &[&str], words: &str| {
        let told = printed(args);
        assert!(told.contains(words), "{args:?}: {told}");
    };
    tells(&["backup", "config", "--to", "a.tar"], "Backed up 10 entries (");
    assert_eq!(printed(&["ls", "a.tar"]).lines().count(), 10);
    tells(&["verify", "a.tar"], "  10 entries (");
    tells(&["inspect", "a.tar", "--target", "2026.11.0"], ": 10 entries (");
    tells(&["restore", "a.tar", "--into", "restored"], "Restored 10 entries (");
    tells(&["repair", "a.tar", "--to", "b.tar", "--recompress", "small"], "(10 entries)");
    tells(&["diff", "a.tar", "b.tar"], "No differences in 10 entries");
    assert_eq!(json(&printed(&["verify", "b.tar", "--json"]))["entries"], 10);
    // The tops of other inner archives are seen by nobody either.
    place.foreign("c.tar");
    assert_eq!(printed(&["ls", "c.tar", "--all"]).lines().count(), 11);
    tells(&["verify", "c.tar"], "  11 entries (");
    tells(&["inspect", "c.tar", "--target", "2026.11.0"], ": 1 entry (");
    tells(&["repair", "c.tar", "--to", "d.tar", "--recompress", "small"], "(11 entries)");
    tells(&["diff", "c.tar", "d.tar", "--all"], "No differences in 11 entries");
}
