//! What comes back out of an archive, and what never does, whatever the archive says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crafted;

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
};

use crafted::{Bench, Inner, Layout, MTIME, PLAIN, everything, only};
use engine::restore::{RestoreError, RestoreOptions};
use habackup::{securetar::SecureTarVersion, tar::Kind};
use store::Cancellation;
use testkit::noise::noise;

fn layouts() -> Vec<(&'static str, Layout)> {
    vec![
        ("plain", PLAIN),
        ("plain without index", PLAIN.without_index()),
        ("uncompressed", PLAIN.uncompressed()),
        ("uncompressed without index", PLAIN.uncompressed().without_index()),
        ("v2", PLAIN.completed(SecureTarVersion::V2)),
        ("v2 without index", PLAIN.completed(SecureTarVersion::V2).without_index()),
        ("v3", PLAIN.completed(SecureTarVersion::V3)),
        ("v3 without index", PLAIN.completed(SecureTarVersion::V3).without_index()),
        ("v3 uncompressed", PLAIN.completed(SecureTarVersion::V3).uncompressed()),
        ("v3 uncompressed without index", PLAIN.completed(SecureTarVersion::V3).uncompressed().without_index()),
    ]
}

/// Three mebibytes that do not compress, so that there are pieces and messages to speak of.
#[test]
fn every_layout_comes_back_with_modes_times_and_links() {
    let noise = noise(3_000_000);
    let inner = Inner::config()
        .directory("data/www", 0o750)
        .file("data/www/noise", &noise)
        .symlink("data/www/link", "noise")
        .file("data/empty", b"")
        .directory("data/hollow", 0o555);
    for (name, layout) in layouts() {
        let bench = Bench::new();
        let restored =
            bench.restore(&layout.archive(&inner), &everything()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bench.read("www/noise"), noise, "{name}");
        assert_eq!(restored.entries, 12, "{name}");
        assert_eq!(restored.used_index, layout.index, "{name}");
        assert!(restored.left_out.is_empty() && restored.warnings.is_empty(), "{name}: {restored:?}");
        let config = bench.path("config");
        let auth = fs::metadata(config.join(".storage/auth")).unwrap();
        assert_eq!(
            (auth.mode() & 0o7777, auth.mtime(), auth.mtime_nsec()),
            (0o600, MTIME.0, i64::from(MTIME.1)),
            "{name}"
        );
        for (directory, mode) in [(".storage", 0o700), ("www", 0o750), ("hollow", 0o555), (".", 0o755)] {
            assert_eq!(fs::metadata(config.join(directory)).unwrap().mode() & 0o7777, mode, "{name}: {directory}");
        }
        assert_eq!(fs::metadata(config.join("www")).unwrap().mtime(), MTIME.0, "{name}");
        assert_eq!(fs::read_link(config.join("www/link")).unwrap(), Path::new("noise"), "{name}");
        assert_eq!(bench.names("."), ["config"], "{name}: nothing else stays");
    }
}

#[test]
fn names_that_lead_out_are_refused_by_name_and_the_rest_comes() {
    let inner = Inner::config()
        .file("data/../../escaped", b"x")
        .file("data/sub/../../../escaped", b"x")
        .file("../escaped", b"x")
        .file("/data/escaped", b"x")
        .file("/escaped", b"x")
        .file("data/..", b"x")
        .file("data//inside", b"in")
        .file("data/./also", b"in");
    for (name, layout) in layouts() {
        let bench = Bench::new();
        let restored = bench.restore(&layout.archive(&inner), &everything()).unwrap();
        assert_eq!(restored.left_out.len(), 6, "{name}: {:?}", restored.left_out);
        assert!(restored.left_out.iter().all(|left| !left.reason.is_empty()));
        assert_eq!(bench.names("."), ["config"], "{name}");
        assert_eq!((bench.read("inside"), bench.read("also")), (b"in".to_vec(), b"in".to_vec()));
        assert!(!Path::new("/escaped").exists() && !bench.path("escaped").exists());
    }
}

