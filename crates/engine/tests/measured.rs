//! Archives for destinations where nothing can be corrected: measured first, then sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod sequential;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use engine::{
    BackupOptions, BackupReport, Destination, SecureTar, Status,
    restore::{RestoreOptions, restore},
    verify::{VerifyOptions, verify},
};
use habackup::securetar::Password;
use sequential::{Line, send};
use store::Cancellation;

struct Home(tempfile::TempDir);

impl Home {
    /// A config directory with the least that makes one.
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.0.path().join("out")).unwrap();
        home.write(".storage/auth", b"{\"users\": []}");
        for name in ["auth_provider.homeassistant", "core.config_entries", "onboarding"] {
            home.write(&format!(".storage/{name}"), b"{}");
        }
        home.write(".HA_VERSION", b"2026.11.0");
        home.write("configuration.yaml", b"default_config:\n");
        home
    }

    fn sample() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.0.path().join("out")).unwrap();
        sample::create(&home.config(), &sample::Options { database_bytes: 3 << 20, seed: 5 }).unwrap();
        home
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("config")
    }

    fn sent(&self) -> PathBuf {
        self.0.path().join("out/sent.tar")
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
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
            ..BackupOptions::new(self.config(), vec![Destination::Path(self.0.path().join("out/direct.tar"))])
        }
    }

    /// Sends it while `between` acts once everything was measured; the archive must be good.
    fn send_while(&self, options: BackupOptions, between: impl FnMut(u32) + Send + 'static) -> BackupReport {
        let password = options.password.clone();
        let report = send(options, Line::new(self.0.path().join("out"), between)).unwrap();
        self.assert_good(password);
        report
    }

    fn assert_good(&self, password: Option<Password>) {
        let options = VerifyOptions { password, threads: engine::all_cores() };
        let found = verify(&self.sent(), &options, &|_, _| {}, &Cancellation::default()).unwrap();
        assert!(found.is_good(), "{:?}", found.findings);
        assert!(found.used_index);
        assert_eq!(found.without_checksum, [""; 0]);
    }

    /// What comes out of the archive, by path.
    fn restored(&self, archive: &str, password: Option<Password>) -> BTreeMap<PathBuf, Vec<u8>> {
        let into = self.0.path().join(format!("restored-{archive}"));
        let options = RestoreOptions { password, ..RestoreOptions::default() };
        restore(&self.0.path().join("out").join(archive), &into, &options, &|_, _| {}, &Cancellation::default())
            .unwrap();
        let mut found = BTreeMap::new();
        let mut open = vec![into.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    open.push(path.clone());
                }
                let content = if path.is_symlink() {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                } else {
                    fs::read(&path).unwrap_or_default()
                };
                found.insert(path.strip_prefix(&into).unwrap().to_owned(), content);
            }
        }
        found
    }
}

/// Compresses to about half.
fn half_noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"0123456789abcdef"[(state >> 40) as usize & 15]
    })
    .take(length)
    .collect()
}

/// In a process of its own, as every other program is: a connection here would share the locks.
fn sql(path: &Path, statements: &str) {
    let script = "import sqlite3,sys\nd=sqlite3.connect(sys.argv[1],timeout=30)\nfor s in sys.argv[2].split(';'): \
        d.execute(s)\nd.commit()\nd.close()";
    assert!(Command::new("python3").arg("-c").arg(script).arg(path).arg(statements).status().unwrap().success());
}

/// Reads every byte the way Home Assistant does, and to the end of the gzip member, which it does not.
const PYTHON: &str = r#"
import gzip, io, sys, tarfile
archive, password = sys.argv[1], sys.argv[2]
outer = tarfile.open(archive)
member = next(m for m in outer if m.name.startswith("homeassistant.tar"))
body = outer.extractfile(member)
if password:
    import securetar
    context = securetar.SecureTarRootKeyContext(password)
    with securetar.SecureTarDecryptStream(body, ciphertext_size=member.size, root_key_context=context) as plain:
        body = io.BytesIO(b"".join(iter(lambda: plain.read(1 << 16), b"")))
data = body.read()
body = io.BytesIO(data)
for entry in tarfile.open(fileobj=body, mode="r|gz" if member.name.endswith("gz") else "r|"):
    print(entry.name)
