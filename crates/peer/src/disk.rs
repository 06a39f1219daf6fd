//! Small private files on this machine's disk that are replaced whole, and waiting until something is on the disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::io::Errno;

/// What came of a sync. `Ok(false)`: this file system has no such call (some network shares, FUSE, 9p, sandboxes); it
/// has not failed.
pub fn synced(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Makes sure that a name in `directory` survives a power cut, as far as the file system can.
pub fn sync_directory(directory: &Path) -> io::Result<bool> {
    synced(File::open(directory)?.sync_all())
}

/// Makes a new file that only this user may read, with this content, on the disk.
pub fn create_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    synced(file.sync_all()).map(drop)
}

/// Replaces a file in one step: a reader finds the old content or the new, and only this user may read either. Creates
/// the directory too.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Of its own, because another process may be doing the same.
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".new-{:016x}", u64::from_le_bytes(random)));
    let written = create_private(fresh.as_ref(), content).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
        return written;
    }
    // The name is there; that it might not survive a power cut is no failure of this.
    let _ = sync_directory(directory);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_system_that_has_no_sync_has_not_failed() {
        for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOSYS] {
            assert!(matches!(synced(Err(errno.into())), Ok(false)), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            assert!(synced(Err(errno.into())).is_err(), "{errno}");
        }
    }

    #[test]
    fn a_private_file_is_replaced_whole_or_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file.json");
        for content in ["first", "2"] {
            replace_private(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        // A directory of that name can't be replaced by a file.
        let taken = dir.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(replace_private(&taken, b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