#[test]
fn nothing_is_written_through_a_symbolic_link() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let inner = Inner::config()
        .symlink("data/way", out)
        .file("data/way/through", b"x")
        .symlink("data/file", &format!("{out}/target"))
        .file("data/file", b"of its own")
        .symlink("data/up", "../..")
        .file("data/up/climbed", b"x")
        .symlink("data", out)
        .symlink("data/chain", "way")
        .odd("data/hard", b'1', "data/way/secret");
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    for (name, layout) in layouts() {
        let bench = Bench::new();
        let restored = bench.restore(&layout.archive(&inner), &everything()).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{name}: {restored:?}");
        assert_eq!(bench.read("file"), b"of its own", "{name}");
        assert!(
            fs::symlink_metadata(bench.path("config/way")).unwrap().is_dir(),
            "{name}: the directory with files was kept"
        );
        assert!(restored.left_out.iter().any(|left| left.path == "way"), "{name}: {:?}", restored.left_out);
        assert!(!bench.path("config/hard").exists());
        assert_eq!(bench.names("."), ["config"], "{name}");
    }
}

#[test]
fn hard_links_lead_only_to_what_was_unpacked_before() {
    let inner = Inner::config()
        .odd("data/good", b'1', "data/configuration.yaml")
        .odd("data/later", b'1', "data/comes-later")
        .file("data/comes-later", b"x")
        .odd("data/absolute", b'1', "/etc/passwd")
        .odd("data/up", b'1', "data/../../../etc/passwd")
        .odd("data/beside", b'1', "homeassistant.json")
        .odd("data/directory", b'1', "data/.storage")
        .odd("data/itself", b'1', "data/itself");
    let bench = Bench::new();
    let restored = bench.restore(&PLAIN.archive(&inner), &everything()).unwrap();
    assert_eq!(bench.read("good"), b"default_config:\n");
    let left: Vec<&str> = restored.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["data/later", "data/absolute", "data/up", "data/beside", "data/directory", "data/itself"]);
}

#[test]
fn a_repeated_member_replaces_the_first_and_never_writes_into_it() {
    let inner = Inner::config().file("data/a", b"first").odd("data/b", b'1', "data/a").file("data/a", b"second");
    let bench = Bench::new();
    bench.restore(&PLAIN.archive(&inner), &everything()).unwrap();
    assert_eq!(bench.read("a"), b"second");
    assert_eq!(bench.read("b"), b"first");
}

#[test]
fn collisions_of_files_and_directories_are_named() {
    let inner = Inner::config()
        .file("data/x", b"file")
        .file("data/x/below", b"lost")
        .file("data/y/below", b"kept")
        .file("data/y", b"lost")
        .directory("data/x", 0o755)
        .file("data/Case", b"1")
        .file("data/case", b"2");
    let bench = Bench::new();
    let restored = bench.restore(&PLAIN.archive(&inner), &everything()).unwrap();
    let left: Vec<&str> = restored.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["data/x/below", "data/y", "data/x"]);
    assert_eq!((bench.read("x"), bench.read("y/below")), (b"file".to_vec(), b"kept".to_vec()));
    assert_eq!((bench.read("Case"), bench.read("case")), (b"1".to_vec(), b"2".to_vec()));
}

#[test]
fn pipes_and_devices_are_left_out_and_privileges_are_dropped() {
    let inner = Inner::config()
        .odd("data/pipe", b'6', "")
        .odd("data/char", b'3', "")
        .odd("data/block", b'4', "")
        .odd("data/strange", b'Z', "")
        .file_with("data/root-shell", b"#!", 0o6755)
        .directory("data/sticky", 0o1777);
    let bench = Bench::new();
    let restored = bench.restore(&PLAIN.archive(&inner), &everything()).unwrap();
    let left: Vec<&str> = restored.left_out.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["data/pipe", "data/char", "data/block", "data/strange"]);
    assert_eq!(fs::metadata(bench.path("config/root-shell")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(bench.path("config/sticky")).unwrap().mode() & 0o7777, 0o777);
}

