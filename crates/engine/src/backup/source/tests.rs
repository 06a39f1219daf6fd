//! A listed entry has become something else by the time it is read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    path::Path,
};

use habackup::rules::Rules;

use super::*;
use crate::findings::Status;

fn scope(root: &Path) -> Scope {
    let rules = Arc::new(Rules::new(true));
    Scope {
        root: root.canonicalize().unwrap(),
        rules,
        mounts: Arc::default(),
        history: Vec::new(),
        outputs: Outputs::default(),
        pulse: Arc::default(),
    }
}

/// Lists the file `www/x`, lets something happen to it, and then reads all of the tar.
fn listed_then(happens: impl FnOnce(&Path)) -> (Vec<u8>, Gathered) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "of somebody else").unwrap();
    let root = dir.path().join("config");
    fs::create_dir_all(root.join("www")).unwrap();
    let path = root.join("www/x");
    fs::write(&path, vec![b'x'; 300_000]).unwrap();
    fs::write(root.join("www/y"), "what follows").unwrap();
    let scope = scope(&root);
    let listed: Vec<Found> =
        scope.walk().filter_map(|step| if let Step::Entry(found) = step { Some(found) } else { None }).collect();
    let listed: Vec<Found> = listed.into_iter().filter(|found| found.relative == b"www/x").collect();
    assert_eq!(listed.len(), 1);
    happens(&path);
    let mut source = TarSource::new(
        "x",
        &scope,
        listed,
        Findings::default(),
        Arc::new(Progress::default()),
        Cancellation::default(),
    );
    let mut tar = Vec::new();
    source.read_to_end(&mut tar).unwrap();
    (tar, source.finish())
}

fn contains(tar: &[u8], text: &str) -> bool {
    tar.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn whatever_replaces_a_listed_file_the_tar_continues_and_it_is_reported() {
    /// Nothing of note, a note, or a fault with this text.
    enum Says {
        Nothing,
        Note(&'static str),
        Fault(&'static str),
    }
    type Row<'t> = (&'t str, Box<dyn FnOnce(&Path)>, Says);
    let fifo = |path: &Path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    };
    let instead = |make: fn(&Path)| {
        move |path: &Path| {
            fs::remove_file(path).unwrap();
            make(path);
        }
    };
    let table: Vec<Row<'_>> = vec![
        ("nothing", Box::new(|_| {}), Says::Nothing),
        ("it is deleted", Box::new(|path| fs::remove_file(path).unwrap()), Says::Note("was deleted")),
        (
            "a FIFO",
            Box::new(move |path| {
                fs::remove_file(path).unwrap();
                fifo(path);
            }),
            Says::Fault("no longer a regular file"),
        ),
        (
            "a directory",
            Box::new(instead(|path| fs::create_dir(path).unwrap())),
            Says::Fault("no longer a regular file"),
        ),
        (
            "a link",
            Box::new(instead(|path| symlink("../../secret", path).unwrap())),
            Says::Fault("symbolic link took its place"),
        ),
        (
            "its directory becomes a link",
            Box::new(|path| {
                let (directory, elsewhere) = (
                    path.parent().unwrap(),
                    path.parent().unwrap().parent().unwrap().parent().unwrap().join("elsewhere"),
                );
                fs::rename(directory, &elsewhere).unwrap();
                fs::write(elsewhere.join("x"), "of somebody else").unwrap();
                symlink(&elsewhere, directory).unwrap();
            }),
            Says::Fault("symbolic link took its place"),
        ),
        ("another file", Box::new(instead(|path| fs::write(path, "something new").unwrap())), Says::Nothing),
        (
            "a longer one",
            Box::new(|path| fs::File::options().append(true).open(path).unwrap().set_len(900_000).unwrap()),
            Says::Nothing,
        ),
        (
            "a shorter one",
            Box::new(|path| fs::File::options().write(true).open(path).unwrap().set_len(3).unwrap()),
            Says::Nothing,
        ),
        (
            "rewritten",
            Box::new(|path| fs::File::options().write(true).open(path).unwrap().write_all_at(b"new", 0).unwrap()),
            Says::Nothing,
        ),
    ];
    for (what, happens, says) in table {
        let (tar, Gathered { findings, .. }) = listed_then(happens);
        let status = findings.status();
        let (skipped, warnings, _) = findings.into_lists();
        assert!(tar.len().is_multiple_of(10_240), "{what}");
        assert!(!contains(&tar, "of somebody else"), "{what}");
        match says {
            Says::Nothing => assert_eq!(
                (status, skipped.len(), warnings.len()),
                (Status::Complete, 0, 0),
                "{what}: {skipped:?} {warnings:?}"
            ),
            Says::Note(text) => assert!(
                status == Status::Complete && warnings.iter().any(|warning| warning.contains(text)),
                "{what}: {warnings:?}"
            ),
            Says::Fault(text) => assert!(
                status == Status::Incomplete && skipped.iter().any(|skipped| skipped.reason.contains(text)),
                "{what}: {skipped:?}"
            ),
        }
    }
}

