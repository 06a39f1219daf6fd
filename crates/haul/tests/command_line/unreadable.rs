//! Each call by which a backup reads its source fails, at one entry: that entry is named, and everything else is in the
//! archive.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use testkit::strace;

use super::{Place, command, said, text};

const HAUL: &str = env!("CARGO_BIN_EXE_haul");
const EIO: &str = "the disk can't read it (input/output error)";
const DENIED: &str = "permission denied (run haul as root or as Home Assistant's user)";
const STALE: &str = "the network share no longer knows it (stale file handle)";

/// What becomes of the entry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Becomes {
    Whole,
    Missing,
    /// Its beginning is there, zeros stand for the rest.
    Cut,
}
use Becomes::{Cut, Missing, Whole};

/// Every name below a directory with what it holds: bytes, or where it leads.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let kind = path.symlink_metadata().unwrap().file_type();
            let holds = if kind.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if kind.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), holds);
        }
    }
    found
}

fn place() -> Place {
    let place = Place::new();
    fs::create_dir_all(place.config().join("www/shelf")).unwrap();
    for (name, length) in
        [("www/shelf/a", 9), ("www/shelf/b", 9), ("www/small", 5000), ("www/large", 5 << 20), ("www/what-follows", 9)]
    {
        place.write(name, &(0..length).map(|at: u32| (at % 251) as u8 + 1).collect::<Vec<_>>());
    }
    symlink("small", place.config().join("www/link")).unwrap();
    let sample = place.dir.path().join("sample");
    sample::create(&sample, &sample::Options { database_bytes: 400_000, seed: 1 }).unwrap();
    fs::copy(sample.join("zigbee.db"), place.config().join("www/bees.db")).unwrap();
    place
}

#[test]
fn whatever_call_fails_the_entry_is_named_and_nothing_else_is_missing() {
    if !strace::can_trace() {
        return;
    }
    // At which entry, the calls that fail, the exit code, what becomes of the entry, and the message about it.
    let cases: &[(&str, &[&str], i32, Becomes, &str)] = &[
        ("www/link", &["?readlink,readlinkat:error=EACCES"], 3, Missing, DENIED),
        ("www/link", &["?readlink,readlinkat:error=EIO"], 3, Missing, EIO),
        ("www/link", &["?readlink,readlinkat:error=EINVAL"], 3, Missing, "it is no longer a symbolic link"),
        ("www/link", &["?readlink,readlinkat:error=ENOENT"], 0, Missing, "was deleted while the backup ran"),
        ("www/small", &["statx:error=EIO"], 3, Missing, EIO),
        ("www/small", &["statx:error=EACCES"], 3, Missing, DENIED),
        ("www/small", &["statx:error=ESTALE"], 3, Missing, STALE),
        ("www/small", &["statx:error=ENOENT"], 0, Missing, "was deleted while the backup ran"),
        ("www/small", &["openat2,openat:error=EIO"], 3, Missing, EIO),
        ("www/small", &["openat2,openat:error=EACCES"], 3, Missing, DENIED),
        ("www/small", &["openat2:error=ENOSYS"], 0, Whole, ""),
        ("www/small", &["openat2:error=EPERM"], 0, Whole, ""),
        ("www/small", &["read:error=EIO"], 3, Missing, EIO),
        ("www/small", &["read:error=EIO:when=3+"], 3, Missing, EIO),
        ("www/large", &["read,pread64:error=EIO"], 3, Missing, EIO),
        (
            "www/large",
            &["pread64:error=EIO:when=3+"],
            3,
            Cut,
            "the disk can't read it (input/output error); the rest of its copy is zeros",
        ),
        ("www/large", &["lseek:error=EIO", "fadvise64:error=EIO", "mincore:error=EIO"], 0, Whole, ""),
        // SQLite can't read it, but its raw bytes can be read; or they can't.
        (
            "www/bees.db",
            &["pread64:error=EIO"],
            3,
            Whole,
            "its raw files were archived as they are, which may or may not open",
        ),
        ("www/bees.db", &["read,pread64:error=EIO"], 3, Missing, EIO),
        // At once, then when the names of before have been listed.
        ("www/shelf", &["getdents64:error=EIO"], 3, Missing, EIO),
        (
            "www/shelf",
            &["getdents64:error=EIO:when=2+2"],
            3,
            Whole,
            "only part of it could be listed: the disk can't read it",
        ),
        ("www/shelf", &["openat:error=EACCES"], 3, Missing, DENIED),
        // Nobody asks for extended attributes.
        ("www/small", &["getxattr,lgetxattr,fgetxattr,listxattr,llistxattr,flistxattr:error=EOPNOTSUPP"], 0, Whole, ""),
    ];
    let place = place();
    let (original, archive, back) = (tree(&place.config()), place.out().join("b.tar"), place.dir.path().join("back"));
    for (name, calls, code, becomes, words) in cases {
        // Read once, and measured first.
        for to in ["out/b.tar", "-"] {
            let case = format!("{name} {calls:?} {to}");
            let mut traced = strace::failing(calls, Some(&place.config().join(name)), Path::new(HAUL));
            traced
                .args(["backup", "config", "--threads", "1", "--to", to])
                .env_remove("HAUL_PASSWORD")
                .current_dir(place.dir.path());
            let output = traced.output().unwrap();
            if to == "-" {
                fs::write(&archive, &output.stdout).unwrap();
            }
            let told = if to == "-" { String::new() } else { text(&output.stdout) } + &text(&output.stderr);
            assert_eq!(output.status.code(), Some(*code), "{case}: {told}");
            assert!(
                words.is_empty() || told.lines().any(|line| line.contains(name) && line.contains(words)),
                "{case}: {told}"
            );

            let restored =
                command(&["restore", "out/b.tar", "--into", "back"]).current_dir(place.dir.path()).output().unwrap();
            assert!(matches!(restored.status.code(), Some(0 | 3)), "{case}: {}", said(&restored).1);
            let mut found = tree(&back);
            for (path, holds) in &original {
                let is_below = path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
                let there = found.remove(path);
                match (*becomes, path == name) {
                    (Missing, true) if holds.is_empty() => {
                        assert_eq!(there.as_ref(), Some(holds), "{case}: the directory itself");
                    }
                    (Missing, _) if path == name || is_below => assert_eq!(there, None, "{case}: {path}"),
                    (Cut, true) => {
                        let there = there.unwrap();
                        let zeros = there.iter().rev().take_while(|byte| **byte == 0).count();
                        assert!(
                            zeros > 0
                                && there.len() == holds.len()
                                && there[..there.len() - zeros] == holds[..holds.len() - zeros],
                            "{case}"
                        );
                    }
                    _ => assert!(there.as_ref() == Some(holds), "{case}: {path}"),
                }
            }
            assert!(found.is_empty(), "{case}: {:?}", found.keys());
            fs::remove_dir_all(&back).unwrap();
            fs::remove_file(&archive).unwrap();
        }
    }
}
