//! A pending file is whole under its final name, or absent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use proptest::prelude::*;
use store::{
    Store, StoreError,
    local::{Local, PendingFile, is_temporary, remove_leftovers},
    owner,
};

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_published_file_holds_what_was_appended_and_patched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let mut pending = PendingFile::create(&path).unwrap();
    let body: Vec<u8> = (0..3_500_001_u32).map(|n| n as u8).collect();
    for chunk in body.chunks(70_001) {
        pending.append(chunk).unwrap();
    }
    pending.patch(5, b"five");
    pending.patch(3_499_999, b"zz");
    assert!(!path.exists(), "nothing stands under the final name before it is whole");
    let published = pending.publish().unwrap();

    let mut expected = body;
    expected[5..9].copy_from_slice(b"five");
    expected[3_499_999..].copy_from_slice(b"zz");
    assert_eq!(published.length, expected.len() as u64);
    assert!(fs::read(&path).unwrap() == expected);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(dir.path()), ["a.tar"]);
}

#[test]
fn an_existing_file_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    fs::write(&path, "mine").unwrap();
    assert!(matches!(PendingFile::create(&path), Err(StoreError::Exists(_))));

    let late = dir.path().join("b.tar");
    let mut pending = PendingFile::create(&late).unwrap();
    pending.append(b"theirs").unwrap();
    fs::write(&late, "mine").unwrap();
    assert!(matches!(pending.publish(), Err(StoreError::Exists(_))));
    assert_eq!(fs::read(&late).unwrap(), b"mine");
    assert_eq!(names(dir.path()), ["a.tar", "b.tar"]);
}

#[test]
fn a_dropped_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut pending = PendingFile::create(&dir.path().join("a.tar")).unwrap();
    pending.append(&vec![1; 5_000_000]).unwrap();
    drop(pending);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn leftovers_of_the_dead_are_removed_and_those_of_the_living_kept() {
    let dir = tempfile::tempdir().unwrap();
    let own = owner::temporary_name();
    let fields: Vec<&str> = own.split('-').collect();
    let dead = format!("{}-{}-{}-{}-7-00000000.part", fields[0], fields[1], fields[2], u32::MAX);
    // What SFTP, WebDAV and SMB bring here from machines that are alive, and know nothing of this machine's locks.
    let elsewhere = ".haul-11111111-22222222-4711-987654-0badcafe.part";
    for name in [&dead, elsewhere, ".haul-get-01234567-89abcdef", "haul.part"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let living = PendingFile::create(&dir.path().join("a.tar")).unwrap();
    assert_eq!(remove_leftovers(dir.path()), 0);
    let left = names(dir.path());
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(!left.contains(&dead) && left.iter().filter(|name| is_temporary(name.as_ref())).count() == 2, "{left:?}");
    drop(living);
    assert_eq!(names(dir.path()), [elsewhere, ".haul-get-01234567-89abcdef", "haul.part"]);

    // After a week nobody comes back, unless somebody holds the lock.
    let long_ago = std::time::SystemTime::now() - 2 * owner::STALE;
    let held = fs::File::options().write(true).open(dir.path().join(elsewhere)).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for name in names(dir.path()) {
        fs::File::options().write(true).open(dir.path().join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    assert_eq!(remove_leftovers(dir.path()), 1, "what a `haul get` left");
    drop(held);
    assert_eq!(remove_leftovers(dir.path()), 1);
    assert_eq!(names(dir.path()), ["haul.part"]);
}

#[test]
fn a_missing_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = PendingFile::create(&dir.path().join("none/a.tar")).err().unwrap();
    assert!(matches!(error, StoreError::Missing(_)), "{error}");
    fs::write(dir.path().join("file"), "").unwrap();
    let error = PendingFile::create(&dir.path().join("file/a.tar")).err().unwrap();
    assert!(matches!(error, StoreError::NotADirectory(_)), "{error}");
}

#[test]
fn a_file_system_without_direct_writes_works_too() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = dir.path().join("a.tar");
    let mut pending = PendingFile::create(&path).unwrap();
    for _ in 0..20 {
        pending.append(&vec![7; 1 << 20]).unwrap();
    }
    pending.patch(0, b"patched");
    pending.publish().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((bytes.len(), &bytes[..8]), (20 << 20, &b"patched\x07"[..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_split_of_appends_gives_the_same_file(sizes in prop::collection::vec(0_usize..1_500_000, 0..6)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let mut pending = PendingFile::create(&path).unwrap();
        let mut expected = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            let bytes = vec![n as u8 + 1; *size];
            pending.append(&bytes).unwrap();
            expected.extend(bytes);
        }
        pending.publish().unwrap();
        prop_assert!(fs::read(&path).unwrap() == expected);
    }
}

#[test]
fn many_writers_in_one_directory_do_not_take_each_other_for_dead() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = dir.path();
            scope.spawn(move || {
                for n in 0..60 {
                    let mut pending = PendingFile::create(&path.join(format!("{writer}-{n}.tar"))).unwrap();
                    pending.append(b"x").unwrap();
                    pending.publish().unwrap();
                }
            });
        }
    });
    assert_eq!(names(dir.path()).len(), 480);
}

#[test]
fn a_name_that_can_not_be_given_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let error = PendingFile::create(&dir.path().join("n".repeat(300))).err().unwrap();
    assert!(error.to_string().contains("name too long"), "{error}");
    assert!(names(dir.path()).is_empty());
}

/// Holds a lease on a file: whoever opens it waits.
const HOLDS: &str = "import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1], 'r+')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";

#[test]
fn a_disk_that_is_waited_for_keeps_nothing_else_from_going_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    fs::write(&path, "bytes").unwrap();
    let mut holder = Command::new("python3");
    holder.args(["-c", HOLDS]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said.trim(), "held");
    let (input, order) = (holder.stdin.take(), Mutex::new(Vec::new()));
    let store = Local::open(dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let reads = async {
            assert_eq!(store.read("a.tar", 0..5).await.unwrap(), "bytes");
            order.lock().unwrap().push("it is read");
        };
        let goes_on = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            order.lock().unwrap().push("something else goes on");
            drop(input);
        };
        tokio::join!(reads, goes_on);
    });
    assert_eq!(*order.lock().unwrap(), ["something else goes on", "it is read"]);
    holder.wait().unwrap();
}
