//! Writes one file without filling the page cache: what is written starts for the disk at once
//! and is dropped from memory when it is there.
//!
//! The only room of the restore with `unsafe`: one system call that has no safe wrapper.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::Advice;

/// Bytes on their way to the disk at once are two of these.
const WINDOW: u64 = 8 << 20;

/// A file of which at most two windows stay dirty or cached. Smaller files stay cached: they are
/// read again soon, and together they are few bytes.
pub(super) struct GentleFile {
    file: File,
    written: u64,
    started: u64,
}

impl GentleFile {
    pub(super) fn new(file: File) -> Self {
        Self { file, written: 0, started: 0 }
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn into_file(self) -> io::Result<File> {
        if self.started > 0 {
            let from = self.started.saturating_sub(WINDOW);
            start(&self.file, self.started, self.written - self.started)?;
            settle(&self.file, from, self.written - from)?;
        }
        Ok(self.file)
    }

    fn advance(&mut self) -> io::Result<()> {
        while self.written - self.started >= WINDOW {
            start(&self.file, self.started, WINDOW)?;
            if let Some(previous) = self.started.checked_sub(WINDOW) {
                settle(&self.file, previous, WINDOW)?;
            }
            self.started += WINDOW;
        }
        Ok(())
    }
}

impl Write for GentleFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        self.advance()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts writing back without waiting.
fn start(file: &File, offset: u64, length: u64) -> io::Result<()> {
    sync_range(file, offset, length, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until the range is on its way out of memory, then drops it.
fn settle(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, length, flags)?;
    // Advice only: a file system without it keeps its cache.
    let _ = rustix::fs::fadvise(file.as_fd(), offset, NonZeroU64::new(length), Advice::DontNeed);
    Ok(())
}

#[expect(unsafe_code, reason = "sync_file_range(2) has no safe wrapper in the crates at hand")]
fn sync_range(file: &File, offset: u64, length: u64, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call touches no
    // memory of ours.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset.cast_signed(), length.cast_signed(), flags) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Not every file system can; the data is synced at the end in any case.
        Some(libc::ESPIPE | libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}
