//! Finds the descriptors that SQLite itself opened, and asks the kernel whether our locks on them still hold.
//!
//! A descriptor of our own on a database file is impossible: closing it would drop SQLite's locks (see `pins`). SQLite
//! does not expose its descriptors, but `/proc/self/fd` does.

use std::fs;
use std::ops::Range;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::sys;

/// A descriptor owned by a SQLite connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnFd {
    raw: RawFd,
}

impl OwnFd {
    /// The descriptor, for as long as the connection lives.
    #[expect(unsafe_code, reason = "a loan from SQLite has no safe form")]
    pub(crate) fn lend(&self) -> BorrowedFd<'_> {
        // SAFETY: an `OwnFd` is kept only beside the connection that owns the descriptor (struct `Transaction`), which
        // keeps its files open until it is closed; `pins` keeps anybody else in this process off the same inode.
        unsafe { sys::lend(self.raw) }
    }

    /// Does this process hold a POSIX read lock that begins in `range`? `None`: the kernel would not say. The kernel
    /// lists a lock only under the descriptor that took it, which may be one that SQLite shares with another
    /// connection.
    pub(crate) fn holds_read_lock(self, range: &Range<u64>) -> Option<bool> {
        let inode = rustix::fs::fstat(self.lend()).ok()?;
        let mut holds = false;
        for fd in with_inode(inode.st_dev, inode.st_ino) {
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            holds |= text.lines().filter_map(read_lock_start).any(|start| range.contains(&start));
        }
        Some(holds)
    }
}

/// `lock: 1: POSIX  ADVISORY  READ 42 fe:00:1234 1073741826 1073742335` → its first byte.
fn read_lock_start(line: &str) -> Option<u64> {
    let mut fields = line.strip_prefix("lock:")?.split_whitespace();
    (fields.nth(1)? == "POSIX" && fields.nth(1)? == "READ").then_some(())?;
    fields.nth(2)?.parse().ok()
}

/// The descriptors of this process that are the file at `path`.
pub(crate) fn of(path: &Path) -> Vec<RawFd> {
    fs::symlink_metadata(path).map_or_else(|_| Vec::new(), |wanted| with_inode(wanted.dev(), wanted.ino()))
}

fn with_inode(dev: u64, ino: u64) -> Vec<RawFd> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let is_it = |fd: &RawFd| {
        fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|found| found.dev() == dev && found.ino() == ino)
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it).collect()
}

/// The descriptor that SQLite has opened for `path` since [`of`] returned `before`. An earlier one belongs to somebody
/// else, who might close it.
pub(crate) fn opened_since(before: &[RawFd], path: &Path) -> Option<OwnFd> {
    of(path).into_iter().find(|fd| !before.contains(fd)).map(|raw| OwnFd { raw })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lock_line_of_the_kernel_is_understood() {
        let line = "lock:\t1: POSIX  ADVISORY  READ 42 fe:00:1234 1073741826 1073742335";
        assert_eq!(read_lock_start(line), Some(1_073_741_826));
        assert_eq!(read_lock_start("lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:1 5 6"), None);
        assert_eq!(read_lock_start("lock:\t1: POSIX  ADVISORY  WRITE 42 fe:00:1 5 6"), None);
        assert_eq!(read_lock_start("pos:\t0"), None);
    }

    #[test]
    fn a_fresh_descriptor_is_found_by_its_inode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = of(file.path());
        assert!(opened_since(&before, file.path()).is_none());
        let again = fs::File::open(file.path()).unwrap();
        let found = opened_since(&before, file.path()).unwrap();
        assert_eq!(found.raw, std::os::fd::AsRawFd::as_raw_fd(&again));
        assert_eq!(found.holds_read_lock(&(0..10)), Some(false));
    }
}
