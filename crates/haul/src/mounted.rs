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
    in_app::{FOLDERS, is_app, storage_of},
};

/// The mount point of each directory that had one of its own, by their paths.
type Seen = BTreeMap<String, String>;

/// Of more than these, those that are gone are forgotten.
const MOST: usize = 100;

/// On the machine's own disk even in a container, whose root is no disk: Docker and Podman mount this file from there.
const FROM_OUTSIDE: &str = "/etc/hosts";

/// Refuses a directory whose mount is missing. `config_dir`: what is backed up, if that is known. `force`: what was
/// seen earlier does not count.
pub(crate) fn check(goal: &Destination, config_dir: Option<&Path>, force: bool) -> Result<(), Failure> {
    let Some(archive) = goal.local_archive() else { return Ok(()) };
    let directory = directory_of(&archive);
    // Without its mount, a directory in it is missing, too.
    let there = nearest(&directory);
    engine::mounts::ask_for(&there.join("x.tar"))?;
    if goal.common.must_be_mounted {
        let config_dirs: Vec<PathBuf> = config_dir.map(Path::to_owned).into_iter().collect();
        return if own_mount(&directory, &config_dirs).is_some() { Ok(()) } else { Err(away(&directory)) };
    }
    let (Some(point), Some(before)) = (engine::mounts::mount_point(&there), seen().remove(&key(&directory))) else {
        return Ok(());
    };
    let is_gone = point != Path::new(&before) && Path::new(&before).starts_with(&point);
    if !is_gone || force || holds_archives(&directory) {
        return Ok(());
    }
    if is_app() && storage_of(&directory).is_some() {
        return Err(away(&directory));
    }
    let state = if directory.is_dir() { "holds no backup" } else { "does not exist" };
    let message = format!(
        "{} had backups on a mount at {before}; now nothing is mounted there, and the directory {state}",
        shown(&directory)
    );
    Err(Failure::new(FAILED, message)
        .hint("mount it, or use --force if backups should go there from now on; nothing was written"))
}

/// What is said of a directory that must be mounted, and is not.
fn away(directory: &Path) -> Failure {
    if let Some(storage) = storage_of(directory).filter(|_| is_app()) {
        let message = format!("the network storage behind {} is not connected", shown(&storage));
        return Failure::new(FAILED, message)
            .hint("look at it under Settings > System > Storage in Home Assistant")
            .about(shown(&storage), "it is not connected");
    }
    let is_bound = directory.is_dir() && engine::mounts::mount_point(directory).is_some_and(|at| at != Path::new("/"));
    let directory = shown(directory);
    if is_bound {
        let message = format!(
            "{directory} is on a disk of this machine's own data, but the destination is set to must_be_mounted"
        );
        return Failure::new(FAILED, message)
            .hint("mount its disk or share; if this is the right one, remove must_be_mounted; nothing was written")
            .about(directory, "it is on a disk of this machine's own data");
    }
    let message = format!("nothing is mounted at {directory}, but the destination is set to must_be_mounted");
    Failure::new(FAILED, message)
        .hint("mount it, then try again; nothing was written")
        .about(directory, "nothing is mounted there")
}

/// In an app, the network storage that a directory would be in and that is not connected now. A folder that is made
/// there is on the machine's own disk.
pub(crate) fn missing_storage(directory: &Path) -> Option<Failure> {
    let storage = storage_of(directory).filter(|storage| is_app() && storage != directory)?;
    own_mount(&storage, &[]).is_none().then(|| away(directory))
}

/// Where the disk or share is mounted that a directory has of its own: on none of the devices that this machine's own
/// data is on. Of a directory that is missing, the way to it counts. A service that may write only to some directories
/// sees each of them as a mount, and so does a container; those are on the system's disk all the same.
pub(crate) fn own_mount(directory: &Path, config_dirs: &[PathBuf]) -> Option<PathBuf> {
    let directory = nearest(directory);
    let point = engine::mounts::mount_point(&directory)?;
    let folders = if is_app() { FOLDERS } else { &[] };
    let own = ["/", FROM_OUTSIDE].iter().chain(folders).map(PathBuf::from);
    let own = own.chain([nearest(&destination::state_directory())]).chain(config_dirs.iter().cloned());
    let own: Vec<(PathBuf, u64)> = own.filter_map(|path| Some((path.canonicalize().ok()?, device(&path)?))).collect();
    is_own(&point, device(&directory)?, &own).then_some(point)
}

