//! The words of `haul inspect`, kept beside this file as they are printed: read them aloud when they change. `HAUL_GOLDEN=write` writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path, process::Command};

use testkit::fixtures::Fixtures;

/// What is printed of each, and the exit code.
const SHOWN: [(&str, i32); 14] = [
    ("good-core-plain", 0),
    ("good-supervisor-style", 0),
    ("member-without-dot-slash", 4),
    ("wrapper-gzipped", 4),
    ("html-error-page", 4),
    ("zero-bytes", 4),
    ("wrong-password", 4),
    ("password-not-given", 4),
    ("securetar-v3", 4),
    ("inner-several-gzip-members-at-a-header-encrypted", 4),
    ("no-storage", 4),
    ("folders-unknown", 4),
    ("fifo", 4),
    ("relative-symlink", 0),
];

/// Without sizes: they differ with the version of zlib.
fn plain(text: &str, path: &Path) -> String {
    let text = text.replace(&path.display().to_string(), "ARCHIVE");
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        let unit = words[at].split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
        if matches!(unit, "B" | "kB" | "MB") {
            words[at - 1] = if words[at - 1].starts_with('(') { "(N" } else { "N" };
        }
    }
    words.join(" ")
}

#[test]
fn every_verdict_is_said_in_plain_words() {
    let names = SHOWN.map(|(name, _)| name);
    let Some(made) = Fixtures::make(&names).unwrap() else { return };
    for (name, code) in SHOWN {
        let path = made.path(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command.arg("inspect").arg(&path).args(["--progress", "none"]).env_clear().env("TZ", "Europe/Berlin").env("HOME", path.parent().unwrap());
        if let Some(password) = made.password(name) {
            command.env("HAUL_PASSWORD", password);
        }
        let output = command.output().unwrap();
        let said = plain(&String::from_utf8(output.stdout).unwrap(), &path);
        assert_eq!(output.status.code(), Some(code), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/inspect/{name}.txt"));
        if std::env::var_os("HAUL_GOLDEN").is_some() {
            fs::write(&golden, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
    }
}

#[test]
fn a_script_reads_each_readers_verdict_and_its_reason() {
    let Some(made) = Fixtures::make(&["member-without-dot-slash"]).unwrap() else { return };
    let path = made.path("member-without-dot-slash");
    let output =
        Command::new(env!("CARGO_BIN_EXE_haul")).args(["inspect", "--json"]).arg(&path).env_clear().env("HOME", path.parent().unwrap()).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["status"], "bad");
    for verdict in document["verdicts"].as_array().unwrap() {
        assert_eq!(
            (&verdict["because"], &verdict["effect"]["kind"], &verdict["effect"]["detail"]),
            (&"manifest-without-dot-slash".into(), &"refuses".into(), &"list".into())
        );
    }
}
