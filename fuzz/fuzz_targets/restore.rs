//! Any archive, restored. Nothing but the target may appear or change, a failure leaves nothing behind, and the target
//! may hold only files, directories and links of its own.
#![no_main]

use std::{
    cell::RefCell,
    fs, io,
    num::NonZeroUsize,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use engine::restore::{RestoreOptions, restore};
use habackup::securetar::Password;
use haul_fuzz::{Scratch, any_archive, needs_argon2};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(prepare(Scratch::new()));
}

/// A few levels, so that a name that climbs out of the target is still seen.
const LEVELS: &str = "one/two/three";

fn prepare(scratch: Scratch) -> Scratch {
    let root = scratch.path();
    fs::create_dir_all(root.join(LEVELS)).expect("levels");
    for level in ["", "one", "one/two", LEVELS] {
        fs::write(root.join(level).join("secret"), b"secret").expect("a file");
    }
    scratch
}

/// Everything around the target: path, mode, links, size, time.
fn around(root: &Path, target: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            if path == target {
                continue;
            }
            let metadata = entry.metadata().expect("metadata");
            let time = if metadata.is_file() { (metadata.mtime(), metadata.mtime_nsec()) } else { (0, 0) };
            found.push(format!(
                "{} {:o} {} {} {time:?}",
                path.display(),
                metadata.mode(),
                metadata.nlink(),
                metadata.len()
            ));
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    found.retain(|line| !line.contains("/one/two/three "));
    found.sort();
    found
}

/// Looks at every entry, and makes directories removable on the way.
fn inspect(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        assert!(
            kind.is_dir() || kind.is_symlink() || kind.is_file() && metadata.nlink() == 1,
            "{} is something else",
            path.display()
        );
        if kind.is_dir() {
            inspect(&path)?;
        }
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, bytes)) = any_archive(data) else { return };
    if needs_argon2(&bytes) {
        return;
    }
    SCRATCH.with_borrow(|scratch| run(scratch.path(), flags, &bytes));
});

fn run(root: &Path, flags: u8, bytes: &[u8]) {
    let beside = root.join(LEVELS);
    let (archive, into) = (root.join("archive.tar"), beside.join("config"));
    fs::write(&archive, bytes).expect("the archive is written");
    let filled = flags & 4 == 4;
    if filled {
        fs::create_dir_all(into.join("data")).expect("a target");
        fs::write(into.join("data/configuration.yaml"), b"old").expect("a file");
        fs::write(into.join("configuration.yaml"), b"old").expect("a file");
        std::os::unix::fs::symlink("..", into.join("up")).expect("a link");
    }
    let options = RestoreOptions {
    only: if flags & 1 == 1 { vec!["c*".into(), "up/**".into(), "**/s*".into()] } else { Vec::new() },
    database_only: flags & 3 == 2,
    replace: filled,
    password: (flags & 8 == 0).then(|| Password::new("correct horse")),
    threads: NonZeroUsize::new(1 + usize::from(flags >> 4 & 1)).expect("one or two"),
    ..RestoreOptions::default()
};
    let before = around(root, &into);
    let result = restore(&archive, &into, &options, &|_, _| {}, &Default::default());
    if let Ok(restored) = &result
        && let Some(kept) = &restored.kept
    {
        assert!(filled && kept.starts_with(&beside));
        inspect(kept).expect("what was kept can be looked at");
        if kept.exists() {
            fs::remove_dir_all(kept).expect("what was kept can be removed");
        }
    }
    assert_eq!(before, around(root, &into), "{result:?}");
    if into.symlink_metadata().is_ok() {
        assert!(into.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()));
        if result.is_err() {
            assert!(filled, "a failure left something behind: {result:?}");
            assert_eq!(fs::read(into.join("configuration.yaml")).expect("it is as it was"), b"old");
        }
        inspect(&into).expect("the target can be looked at");
        fs::remove_dir_all(&into).expect("the target can be removed");
    } else {
        assert!(result.is_err() && !filled);
    }
}
