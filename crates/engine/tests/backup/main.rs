//! What goes into an archive, what stays out, and what the report says about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::type_complexity)]

mod findings;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use engine::{
    BackupError, BackupOptions, BackupReport, Destination, Progress, SecureTar, SkippedKind, Status,
    restore::{RestoreOptions, restore},
    verify::{Severity, VerifyOptions, verify},
};
use habackup::securetar::Password;
use store::Cancellation;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A config directory with the least that makes one.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.config().join(".storage")).unwrap();
        place.write(".HA_VERSION", "2026.11.0");
        place.write("configuration.yaml", "default_config:\n");
        place.write(".storage/auth", "{\"users\": []}");
        for name in ["auth_provider.homeassistant", "onboarding", "core.config_entries"] {
            place.write(format!(".storage/{name}"), "{}");
        }
        fs::create_dir(place.dir.path().join("out")).unwrap();
        place
    }

    /// A whole sample installation.
    fn sample() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        sample::create(&place.config(), &sample::Options { database_bytes: 2 << 20, seed: 7 }).unwrap();
        fs::create_dir(place.dir.path().join("out")).unwrap();
        place
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.config().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn options(&self) -> BackupOptions {
        BackupOptions {
            name: Some("Test".to_owned()),
            threads: std::num::NonZeroUsize::new(2),
            now: "2026-11-22T04:30:12.345678+01:00[Europe/Berlin]".parse().unwrap(),
            ..BackupOptions::new(self.config(), vec![Destination::Path(self.out())])
        }
    }

    fn backup(&self) -> BackupReport {
        back_up(&self.options()).unwrap()
    }

    /// Unpacks what was backed up.
    fn restored(&self, report: &BackupReport) -> PathBuf {
        let into = self.dir.path().join("restored");
        let options = RestoreOptions::default();
        restore(report.local_path().unwrap(), &into, &options, &|_, _| {}, &Cancellation::default()).unwrap();
        into
    }
}

fn back_up(options: &BackupOptions) -> Result<BackupReport, BackupError> {
    engine::backup(options, None, &Arc::new(Progress::default()), &Arc::default())
}

/// The report on an archive of ours may hold nothing but warnings.
fn assert_good(archive: &Path, password: Option<&str>) {
    let options = VerifyOptions { password: password.map(Password::new), threads: engine::all_cores() };
    let found = verify(archive, &options, &|_, _| {}, &Cancellation::default()).unwrap();
    assert!(found.is_good(), "{:?}", found.findings);
    assert!(found.used_index);
}

/// Everything a restore should bring back of a tree: kind, mode, time, content or target.
fn listing(root: &Path) -> BTreeMap<Vec<u8>, (u32, (i64, i64), Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let content = if metadata.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if metadata.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let time = if metadata.is_symlink() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
            found.insert(
                path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(),
                (metadata.mode(), time, content),
            );
        }
    }
    found
}

