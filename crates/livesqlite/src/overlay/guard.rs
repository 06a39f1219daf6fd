//! Keeps the main file of a WAL database that nobody has open unchanged, without creating a file and without blocking
//! anybody.
//!
//! Only a checkpoint writes to the main file against a shared lock on it. (Everything else takes an exclusive lock
//! there: the last close of a connection, a change of the journal mode, an index in private memory.) A checkpoint first
//! locks `WAL_READ_LOCK(0)` in the `-shm` exclusively, so a shared lock on that byte keeps checkpoints out. The log
//! cannot restart from its beginning either, because that needs a log that was written back completely: its content
//! stays, and newcomers append.
//!
//! * There is a `-shm`, left by a crash, and nobody holds its owners' lock: the guard locks that byte at once. A
//!   newcomer starts by rebuilding the index, in which nothing is written back yet.
//! * There is no `-shm`: the guard takes a read lease on the main file. The kernel grants it only while nobody has the
//!   file open for writing, and lets nobody open it so until the lease has ended. A thread is notified, creates an
//!   empty `-shm` with the lock on it, and ends the lease: the newcomer has waited about a millisecond, and finds what
//!   it would find beside any reader.
//!
//! Should this program be stopped so long that the kernel ends the lease by itself, or be unable to make the `-shm`,
//! the image counts only if the main file has not changed. The file's time must not have changed in any case: a program
//! that is no SQLite may respect no lock.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::fs::Access;

use super::lock;
use crate::companions::open_regular;
use crate::sys;

/// The watching thread calls a handful of system calls.
const STACK: usize = 128 << 10;
/// Kernels note times in steps of up to 10 ms: within one of them a second write is not seen.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// Held for as long as the database is read.
pub(super) struct Guard {
    kept: Arc<Kept>,
    watcher: Option<JoinHandle<()>>,
}

struct Kept {
    /// Another descriptor of the same open file that holds the shared lock; the lease belongs to that open file too.
    main: File,
    shm: PathBuf,
    before: Stamp,
    state: Mutex<State>,
    /// The guard has been dropped.
    over: AtomicBool,
}

enum State {
    /// Nobody has the file open for writing.
    Leased,
    /// The lock in the `-shm` was there before anybody could write.
    Locked(File),
    /// Nothing keeps anybody out.
    Bare,
}

impl Guard {
    /// `main` is locked shared already. `None`: somebody has the database open, or it could not be kept still if
    /// somebody came.
    pub(super) fn take(main: &File, shm: &Path) -> io::Result<Option<Self>> {
        let before = Stamp::of(main)?;
        let main = main.try_clone()?;
        let kept = |state| {
            Arc::new(Kept { main, shm: shm.to_owned(), before, state: Mutex::new(state), over: AtomicBool::new(false) })
        };
        let guard = match open_regular(shm) {
            // The lock comes first: an owner that comes after the second check finds it.
            Ok(found) if lock::keep_checkpoints_out(&found)? && !lock::is_owned(&found)? => {
                Self { kept: kept(State::Locked(found)), watcher: None }
            }
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match Self::lease(kept(State::Leased))? {
                Some(guard) => guard,
                None => return Ok(None),
            },
            Err(error) => return Err(error),
        };
        // A process that had it open a moment ago may have written since.
        let still = guard.kept.before.is_same(&guard.kept.main);
        Ok(still.then_some(guard))
    }

    fn lease(kept: Arc<Kept>) -> io::Result<Option<Self>> {
        let can_make_files = kept.shm.parent().is_some_and(|dir| rustix::fs::access(dir, Access::WRITE_OK).is_ok());
        if !can_make_files {
            return Ok(None);
        }
        let (tell, receiver) = mpsc::channel();
        let theirs = Arc::clone(&kept);
        let watcher = thread::Builder::new()
            .name("database-lease".into())
            .stack_size(STACK)
            .spawn(move || theirs.watch(&tell))?;
        let guard = Self { kept, watcher: Some(watcher) };
        // Readers that open the file for reading only get past the lease, and may have a `-shm`: they have all that
        // SQLite needs.
        let is_alone = receiver.recv() == Ok(true) && !guard.kept.shm.exists();
        Ok(is_alone.then_some(guard))
    }

