//! The directory that a restore is for: what it holds now, and where its staging directory can be.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Access, AtFlags, CWD, Gid, Mode, OFlags, StatxAttributes, StatxFlags, Uid};

use super::RestoreError;
use super::renames::names;
use super::stage::is_stage;
use crate::mounts;

/// What is at the target now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    Missing,
    Empty,
    Filled,
}

pub(super) struct Target {
    /// Absolute, without symbolic links.
    pub(super) path: PathBuf,
    pub(super) now: Now,
    /// The owner of the directory; if it is missing, the owner of its future parent.
    pub(super) owner: (Uid, Gid),
    /// Mode of the directory that exists.
    pub(super) mode: Option<u32>,
    /// The directory can't be renamed (a mount point, a parent that we may not write, or an empty directory that holds
    /// ignored entries), so the stage is inside and the children are moved.
    pub(super) inside: bool,
}

impl Target {
    pub(super) fn look(into: &Path) -> Result<Self, RestoreError> {
        let failed = |source: io::Error| RestoreError::Target { path: into.to_owned(), source };
        match std::fs::canonicalize(into) {
            Ok(path) => Self::existing(path, into),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = into.file_name().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
                if into.symlink_metadata().is_ok() {
                    return Err(RestoreError::NotADirectory { path: into.to_owned() });
                }
                let parent = match into.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                let parent = std::fs::canonicalize(parent)
                    .map_err(|source| RestoreError::Target { path: parent.to_owned(), source })?;
                let stat = fs::stat(&parent)
                    .map_err(|error| RestoreError::Target { path: parent.clone(), source: error.into() })?;
                let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                Ok(Self { path: parent.join(name), now: Now::Missing, owner, mode: None, inside: false })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn existing(path: PathBuf, into: &Path) -> Result<Self, RestoreError> {
        let failed = |source: io::Error| RestoreError::Target { path: into.to_owned(), source };
        if !path.is_dir() {
            return Err(RestoreError::NotADirectory { path: into.to_owned() });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::openat(CWD, &path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let stat = fs::fstat(&directory).map_err(|error| failed(error.into()))?;
        let entries = names(&directory).map_err(failed)?;
        let filled = entries.iter().any(|name| !passed_over(name));
        // Ignored entries stay where they are, so no other directory can replace this one.
        let holds_others = !filled && !entries.is_empty();
        Ok(Self {
            now: if filled { Now::Filled } else { Now::Empty },
            owner: (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)),
            mode: Some(Mode::from_raw_mode(stat.st_mode).as_raw_mode()),
            inside: holds_others || must_stay(&path, stat.st_dev),
            path,
        })
    }

    /// The directory that holds the stage and, next to the target, what a restore replaced.
    pub(super) fn beside(&self) -> &Path {
        if self.inside { &self.path } else { self.path.parent().unwrap_or(&self.path) }
    }

    /// The target's name in the directory that holds the stage; empty where it is that directory itself.
    pub(super) fn name_beside(&self) -> OsString {
        if self.inside { OsString::new() } else { self.path.file_name().unwrap_or_default().to_owned() }
    }

    /// Refuses to move what is mounted somewhere in the target: a mount would go along with a directory that is put
    /// aside, and nothing can be moved into or out of one. `moved` are the paths below the target that a restore moves.
    pub(super) fn mounts_in_the_way(&self, moved: &[&PathBuf]) -> Result<(), RestoreError> {
        let in_the_way = |mount: &PathBuf| moved.iter().any(|path| path.starts_with(mount) || mount.starts_with(path));
        let mounts =
            mounts::below(&self.path).into_iter().filter(in_the_way).map(|mount| self.path.join(mount)).collect();
        self.refuse(mounts)
    }

    /// The same where everything in the target is moved.
    pub(super) fn any_mounts_in_the_way(&self) -> Result<(), RestoreError> {
        let is_left = |mount: &PathBuf| self.inside && mount.iter().next().is_some_and(stays);
        self.refuse(
            mounts::below(&self.path)
                .into_iter()
                .filter(|mount| !is_left(mount))
                .map(|mount| self.path.join(mount))
                .collect(),
        )
    }

    fn refuse(&self, mounts: Vec<PathBuf>) -> Result<(), RestoreError> {
        if mounts.is_empty() { Ok(()) } else { Err(RestoreError::Mounts { path: self.path.clone(), mounts }) }
    }

    /// The directory whose owner the restored files get.
    pub(super) fn model(&self) -> &Path {
        if self.mode.is_some() { &self.path } else { self.path.parent().unwrap_or(&self.path) }
    }

    /// A name for what a restore replaces, `attempt` counting from 0.
    pub(super) fn kept_name(&self, now: &str, attempt: u32) -> OsString {
        let mut name = if self.inside {
            OsString::new()
        } else {
            let mut name = self.path.file_name().unwrap_or_default().to_owned();
            name.push(".");
            name
        };
        name.push(format!("{KEPT}{now}"));
        if attempt > 0 {
            name.push(format!("-{}", attempt + 1));
        }
        name
    }
}

const KEPT: &str = "before-restore-";

/// Entries of a directory that do not make it a filled one, and that are never moved.
pub(super) fn passed_over(name: &std::ffi::OsStr) -> bool {
    is_stage(name.as_bytes()) || name == "lost+found"
}

/// Entries that a swap inside a mount point leaves where they are.
pub(super) fn stays(name: &std::ffi::OsStr) -> bool {
    passed_over(name) || name.as_bytes().starts_with(KEPT.as_bytes())
}

/// Whether the directory itself can't be renamed.
fn must_stay(path: &Path, device: u64) -> bool {
    let Some(parent) = path.parent() else { return true };
    let mounted = fs::statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    let other_device = fs::stat(parent).is_ok_and(|stat| stat.st_dev != device);
    let writable = fs::accessat(CWD, parent, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    mounted || other_device || !writable
}
