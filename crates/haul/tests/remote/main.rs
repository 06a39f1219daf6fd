//! Backups to remote destinations, made by the program itself: what they cost here, and what is left when they end
//! badly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod endings;
mod nothing_here;
#[path = "../common/receiving.rs"]
mod receiving;
mod watch;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::SystemTime,
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::s3::{self, S3Server};

/// Directories of one user, all fresh, on the disk that the build uses: in memory, writes would not be counted.
struct Place {
    dir: tempfile::TempDir,
}

/// Every directory that the program could write into unasked.
const OWN: [&str; 5] = ["home", "state", "cache", "tmp", "xdg"];

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        for directory in OWN.iter().chain(&["out"]) {
            fs::create_dir(place.path(directory)).unwrap();
        }
        place
    }

    /// With a sample's config directory.
    fn lived_in(database_bytes: u64) -> Self {
        let place = Self::new();
        sample::create(&place.path("config"), &sample::Options { database_bytes, seed: 5 }).unwrap();
        place
    }

    /// With a small config directory and `bytes` in it that do not shrink.
    fn noisy(bytes: usize) -> Self {
        let place = Self::new();
        fs::create_dir_all(place.path("config/.storage")).unwrap();
        for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            fs::write(place.path("config/.storage").join(name), "{}").unwrap();
        }
        fs::write(place.path("config/.HA_VERSION"), "2026.11.0").unwrap();
        fs::write(place.path("config/configuration.yaml"), "default_config:\n").unwrap();
        let mut noise = vec![0; bytes];
        fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
        fs::write(place.path("config/noise.bin"), noise).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
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
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"));
        command.env("TMPDIR", self.path("tmp")).env("XDG_CONFIG_HOME", self.path("xdg")).env("TZ", "Europe/Berlin");
        command
    }

    /// The same with an S3 server at `url`.
    fn with_s3(&self, url: &str, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("AWS_ENDPOINT_URL", url).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY);
        command
    }

    /// Standard output of a command that must succeed.
    fn done(&self, server: &S3Server, args: &[&str]) -> String {
        let output = self.with_s3(&server.url(), args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Fails, naming what differs, unless everything is as it was.
    fn assert_unchanged_since(&self, before: &BTreeMap<PathBuf, (u64, SystemTime)>) {
        let now = self.listing();
        let differs = |path: &&PathBuf| before.get(*path) != now.get(*path);
        let changed: Vec<&PathBuf> = before.keys().chain(now.keys()).filter(differs).collect();
        assert!(changed.is_empty(), "{changed:?}");
    }

    /// Every file and directory that a run must leave alone, with its size and time. A file that came and went changes
    /// its directory's time.
    fn listing(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let mut found = BTreeMap::new();
        let mut open: Vec<PathBuf> = OWN.iter().chain(&["out", "config"]).map(|name| self.path(name)).collect();
        while let Some(path) = open.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            // The index of a log is memory that readers and writers share: whoever reads notes there how far.
            let is_shared = path.extension().is_some_and(|extension| extension == "db-shm");
            found.insert(
                path,
                (metadata.len(), if is_shared { SystemTime::UNIX_EPOCH } else { metadata.modified().unwrap() }),
            );
        }
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn signal(child: &std::process::Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
