//! Free space on the file system that Home Assistant runs from, if backups go there as well: how much must stay free,
//! and what such a backup is not good for.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Of the file system, this part stays free, but …
const ONE_IN: u64 = 20;
/// … not more than this.
const MOST: u64 = 512_000_000;

/// The warning of a backup that has no copy elsewhere.
pub const ON_ONE_DISK: &str = "the backup is on the same file system as the config directory: if that disk fails, \
                               both are lost; send a copy to another destination too";

/// Whether the archive of this path is on the file system of the config directory.
fn is_shared(root: &Path, archive: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let directory = archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    device(root).is_some_and(|own| device(directory) == Some(own))
}

/// How many bytes may be written below this directory so that others there can go on; `None` where that can't be known.
pub(crate) fn available(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok().filter(|found| found.f_blocks > 0)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Some(free.saturating_sub(kept_free(&found)))
}

fn kept_free(found: &rustix::fs::StatVfs) -> u64 {
    (found.f_blocks.saturating_mul(found.f_frsize) / ONE_IN).min(MOST)
}

/// How many bytes a backup to this path must leave to Home Assistant's recorder and to everybody else there; `None` on
/// another file system.
pub(crate) fn reserve(root: &Path, archive: &Path) -> Option<u64> {
    if !is_shared(root, archive) {
        return None;
    }
    let found = rustix::fs::statvfs(root).ok()?;
    Some(kept_free(&found))
}

/// The note for the report once all copies that arrived are there.
pub(crate) fn about_copies<'p>(root: &Path, copies: impl Iterator<Item = Option<&'p PathBuf>>) -> Option<String> {
    let mut any = false;
    for copy in copies {
        any = true;
        if !copy.is_some_and(|path| is_shared(root, path)) {
            return None;
        }
    }
    any.then(|| ON_ONE_DISK.to_owned())
}
