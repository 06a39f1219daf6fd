//! `haul migrate`: into a real Home Assistant, which `tests/rig` runs, and into a simulated one, for what a real one
//! does not do on request.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod played;
mod rig;
#[path = "../remote/watch.rs"]
mod watch;
mod words;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use testkit::noise::noise;

const PASSWORD: &str = "sesam öffne dich";

/// A directory of its own for one test, on the disk that the build uses: in memory, writes would not be counted.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() }
    }

    /// With a sample's config directory, which is Home Assistant `version`.
    fn lived_in(version: &str, database_bytes: u64) -> Self {
        let place = Self::new();
        sample::create(&place.path("config"), &sample::Options { database_bytes, seed: 7 }).unwrap();
        fs::write(place.path("config/.HA_VERSION"), version).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `haul migrate CONFIG --to URL …`, run in this directory.
    fn migrate(&self, config: &Path, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args([OsStr::new("migrate"), config.as_os_str(), "--to".as_ref(), url.as_ref()])
            .args(more)
            .current_dir(self.dir.path());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("TZ", "Europe/Berlin")
            .stdin(Stdio::null());
        command
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything that was printed.
fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// Runs it; its exit code and everything it said.
fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap_or(-1), said(&output))
}
