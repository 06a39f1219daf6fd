//! Leaves the page cache as it was found: what Home Assistant had in memory stays there, what only this program needed does not come to stay.

use std::{fs::File, num::NonZeroU64, os::fd::AsRawFd};

use rustix::fs::{Advice, fadvise};

/// Files smaller than this are not worth two system calls.
const WORTH_IT: u64 = 256 << 10;
/// Bytes per decision. Cache residency is asked in these steps before the first byte is read: later, read-ahead would blur the answer.
const STEP: u64 = 4 << 20;

/// Forgets the parts of one file that were not cached before, as they are left behind.
pub(crate) struct CacheGuard {
    // One bit per STEP: true where somebody else had cached some of it.
    resident: Vec<bool>,
    dropped: u64,
    length: u64,
}

impl CacheGuard {
    /// Looks at what is cached of a file of `length` bytes that is about to be read from its start.
    pub(crate) fn new(file: &File, length: u64) -> Self {
        if length < WORTH_IT {
            return Self { resident: Vec::new(), dropped: 0, length: 0 };
        }
        // Advice may be ignored; nothing depends on it.
        let _ = fadvise(file, 0, None, Advice::Sequential);
        let steps = length.div_ceil(STEP);
        let resident = (0..steps).map(|step| cached_pages(file, step * STEP, STEP).is_some_and(|pages| pages > 0)).collect();
        Self { resident, dropped: 0, length }
    }

    /// Everything before `position` was read.
    pub(crate) fn passed(&mut self, file: &File, position: u64) {
        let end = position >= self.length;
        while self.dropped < self.length && (self.dropped + STEP <= position || end) {
            let step = self.dropped / STEP;
            if !self.resident.get(step as usize).copied().unwrap_or(false) {
                let _ = fadvise(file, self.dropped, NonZeroU64::new(STEP), Advice::DontNeed);
            }
            self.dropped += STEP;
        }
    }
}

/// Pages of the range that are in the page cache; `None` where the kernel (before 6.5) can't tell.
fn cached_pages(file: &File, offset: u64, length: u64) -> Option<u64> {
    cachestat(file.as_raw_fd(), offset, length)
}

#[expect(unsafe_code, reason = "cachestat(2) has no safe wrapper in the crates at hand")]
fn cachestat(fd: std::os::fd::RawFd, offset: u64, length: u64) -> Option<u64> {
    const CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct Range {
        offset: u64,
        length: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Answer {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let range = Range { offset, length };
    let mut answer = Answer::default();
    // SAFETY: both structs have the layout of `struct cachestat_range` and `struct cachestat` of linux/mman.h, live on this stack frame for the whole call,
    // and the kernel writes only within `answer`. An unknown call number or a closed descriptor answers with an error.
    let result = unsafe { libc::syscall(CACHESTAT, fd, &raw const range, &raw mut answer, 0_u32) };
    (result == 0).then_some(answer.cached)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};

    use super::*;

    fn file_of(bytes: usize) -> File {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&vec![1; bytes]).unwrap();
        file.sync_all().unwrap();
        file
    }

    fn read_through(file: &File, length: u64) {
        use std::os::unix::fs::FileExt;
        let mut guard = CacheGuard::new(file, length);
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < length {
            at += file.read_at(&mut buffer, at).unwrap() as u64;
            guard.passed(file, at);
        }
    }

    #[test]
    fn what_was_not_cached_is_not_cached_afterwards_and_what_was_stays() {
        let length = 24 << 20;
        let mut file = file_of(length as usize);
        let Some(all) = cached_pages(&file, 0, length) else { return };
        read_through(&file, length);
        assert_eq!(cached_pages(&file, 0, length), Some(all), "a file in use stays cached");

        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        assert_eq!(cached_pages(&file, 0, length), Some(0));
        read_through(&file, length);
        assert!(cached_pages(&file, 0, length).unwrap() < all / 20);
        let _ = file.read(&mut [0; 1]);
    }
}
