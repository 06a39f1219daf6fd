//! SQLite's locking protocol on the main file, with locks that belong to one open file. Protocol:
//! <https://www.sqlite.org/lockingv3.html>; byte numbers from its `os_unix.c`.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::OpenError;
use crate::companions::open_regular;
use crate::header::LOCK_BYTE;
use crate::lock_wait::LockWait;
use crate::sys::{self, Lock};

const PENDING: u64 = LOCK_BYTE;
const RESERVED: u64 = LOCK_BYTE + 1;
const SHARED_FIRST: u64 = LOCK_BYTE + 2;
const SHARED_LEN: u64 = 510;
/// `WAL_READ_LOCK(0)` in the `-shm` file: locked by readers that take every page from the main file, and exclusively by
/// a checkpoint while it writes there.
const SHM_READER: u64 = 123;
/// The "dead man switch" in the `-shm` file: every process that has the WAL open holds it shared.
const SHM_OWNER: u64 = 128;

/// Takes the shared lock: from now on nobody writes to the main file of a database in a rollback mode.
pub(super) fn shared(main: &File, wait: &LockWait) -> Result<(), OpenError> {
    let mut pause = Duration::from_millis(1);
    loop {
        if try_shared(main)? {
            return Ok(());
        }
        let step = wait.step()?;
        if step.is_zero() {
            return Err(OpenError::locked("another program holds it exclusively"));
        }
        wait.tell();
        thread::sleep(pause.min(step));
        pause = (pause * 2).min(step);
    }
}

/// PENDING first: a writer that waits for the readers to leave must not be kept waiting by new ones.
pub(super) fn try_shared(main: &File) -> io::Result<bool> {
    if !sys::set_lock(main, Lock::Shared, PENDING, 1)? {
        return Ok(false);
    }
    let got = sys::set_lock(main, Lock::Shared, SHARED_FIRST, SHARED_LEN);
    sys::set_lock(main, Lock::None, PENDING, 1)?;
    got
}

/// Locks everything, as SQLite does when the last connection closes: nobody else has the database open.
pub(crate) fn try_exclusive(main: &File) -> io::Result<bool> {
    sys::set_lock(main, Lock::Exclusive, PENDING, SHARED_FIRST + SHARED_LEN - PENDING)
}

/// Is somebody in the middle of a write transaction?
pub(super) fn is_reserved(main: &File) -> io::Result<bool> {
    sys::is_locked(main, RESERVED, 1)
}

/// Does somebody have this `-shm` open?
pub(super) fn has_wal_owner(shm: &Path) -> io::Result<bool> {
    match open_regular(shm) {
        Ok(file) => is_owned(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same of one that is open here.
pub(super) fn is_owned(shm: &File) -> io::Result<bool> {
    sys::is_locked(shm, SHM_OWNER, 1)
}

/// From now on no checkpoint writes to the main file, as with any reader of SQLite's own. `Ok(false)`: one is doing so.
pub(super) fn keep_checkpoints_out(shm: &File) -> io::Result<bool> {
    sys::set_lock(shm, Lock::Shared, SHM_READER, 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_raised_flag_ends_the_wait_for_the_shared_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(try_exclusive(file.as_file()).unwrap());
        let other = file.reopen().unwrap();
        assert!(matches!(
            shared(&other, &LockWait::new(Duration::from_millis(30), None)),
            Err(OpenError::Locked { .. })
        ));
        let (cancel, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let wait = LockWait::new(Duration::MAX, Some(cancel.clone())).telling(Some(waits.clone()));
        std::thread::scope(|scope| {
            let wait = scope.spawn(|| shared(&other, &wait));
            while !waits.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            cancel.store(true, Ordering::Relaxed);
            assert!(matches!(wait.join().unwrap(), Err(OpenError::Cancelled)));
        });
    }
}
