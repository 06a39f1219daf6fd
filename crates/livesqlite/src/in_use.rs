//! Whether some process has a database open. It only asks: it takes no lock and writes nothing.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::pins::is_pinned;
use crate::sys;

/// Locks in the main file: while somebody reads or writes it (`PENDING_BYTE` and what follows it in SQLite's os.h).
const AT_WORK: Range<u64> = 0x4000_0000..0x4000_0200;
/// Locks in the `-shm`: the last of them (`UNIX_SHM_DMS`) is held for as long as a WAL database is open at all.
const OPEN: Range<u64> = 120..129;

/// Whether another process has the database at `path` open (in WAL mode) or is at work in it (in every mode). Sees
/// processes of other containers too, as long as they run on the same kernel. A database that is not there is not in
/// use.
pub fn is_in_use(path: &Path) -> io::Result<bool> {
    let mut shm = OsString::from(path);
    shm.push("-shm");
    Ok(is_locked(path, AT_WORK)? || is_locked(shm.as_ref(), OPEN)?)
}

fn is_locked(path: &Path, range: Range<u64>) -> io::Result<bool> {
    let found = path.symlink_metadata().and_then(|metadata| {
        if !metadata.is_file() {
            return Ok(None);
        }
        // Opening and closing it would end this process's own lock.
        if is_pinned(&metadata) {
            return Ok(Some(true));
        }
        let file: File = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        sys::is_locked(&file, range.start, range.end - range.start).map(Some)
    });
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => Ok(other?.unwrap_or(false)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::sys::{Lock, set_lock};

    #[test]
    fn a_lock_in_either_file_is_seen_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        assert!(!is_in_use(&path).unwrap(), "it is not there");
        for name in ["x.db", "x.db-shm"] {
            std::fs::write(directory.path().join(name), b"").unwrap();
        }
        assert!(!is_in_use(&path).unwrap());
        for (name, at, what, used) in [
            ("x.db-shm", 128, Lock::Shared, true),
            ("x.db-shm", 129, Lock::Shared, false),
            ("x.db", 0x4000_0002, Lock::Shared, true),
            ("x.db", 0x4000_0001, Lock::Exclusive, true),
            ("x.db", 0, Lock::Exclusive, false),
        ] {
            let file = OpenOptions::new().read(true).write(true).open(directory.path().join(name)).unwrap();
            assert!(set_lock(&file, what, at, 1).unwrap());
            assert_eq!(is_in_use(&path).unwrap(), used, "{name} at {at}");
        }
        assert!(!is_in_use(&path).unwrap(), "the locks ended with their files");
    }
}
