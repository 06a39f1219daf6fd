//! Renames below two directories that never replace anything, follow no symbolic link, and can be undone. The caller
//! decides what goes where.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
};
use store::local::synced;

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Renames that can be taken back.
#[derive(Default)]
pub(super) struct Moves<'a> {
    done: Vec<(&'a OwnedFd, &'a OwnedFd, PathBuf)>,
}

impl<'a> Moves<'a> {
    /// Moves `path` below `from` to the same path below `to`, whose directories are made.
    pub(super) fn rename(&mut self, from: &'a OwnedFd, to: &'a OwnedFd, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new(""));
        rename_new(&open_below(from, above, false)?, name, &open_below(to, above, true)?, name)?;
        self.done.push((from, to, path.to_owned()));
        Ok(())
    }

    /// Whether all of them were.
    pub(super) fn take_back(self) -> bool {
        let mut all = true;
        for (from, to, path) in self.done.into_iter().rev() {
            let name = path.file_name().unwrap_or_default();
            let above = path.parent().unwrap_or(Path::new(""));
            // What can't be moved back stays under its kept name.
            all &= open_below(to, above, false)
                .and_then(|to| Ok((to, open_below(from, above, false)?)))
                .and_then(|(to, from)| rename_new(&to, name, &from, name))
                .is_ok();
        }
        all
    }

    /// Waits until every directory that a rename changed is on the disk; false if the file system can't say.
    pub(super) fn confirm(&self) -> io::Result<bool> {
        let above = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
        let mut confirmed = true;
        let mut last = None;
        for (from, to, path) in &self.done {
            let above = above(path);
            // Neighbours follow each other.
            let here = (from.as_raw_fd(), to.as_raw_fd(), above);
            if last.as_ref() == Some(&here) {
                continue;
            }
            for directory in [to, from] {
                confirmed &= synced(fs::fsync(open_below(directory, &here.2, false)?).map_err(io::Error::from))?;
            }
            last = Some(here);
        }
        Ok(confirmed)
    }
}

/// Opens a directory below another without following a symbolic link.
pub(super) fn open_below(directory: &OwnedFd, path: &Path, make: bool) -> io::Result<OwnedFd> {
    let mut current = directory.try_clone()?;
    for part in path {
        let part = OsString::from_vec(part.as_bytes().to_vec());
        current = match fs::openat(&current, &part, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                fs::mkdirat(&current, &part, Mode::RWXU)?;
                fs::openat(&current, &part, DIRECTORY, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(current)
}

/// A rename that never replaces anything, where the file system can promise it.
pub(super) fn rename_new(from: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
    match fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match kind(to, new)? {
            Some(_) => Err(Errno::EXIST.into()),
            None => Ok(fs::renameat(from, name, to, new)?),
        },
        other => Ok(other?),
    }
}

/// The names in a directory, without `.` and `..`.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// What has this name, if anything does.
pub(super) fn kind(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