#[test]
fn a_huge_declared_size_fails_at_once_and_leaves_nothing() {
    for declared in [1 << 45, u64::MAX >> 2] {
        let inner = Inner::config().declared("data/bomb", declared, b"tiny");
        for layout in [PLAIN.without_index(), PLAIN.uncompressed().without_index()] {
            let bench = Bench::new();
            let error = bench.restore(&layout.archive(&inner), &everything()).unwrap_err();
            assert!(matches!(error, RestoreError::NoSpace { .. } | RestoreError::Damaged { .. }), "{error}");
            assert_eq!(bench.names("."), [""; 0]);
        }
    }
}

#[test]
fn names_of_any_bytes_and_any_depth_come_back() {
    let deep = format!("data/{}end", "d/".repeat(300));
    let long = format!("data/{}/{}", "l".repeat(255), "m".repeat(255));
    let inner = Inner::config()
        .member(b"data/\xff\xfe\n\x1b", Kind::File, b"bytes", 0o644, b"")
        .file(&deep, b"deep")
        .file(&format!("data/{}other", "d/".repeat(300)), b"deep too")
        .file(&long, b"long")
        .file(&format!("data/{}", "n".repeat(256)), b"too long")
        .file(&format!("data/{}x", "e/".repeat(2000)), b"too deep");
    let bench = Bench::new();
    let restored = bench.restore(&PLAIN.archive(&inner), &everything()).unwrap();
    assert_eq!(restored.left_out.len(), 2, "{:?}", restored.left_out);
    assert_eq!(bench.read(&deep[5..]), b"deep");
    assert_eq!(bench.read(&long[5..]), b"long");
    assert_eq!(fs::read(bench.path("config").join(std::ffi::OsStr::from_bytes(b"\xff\xfe\n\x1b"))).unwrap(), b"bytes");
}

#[test]
fn a_damaged_archive_restores_nothing() {
    let inner = Inner::config().file("data/noise", &noise(3_000_000));
    for (name, layout) in layouts() {
        let good = layout.archive(&inner);
        for at in [good.len() / 4, good.len() / 2] {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            if !layout.compressed && !layout.index && layout.protection.is_none() {
                continue; // nothing covers the content of an uncompressed, unprotected archive without an index
            }
            let bench = Bench::new();
            let error = bench.restore(&bad, &everything()).unwrap_err();
            assert!(matches!(error, RestoreError::Damaged { .. }), "{name}: {error}");
            assert_eq!(bench.names("."), [""; 0], "{name}");
        }
        let bench = Bench::new();
        let error = bench.restore(&good[..good.len() / 2], &everything()).unwrap_err();
        assert!(matches!(error, RestoreError::Damaged { .. } | RestoreError::Open(_)), "{name}: {error}");
        assert_eq!(bench.names("."), [""; 0], "{name}");
    }
}

#[test]
fn a_wrong_or_missing_password_is_reported_before_anything_happens() {
    for version in [SecureTarVersion::V2, SecureTarVersion::V3] {
        let archive = PLAIN.completed(version).archive(&Inner::config());
        for password in [None, Some("wrong")] {
            let bench = Bench::new();
            let options = RestoreOptions { password: password.map(habackup::securetar::Password::new), ..everything() };
            let error = bench.restore(&archive, &options).unwrap_err();
            assert!(
                matches!(
                    error,
                    RestoreError::Open(
                        engine::read::OpenError::PasswordNeeded(_) | engine::read::OpenError::WrongPassword
                    )
                ),
                "{error}"
            );
            assert_eq!(bench.names("."), [""; 0]);
        }
    }
}