if member.name.endswith("gz"):
    gzip.decompress(data)
"#;

#[test]
fn every_kind_of_archive_has_true_sizes_from_its_first_byte() {
    let home = Home::sample();
    home.write("www/video.mp4", &half_noise(5 << 20, 1));
    home.write("www/empty.txt", b"");
    let python = testkit::python::with_securetar("SecureTarDecryptStream");
    for compressed in [true, false] {
        for (password, securetar) in
            [(None, SecureTar::Auto), (Some("pass word"), SecureTar::V2), (Some("pass word"), SecureTar::V3)]
        {
            let options =
                || BackupOptions { compressed, securetar, password: password.map(Password::new), ..home.options() };
            let sent = home.send_while(options(), |_| {});
            let direct =
                engine::backup(&options(), None, &std::sync::Arc::default(), &std::sync::Arc::default()).unwrap();
            // That one stays on this disk.
            let notes: Vec<&String> =
                direct.warnings.iter().filter(|warning| !warning.contains("same file system")).collect();
            assert_eq!((sent.status, sent.warnings.iter().collect()), (Status::Complete, notes));
            assert_eq!(
                (sent.entries, sent.bytes_in, sent.databases.len()),
                (direct.entries, direct.bytes_in, direct.databases.len())
            );
            let filling = sent.archive.size_bytes - direct.archive.size_bytes;
            assert!(
                filling <= direct.archive.size_bytes / 200 + (64 << 10),
                "{filling} of {}",
                direct.archive.size_bytes
            );
            if compressed {
                assert!(filling >= 32 << 10);
            }
            let password = password.map(Password::new);
            assert!(home.restored("sent.tar", password.clone()) == home.restored("direct.tar", password.clone()));
            if let Some(python) = &python {
                let word = if password.is_some() { "pass word" } else { "" };
                let output = Command::new(python).args(["-c", PYTHON]).arg(home.sent()).arg(word).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(
                    String::from_utf8(output.stdout).unwrap().lines().count() as u64,
                    sent.entries + 1,
                    "with the config directory itself"
                );
            }
            for directory in ["restored-sent.tar", "restored-direct.tar"] {
                fs::remove_dir_all(home.0.path().join(directory)).unwrap();
            }
            for file in ["out/sent.tar", "out/direct.tar"] {
                fs::remove_file(home.0.path().join(file)).unwrap();
            }
        }
    }
}

#[test]
fn a_wal_database_is_sent_as_it_was_measured_while_others_write() {
    let home = Home::sample();
    let database = home.config().join("home-assistant_v2.db");
    sql(&database, "pragma journal_mode=wal");
    let path = database.clone();
    let report = home.send_while(home.options(), move |_| {
        sql(&path, "create table later(x);insert into later values (randomblob(3000000))");
        sql(&path, "pragma wal_checkpoint(truncate)");
    });
    assert_eq!(report.status, Status::Complete, "{:?}", report.skipped);
    let image = &home.restored("sent.tar", None)[Path::new("home-assistant_v2.db")];
    assert!(!image.windows(18).any(|bytes| bytes == b"CREATE TABLE later"));
}

#[test]
fn what_happens_to_small_files_after_measuring_changes_nothing() {
    let home = Home::new();
    for n in 0..50 {
        home.write(&format!("small/{n}"), &half_noise(1000 + n, n as u64));
    }
    let before = engine::backup(&home.options(), None, &std::sync::Arc::default(), &std::sync::Arc::default()).unwrap();
    let small = home.config().join("small");
    let report = home.send_while(home.options(), move |_| {
        for n in 0..10 {
            fs::remove_file(small.join(n.to_string())).unwrap();
            fs::write(small.join((n + 10).to_string()), b"new").unwrap();
        }
        fs::write(small.join("appeared"), b"too late").unwrap();
    });
    assert_eq!((report.status, report.bytes_in), (Status::Complete, before.bytes_in));
    assert!(home.restored("sent.tar", None) == home.restored("direct.tar", None));
}

/// What became of a large file of `content`, which was changed between the passes.
fn changed(content: &[u8], compressed: bool, change: impl Fn(&Path) + Send + 'static) -> (BackupReport, Vec<u8>) {
    let home = Home::new();
    let path = home.write("media/large.bin", content);
    home.write("www/after.txt", b"what follows");
    let report = home.send_while(BackupOptions { compressed, ..home.options() }, move |_| change(&path));
    let restored = home.restored("sent.tar", None);
    assert_eq!(restored[Path::new("www/after.txt")], b"what follows");
    (report, restored[Path::new("media/large.bin")].clone())
}

