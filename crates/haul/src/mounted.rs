//! Refuses a directory whose disk or share is not mounted. Otherwise the directory below the mount point would take the
//! backups: they would fill the wrong disk, and be hidden once the mount is back.
//!
//! Three sources show what should be mounted: `/etc/fstab`, `must_be_mounted` in `haul.toml`, and the state directory,
//! which records the mount that held a directory when a backup arrived there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use peer::disk::replace_private;

use crate::{
    destination::{self, Destination},
    failure::{FAILED, Failure},
};

/// The mount point of each directory that had one of its own, by their paths.
type Seen = BTreeMap<String, String>;

/// Of more than these, those that are gone are forgotten.
const MOST: usize = 100;

/// Refuses a directory whose mount is missing. `config_dir`: what is backed up, if that is known. `force`: what was
/// seen earlier does not count.
pub(crate) fn check(goal: &Destination, config_dir: Option<&Path>, force: bool) -> Result<(), Failure> {
    let Some(archive) = goal.local_archive() else { return Ok(()) };
    engine::mounts::ask_for(&archive_in(&archive))?;
    let directory = directory_of(&archive);
    if !directory.is_dir() {
        return Ok(());
    }
    let point = engine::mounts::mount_point(&directory);
    let shown = engine::shown(directory.as_os_str().as_encoded_bytes());
    if goal.common.must_be_mounted {
        let config_dir = config_dir.and_then(|path| path.canonicalize().ok());
        // The one that holds everything is not meant, nor is the one Home Assistant runs from.
        let is_own = |point: &PathBuf| {
            point != Path::new("/") && !config_dir.as_ref().is_some_and(|config| config.starts_with(point))
        };
        if !point.as_ref().is_some_and(is_own) {
            let message = format!("nothing is mounted at {shown}, but the destination is set to must_be_mounted");
            return Err(Failure::new(FAILED, message).hint("mount it, then try again; nothing was written"));
        }
        return Ok(());
    }
    let (Some(point), Some(before)) = (point, seen().remove(&key(&directory))) else { return Ok(()) };
    let is_gone = point != Path::new(&before) && Path::new(&before).starts_with(&point);
    if is_gone && !force && !holds_archives(&directory) {
        let message = format!(
            "{shown} had backups on a mount at {before}; now nothing is mounted there, and the directory holds no \
             backup"
        );
        return Err(Failure::new(FAILED, message)
            .hint("mount it, or use --force if backups should go there from now on; nothing was written"));
    }
    Ok(())
}

/// Where the disk or share is mounted that a directory has of its own: not the system's, and not one that holds what is
/// backed up. A service that may write only to some directories sees each of them as a mount; those are on the system's
/// disk all the same.
pub(crate) fn own_mount(directory: &Path, config_dirs: &[PathBuf]) -> Option<PathBuf> {
    let point = engine::mounts::mount_point(directory)?;
    let device = |path: &Path| fs::metadata(path).ok().map(|about| about.dev());
    let holds = |config: &PathBuf| config.canonicalize().is_ok_and(|config| config.starts_with(&point));
    let is_own =
        point != Path::new("/") && device(directory) != device(Path::new("/")) && !config_dirs.iter().any(holds);
    is_own.then_some(point)
}

/// A backup arrived there.
pub(crate) fn remember(archive: &Path) {
    let directory = directory_of(archive);
    let Some(point) = engine::mounts::mount_point(&directory) else { return };
    let before = seen();
    let mut after = before.clone();
    match point.to_str().filter(|point| *point != "/") {
        Some(point) => drop(after.insert(key(&directory), point.to_owned())),
        None => drop(after.remove(&key(&directory))),
    }
    if after.len() > MOST {
        after.retain(|directory, _| Path::new(directory).is_dir());
    }
    if after != before {
        // Without it one check is missing; the backup is not affected.
        let _ = keep(&after);
    }
}

/// Whether what was typed is a directory or an archive in one, the archive would be in it.
fn archive_in(typed: &Path) -> PathBuf {
    if typed.is_dir() { typed.join("x.tar") } else { typed.to_owned() }
}

fn directory_of(archive: &Path) -> PathBuf {
    let archive = archive_in(archive);
    archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn key(directory: &Path) -> String {
    directory.canonicalize().unwrap_or_else(|_| directory.to_owned()).to_string_lossy().into_owned()
}

fn holds_archives(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "tar"))
    })
}

fn path() -> PathBuf {
    destination::state_directory().join("mounts.json")
}

fn seen() -> Seen {
    fs::read(path()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn keep(seen: &Seen) -> std::io::Result<()> {
    replace_private(&path(), &serde_json::to_vec(seen)?)
}
