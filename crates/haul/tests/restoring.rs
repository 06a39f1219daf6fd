//! A restore as a user sees it: under a running Home Assistant, on file systems that can't sync, with mistyped keys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "restoring/bombs.rs"]
mod bombs;
#[path = "restoring/killed.rs"]
mod killed;
#[path = "restoring/mounts.rs"]
mod mounts;

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::fs::{FlockOperation, flock};

const KEY: &str = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ12";

/// A config directory and what becomes of it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.path("config/.storage")).unwrap();
        for (name, content) in [(".HA_VERSION", "2026.11.0"), ("configuration.yaml", "default_config:\n")] {
            write(&place.path("config").join(name), content);
        }
        for name in ["auth", "auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            write(&place.path("config/.storage").join(name), "{}");
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haul"));
        command.args(args).current_dir(self.dir.path()).env_remove("HAUL_PASSWORD").stdin(Stdio::null());
        command
    }

    fn haul(&self, args: &[&str]) -> Said {
        Said::of(&self.command(args).output().unwrap())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Exit code and standard error.
#[derive(Debug, PartialEq)]
struct Said(i32, String);

impl Said {
    fn of(output: &Output) -> Self {
        Self(output.status.code().unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
    }
}

/// Sixteen mebibytes; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: &Path) -> Self {
        assert!(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
                .arg(path)
                .status()
                .unwrap()
                .success()
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
fn a_running_home_assistant_is_not_replaced_and_says_so() {
    let place = Place::new();
    assert_eq!(place.haul(&["backup", "config", "--to", "a.tar"]).0, 0);
    let restore = ["restore", "a.tar", "--into", "config", "--replace"];
    fs::write(place.path("config/mine"), "mine").unwrap();
    let lock = fs::File::create(place.path("config/.ha_run.lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let words = "haul: Home Assistant seems to be running in config: a process holds the lock .ha_run.lock\n  nothing \
        was changed; stop Home Assistant first (for example `docker stop homeassistant`), or use --force if it is not \
        running\n";
    let said = place.haul(&restore);
    assert_eq!(said.0, 1, "{said:?}");
    assert_eq!(said.1.replace(&place.path("config").display().to_string(), "config"), words);
    assert_eq!(place.names(), ["a.tar", "config"]);
    assert!(place.path("config/mine").exists());

    drop(lock);
    // One of an older version shows itself by what it has open.
    let database = place.path("config/home-assistant_v2.db");
    let held = fs::OpenOptions::new().create(true).append(true).open(&database).unwrap();
    let said = place.haul(&restore);
    assert!(said.0 == 1 && said.1.contains(" has home-assistant_v2.db open"), "{said:?}");
    let forced = place.haul(&[&restore[..], &["--force"]].concat());
    assert_eq!(forced.0, 0, "{forced:?}");
    assert!(!place.path("config/mine").exists());
    drop(held);
}

/// Lets the system calls `numbers` of the command fail with `errno`, as a file system does that has no such thing.
#[expect(unsafe_code, reason = "only a filter of the kernel's can make a file system of the test machine refuse")]
fn failing(mut command: Command, numbers: &[libc::c_long], errno: i32) -> Output {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for number in numbers {
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::try_from(*number).unwrap()));
        program.push(statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(),
        ));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let filter = libc::sock_fprog { len: u16::try_from(program.len()).unwrap_or(0), filter: program.as_mut_ptr() };
        // SAFETY: two system calls that read `filter` and the program it points to, which live across them.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure allocates nothing and calls only the system.
    unsafe { command.pre_exec(install) };
    command.output().unwrap()
}

#[test]
fn a_file_system_that_cannot_sync_is_no_failure_and_the_message_follows_what_was_done() {
    const UNCONFIRMED: &str = "note: the target's file system can't confirm that everything is on the disk; wait a \
        while before you switch it off\n";
    for (calls, errno, expected) in [
        (&[libc::SYS_fsync][..], libc::EINVAL, Ok(())),
        (&[libc::SYS_fsync], libc::EOPNOTSUPP, Ok(())),
        (&[libc::SYS_fsync, libc::SYS_syncfs], libc::ENOSYS, Ok(())),
        (&[libc::SYS_syncfs], libc::EINVAL, Ok(())),
        (&[libc::SYS_fsync], libc::EIO, Err("input/output error\n  ")),
        (
            &[libc::SYS_syncfs],
            libc::EIO,
            Err("input/output error\n  check the permissions and the mount; nothing was changed\n"),
        ),
    ] {
        for replace in [false, true] {
            let place = Place::new();
            let label = format!("{calls:?} {errno} {replace}");
            assert_eq!(place.haul(&["backup", "config", "--to", "a.tar"]).0, 0);
            if replace {
                fs::create_dir(place.path("new")).unwrap();
                fs::write(place.path("new/old"), "old").unwrap();
            }
            let mut args = vec!["restore", "a.tar", "--into", "new"];
            args.extend(replace.then_some("--replace"));
            let said = Said::of(&failing(place.command(&args), calls, errno));
            let is_there = place.path("new/configuration.yaml").exists();
            let kept = place.names().into_iter().find(|name| name.starts_with("new.before-restore-"));
            match expected {
                Ok(()) => {
                    assert_eq!(said, Said(0, UNCONFIRMED.to_owned()), "{label}");
                    assert!(is_there && kept.is_some() == replace, "{label}");
                }
                Err(words) => {
                    assert!(said.0 == 1 && said.1.contains(words), "{label}: {said:?}");
                    assert_eq!(said.1.contains("nothing was changed"), !is_there, "{label}");
                    assert_eq!(kept.is_some(), is_there && replace, "{label}");
                    assert!(kept.is_none_or(|kept| said.1.contains(&kept)), "{label}: what is kept is named");
                }
            }
            assert!(!place.names().iter().any(|name| name.starts_with(".haul-")), "{label}");
        }
    }
}

#[test]
fn a_file_that_may_not_grow_fails_with_a_message_and_leaves_nothing() {
    let place = Place::new();
    let noise: Vec<u8> =
        (0..3_000_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    fs::write(place.path("config/noise"), noise).unwrap();
    let limited = |args: &str| {
        let script = format!("ulimit -f 1000; exec \"$0\" {args}");
        Said::of(
            &Command::new("sh")
                .args(["-c", &script, env!("CARGO_BIN_EXE_haul")])
                .current_dir(place.dir.path())
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    };
    let said = limited("backup config --to a.tar");
    assert!(said.0 == 1 && said.1.contains("this large"), "{said:?}");
    assert_eq!(place.names(), ["config"]);
    assert_eq!(place.haul(&["backup", "config", "--to", "a.tar"]).0, 0);
    for args in ["restore a.tar --into new", "repair a.tar --to b.tar --recompress fast"] {
        let said = limited(args);
        assert!(
            said.0 == 1 && (said.1.contains("file too large") || said.1.contains("this large")),
            "{args}: {said:?}"
        );
        assert_eq!(place.names(), ["a.tar", "config"], "{args}");
    }
}

#[test]
fn a_backup_to_a_file_system_that_cannot_sync_is_made() {
    let place = Place::new();
    let said =
        Said::of(&failing(place.command(&["backup", "config", "--to", "a.tar"]), &[libc::SYS_fsync], libc::EINVAL));
    assert_eq!(said.0, 0, "{said:?}");
    assert_eq!(place.haul(&["verify", "a.tar"]).0, 0);
    let said =
        Said::of(&failing(place.command(&["get", "./a.tar", "--to", "b.tar"]), &[libc::SYS_fsync], libc::EINVAL));
    assert_eq!(said.0, 0, "{said:?}");
    assert_eq!(fs::read(place.path("a.tar")).unwrap(), fs::read(place.path("b.tar")).unwrap());
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn the_emergency_kit_and_slips_in_its_key_open_an_archive() {
    let place = Place::new();
    let kit = format!(
        "Home Assistant Backup Emergency Kit\n\nDate: 1/1/2026, 10:00:00 AM\n\nEncryption key:\n{KEY}\n\nFor more \
         information visit: https://www.home-assistant.io\n"
    );
    write(&place.path("kit.txt"), &kit);
    write(&place.path("key"), &format!("{KEY}\n"));
    write(&place.path("slip"), &format!("\"{}\" ", KEY.to_lowercase().replace('-', "\u{2013}")));
    write(&place.path("other"), &KEY.replace('A', "b"));
    write(&place.path("lines"), "first\nsecond\n");
    assert_eq!(place.haul(&["backup", "config", "--to", "a.tar", "--password-file", "key"]).0, 0);

    let fits = "note: the encryption key is correct without quotes, without blanks, in capital letters, with a dash \
        after every four characters; Home Assistant accepts it only in that form\n";
    for (file, note) in
        [("key", ""), ("kit.txt", "note: using the encryption key from the emergency kit kit.txt\n"), ("slip", fits)]
    {
        let commands: [&[&str]; 5] = [
            &["verify", "a.tar"],
            &["inspect", "a.tar"],
            &["ls", "a.tar"],
            &["cat", "a.tar", "configuration.yaml"],
            &["diff", "a.tar", "a.tar"],
        ];
        for command in commands {
            let said = place.haul(&[command, &["--password-file", file]].concat());
            assert_eq!(said, Said(0, note.to_owned()), "{command:?} {file}");
        }
        let into = format!("from-{file}");
        assert_eq!(
            place.haul(&["restore", "a.tar", "--into", &into, "--password-file", file]),
            Said(0, note.to_owned()),
            "{file}"
        );
        assert!(place.path(&into).join("configuration.yaml").exists());
        let repaired = place.haul(&[
            "repair",
            "a.tar",
            "--to",
            &format!("{file}.tar"),
            "--password-file",
            file,
            "--recompress",
            "fast",
        ]);
        assert!(
            place.path(&format!("{file}.tar")).exists() && repaired.1.contains(note) && !repaired.1.contains("ABCD"),
            "{file}: {repaired:?}"
        );
    }
    let said = place.haul(&["verify", "a.tar", "--password-file", "other"]);
    assert!(said.0 == 1 && said.1.starts_with("haul: the password is wrong\n"), "{said:?}");
    let said = place.haul(&["verify", "a.tar", "--password-file", "lines"]);
    assert!(said.0 == 2 && said.1.contains("has more than one line"), "{said:?}");
}

#[test]
fn each_pattern_that_fits_nothing_is_named() {
    let place = Place::new();
    write(&place.path("config/mine"), "mine");
    let said = place.haul(&["backup", "config", "--to", "a.tar", "--exclude", "mine", "--exclude", "yours"]);
    assert_eq!(said.0, 0, "a note alone");
    assert!(said.1.contains("note: --exclude yours has no effect: "), "{said:?}");
    assert!(!said.1.contains("--exclude mine"), "{said:?}");
    let said =
        place.haul(&["restore", "a.tar", "--into", "some", "--only", "configuration.yaml", "--only", "secrets.yaml"]);
    assert_eq!(said, Said(3, "note: nothing in the archive matches --only secrets.yaml\n".to_owned()));
    assert!(place.path("some/configuration.yaml").exists());
}
