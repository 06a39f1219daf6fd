//! The broken archives of `tests/fixtures`, made for one test.

use std::{
    env, fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig::Version;

/// Archives, each called by its defect.
pub struct Fixtures {
    out: TempDir,
    list: Vec<Value>,
}

impl Fixtures {
    /// Makes those named, or all. `None`, with a line that says so, where no Python can; an error in CI.
    pub fn make(names: &[&str]) -> io::Result<Option<Self>> {
        let python = env::var("HAUL_PYTHON").unwrap_or_else(|_| "python3".into());
        let out = tempfile::tempdir()?;
        let made = Command::new(&python)
            .arg(home().join("make"))
            .arg(out.path())
            .args(names)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output();
        if made.as_ref().is_ok_and(|made| made.status.success()) {
            let list = serde_json::from_slice(&fs::read(out.path().join("fixtures.json"))?)?;
            return Ok(Some(Self { out, list }));
        }
        let why =
            made.map_or_else(|error| error.to_string(), |made| String::from_utf8_lossy(&made.stderr).trim().to_owned());
        if env::var_os("CI").is_some() || env::var_os("HAUL_GOLDEN").is_some() {
            return Err(io::Error::other(format!("the fixtures can't be made: {why}")));
        }
        let last = why.lines().last().unwrap_or_default();
        let _ =
            writeln!(io::stderr(), "SKIPPED: the fixtures can't be made ({last}); HAUL_PYTHON names a Python that can");
        Ok(None)
    }

    /// One more, which the caller makes at the path that this returns.
    pub fn add(&mut self, name: &str, password: Option<&str>) -> io::Result<PathBuf> {
        let about = json!({ "fixture": name, "file": format!("{name}.tar"), "defect": "Nothing.", "origin": "", "password": password });
        self.list.push(about);
        fs::write(self.out.path().join("fixtures.json"), serde_json::to_vec(&self.list)?)?;
        Ok(self.path(name))
    }

    /// Asks a Home Assistant of the rig about all of them: a line of JSON for each. Takes a minute or two.
    pub fn ask(&self, version: Version) -> io::Result<String> {
        ask(version, self.out.path())
    }

    /// What they are called.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.list.iter().filter_map(|fixture| fixture["fixture"].as_str().map(str::to_owned))
    }

    /// Where one is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.out.path().join(format!("{name}.tar"))
    }

    /// The password to try on it.
    pub fn password(&self, name: &str) -> Option<&str> {
        let file = format!("{name}.tar");
        self.list.iter().find(|fixture| fixture["file"] == file.as_str())?["password"].as_str()
    }
}

/// What this Home Assistant did with each, a line of JSON for every one.
pub fn answers(version: Version) -> io::Result<String> {
    fs::read_to_string(home().join(format!("home-assistant-{}.jsonl", version.as_str())))
}

/// Asks a Home Assistant of the rig about a folder of archives like that of [`Fixtures`].
pub fn ask(version: Version, folder: &Path) -> io::Result<String> {
    let mut command = Command::new("setpriv");
    let asked = command
        .args(["--pdeathsig", "TERM"])
        .arg(home().join("ask"))
        .arg(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HAUL_RIG_VERSION", version.as_str())
        .output()?;
    if asked.status.success() {
        return String::from_utf8(asked.stdout).map_err(io::Error::other);
    }
    Err(io::Error::other(format!(
        "Home Assistant could not be asked: {}",
        String::from_utf8_lossy(&asked.stderr).trim()
    )))
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}