    /// Has nothing been written to the main file since the guard was taken, and can nothing be in the way of its image?
    pub(super) fn has_kept(&self) -> bool {
        let kept = &self.kept;
        let mut state = kept.lock();
        kept.let_in(&mut state);
        let unchanged = kept.before.is_same(&kept.main);
        match &*state {
            State::Leased => unchanged,
            State::Locked(shm) => unchanged && (kept.is_beside(shm) || kept.before.tells),
            State::Bare => unchanged && kept.before.tells,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.kept.over.store(true, Ordering::Relaxed);
        let state = self.kept.lock();
        if matches!(*state, State::Leased) {
            sys::end_lease(&self.kept.main);
        }
        drop(state);
        if let Some(watcher) = self.watcher.take() {
            sys::wake(&watcher);
            // It cannot panic, and if it did there would be nothing to do about it here.
            let _ = watcher.join();
        }
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that takes the lease and hears when somebody waits for its end.
    fn watch(&self, tell: &mpsc::Sender<bool>) {
        let leased = sys::take_lease(&self.main).unwrap_or(false);
        if tell.send(leased).is_err() || !leased {
            return;
        }
        loop {
            sys::wait_for_lease_signal();
            let mut state = self.lock();
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            self.let_in(&mut state);
            if !matches!(*state, State::Leased) {
                return;
            }
        }
    }

    /// If somebody waits for the end of the lease: first the lock, then the end.
    fn let_in(&self, state: &mut State) {
        if !matches!(state, State::Leased) || sys::has_lease(&self.main) {
            return;
        }
        let shm = self.locked_shm();
        let in_time = sys::end_lease(&self.main);
        *state = match shm {
            // Too late, but if nothing has been written by now then nothing will be.
            Ok(Some(shm)) if in_time || self.before.tells && self.before.is_same(&self.main) => State::Locked(shm),
            _ => State::Bare,
        };
    }

    /// An empty `-shm`, or the one that readers have, with the lock on it; with the owner and permissions that SQLite
    /// would give it.
    fn locked_shm(&self) -> io::Result<Option<File>> {
        let main = self.main.metadata()?;
        let mode = main.mode() & 0o777;
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let shm = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .custom_flags(flags)
            .open(&self.shm)?;
        let found = shm.metadata()?;
        if found.len() == 0 && found.mode() & 0o777 != mode {
            shm.set_permissions(Permissions::from_mode(mode))?;
        }
        if (found.uid(), found.gid()) != (main.uid(), main.gid()) {
            // As for SQLite, only root's duty.
            let _ = fchown(&shm, Some(main.uid()), Some(main.gid()));
        }
        Ok(lock::keep_checkpoints_out(&shm)?.then_some(shm))
    }

    /// Is this still the `-shm` that others find?
    fn is_beside(&self, shm: &File) -> bool {
        let identity = |metadata: io::Result<std::fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
        identity(shm.metadata()) == identity(std::fs::symlink_metadata(&self.shm))
    }
}

/// What changes with every write to a file.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    len: u64,
    modified: SystemTime,
    /// The last write was so long ago that another one must show.
    tells: bool,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified = metadata.modified()?;
        let tells = modified.elapsed().is_ok_and(|age| age > CLOCK_STEP);
        Ok(Self { len: metadata.len(), modified, tells })
    }

    fn is_same(&self, file: &File) -> bool {
        Self::of(file).is_ok_and(|now| (now.len, now.modified) == (self.len, self.modified))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A file whose last change is long ago, the name of its `-shm`, and a guard on it.
    fn guarded(dir: &Path, shm: &str) -> (File, PathBuf, Guard) {
        let path = dir.join("a.db");
        std::fs::write(&path, "anything").unwrap();
        let long_ago = SystemTime::now() - Duration::from_hours(1);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let main = File::open(path).unwrap();
        let shm = dir.join(shm);
        let kept = Kept {
            main: main.try_clone().unwrap(),
            shm: shm.clone(),
            before: Stamp::of(&main).unwrap(),
            state: Mutex::new(State::Leased),
            over: AtomicBool::new(false),
        };
        (main, shm, Guard { kept: Arc::new(kept), watcher: None })
    }

    fn write(dir: &Path) {
        File::options().write(true).open(dir.join("a.db")).unwrap().write_at(b"else", 0).unwrap();
    }

    #[test]
    fn a_lease_that_the_kernel_ended_costs_the_image_only_if_somebody_wrote() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody took a lease: the guard treats that as a lease that is gone.
        let (_main, shm, guard) = guarded(dir.path(), "a.db-shm");
        assert!(guard.has_kept() && matches!(*guard.kept.lock(), State::Locked(_)) && shm.exists());
        let (_main, _, guard) = guarded(dir.path(), "a.db-shm");
        write(dir.path());
        assert!(!guard.has_kept());
    }

    #[test]
    fn without_a_file_for_the_lock_the_image_counts_until_somebody_writes() {
        let dir = tempfile::tempdir().unwrap();
        let (main, _, mut guard) = guarded(dir.path(), "missing/a.db-shm");
        let (tell, receiver) = mpsc::channel();
        let kept = Arc::clone(&guard.kept);
        guard.watcher = Some(thread::spawn(move || kept.watch(&tell)));
        assert!(receiver.recv().unwrap());
        assert!(guard.has_kept() && sys::has_lease(&main));
        // The newcomer is let in anyway.
        let opened = File::options().write(true).open(dir.path().join("a.db")).unwrap();
        assert!(guard.has_kept() && !sys::has_lease(&main));
        opened.write_at(b"else", 0).unwrap();
        assert!(!guard.has_kept());
    }

    #[test]
    fn an_index_that_others_no_longer_find_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let (_main, shm, guard) = guarded(dir.path(), "a.db-shm");
        assert!(guard.has_kept());
        std::fs::remove_file(shm).unwrap();
        assert!(guard.has_kept());
        write(dir.path());
        assert!(!guard.has_kept());
    }

    #[test]
    fn who_writes_against_the_lock_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (main, shm, _) = guarded(dir.path(), "a.db-shm");
        File::create(&shm).unwrap();
        let guard = Guard::take(&main, &shm).unwrap().unwrap();
        assert!(guard.has_kept() && matches!(*guard.kept.lock(), State::Locked(_)));
        write(dir.path());
        assert!(!guard.has_kept());
    }

    #[test]
    fn nobody_gets_a_guard_while_the_file_is_open_for_writing() {
        let dir = tempfile::tempdir().unwrap();
        let (main, shm, _) = guarded(dir.path(), "a.db-shm");
        let writer = File::options().write(true).open(dir.path().join("a.db")).unwrap();
        assert!(Guard::take(&main, &shm).unwrap().is_none());
        drop(writer);
        drop(Guard::take(&main, &shm).unwrap().unwrap());
        assert!(!sys::has_lease(&main) && !shm.exists());
    }
}
