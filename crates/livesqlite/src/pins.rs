//! The process-wide list of files that belong to an open snapshot.
//!
//! POSIX locks belong to the process, not to the descriptor: when *any* descriptor of a file is closed, this process
//! loses all its locks on that file. A walk that opened and closed a database's `-shm` would so drop the read lock that
//! keeps a snapshot whole, and the next checkpoint of another process would rewrite the pages being read. So before
//! this process opens any file, it asks [`is_pinned`].

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::OpenError;
use crate::lock_wait::LockWait;

type Inode = (u64, u64);

static PINNED: Mutex<Option<HashMap<Inode, u32>>> = Mutex::new(None);
static RELEASED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Option<HashMap<Inode, u32>>> {
    // The map is whole between any two statements, so a panic elsewhere cannot have left it half changed.
    PINNED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// Does this file (by device and inode; take the metadata with `lstat`) belong to a snapshot that is open in this
/// process? Main file, `-wal`, `-shm` and `-journal` do. If so it must not be opened: closing it would end the
/// snapshot's read lock. (Files that others make beside a database while its snapshot is open may be opened: where that
/// can happen, the locks belong to descriptors.)
pub fn is_pinned(metadata: &Metadata) -> bool {
    lock().as_ref().is_some_and(|map| map.contains_key(&inode(metadata)))
}

/// The files of one snapshot, pinned from before SQLite opens them until after it closed them.
#[derive(Debug)]
pub(crate) struct Pin {
    inodes: Vec<Inode>,
}

impl Pin {
    /// Pins a main file. Two snapshots of one inode (a hard link) do not live side by side: their `-wal` names would
    /// differ while SQLite shares locks by inode. The second waits for the first.
    pub(crate) fn take(main: &Metadata, wait: &LockWait) -> Result<Self, OpenError> {
        let key = inode(main);
        let mut guard = lock();
        loop {
            let map = guard.get_or_insert_default();
            if let std::collections::hash_map::Entry::Vacant(free) = map.entry(key) {
                free.insert(1);
                return Ok(Self { inodes: vec![key] });
            }
            let step = wait.step()?;
            if step.is_zero() {
                return Err(OpenError::locked("another snapshot of the same file is open in this process"));
            }
            guard = RELEASED.wait_timeout(guard, step).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Pins a companion file, if it exists.
    pub(crate) fn add(&mut self, companion: &Path) {
        let Ok(metadata) = std::fs::symlink_metadata(companion) else { return };
        let key = inode(&metadata);
        if !self.inodes.contains(&key) {
            *lock().get_or_insert_default().entry(key).or_insert(0) += 1;
            self.inodes.push(key);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut guard = lock();
        let map = guard.get_or_insert_default();
        for key in &self.inodes {
            if let Some(count) = map.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    map.remove(key);
                }
            }
        }
        RELEASED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn wait(milliseconds: u64) -> LockWait {
        LockWait::new(Duration::from_millis(milliseconds), None)
    }

    #[test]
    fn a_file_is_pinned_exactly_as_long_as_its_pin_lives() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = tempfile::NamedTempFile::new().unwrap();
        let main = file.as_file().metadata().unwrap();
        let companion = other.as_file().metadata().unwrap();
        let mut pin = Pin::take(&main, &wait(0)).unwrap();
        pin.add(other.path());
        pin.add(other.path());
        assert!(is_pinned(&main) && is_pinned(&companion));
        assert!(Pin::take(&main, &wait(20)).is_err());
        drop(pin);
        assert!(!is_pinned(&main) && !is_pinned(&companion));
    }

    #[test]
    fn a_second_snapshot_of_one_inode_waits_for_the_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let main = file.as_file().metadata().unwrap();
        let first = Pin::take(&main, &wait(0)).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Pin::take(&main, &wait(20_000)).is_ok());
            std::thread::sleep(Duration::from_millis(20));
            drop(first);
            assert!(second.join().unwrap());
        });
    }
}
