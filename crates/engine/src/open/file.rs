//! The archive's file, read at any place by any thread, without leaving it in the page cache when it was not there before.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::page_cache::CacheGuard;

/// Threads read a little ahead of one another; what lies this far behind the foremost is left for good.
const BEHIND: u64 = 16 << 20;

/// Told after a stretch was read: bytes of the archive passed so far, and its length.
pub type ProgressFn<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

pub(crate) struct ArchiveFile<'a> {
    file: File,
    length: u64,
    guard: Mutex<CacheGuard>,
    reached: AtomicU64,
    progress: ProgressFn<'a>,
}

impl<'a> ArchiveFile<'a> {
    pub(crate) fn open(path: &Path, progress: ProgressFn<'a>) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let guard = Mutex::new(CacheGuard::new(&file, metadata.len()));
        Ok(Self { length: metadata.len(), guard, file, reached: AtomicU64::new(0), progress })
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)?;
        let end = offset + buffer.len() as u64;
        let before = self.reached.fetch_max(end, Ordering::Relaxed);
        // Once a mebibyte is often enough for whoever watches, and for the page cache.
        if end > before && end >> 20 != before >> 20 {
            (self.progress)(end, Some(self.length));
            if let Ok(mut guard) = self.guard.try_lock() {
                guard.passed(&self.file, end.saturating_sub(BEHIND));
            }
        }
        Ok(())
    }
}

impl Drop for ArchiveFile<'_> {
    fn drop(&mut self) {
        let guard = self.guard.get_mut().unwrap_or_else(PoisonError::into_inner);
        guard.passed(&self.file, self.length);
    }
}

impl habackup::read_at::ReadAt for ArchiveFile<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read(buffer, offset)
    }

    fn len(&self) -> u64 {
        self.length
    }
}