fn names(report: &BackupReport) -> Vec<String> {
    let script = "import sys,tarfile\no=tarfile.open(sys.argv[1])\ni=tarfile.open(fileobj=o.extractfile('homeassistant.tar.gz'),mode='r|gz')\nfor m in i: print(m.name)";
    let output = Command::new("python3").arg("-c").arg(script).arg(report.local_path().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The report, without the note that every backup of these tests gets because they stay on one disk.
fn notes(report: &BackupReport) -> Vec<&str> {
    report.warnings.iter().map(String::as_str).filter(|warning| !warning.contains("same file system")).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn names_of_any_bytes_modes_times_links_and_empty_directories_come_back() {
    let place = Place::new();
    let config = place.config();
    place.write(OsStr::from_bytes(b"www/caf\xe9 \xff\n.txt"), "latin");
    place.write(format!("www/{}", "n".repeat(255)), "long name");
    let deep = (0..12).fold(PathBuf::from("deep"), |path, _| path.join("d".repeat(200)));
    place.write(deep.join("file"), "deep");
    fs::create_dir_all(config.join("empty/below")).unwrap();
    let script = place.write("script.sh", "#!/bin/sh\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(config.join(".storage/auth"), fs::Permissions::from_mode(0o600)).unwrap();
    let early = SystemTime::UNIX_EPOCH - Duration::from_nanos(1_500_000_001);
    fs::File::options().write(true).open(&script).unwrap().set_modified(early).unwrap();
    symlink("configuration.yaml", config.join("relative")).unwrap();
    symlink("/nowhere/at/all", config.join("dangling")).unwrap();
    fs::hard_link(&script, config.join("twin.sh")).unwrap();
    place.write("large.bin", vec![7; 3_000_001]);
    place.write("empty.txt", "");

    let report = place.backup();
    assert_eq!(report.status, Status::Complete, "{:?}", report.skipped);
    assert_good(report.local_path().unwrap(), None);
    let restored = place.restored(&report);
    let (before, after) = (listing(&config), listing(&restored));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (path, entry) in &before {
        assert!(after[path] == *entry, "{} differs: {:?} {:?}", engine::shown(path), &entry.1, &after[path].1);
    }
    assert_eq!(fs::metadata(restored.join("twin.sh")).unwrap().nlink(), 1, "hard links are stored as files");
    assert_eq!(report.entries as usize, before.len(), "the config directory itself is not counted");
}

#[test]
fn what_home_assistant_leaves_out_stays_out_and_nothing_else() {
    let place = Place::new();
    let out = [
        "a/__pycache__/x.pyc",
        "a/b/__pycache__/y.pyc",
        ".DS_Store",
        "a/.DS_Store",
        "x.db-shm",
        "home-assistant.log",
        "home-assistant.log.1",
        "OZW_Log.txt",
        "backups/old.tar",
        "tmp_backups/t.tar",
        "tts/word.mp3",
        ".cache/brands",
        ".HA_RESTORE",
        "x.corrupt.2026",
        ".storage/core.corrupt.1",
        "backups/.haul-1-2.part",
    ];
    let inside = [
        "sub/x.log",
        "backups/sub/x.tar",
        "backups/x.zip",
        "a/x.db-shm",
        "log",
        "a/tts/b.mp3",
        ".cloud/production_auth.json",
        "a/x.corrupt.y",
    ];
    for name in out.iter().chain(&inside) {
        place.write(name, "x");
    }
    let names = names(&place.backup());
    for name in inside {
        assert!(names.contains(&format!("data/{name}")), "{name} is missing");
    }
    for name in out {
        assert!(!names.contains(&format!("data/{name}")), "{name} is in");
    }
    assert_eq!(names[0], "data");
    let mut sorted = names.clone();
    sorted.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
    assert_eq!(names, sorted, "the order is fixed");
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    // No database in WAL mode: where leases are refused, SQLite makes its `-shm` beside one that nobody has open, which
    // changes the time of the directory.
    let place = Place::new();
    place.write(
        "numbers.txt",
        (0..1_500_000_u32).flat_map(|n| (n.wrapping_mul(n) % 7919).to_string().into_bytes()).collect::<Vec<_>>(),
    );
    let archive = |threads, name: &str| {
        let destinations = vec![Destination::Path(place.out().join(name))];
        let report =
            back_up(&BackupOptions { threads: std::num::NonZeroUsize::new(threads), destinations, ..place.options() })
                .unwrap();
        assert_good(report.local_path().unwrap(), None);
        fs::read(report.local_path().unwrap()).unwrap()
    };
    let one = archive(1, "1.tar");
    assert!(one == archive(2, "2.tar") && one == archive(5, "5.tar"));
}

#[test]
fn the_archive_is_named_and_described_as_home_assistant_does() {
    let place = Place::new();
    let report = place.backup();
    assert_eq!(report.local_path().unwrap().file_name().unwrap(), "Test_2026-11-22_04.30_12345678.tar");
    assert_eq!(fs::metadata(report.local_path().unwrap()).unwrap().mode() & 0o777, 0o600);
    let script = "import sys,tarfile,json\no=tarfile.open(sys.argv[1])\nprint(o.getnames())\nprint(json.dumps(json.load(o.extractfile('./backup.json')),sort_keys=True))";
    let output = Command::new("python3").arg("-c").arg(script).arg(report.local_path().unwrap()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (members, manifest) = text.trim().split_once('\n').unwrap();
    assert_eq!(members, "['./backup.json', 'homeassistant.tar.gz', 'haul.index']");
    let expected = format!(
        r#"{{"compressed": true, "date": "2026-11-22T04:30:12.345678+01:00", "extra": {{"haul.history": "elsewhere", "haul.verdict": "whole"}}, "homeassistant": {{"exclude_database": false, "version": "2026.11.0"}}, "name": "Test", "protected": false, "slug": "{}", "type": "partial", "version": 2}}"#,
        report.archive.slug
    );
    assert_eq!(manifest, expected);
}

#[test]
fn live_databases_go_in_as_images_without_their_side_files() {
    let place = Place::sample();
    let config = place.config();
    let report = place.backup();
    let names = names(&report);
    for (name, is_in) in [
        ("home-assistant_v2.db", true),
        ("home-assistant_v2.db-wal", true),
        ("zigbee.db", true),
        ("zigbee.db-wal", false),
        ("home-assistant_v2.db-shm", false),
    ] {
        assert_eq!(names.contains(&format!("data/{name}")), is_in, "{name}");
    }
    let restored = place.restored(&report);
    assert_eq!(fs::metadata(restored.join("home-assistant_v2.db-wal")).unwrap().len(), 0);
    assert_eq!(sample::history(&restored).unwrap().integrity, "ok");
    assert_eq!(sample::history(&restored).unwrap(), sample::history(&config).unwrap());
    assert_eq!(report.databases.len(), 2);
    assert!(report.databases.iter().all(|database| database.journal_mode == "wal" && database.page_size == 4096));
}

#[test]
fn a_corrupt_database_goes_in_as_raw_files_and_is_named() {
    let place = Place::new();
    let mut bytes = b"SQLite format 3\0".to_vec();
    bytes.extend([0xEE; 5000]);
    place.write("broken.db", &bytes);
    place.write("broken.db-wal", b"\x37\x7f\x06\x82 a log");
    let report = place.backup();
    assert_eq!(report.status, Status::Incomplete, "whoever looks at the exit code only must know");
    assert!(
        report.skipped.iter().any(|skipped| skipped.path == "broken.db" && skipped.reason.contains("raw files")),
        "{:?}",
        report.skipped
    );
    assert!(report.databases.is_empty());
    let restored = place.restored(&report);
    assert_eq!(fs::read(restored.join("broken.db")).unwrap(), bytes);
    assert_eq!(fs::read(restored.join("broken.db-wal")).unwrap(), b"\x37\x7f\x06\x82 a log");
}

#[test]
fn a_database_that_would_block_its_writers_goes_first() {
    let place = Place::new();
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('create table \
        t(x)')\nc.executemany('insert into t values(?)',[(n,) for n in range(1000)])\nc.commit()";
    for name in ["zzz.db", "www/custom.sqlite"] {
        let path = place.write(name, "");
        assert!(Command::new("python3").arg("-c").arg(script).arg(&path).status().unwrap().success());
    }
    let report = place.backup();
    assert_eq!(names(&report)[..2], ["data/www/custom.sqlite", "data/zzz.db"]);
    assert!(report.databases.iter().all(|database| database.journal_mode == "rollback"), "{:?}", report.databases);
    assert_good(report.local_path().unwrap(), None);
}

#[test]
fn sockets_fifos_and_devices_are_left_out_and_named() {
    let place = Place::new();
    let config = place.config();
    let _socket = std::os::unix::net::UnixListener::bind(config.join("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, config.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let report = place.backup();
    assert_eq!(report.status, Status::Complete, "they belong into no backup");
    let named: Vec<&str> = report.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
    assert_eq!(named, ["fifo", "socket"]);
    assert!(!names(&report).iter().any(|name| name.contains("fifo") || name.contains("socket")));
}

#[test]
fn files_that_come_go_grow_and_shrink_leave_a_valid_archive() {
    let place = Place::new();
    let config = place.config();
    place.write("growing.bin", vec![1; 400_000]);
    place.write("breathing.bin", vec![2; 4_000_000]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let temporary = config.join(format!(".storage/tmp{n:08x}"));
                fs::write(&temporary, format!("{{\"data\": \"{}\"}}", "x".repeat(3000))).unwrap();
                fs::rename(&temporary, config.join(".storage/core.restore_state")).unwrap();
                let growing = fs::File::options().append(true).open(config.join("growing.bin")).unwrap();
                std::io::Write::write_all(&mut &growing, &[1; 999]).unwrap();
                let breathing = fs::File::options().write(true).open(config.join("breathing.bin")).unwrap();
                breathing.set_len(u64::from(n % 2) * 3_000_000 + 300_000).unwrap();
            }
        });
        let _stopping = Stopping(&stop);
        for n in 0..15 {
            let report = back_up(&BackupOptions {
                destinations: vec![Destination::Path(place.out().join(format!("{n}.tar")))],
                ..place.options()
            })
            .unwrap();
            for skipped in &report.skipped {
                assert_eq!(skipped.path, "breathing.bin", "{}", skipped.reason);
            }
            for warning in report.warnings.iter().filter(|warning| !warning.contains("no history")) {
                assert!(!warning.contains(".bin"), "{warning}");
            }
            assert_good(report.local_path().unwrap(), None);
        }
    });
}

/// Ends a thread of the test, also when the test fails: it would wait for it for ever.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_directory_mounted_into_itself_is_left_out_and_named() {
    if !is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let place = Place::new();
    let inner = place.config().join("loop");
    fs::create_dir(&inner).unwrap();
    let mount = |args: &[&OsStr]| Command::new("mount").args(args).status().unwrap().success();
    assert!(mount(&[OsStr::new("--bind"), place.config().as_os_str(), inner.as_os_str()]));
    let kernel = place.write("proc/placeholder", "").parent().unwrap().to_owned();
    let has_proc = mount(&[OsStr::new("-t"), OsStr::new("proc"), OsStr::new("proc"), kernel.as_os_str()]);
    let report = place.backup();
    for path in [&inner, &kernel] {
        let _ = Command::new("umount").arg(path).status();
    }
    assert!(report.skipped.iter().any(|skipped| skipped.path == "loop"), "{:?}", report.skipped);
    if has_proc {
        assert!(report.skipped.iter().any(|skipped| skipped.path == "proc"), "{:?}", report.skipped);
    }
    assert_eq!(report.status, Status::Complete);
    assert!(!names(&report).iter().any(|name| name.starts_with("data/loop/")));
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_says_so() {
    if !is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let place = Place::new();
    // Random bytes do not compress away.
    let mut noise = vec![0; 6_000_000];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
    place.write("noise.bin", noise);
    let small = place.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    assert!(
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&small).status().unwrap().success()
    );
    let outcome = back_up(&BackupOptions { destinations: vec![Destination::Path(small.clone())], ..place.options() });
    let left = fs::read_dir(&small).unwrap().count();
    let _ = Command::new("umount").arg(&small).status();
    let error = outcome.unwrap_err();
    assert!(matches!(&error, BackupError::Store(store) if store.is_full()), "{error}");
    assert_eq!(left, 0);
}

#[test]
fn archives_written_into_the_config_directory_do_not_pile_up_in_each_other() {
    let place = Place::new();
    let inside = place.config().join("mine");
    fs::create_dir(&inside).unwrap();
    place.write("mine/film.tar", b"no backup, but somebody's");
    for n in 0..3 {
        let options = BackupOptions {
            destinations: vec![Destination::Path(inside.join(format!("any name {n}.tar")))],
            ..place.options()
        };
        let report = back_up(&options).unwrap();
        let names: Vec<String> = names(&report).into_iter().filter(|name| name.starts_with("data/mine/")).collect();
        assert_eq!(names, ["data/mine/film.tar"]);
        assert_eq!(report.status, Status::Complete);
        let left_out: Vec<_> = report.skipped.iter().map(|skipped| (skipped.kind, skipped.path.clone())).collect();
        let expected: Vec<_> = (0..n).map(|n| (SkippedKind::LeftOut, format!("mine/any name {n}.tar"))).collect();
        assert_eq!(left_out, expected);
    }
}

#[test]
fn what_an_earlier_restore_kept_is_left_out() {
    let place = Place::new();
    place.write("before-restore-2026-11-22/home-assistant_v2.db", b"old");
    place.write("www/before-restore-notes/a", b"mine");
    let report = place.backup();
    let names = names(&report);
    assert!(
        !names.iter().any(|name| name.starts_with("data/before-restore"))
            && names.contains(&"data/www/before-restore-notes/a".to_owned()),
        "{names:?}"
    );
    assert_eq!((report.skipped[0].kind, report.status), (SkippedKind::LeftOut, Status::Complete));
}

/// Kubernetes and Nix replace the files that Home Assistant starts with by links.
#[test]
fn settings_behind_symbolic_links_go_in_as_files() {
    let place = Place::new();
    place.write("..2026_11/configuration.yaml", "default_config:\nmine:\n");
    fs::remove_file(place.config().join("configuration.yaml")).unwrap();
    symlink("..2026_11", place.config().join("..data")).unwrap();
    symlink("..data/configuration.yaml", place.config().join("configuration.yaml")).unwrap();
    let outside = place.dir.path().join("secrets.yaml");
    fs::write(&outside, "a: b\n").unwrap();
    symlink(&outside, place.config().join("secrets.yaml")).unwrap();
    let report = place.backup();
    assert_eq!(report.status, Status::Complete, "{:?}", report.skipped);
    assert_eq!(
        report.warnings.iter().filter(|warning| warning.contains("the archive holds its target instead")).count(),
        2,
        "{:?}",
        report.warnings
    );
    let restored = place.restored(&report);
    assert_eq!(fs::read(restored.join("configuration.yaml")).unwrap(), b"default_config:\nmine:\n");
    assert!(!restored.join("configuration.yaml").is_symlink() && !restored.join("secrets.yaml").is_symlink());

    fs::remove_file(report.local_path().unwrap()).unwrap();
    fs::remove_file(&outside).unwrap();
    let report = place.backup();
    assert_eq!((report.status, report.skipped[0].path.as_str()), (Status::Incomplete, "secrets.yaml"));
}

#[test]
fn a_directory_that_is_none_of_home_assistants_is_refused() {
    let place = Place::new();
    place.write(".HA_VERSION", "\x1b[31mnonsense");
    let error = back_up(&place.options()).unwrap_err();
    assert!(matches!(&error, BackupError::StrangeVersion { text, .. } if !text.contains('\x1b')), "{error}");
    fs::remove_file(place.config().join(".HA_VERSION")).unwrap();
    assert!(matches!(back_up(&place.options()), Err(BackupError::NoVersion { instead: None, .. })));
    let around = BackupOptions { config: place.dir.path().to_owned(), ..place.options() };
    place.write(".HA_VERSION", "2026.11.0");
    let error = back_up(&around).unwrap_err();
    assert!(
        matches!(&error, BackupError::NoVersion { instead: Some(instead), .. } if *instead == place.config()),
        "{error}"
    );
    fs::remove_file(place.config().join(".HA_VERSION")).unwrap();
    assert!(back_up(&BackupOptions { ha_version: Some("2025.6.3".to_owned()), ..place.options() }).is_ok());
}

#[test]
fn encrypted_archives_open_with_their_password_only_and_hide_their_names() {
    for (securetar, version, magic) in
        [(SecureTar::Auto, "2026.3.0", 3), (SecureTar::Auto, "2026.2.9", 2), (SecureTar::V2, "2026.11.0", 2)]
    {
        let place = Place::new();
        place.write("a-name-that-is-private.txt", "x");
        let password = Some(Password::new("correct horse"));
        let report =
            back_up(&BackupOptions { password, securetar, ha_version: Some(version.to_owned()), ..place.options() })
                .unwrap();
        assert!(report.archive.protected);
        assert_good(report.local_path().unwrap(), Some("correct horse"));
        let bytes = fs::read(report.local_path().unwrap()).unwrap();
        let found = bytes.windows(9).position(|part| part == b"SecureTar").unwrap();
        assert_eq!(bytes[found + 9], magic);
        assert!(!bytes.windows(15).any(|part| part == b"name-that-is-pr"));
        let wrong = VerifyOptions { password: Some(Password::new("wrong")), threads: engine::all_cores() };
        assert!(verify(report.local_path().unwrap(), &wrong, &|_, _| {}, &Cancellation::default()).is_err());
    }
}

#[test]
fn an_uncompressed_archive_is_read_by_python_and_by_us() {
    let place = Place::sample();
    let report = back_up(&BackupOptions { compressed: false, ..place.options() }).unwrap();
    let options = VerifyOptions { password: None, threads: engine::all_cores() };
    let found = verify(report.local_path().unwrap(), &options, &|_, _| {}, &Cancellation::default()).unwrap();
    assert!(found.findings.iter().all(|finding| finding.severity == Severity::Warning), "{:?}", found.findings);
    assert_eq!(found.without_checksum, [""; 0]);
    let script = "import sys,tarfile\no=tarfile.open(sys.argv[1])\ni=tarfile.open(fileobj=o.extractfile('homeassistant.tar'))\nprint(len(i.getmembers())-1)";
    let output = Command::new("python3").arg("-c").arg(script).arg(report.local_path().unwrap()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), report.entries.to_string());
}

#[test]
fn a_cancelled_backup_leaves_nothing() {
    let place = Place::sample();
    let error = {
        let stopped = Cancellation::default();
        stopped.cancel();
        engine::backup(&place.options(), None, &Arc::new(Progress::default()), &stopped)
    }
    .unwrap_err();
    assert!(matches!(error, BackupError::Cancelled), "{error}");
    assert_eq!(fs::read_dir(place.out()).unwrap().count(), 0);
}

#[test]
fn what_replaces_small_files_neither_hangs_nor_fills_the_memory() {
    let place = Place::new();
    let fifo = |name: &str| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.config().join(name),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
    };
    fs::remove_file(place.config().join("configuration.yaml")).unwrap();
    fifo("configuration.yaml");
    assert_eq!(place.backup().status, Status::Incomplete);
    fs::remove_file(place.config().join(".HA_VERSION")).unwrap();
    fifo(".HA_VERSION");
    assert!(matches!(back_up(&place.options()), Err(BackupError::Config { .. })));
}

#[test]
fn a_file_that_vanishes_is_named() {
    let place = Place::new();
    fs::File::create(place.config().join("a-large.bin")).unwrap().set_len(600 << 20).unwrap();
    let gone = place.write("zz.txt", "x");
    let report = std::thread::scope(|scope| {
        // The directory was listed when the first bytes move; the large file keeps the reader busy for a while.
        scope.spawn(|| {
            let growing = || {
                fs::read_dir(place.out())
                    .unwrap()
                    .flatten()
                    .any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
            };
            while !growing() {
                std::thread::yield_now();
            }
            fs::remove_file(&gone).unwrap();
        });
        back_up(&BackupOptions { compressed: false, ..place.options() }).unwrap()
    });
    assert!(report.warnings.iter().any(|warning| warning.starts_with("zz.txt was deleted")), "{:?}", report.warnings);
    assert_eq!(report.status, Status::Complete);
}
