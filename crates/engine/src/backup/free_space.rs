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

/// Whether the archive of this path is on the file system of the config directory.
fn is_shared(root: &Path, archive: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let directory = archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    device(root).is_some_and(|own| device(directory) == Some(own))
}

/// How many bytes a backup to this path must leave to Home Assistant's recorder and to everybody else there; `None` on
/// another file system.
pub(crate) fn reserve(root: &Path, archive: &Path) -> Option<u64> {
    if !is_shared(root, archive) {
        return None;
    }
    let found = rustix::fs::statvfs(root).ok()?;
    Some((found.f_blocks.saturating_mul(found.f_frsize) / ONE_IN).min(MOST))
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
    any.then(|| {
        "the backup is on the same file system as the config directory: if that disk fails, both are lost; send a copy \
         to another destination too"
            .to_owned()
    })
}