/// `own`: what is on this machine's disks, each with its device.
fn is_own(point: &Path, device: u64, own: &[(PathBuf, u64)]) -> bool {
    point != Path::new("/") && own.iter().all(|(path, on)| *on != device && !path.starts_with(point))
}

fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|about| about.dev())
}

/// The directory itself, or what is there of the way to it.
fn nearest(directory: &Path) -> PathBuf {
    let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    whole.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// A backup arrived there. What is known of a disk or share that is gone stays known.
pub(crate) fn remember(archive: &Path, config_dir: Option<&Path>) {
    let directory = directory_of(archive);
    let Some(point) = own_mount(&directory, &config_dir.map(Path::to_owned).into_iter().collect::<Vec<_>>()) else {
        return;
    };
    let Some(point) = point.to_str() else { return };
    let mut seen = seen();
    if seen.insert(key(&directory), point.to_owned()).as_deref() == Some(point) {
        return;
    }
    if seen.len() > MOST {
        seen.retain(|directory, _| Path::new(directory).is_dir());
    }
    // Without it one check is missing; the backup is not affected.
    let _ = keep(&seen);
}

/// What was typed is a directory, which may be missing, or an archive in one.
fn directory_of(typed: &Path) -> PathBuf {
    if typed.is_dir() || typed.extension().is_none_or(|extension| extension != "tar") {
        return typed.to_owned();
    }
    typed.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// The directory's path without links, also if it is missing.
fn key(directory: &Path) -> String {
    let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let there = nearest(&whole);
    let missing = whole.strip_prefix(&there).unwrap_or(Path::new(""));
    let real = there.canonicalize().unwrap_or(there);
    let path = if missing.as_os_str().is_empty() { real } else { real.join(missing) };
    path.to_string_lossy().into_owned()
}

fn shown(path: &Path) -> String {
    engine::shown(path.as_os_str().as_encoded_bytes())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]
    use super::*;

    const DATA: u64 = 1;
    const ROOT: u64 = 2;
    const NAS: u64 = 3;

    fn own_data(paths: &[(&str, u64)]) -> Vec<(PathBuf, u64)> {
        paths.iter().map(|(path, device)| (PathBuf::from(path), *device)).collect()
    }

    #[test]
    fn a_mount_on_a_device_of_the_machines_own_data_is_no_disk_of_its_own() {
        // An app: each folder is a mount of the data disk, and the root is none.
        let app =
            own_data(&[("/", ROOT), ("/etc/hosts", DATA), ("/data", DATA), ("/homeassistant", DATA), ("/share", DATA)]);
        assert!(is_own(Path::new("/share/nas"), NAS, &app));
        assert!(!is_own(Path::new("/share"), DATA, &app), "network storage that is gone leaves its folder there");
        assert!(!is_own(Path::new("/share/nas"), DATA, &app), "nor is a folder of that disk that is mounted over it");
        assert!(!is_own(Path::new("/share"), NAS, &app));
        // A container, of which Docker mounts three files and the volumes.
        let docker = own_data(&[("/", ROOT), ("/etc/hosts", DATA), ("/config", NAS)]);
        assert!(!is_own(Path::new("/backups"), DATA, &docker), "a volume is on the machine's disk");
        assert!(!is_own(Path::new("/backups"), NAS, &docker), "it is on the disk of what is backed up");
        assert!(is_own(Path::new("/backups"), 4, &docker));
        // A service that may write only there.
        let service = own_data(&[("/", ROOT), ("/var/lib/haul", ROOT)]);
        assert!(!is_own(Path::new("/srv/backups"), ROOT, &service) && is_own(Path::new("/srv/backups"), NAS, &service));
        assert!(!is_own(Path::new("/"), NAS, &service));
        // A mount of its own for what is backed up, and a subvolume with another device in it.
        let config = own_data(&[("/", ROOT), ("/mnt/disk/config", NAS)]);
        assert!(!is_own(Path::new("/mnt/disk"), 4, &config));
    }

    #[test]
    fn a_directory_that_is_missing_has_the_name_that_it_had() {
        let place = tempfile::tempdir().expect("a directory");
        let (real, link) = (place.path().join("real"), place.path().join("link"));
        fs::create_dir_all(real.join("a/b")).expect("directories");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let before = key(&link.join("a/b"));
        fs::remove_dir_all(real.join("a")).expect("it goes");
        assert_eq!(key(&link.join("a/b")), before);
        assert_eq!(directory_of(&link.join("a/b")), link.join("a/b"));
        assert_eq!(directory_of(&link.join("a/b/x.tar")), link.join("a/b"));
    }
}
