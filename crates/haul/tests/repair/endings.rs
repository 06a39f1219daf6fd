//! How a repair ends that does not finish, and what it costs while it works.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use testkit::wait;

const MIB: usize = 1 << 20;
/// What is repaired here is no whole configuration: nobody could log in.
const NOBODY: i32 = 4;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A sound archive of holes, which pack to nothing, and noise, which does not pack at all.
    fn with(holes: usize, noise: usize) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let config = place.path("config");
        fs::create_dir_all(config.join(".storage")).unwrap();
        fs::create_dir(place.path("out")).unwrap();
        for (name, content) in [(".HA_VERSION", "2025.6.3"), ("configuration.yaml", ""), (".storage/auth", "{}")] {
            fs::write(config.join(name), content).unwrap();
        }
        fs::File::create(config.join("holes.bin")).unwrap().set_len(holes as u64).unwrap();
        let mut bytes = vec![0; noise];
        fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        fs::write(config.join("noise.bin"), bytes).unwrap();
        let made = place.haul(&["backup", "config", "--to", "old.tar"]).output().unwrap();
        assert_eq!(made.status.code(), Some(3), "nobody could log in: {}", super::errors(&made));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn haul(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command
            .args(arguments)
            .args(["--progress", "none"])
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn left(&self) -> Vec<String> {
        fs::read_dir(self.path("out")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Unpacks, so that there is much to write and little to wait for.
    fn start(&self) -> Child {
        let child = self.haul(&["repair", "old.tar", "--to", "out/new.tar", "--recompress", "none"]).spawn().unwrap();
        wait::until("it writes", || {
            let mut growing = fs::read_dir(self.path("out")).unwrap().flatten();
            growing.any(|entry| entry.metadata().is_ok_and(|file| file.len() > 2 << 20))
        });
        child
    }
}

#[test]
fn an_interrupted_repair_tidies_up_and_a_killed_one_leaves_no_half_archive() {
    let place = Place::with(1 << 30, MIB);
    let mut child = place.start();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(status.code(), Some(130), "{message}");
    assert!(message.contains("interrupted; nothing was left behind"), "{message}");
    assert!(place.left().is_empty(), "{:?}", place.left());

    let mut child = place.start();
    child.kill().unwrap();
    child.wait().unwrap();
    let left = place.left();
    assert!(
        left.len() == 1
            && left[0].starts_with(".haul-")
            && Path::new(&left[0]).extension().is_some_and(|ending| ending == "part"),
        "{left:?}"
    );
    let next = place.haul(&["repair", "old.tar", "--to", "out/new.tar", "--rename", "Next"]).output().unwrap();
    assert_eq!(next.status.code(), Some(NOBODY), "{}", super::errors(&next));
    assert_eq!(place.left(), ["new.tar"]);
}

#[test]
fn a_full_disk_is_reported_and_nothing_stays_on_it() {
    if !geteuid().is_root() {
        testkit::rig::tell("skipped: mounting needs root");
        return;
    }
    let place = Place::with(0, 8 * MIB);
    let small = Mounted::new(&place.path("out"));
    let output = place.haul(&["repair", "old.tar", "--to", "out/new.tar", "--rename", "Other"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", super::errors(&output));
    assert!(super::errors(&output).contains("free some space there"), "{}", super::errors(&output));
    assert!(place.left().is_empty(), "{:?}", place.left());
    drop(small);
}

/// Two mebibytes; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path) -> Self {
        assert!(
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(path).status().unwrap().success()
        );
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn memory_stays_bounded_whatever_is_repaired() {
    let place = Place::with(512 * MIB, 64 * MIB);
    fs::write(place.path("password"), "correct horse battery staple").unwrap();
    let arguments =
        ["repair", "old.tar", "--to", "out/new.tar", "--threads", "2", "--encrypt", "--new-password-file", "password"];
    let mut child = place.haul(&arguments).spawn().unwrap();
    let peak = wait::peak_kib(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(NOBODY));
    testkit::rig::tell(&format!("repairing took {} MiB at most", peak >> 10));
    assert!(peak > 0 && peak < 64 << 10, "{peak} KiB");
}
