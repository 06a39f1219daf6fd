//! The files beside a database: their names, whether they are what they should be, and how to open them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::header::blocks_writers;

/// Write-ahead log, its index, rollback journal.
pub(crate) const SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// `path` with `suffix` appended, as SQLite names the files beside a database.
pub(crate) fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens a regular file for reading. A pipe or link under its name neither blocks nor leads elsewhere.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)
}

/// Fails if something other than a regular file has a companion's name: opening a pipe would wait for ever, and SQLite
/// follows no symlink there.
pub(crate) fn check_kinds(main: &Path) -> Result<(), OpenError> {
    for suffix in SUFFIXES {
        let path = companion(main, suffix);
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(OpenError::Companion { name: file_name(&path) });
        }
    }
    Ok(())
}

/// Fails if `main` is a second name (hard link) of a WAL database whose log is beside another name in the same folder.
/// SQLite finds log and locks by name, so it would miss commits, and checkpoints would change the file while it is
/// read. See <https://www.sqlite.org/howtocorrupt.html#_multiple_links_to_the_same_file>.
///
/// May open `main`, so the caller holds its pin and has no connection to it yet.
pub(crate) fn check_names(main: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    let has_own_log = || fs::symlink_metadata(companion(main, "-wal")).is_ok_and(|log| log.len() > 0);
    if metadata.nlink() < 2 || has_own_log() {
        return Ok(());
    }
    match name_with_log(main, metadata) {
        Some(other) if is_wal(main)? => Err(OpenError::OtherName { name: file_name(&other) }),
        _ => Ok(()),
    }
}

/// Another name of the same inode in the same folder that has a `-wal`. Opens nothing.
fn name_with_log(main: &Path, metadata: &Metadata) -> Option<PathBuf> {
    let names = fs::read_dir(main.parent()?).ok()?.flatten().map(|entry| entry.path());
    let is_same = |path: &PathBuf| {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()))
    };
    names.filter(|path| path != main).filter(is_same).find(|path| fs::symlink_metadata(companion(path, "-wal")).is_ok())
}

fn is_wal(main: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    open_regular(main)?.take(20).read_to_end(&mut head)?;
    Ok(!blocks_writers(&head))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_pipe_or_a_symlink_instead_of_a_file_makes_nobody_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, link) = (dir.path().join("pipe"), dir.path().join("link"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        // A plain open would block here for ever.
        assert!(open_regular(&pipe).unwrap().read(&mut [0]).is_ok_and(|read| read == 0));
        assert!(open_regular(&link).is_err());
    }
}
