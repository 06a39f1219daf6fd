//! What this machine is doing right now, so that the progress display can say what it waits for: a file on a mount that
//! does not answer, a database that another process has locked. It also tracks the write-ahead log of the current
//! database, which cannot be emptied meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::text::{in_units, shown};

/// A disk or a share that answers later than this is named.
const SILENCE: Duration = Duration::from_mins(1);
/// A lock that is held longer than this is named.
const NOTICEABLE: Duration = Duration::from_secs(1);
/// A write-ahead log that is longer than this is named.
const LONG_LOG: u64 = 1_000_000_000;
/// More late answers than this are not named.
const MOST_NAMED: usize = 20;

/// The reading thread writes it, the progress display reads it.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: Option<(Vec<u8>, Instant)>,
    locked: Option<(Vec<u8>, Instant, Arc<AtomicBool>)>,
    log: Option<Log>,
    late: Vec<String>,
}

/// A database's write-ahead log.
#[derive(Clone, Debug)]
struct Log {
    database: Vec<u8>,
    path: PathBuf,
}

impl Pulse {
    /// Does what asks the system for this file, which may take for ever.
    pub(crate) fn ask<T>(&self, relative: &[u8], call: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        self.state().asked = Some((relative.to_vec(), begun));
        let answer = call();
        let mut state = self.state();
        state.asked = None;
        if begun.elapsed() >= SILENCE && state.late.len() < MOST_NAMED {
            let (name, seconds) = (shown(relative), begun.elapsed().as_secs());
            state.late.push(format!("{name} took {seconds} s to respond: its disk or network share may be failing"));
        }
        answer
    }

    /// Opens a database; `open` raises the flag that it is given when another process has it locked. Says for how long
    /// that one was waited for, if it was.
    pub(crate) fn open_database<T>(
        &self,
        relative: &[u8],
        open: impl FnOnce(Arc<AtomicBool>) -> T,
    ) -> (T, Option<Duration>) {
        let (begun, is_locked) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        self.state().locked = Some((relative.to_vec(), begun, Arc::clone(&is_locked)));
        let opened = open(Arc::clone(&is_locked));
        self.state().locked = None;
        let waited = is_locked.load(Ordering::Relaxed).then(|| begun.elapsed());
        (opened, waited.filter(|waited| *waited >= NOTICEABLE))
    }

    /// The image of this database is being read from now on, or none.
    pub(crate) fn follow_log(&self, database: Option<(&[u8], &Path)>) {
        self.state().log = database.map(|(relative, path)| Log { database: relative.to_vec(), path: log_of(path) });
    }

    /// What blocks the job, once it takes long.
    pub(crate) fn standstill(&self) -> Option<String> {
        let state = self.state();
        if let Some((relative, begun, is_locked)) = &state.locked
            && is_locked.load(Ordering::Relaxed)
            && begun.elapsed() >= NOTICEABLE
        {
            return Some(format!("waiting for {}: another process has locked it exclusively", shown(relative)));
        }
        let (relative, begun) = state.asked.as_ref()?;
        let silence = begun.elapsed();
        (silence >= SILENCE).then(|| format!("{} has not responded for {} s", shown(relative), silence.as_secs()))
    }

    /// What the user should know while the job runs.
    pub(crate) fn remark(&self) -> Option<String> {
        let log = self.state().log.clone()?;
        let length = long_log(&log.path)?;
        Some(format!("the write-ahead log of {} has grown to {}", shown(&log.database), in_units(length)))
    }

    /// What answered late.
    pub(crate) fn late(&self) -> Vec<String> {
        std::mem::take(&mut self.state().late)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The note about a database whose image was read, if its log is long by now.
pub(crate) fn about_log(relative: &[u8], database: &Path) -> Option<String> {
    let length = in_units(long_log(&log_of(database))?);
    Some(format!(
        "{}: its write-ahead log has grown to {length}, because SQLite can't empty it while the backup reads the \
         database; a faster or local destination shortens that",
        shown(relative)
    ))
}

fn log_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

fn long_log(path: &Path) -> Option<u64> {
    let length = path.symlink_metadata().ok()?.len();
    (length > LONG_LOG).then_some(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// As if it had begun so long ago.
    fn ago(by: Duration) -> Instant {
        Instant::now().checked_sub(by).unwrap()
    }

    #[test]
    fn a_file_that_does_not_answer_is_named_after_a_minute() {
        let pulse = Pulse::default();
        pulse.ask(b"media/nas/film.mkv", || {
            assert_eq!(pulse.standstill(), None);
            pulse.state().asked.as_mut().unwrap().1 = ago(SILENCE + Duration::from_secs(5));
            assert!(pulse.standstill().unwrap().starts_with("media/nas/film.mkv has not responded for 65 s"));
        });
        assert_eq!((pulse.standstill(), pulse.late()), (None, vec![]));
    }

    #[test]
    fn a_database_that_is_locked_is_named_after_a_second() {
        let pulse = Pulse::default();
        let (opened, waited) = pulse.open_database(b"x.db", |is_locked| {
            pulse.state().locked.as_mut().unwrap().1 = ago(Duration::from_secs(2));
            assert_eq!(pulse.standstill(), None, "opening it takes its time; nobody holds it");
            is_locked.store(true, Ordering::Relaxed);
            pulse.standstill()
        });
        assert_eq!(opened.as_deref(), Some("waiting for x.db: another process has locked it exclusively"));
        assert_eq!((waited, pulse.standstill()), (None, None), "it was but a moment");
    }

    #[test]
    fn a_log_that_grows_beyond_a_gigabyte_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("x.db");
        let log = std::fs::File::create(dir.path().join("x.db-wal")).unwrap();
        let pulse = Pulse::default();
        pulse.follow_log(Some((b"x.db", &database)));
        for (length, is_reported) in [(LONG_LOG, false), (LONG_LOG + 300_000_000, true)] {
            log.set_len(length).unwrap();
            assert_eq!((pulse.remark().is_some(), about_log(b"x.db", &database).is_some()), (is_reported, is_reported));
        }
        assert_eq!(pulse.remark().unwrap(), "the write-ahead log of x.db has grown to 1.30 GB");
        pulse.follow_log(None);
        assert_eq!(pulse.remark(), None);
    }
}