#[test]
fn a_filled_directory_is_refused_and_an_empty_one_keeps_its_mode() {
    let archive = PLAIN.archive(&Inner::config());
    let bench = Bench::new();
    fs::create_dir(bench.path("config")).unwrap();
    fs::set_permissions(bench.path("config"), fs::Permissions::from_mode(0o711)).unwrap();
    bench.restore(&archive, &everything()).unwrap();
    assert_eq!(fs::metadata(bench.path("config")).unwrap().mode() & 0o7777, 0o711);
    assert!(matches!(bench.restore(&archive, &everything()), Err(RestoreError::NotEmpty(_))));
    fs::remove_dir_all(bench.path("config")).unwrap();
    fs::write(bench.path("config"), b"a file").unwrap();
    assert!(matches!(bench.restore(&archive, &everything()), Err(RestoreError::NotADirectory { .. })));
}

#[test]
fn replacing_keeps_the_old_directory_beside_the_new_one() {
    let archive = PLAIN.archive(&Inner::config());
    let bench = Bench::new();
    fs::create_dir_all(bench.path("config/www")).unwrap();
    fs::write(bench.path("config/www/old"), b"old").unwrap();
    let options = RestoreOptions { replace: true, ..everything() };
    let restored = bench.restore(&archive, &options).unwrap();
    let kept = restored.kept.unwrap();
    assert!(kept.file_name().unwrap().to_str().unwrap().starts_with("config.before-restore-"), "{kept:?}");
    assert_eq!(fs::read(kept.join("www/old")).unwrap(), b"old");
    assert!(!bench.path("config/www").exists());
    assert_eq!(bench.read("configuration.yaml"), b"default_config:\n");
    assert_eq!(bench.names(".").len(), 2);
    // And again within the same second: no kept directory is ever overwritten.
    let again = bench.restore(&archive, &options).unwrap().kept.unwrap();
    assert_ne!(again, kept);
}

#[test]
fn a_failed_replace_leaves_the_old_directory_alone() {
    let archive = PLAIN.archive(&Inner::config());
    let bench = Bench::new();
    fs::create_dir(bench.path("config")).unwrap();
    fs::write(bench.path("config/old"), b"old").unwrap();
    let mut bad = archive.clone();
    let gzip = bad.windows(3).position(|bytes| bytes == [0x1f, 0x8b, 8]).unwrap();
    bad[gzip + 40] ^= 0xff;
    bench.restore(&bad, &RestoreOptions { replace: true, ..everything() }).unwrap_err();
    assert_eq!(bench.names("."), ["config"]);
    assert_eq!(bench.names("config"), ["old"]);
}