fn assert_lost(report: &BackupReport, words: &str) {
    assert_eq!(report.status, Status::Incomplete);
    assert!(
        report.skipped.iter().any(|skipped| skipped.path == "media/large.bin" && skipped.reason.contains(words)),
        "{:?}",
        report.skipped
    );
}

#[test]
fn a_large_file_that_vanished_is_zeros_and_named() {
    for compressed in [true, false] {
        let (report, restored) = changed(&half_noise(3 << 20, 2), compressed, |path| fs::remove_file(path).unwrap());
        assert_lost(&report, "deleted");
        assert!(restored.len() == 3 << 20 && restored.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_large_file_that_grew_is_cut() {
    for compressed in [true, false] {
        let content = half_noise(3 << 20, 3);
        let (report, restored) = changed(&content, compressed, |path| {
            fs::OpenOptions::new().append(true).open(path).unwrap().write_all(&half_noise(2 << 20, 9)).unwrap();
        });
        assert_eq!(report.status, Status::Complete);
        assert!(!report.warnings.iter().any(|warning| warning.contains("large.bin")), "{:?}", report.warnings);
        assert!(restored == content);
    }
}

#[test]
fn a_large_file_that_shrank_is_padded_and_named() {
    for compressed in [true, false] {
        let content = half_noise(3 << 20, 4);
        let (report, restored) = changed(&content, compressed, |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
        });
        assert_lost(&report, "shrank");
        assert!(restored[..1 << 20] == content[..1 << 20] && restored[1 << 20..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn changes_that_the_slack_does_not_cover_become_zeros() {
    // From half its size to its whole: far more than any slack.
    let content = half_noise(8 << 20, 5);
    let (report, restored) = changed(&content, true, |path| {
        let mut worse = half_noise(8 << 20, 6);
        worse[1 << 20..]
            .iter_mut()
            .enumerate()
            .for_each(|(n, byte)| *byte = byte.wrapping_mul(n as u8 | 1).wrapping_add((n >> 8) as u8));
        fs::write(path, worse).unwrap();
    });
    assert_lost(&report, "between measuring and sending");
    assert!(restored.len() == 8 << 20 && restored[4 << 20..].iter().all(|byte| *byte == 0));
}

#[test]
fn changes_that_cannot_make_the_archive_longer_are_sent() {
    // Nothing makes either shorter, so no piece can grow.
    let random = |seed: u64| {
        let mut state = seed | 1;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(4 << 20)
        .collect::<Vec<u8>>()
    };
    let (old, new) = (random(77), random(78));
    let expected = new.clone();
    let (report, restored) = changed(&old, true, move |path| fs::write(path, &new).unwrap());
    // The pieces at its ends hold other files too and may grow.
    let sent = restored.chunks(256 << 10).zip(expected.chunks(256 << 10)).filter(|(a, b)| a == b).count();
    assert!(report.status == Status::Complete && sent == 16 || sent > 0, "{sent}, {:?}", report.skipped);
}

#[test]
fn without_compression_any_change_of_the_same_length_is_sent() {
    let new = half_noise(3 << 20, 8);
    let expected = new.clone();
    let (report, restored) = changed(&half_noise(3 << 20, 7), false, move |path| fs::write(path, &new).unwrap());
    assert_eq!(report.status, Status::Complete);
    assert!(restored == expected);
}

fn rollback_database(home: &Home, megabytes: u32) -> PathBuf {
    let path = home.config().join("other.db");
    sql(
        &path,
        &format!(
            "pragma journal_mode=delete;create table t(x);insert into t values (randomblob({megabytes}000000));insert \
             into t values ('first')"
        ),
    );
    path
}

#[test]
fn a_small_rollback_database_is_read_once_and_never_locked_again() {
    let home = Home::new();
    let path = rollback_database(&home, 2);
    let report = home.send_while(home.options(), move |_| sql(&path, "update t set x = randomblob(3000000)"));
    assert_eq!((report.status, report.databases.len()), (Status::Complete, 1));
    let image = &home.restored("sent.tar", None)[Path::new("other.db")];
    assert!(image.windows(5).any(|bytes| bytes == b"first"));
}

#[test]
fn a_large_rollback_database_that_changes_is_measured_again_and_then_held() {
    for compressed in [true, false] {
        let home = Home::new();
        let path = rollback_database(&home, 12);
        let line = Line::new(home.0.path().join("out"), move |number| {
            if number == 1 {
                sql(&path, "insert into t values (randomblob(500000));insert into t values ('second')");
            } else {
                // From now on whoever writes waits.
                let script = "import sqlite3,sys\nd=sqlite3.connect(sys.argv[1],timeout=0.2)\ntry: d.execute('insert \
                    into t values (1)'); d.commit()\nexcept sqlite3.OperationalError: sys.exit(0)\nsys.exit(1)";
                assert!(Command::new("python3").arg("-c").arg(script).arg(&path).status().unwrap().success());
            }
        });
        let announced = line.announced();
        let report = send(BackupOptions { compressed, ..home.options() }, line).unwrap();
        home.assert_good(None);
        assert_eq!(report.status, Status::Complete, "{:?}", report.skipped);
        assert_eq!(announced.lock().unwrap().len(), 2);
        let image = &home.restored("sent.tar", None)[Path::new("other.db")];
        assert!(image.windows(6).any(|bytes| bytes == b"second"));
    }
}

#[test]
fn a_large_rollback_database_does_not_keep_its_writers_waiting_between_the_passes() {
    let home = Home::new();
    let path = rollback_database(&home, 12);
    let line = Line::new(home.0.path().join("out"), move |number| {
        // A transaction that changes nothing still needs the lock.
        if number == 1 {
            sql(&path, "begin exclusive;commit");
        }
    });
    let announced = line.announced();
    let report = send(home.options(), line).unwrap();
    home.assert_good(None);
    assert_eq!((report.status, report.databases.len()), (Status::Complete, 1));
    assert_eq!(announced.lock().unwrap().len(), 1);
}

#[test]
fn a_broken_line_gets_the_same_archive_again_without_measuring() {
    let home = Home::sample();
    home.write("www/video.mp4", &half_noise(6 << 20, 1));
    let line = Line::new(home.0.path().join("out"), |_| {}).losing(2, 3 << 20);
    let announced = line.announced();
    let new = home.config().join("www/new.txt");
    let report = send(home.options(), line).unwrap();
    assert!(!new.exists());
    home.assert_good(None);
    assert_eq!(report.status, Status::Complete);
    let announced = announced.lock().unwrap();
    assert!(announced.len() == 3 && announced.iter().all(|length| *length == announced[0]), "{announced:?}");
}

#[test]
fn a_line_that_breaks_in_the_middle_of_a_database_gets_the_same_image_again() {
    let home = Home::new();
    let path = home.config().join("other.db");
    sql(&path, "pragma journal_mode=wal;create table t(x);insert into t values (randomblob(45000000))");
    let line = Line::new(home.0.path().join("out"), move |number| {
        sql(&path, &format!("insert into t values ('sending {number}')"));
    });
    // Long before its end, so that what is read ahead of the line ends inside it.
    let line = line.losing(2, 2 << 20);
    let announced = line.announced();
    let report = send(home.options(), line).unwrap();
    home.assert_good(None);
    assert_eq!(report.status, Status::Complete, "{:?}", report.skipped);
    let announced = announced.lock().unwrap();
    assert!(announced.len() == 3 && announced.iter().all(|length| *length == announced[0]), "{announced:?}");
    let image = &home.restored("sent.tar", None)[Path::new("other.db")];
    assert!(!image.windows(8).any(|bytes| bytes == b"sending "));
}

#[test]
fn two_names_of_one_database_are_both_sent() {
    let home = Home::sample();
    let database = home.config().join("zigbee.db");
    fs::hard_link(&database, home.config().join("zigbee2.db")).unwrap();
    let report = home.send_while(home.options(), |_| {});
    assert_eq!(report.status, Status::Complete, "{:?}", report.skipped);
    let restored = home.restored("sent.tar", None);
    assert!(restored[Path::new("zigbee.db")] == restored[Path::new("zigbee2.db")]);
}