/// A file that is changed after its first bytes were given out.
fn begun_then(name: &str, happens: impl FnOnce(&Path)) -> Findings {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, vec![b'x'; 1_000_000]).unwrap();
    fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let mut source = TarSource::new(
        "x",
        &scope(dir.path()),
        Vec::new(),
        Findings::default(),
        Arc::new(Progress::default()),
        Cancellation::default(),
    );
    let mut tar = vec![0; 500_000];
    source.read_exact(&mut tar).unwrap();
    happens(&path);
    source.read_to_end(&mut tar).unwrap();
    source.finish().findings
}

#[test]
fn what_changes_while_it_is_read_is_a_fault_only_where_it_matters() {
    type Change = fn(&Path);
    let append: Change = |path| fs::File::options().append(true).open(path).unwrap().set_len(1_500_000).unwrap();
    let rewrite: Change = |path| fs::File::options().write(true).open(path).unwrap().write_all_at(b"new", 0).unwrap();
    let anew: Change = |path| fs::write(path, vec![b'y'; 2_000_000]).unwrap();
    let cut: Change = |path| fs::File::options().write(true).open(path).unwrap().set_len(700_000).unwrap();
    let delete: Change = |path| fs::remove_file(path).unwrap();
    for (name, change, status, notes) in [
        ("www/log/zigbee.txt", append, Status::Complete, 0),
        ("data.bin", append, Status::Complete, 0),
        ("data.bin", delete, Status::Complete, 0),
        ("data.bin", rewrite, Status::Incomplete, 0),
        ("data.bin", anew, Status::Incomplete, 0),
        ("data.bin", cut, Status::Incomplete, 0),
        // Settings are read whole before a byte of them is given out.
        (".storage/big", rewrite, Status::Complete, 0),
        (".storage/deep/camera.jpg", rewrite, Status::Incomplete, 0),
        ("www/clip.mp4", append, Status::Complete, 0),
        ("www/clip.mp4", rewrite, Status::Complete, 1),
        ("www/clip.mp4", anew, Status::Complete, 1),
        ("www/clip.mp4", cut, Status::Complete, 1),
        ("logs/x", cut, Status::Complete, 1),
    ] {
        let findings = begun_then(name, change);
        let said = findings.status();
        let (skipped, warnings, _) = findings.into_lists();
        assert_eq!((said, warnings.len()), (status, notes), "{name}: {skipped:?} {warnings:?}");
    }
}

/// While a directory is walked.
#[test]
fn directories_that_change_under_the_walk_end_in_steps_that_tell() {
    type Change = fn(&Path);
    let gone: Change = |directory| fs::remove_dir_all(directory).unwrap();
    let file: Change = |directory| {
        fs::remove_dir_all(directory).unwrap();
        fs::write(directory, "").unwrap();
    };
    for (change, text) in [(gone, ""), (file, "not a directory")] {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("c"), "").unwrap();
        let mut walk = scope(dir.path()).walk();
        let listed = |step: Option<Step>| matches!(step, Some(Step::Entry(found)) if found.relative == b"a/b");
        assert!(walk.by_ref().any(|step| listed(Some(step))));
        change(&inner);
        match walk.next() {
            Some(Step::Vanished { relative }) => assert!(relative == b"a/b/c" && text.is_empty()),
            Some(Step::Lost { relative, reason }) => {
                assert!(relative == b"a/b/c" && reason.contains(text), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(walk.next().is_none());
    }
}