#[test]
fn what_a_killed_restore_left_is_removed_but_not_a_live_one_nor_anything_else() {
    let archive = PLAIN.archive(&Inner::config());
    let bench = Bench::new();
    let dead = bench.path(".haul-restore-0123456789ab");
    fs::create_dir_all(dead.join("tree/deep/er")).unwrap();
    fs::write(dead.join("tree/deep/er/file"), b"x").unwrap();
    fs::set_permissions(dead.join("tree/deep"), fs::Permissions::from_mode(0o000)).unwrap();
    symlink("/", dead.join("tree/root")).unwrap();
    fs::write(dead.join("lock"), b"").unwrap();
    let live = bench.path(".haul-restore-ba9876543210");
    fs::create_dir_all(live.join("tree")).unwrap();
    let lock = fs::File::create(live.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::create_dir(bench.path(".haul-restore-of-my-own")).unwrap();
    bench.restore(&archive, &everything()).unwrap();
    assert_eq!(bench.names("."), [".haul-restore-ba9876543210", ".haul-restore-of-my-own", "config"]);
}

#[test]
fn single_files_come_by_pattern_with_and_without_an_index() {
    let inner = Inner::config()
        .directory("data/www", 0o711)
        .file("data/www/noise", &noise(3_000_000))
        .file("data/www/more/deep.js", b"js")
        .file("data/automations.yaml", b"[]");
    for (name, layout) in layouts() {
        let archive = layout.archive(&inner);
        let bench = Bench::new();
        let restored = bench.restore(&archive, &only(&["automations.yaml", "www/*/deep.js"])).unwrap();
        assert_eq!(bench.names("config"), ["automations.yaml", "www"], "{name}");
        assert_eq!(bench.names("config/www"), ["more"], "{name}");
        assert_eq!(fs::metadata(bench.path("config/www")).unwrap().mode() & 0o7777, 0o711, "{name}");
        assert_eq!((restored.entries, restored.checked_whole), (2, !layout.index), "{name}");

        let bench = Bench::new();
        bench.restore(&archive, &only(&["www"])).unwrap();
        assert_eq!(bench.names("config/www"), ["more", "noise"], "{name}: a directory takes all below it");

        let bench = Bench::new();
        let error = bench.restore(&archive, &only(&["automation.yaml"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nothing in the archive matches automation.yaml; there is automations.yaml",
            "{name}"
        );
        assert_eq!(bench.names("."), [""; 0], "{name}");
    }
}

#[test]
fn a_wrong_index_costs_a_second_read_and_nothing_else() {
    let mut inner = Inner::config().file("data/a", b"right").file("data/b", &noise(3_000_000));
    let right = inner.ended();
    for file in &mut inner.files {
        file.header_offset += 512;
        file.data_offset += 512;
    }
    let archive = PLAIN.archive_of(&right, &inner.files, &PLAIN.manifest(), &[]);
    let bench = Bench::new();
    let restored = bench.restore(&archive, &only(&["a"])).unwrap();
    assert!(!restored.used_index);
    assert_eq!(bench.read("a"), b"right");
}

fn database(text: &str) -> Vec<u8> {
    let mut bytes = b"SQLite format 3\0".to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[test]
fn the_database_alone_replaces_the_old_one_and_its_log() {
    let inner =
        Inner::config().file("data/home-assistant_v2.db", &database("new")).file("data/home-assistant_v2.db-wal", b"");
    for (name, layout) in layouts() {
        let bench = Bench::new();
        let config = bench.path("config");
        fs::create_dir(&config).unwrap();
        for (file, text) in [
            ("home-assistant_v2.db", "old"),
            ("home-assistant_v2.db-wal", "log"),
            ("home-assistant_v2.db-shm", "shm"),
            ("configuration.yaml", "mine"),
        ] {
            fs::write(config.join(file), text).unwrap();
        }
        let options = RestoreOptions { database_only: true, replace: true, ..everything() };
        let restored = bench.restore(&layout.archive(&inner), &options).unwrap();
        assert_eq!(bench.read("home-assistant_v2.db"), database("new"), "{name}");
        assert_eq!(bench.read("home-assistant_v2.db-wal"), b"", "{name}");
        assert_eq!(bench.read("configuration.yaml"), b"mine", "{name}");
        assert!(!config.join("home-assistant_v2.db-shm").exists(), "{name}");
        let kept = restored.kept.unwrap();
        assert_eq!(fs::read(kept.join("home-assistant_v2.db-wal")).unwrap(), b"log", "{name}");
        assert_eq!(fs::read(kept.join("home-assistant_v2.db-shm")).unwrap(), b"shm", "{name}");
        assert_eq!(fs::read(kept.join("home-assistant_v2.db")).unwrap(), b"old", "{name}");
        assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 2, "{name}");
    }
}

#[test]
fn single_files_replace_only_their_own_kind_and_nothing_through_a_link() {
    let inner = Inner::config().file("data/www/a.js", b"new").file("data/www/b.js", b"new");
    let archive = PLAIN.archive(&inner);
    let options = RestoreOptions { replace: true, ..only(&["www/a.js"]) };
    let bench = Bench::new();
    fs::create_dir_all(bench.path("config/www")).unwrap();
    fs::write(bench.path("config/www/a.js"), b"old").unwrap();
    fs::write(bench.path("config/www/b.js"), b"old").unwrap();
    let kept = bench.restore(&archive, &options).unwrap().kept.unwrap();
    assert_eq!((bench.read("www/a.js"), bench.read("www/b.js")), (b"new".to_vec(), b"old".to_vec()));
    assert_eq!(fs::read(kept.join("www/a.js")).unwrap(), b"old");
    assert!(!kept.join("www/b.js").exists());

    let bench = Bench::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(bench.path("config")).unwrap();
    symlink(outside.path(), bench.path("config/www")).unwrap();
    let error = bench.restore(&archive, &options).unwrap_err();
    assert!(matches!(error, RestoreError::LinkInTheWay { .. }), "{error}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(bench.names("."), ["config"]);
}

#[test]
fn archives_of_the_supervisor_give_only_the_config_directory() {
    let tar = Inner::default().file("homeassistant.json", b"{}").file("data/configuration.yaml", b"x").ended();
    let addon = crafted::gzip(&Inner::default().file("addon.json", b"{}").ended()).0;
    let archive = PLAIN.without_index().archive_of(
        &tar,
        &[],
        &PLAIN.manifest(),
        &[("core_ssh.tar.gz", &addon), ("share.tar.gz", &addon)],
    );
    let bench = Bench::new();
    let restored = bench.restore(&archive, &everything()).unwrap();
    assert_eq!(restored.other_archives, ["core_ssh.tar.gz", "share.tar.gz"]);
    assert_eq!(bench.names("config"), ["configuration.yaml"]);
}

#[test]
fn an_archive_without_a_config_directory_is_reported_as_one() {
    let archive = PLAIN.archive(&Inner::default().file("homeassistant.json", b"{}"));
    let bench = Bench::new();
    assert!(matches!(bench.restore(&archive, &everything()), Err(RestoreError::NoConfig)));
}

#[test]
fn a_stopped_restore_leaves_nothing() {
    for (name, layout) in layouts() {
        let bench = Bench::new();
        let archive = bench.put(&layout.archive(&Inner::config()));
        let stopped = Cancellation::default();
        stopped.cancel();
        let error =
            engine::restore::restore(&archive, &bench.path("config"), &everything(), &|_, _| {}, &stopped).unwrap_err();
        assert!(matches!(error, RestoreError::Cancelled), "{name}: {error}");
        assert_eq!(bench.names(".").len(), 1, "{name}: only the archive");
        let options =
            engine::verify::VerifyOptions { password: everything().password, threads: std::num::NonZeroUsize::MIN };
        let verified = engine::verify::verify(&archive, &options, &|_, _| {}, &stopped);
        assert!(matches!(verified, Err(engine::verify::VerifyError::Cancelled)), "{name}");
    }
}

#[test]
fn one_thread_restores_and_verifies_what_two_do() {
    let noise = noise(3_000_000);
    let inner = Inner::config().file("data/noise", &noise);
    for (name, layout) in layouts() {
        let bench = Bench::new();
        let options = RestoreOptions { threads: std::num::NonZeroUsize::MIN, ..everything() };
        bench.restore(&layout.archive(&inner), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bench.read("noise"), noise, "{name}");
    }
}

/// Home Assistant's own way: a lock on a file, for as long as it runs.
fn run_lock(config: &Path) -> fs::File {
    let lock = fs::File::create(config.join(".ha_run.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

#[test]
fn nothing_is_replaced_under_a_running_home_assistant_unless_forced() {
    let archive = PLAIN.archive(&Inner::config());
    for options in [everything(), only(&["configuration.yaml"])] {
        let options = RestoreOptions { replace: true, ..options };
        let bench = Bench::new();
        fs::create_dir(bench.path("config")).unwrap();
        fs::write(bench.path("config/configuration.yaml"), b"old").unwrap();
        let lock = run_lock(&bench.path("config"));
        let error = bench.restore(&archive, &options).unwrap_err();
        let words = format!(
            "Home Assistant seems to be running in {}: a process holds the lock .ha_run.lock",
            bench.path("config").display()
        );
        assert_eq!(error.to_string(), words);
        assert_eq!((bench.names("."), bench.read("configuration.yaml")), (vec!["config".to_owned()], b"old".to_vec()));
        bench.restore(&archive, &RestoreOptions { force: true, ..options.clone() }).unwrap();
        assert_eq!(bench.read("configuration.yaml"), b"default_config:\n");
        drop(lock);
        bench.restore(&archive, &options).unwrap();
    }
}

#[test]
fn every_pattern_that_fits_nothing_is_named() {
    let inner = Inner::config().file("data/www/a.js", b"a");
    for (name, layout) in layouts() {
        let bench = Bench::new();
        let restored = bench
            .restore(&layout.archive(&inner), &only(&["configuration.yaml", "secrets.yaml", "www", "www/*.css"]))
            .unwrap();
        assert_eq!(restored.unmatched, ["secrets.yaml", "www/*.css"], "{name}");
        let bench = Bench::new();
        assert!(bench.restore(&layout.archive(&inner), &everything()).unwrap().unmatched.is_empty(), "{name}");
    }
}

#[test]
fn what_root_restores_belongs_to_whom_the_directory_belongs() {
    let inner = Inner::config().symlink("data/link", "configuration.yaml").directory("data/www", 0o755);
    let archive = PLAIN.archive(&inner);
    let is_root = rustix::process::geteuid().is_root();
    let owners = |bench: &Bench| -> Vec<(u32, u32)> {
        let names = [".", "configuration.yaml", ".storage", ".storage/auth", "link", "www"];
        names
            .iter()
            .map(|name| {
                fs::symlink_metadata(bench.path("config").join(name)).map(|found| (found.uid(), found.gid())).unwrap()
            })
            .collect()
    };
    // In the directory above, in an empty one, in one that is replaced, and as the user says.
    for (makes, replace, said) in
        [(false, false, None), (true, false, None), (true, true, None), (true, true, Some((1002, 1003)))]
    {
        let bench = Bench::new();
        let model = if makes { bench.path("config") } else { bench.directory.path().to_owned() };
        if makes {
            fs::create_dir(bench.path("config")).unwrap();
        }
        if replace {
            fs::write(bench.path("config/old"), b"").unwrap();
        }
        if is_root {
            std::os::unix::fs::chown(&model, Some(1000), Some(1001)).unwrap();
        }
        let options = RestoreOptions { replace, owner: said, ..everything() };
        let result = bench.restore(&archive, &options);
        if !is_root {
            // Only root can give files away.
            assert_eq!(matches!(result, Err(RestoreError::Owner { .. })), said.is_some());
            continue;
        }
        let restored = result.unwrap();
        let wanted = said.unwrap_or((1000, 1001));
        assert_eq!(owners(&bench), [wanted; 6]);
        let why = match said {
            Some(_) => "as --owner says".to_owned(),
            None => format!("like {}; --owner UID:GID changes that", model.display()),
        };
        assert_eq!(
            restored.warnings,
            [format!("the restored files belong to user {}, group {}, {why}", wanted.0, wanted.1)]
        );
    }
}

#[test]
fn a_sparse_file_comes_back_sparse_and_whole() {
    let mut image = vec![0_u8; 24 << 20];
    image[10 << 20..(10 << 20) + 5].copy_from_slice(b"bytes");
    let inner = Inner::config().file("data/image", &image).file("data/zeros", &image[..8 << 20]);
    for (name, layout) in layouts() {
        let bench = Bench::new();
        bench.restore(&layout.archive(&inner), &everything()).unwrap();
        assert!(bench.read("image") == image && bench.read("zeros") == image[..8 << 20], "{name}");
        for file in ["image", "zeros"] {
            assert!(fs::metadata(bench.path("config").join(file)).unwrap().blocks() * 512 < 1 << 20, "{name}: {file}");
        }
    }
}
