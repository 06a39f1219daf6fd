//! Writes one file without filling the page cache: written data starts for the disk at once and is dropped from memory
//! when it is there. Long runs of zeros become holes, so that a sparse file stays sparse.
//!
//! The only module of the restore with `unsafe`: one system call that has no safe wrapper.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fstatvfs};
use rustix::io::Errno;

/// Bytes on their way to the disk at once are two of these.
const WINDOW: u64 = 8 << 20;

/// The size of the blocks in which zeros are detected; shorter runs are written, so that no file is fragmented.
const BLOCK: usize = 64 << 10;
/// A file that only fits with holes leaves this much free: Home Assistant may write to the same disk.
const RESERVE: u64 = 512 << 20;

/// A file of which at most two windows stay dirty or cached. Smaller files stay cached: they are
/// read again soon, and together they are few bytes.
pub(super) struct GentleFile {
    file: File,
    written: u64,
    started: u64,
    /// How many of the last bytes are zeros that the file does not hold yet.
    zeros: u64,
    /// Look at the free space while writing.
    tight: bool,
}

impl GentleFile {
    /// `tight`: the file can only fit if much of it is holes.
    pub(super) fn new(file: File, tight: bool) -> Self {
        Self { file, written: 0, started: 0, zeros: 0, tight }
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn into_file(mut self) -> io::Result<File> {
        if self.zeros >= BLOCK as u64 {
            self.file.set_len(self.written)?;
        } else {
            self.fill()?;
        }
        if self.started > 0 {
            let from = self.started.saturating_sub(WINDOW);
            start(&self.file, self.started, self.written - self.started)?;
            settle(&self.file, from, self.written - from)?;
        }
        Ok(self.file)
    }

    /// Writes the zeros that are too few for a hole.
    fn fill(&mut self) -> io::Result<()> {
        let zeros = usize::try_from(std::mem::take(&mut self.zeros)).unwrap_or(BLOCK).min(BLOCK);
        self.file.write_all_at(&ZEROS[..zeros], self.written - zeros as u64)
    }

    /// One stretch within a block.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if is_zero(bytes) {
            self.zeros += bytes.len() as u64;
        } else {
            if self.zeros >= BLOCK as u64 {
                self.zeros = 0;
            } else {
                self.fill()?;
            }
            self.file.write_all_at(bytes, self.written)?;
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        while self.written - self.started >= WINDOW {
            if self.tight {
                check_space(&self.file)?;
            }
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
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_block = BLOCK - (self.written % BLOCK as u64) as usize;
            let (stretch, after) = rest.split_at(in_block.min(rest.len()));
            self.put(stretch)?;
            rest = after;
        }
        self.advance()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static ZEROS: [u8; BLOCK] = [0; BLOCK];

fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}

fn check_space(file: &File) -> io::Result<()> {
    let stat = fstatvfs(file)?;
    let reserve = RESERVE.min(stat.f_blocks.saturating_mul(stat.f_frsize) / 20);
    if stat.f_blocks > 0 && stat.f_bavail.saturating_mul(stat.f_frsize) < reserve.saturating_add(WINDOW) {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn long_runs_of_zeros_become_holes_and_every_byte_is_right() {
        let zeros = |count: usize| vec![0_u8; count];
        let noise = |count: usize| vec![0x55_u8; count];
        let files: [(&str, Vec<u8>, u64); 9] = [
            ("empty", Vec::new(), 0),
            ("short zeros", zeros(5000), 5000),
            ("a block less one", zeros(BLOCK - 1), BLOCK as u64),
            ("zeros alone", zeros(40 << 20), 0),
            ("zeros at the end", [noise(10), zeros(9 << 20)].concat(), 1 << 17),
            ("zeros in front", [zeros(9 << 20), noise(10)].concat(), 1 << 17),
            ("an island", [zeros(20 << 20), noise(70_000), zeros(20 << 20)].concat(), 1 << 18),
            ("small gaps", [noise(1000), zeros(30_000), noise(1000), zeros(30_000)].concat().repeat(40), u64::MAX),
            ("none", noise(3 << 20), u64::MAX),
        ];
        let directory = tempfile::tempdir().unwrap();
        for (name, content, most) in files {
            for step in [content.len().max(1), 512 << 10, 4096, 10_001] {
                let path = directory.path().join("file");
                let mut file = GentleFile::new(File::create(&path).unwrap(), false);
                for piece in content.chunks(step) {
                    file.write_all(piece).unwrap();
                }
                assert_eq!(file.written(), content.len() as u64);
                let file = file.into_file().unwrap();
                file.sync_all().unwrap();
                assert!(std::fs::read(&path).unwrap() == content, "{name} by {step}");
                let allocated = file.metadata().unwrap().blocks() * 512;
                // What is left over from aligning to the blocks of any file system.
                assert!(allocated <= most.saturating_add(1 << 17), "{name} by {step}: {allocated}");
            }
        }
    }
}
