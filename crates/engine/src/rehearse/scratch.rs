//! The directory that an archive is unpacked into: of this process alone, never inside a configuration, and gone
//! afterwards. Its name says which process made it ([`store::owner`]), so that the next rehearsal removes what a killed
//! one left.

use std::{
    ffi::OsStr,
    fs::DirBuilder,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, openat, statat},
    process::geteuid,
};
use store::owner;

use super::RehearseError;
use crate::restore::remove_tree;

/// Removed when dropped, unless it is kept.
pub(super) struct Scratch {
    parent: OwnedFd,
    name: String,
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// A new one in `parent`, which is made if it is missing, after what killed runs left there is removed.
    pub(super) fn new(parent: &Path, keep: bool) -> Result<Self, RehearseError> {
        let failed = |source: io::Error| RehearseError::Scratch { path: parent.to_owned(), source };
        let there = parent.ancestors().find_map(|path| path.canonicalize().ok());
        if let Some(config) = there.as_deref().and_then(configuration_around) {
            return Err(RehearseError::InsideConfig { path: parent.to_owned(), config });
        }
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        let real = parent.canonicalize().map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, &real, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        remove_leftovers(&directory, &real);
        let name = owner::temporary_name();
        mkdirat(&directory, &name, Mode::RWXU).map_err(|error| failed(error.into()))?;
        Ok(Self { path: real.join(&name), parent: directory, name, keep })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is, or removes it. Says why it could not be removed.
    pub(super) fn finish(mut self) -> io::Result<Option<PathBuf>> {
        if self.keep {
            return Ok(Some(self.path.clone()));
        }
        self.keep = true;
        remove_tree(&self.parent, OsStr::new(&self.name))?;
        Ok(None)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing to report: the next run removes what stays.
            let _ = remove_tree(&self.parent, OsStr::new(&self.name));
        }
    }
}

/// The config directory that this is in, if it is in one.
fn configuration_around(path: &Path) -> Option<PathBuf> {
    let is_config = |directory: &&Path| {
        directory.join(".HA_VERSION").exists()
            || (directory.join("configuration.yaml").exists() && directory.join(".storage").is_dir())
    };
    path.ancestors().find(is_config).map(Path::to_owned)
}

/// Whatever can't be removed stays; it is not this run's business.
fn remove_leftovers(directory: &OwnedFd, path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(text) = name.to_str().filter(|text| owner::is_temporary(text)) else { continue };
        let Ok(stat) = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        // Unfinished uploads have such names as well, and are files.
        let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_uid == geteuid().as_raw();
        let changed =
            u64::try_from(stat.st_mtime).ok().map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let age = changed.and_then(|changed| changed.elapsed().ok());
        if is_ours && owner::is_abandoned(text, age) {
            let _ = remove_tree(directory, OsStr::from_bytes(text.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn it_is_private_and_gone_afterwards_unless_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("a/b");
        let scratch = Scratch::new(&parent, false).unwrap();
        assert_eq!(fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir(scratch.path().join("config")).unwrap();
        fs::set_permissions(scratch.path().join("config"), fs::Permissions::from_mode(0o0)).unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
        let kept = Scratch::new(&parent, true).unwrap().finish().unwrap().unwrap();
        assert!(kept.is_dir());
        assert!(Scratch::new(&parent, false).unwrap().finish().unwrap().is_none());
        assert!(kept.is_dir(), "its process is alive");
    }

    #[test]
    fn what_a_killed_one_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let own = owner::temporary_name();
        let fields: Vec<&str> = own.split('-').collect();
        let dead = format!("{}-{}-{}-{}-7-{}", fields[0], fields[1], fields[2], u32::MAX, fields[5]);
        fs::create_dir_all(folder.path().join(&dead).join("config/.storage")).unwrap();
        let file = dead.replace("-7-", "-8-");
        fs::write(folder.path().join(&file), "an upload").unwrap();
        fs::create_dir(folder.path().join("mine")).unwrap();
        drop(Scratch::new(folder.path(), false).unwrap());
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [file.as_str(), "mine"]);
    }

    #[test]
    fn it_is_never_inside_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".HA_VERSION"), "2026.11.0").unwrap();
        let refused = Scratch::new(&folder.path().join("deep/below"), false);
        assert!(matches!(refused, Err(RehearseError::InsideConfig { config, .. }) if config == folder.path()));
        assert!(!folder.path().join("deep").exists());
    }
}
