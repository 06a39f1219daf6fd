//! The archive's bytes, read at any position by any thread: from a file, without leaving it in the page cache if it was
//! not there before, or from a remote destination.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use livesqlite::page_cache::ReadGuard;

/// Threads read slightly ahead of one another; nobody returns to what is so far behind the foremost.
const BEHIND: u64 = 16 << 20;

/// Told after a stretch was read: bytes of the archive passed so far, and its length.
pub type ProgressFn<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// Bytes of an archive that is no file of this machine.
pub trait Source: Send + Sync {
    /// What it is called, for messages; never holds a secret.
    fn label(&self) -> String;

    /// Length in bytes.
    fn length(&self) -> u64;

    /// Fills `buffer` from `offset` on. Tries again what may pass; an error is the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Says that this stretch will be read next, in order, and what follows it will not, so that it can be fetched at
    /// once.
    fn announce(&self, _range: Range<u64>) {}

    /// Fails if these are no longer the bytes they were when it was opened.
    fn unchanged(&self) -> io::Result<()>;
}

/// Where an archive is read from.
#[derive(Clone)]
pub enum ArchiveSource {
    /// A file of this machine.
    Path(PathBuf),
    /// Anything else.
    Remote(Arc<dyn Source>),
}

impl ArchiveSource {
    /// What it is called, for messages.
    pub fn shown(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Remote(source) => source.label().into(),
        }
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for ArchiveSource {
    fn from(path: &P) -> Self {
        Self::Path(path.as_ref().to_owned())
    }
}

pub(crate) struct ArchiveFile<'a> {
    bytes: Bytes,
    length: u64,
    reached: AtomicU64,
    // Bytes that were read, wherever they are: an index at the end is read first.
    passed: AtomicU64,
    progress: ProgressFn<'a>,
}

enum Bytes {
    Here { file: File, guard: Mutex<ReadGuard> },
    // The first failure counts for all: unreadable bytes must not look like damage, and not every thread should wait
    // for them in turn.
    There { source: Arc<dyn Source>, failed: Mutex<Option<io::Error>> },
}

impl<'a> ArchiveFile<'a> {
    pub(crate) fn open(source: &ArchiveSource, progress: ProgressFn<'a>) -> io::Result<Self> {
        let (bytes, length) = match source {
            ArchiveSource::Path(path) => {
                let mut file = store::files::open(path)?;
                // A disk has a length, too, and its metadata does not say it.
                let length = file.seek(SeekFrom::End(0))?;
                let guard = Mutex::new(ReadGuard::new(&file, length));
                (Bytes::Here { file, guard }, length)
            }
            ArchiveSource::Remote(source) => {
                (Bytes::There { source: Arc::clone(source), failed: Mutex::default() }, source.length())
            }
        };
        Ok(Self { bytes, length, reached: AtomicU64::new(0), passed: AtomicU64::new(0), progress })
    }

    /// Why the bytes could not be read, if so; reported once. It also checks whether they are still the same, because
    /// half of one archive and half of another look like damage.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        match &self.bytes {
            Bytes::Here { .. } => None,
            Bytes::There { source, failed } => {
                failed.lock().unwrap_or_else(PoisonError::into_inner).take().or_else(|| source.unchanged().err())
            }
        }
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.bytes {
            Bytes::Here { file, .. } => file.read_exact_at(buffer, offset)?,
            Bytes::There { source, failed } => {
                let broken = || {
                    failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .as_ref()
                        .map(|error| io::Error::new(error.kind(), error.to_string()))
                };
                if let Some(error) = broken() {
                    return Err(error);
                }
                if let Err(error) = source.read_exact_at(buffer, offset) {
                    let copy = io::Error::new(error.kind(), error.to_string());
                    // Reading beyond the end is the caller's mistake.
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                    return Err(copy);
                }
            }
        }
        let length = buffer.len() as u64;
        let before = self.passed.fetch_add(length, Ordering::Relaxed);
        // Once per mebibyte is often enough for the progress display and the page cache. A little is read twice.
        if (before + length) >> 20 != before >> 20 {
            (self.progress)((before + length).min(self.length), Some(self.length));
        }
        let end = offset + length;
        let before = self.reached.fetch_max(end, Ordering::Relaxed);
        if end > before
            && end >> 20 != before >> 20
            && let Bytes::Here { file, guard } = &self.bytes
            && let Ok(mut guard) = guard.try_lock()
        {
            guard.passed(file, end.saturating_sub(BEHIND));
        }
        Ok(())
    }
}

impl Drop for ArchiveFile<'_> {
    fn drop(&mut self) {
        if let Bytes::Here { file, guard } = &mut self.bytes {
            guard.get_mut().unwrap_or_else(PoisonError::into_inner).passed(file, self.length);
        }
    }
}

impl habackup::read_at::ReadAt for ArchiveFile<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read(buffer, offset)
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn announce(&self, range: Range<u64>) {
        if let Bytes::There { source, .. } = &self.bytes {
            source.announce(range);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use habackup::read_at::ReadAt;

    use super::*;

    #[test]
    fn progress_counts_what_was_read_and_not_how_far_into_the_archive_that_was() {
        const MIB: usize = 1 << 20;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        std::fs::write(&path, vec![0; 8 * MIB]).unwrap();
        let told = Mutex::new(Vec::new());
        let progress = |done, total| told.lock().unwrap().push((done >> 20, total));
        let file = ArchiveFile::open(&ArchiveSource::from(&path), &progress).unwrap();
        let mut buffer = vec![0; MIB];
        // What is at its end is read first, and the beginning twice.
        for at in [7_usize, 0, 0, 1, 2, 3, 4, 5, 6] {
            file.read_exact_at(&mut buffer, (at * MIB) as u64).unwrap();
        }
        let told = told.lock().unwrap();
        assert_eq!(told.iter().map(|(done, _)| *done).collect::<Vec<_>>(), [1_u64, 2, 3, 4, 5, 6, 7, 8, 8]);
        assert!(told.iter().all(|(_, total)| *total == Some(8 * MIB as u64)));
    }
}
